//! Which slots the kernel still reads: a pure state machine, so that every order of completions can be tested.
//!
//! A slot is lent when its packets are about to be handed over. It is free again when all of it was handed over and every
//! zero-copy send of it has been notified: the kernel reads the memory until then, in whatever order it likes.

/// Slots that are lent, at most as many as it was made for.
#[derive(Debug)]
pub struct Lent<T> {
    entries: Vec<Entry<T>>,
    unused: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    slot: Option<T>,
    handed_over: bool,
    notifications_due: u32,
}

impl<T> Lent<T> {
    /// With room for `most` slots.
    pub fn new(most: u32) -> Self {
        let entry = || Entry { slot: None, handed_over: false, notifications_due: 0 };
        Self { entries: (0..most).map(|_| entry()).collect(), unused: (0..most).rev().collect() }
    }

    /// How many are lent.
    pub fn len(&self) -> usize {
        self.entries.len() - self.unused.len()
    }

    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.unused.is_empty()
    }

    /// Lends a slot; returns what to call it by. Gives it back when there is no room.
    pub fn lend(&mut self, slot: T) -> Result<u32, T> {
        let Some(id) = self.unused.pop() else { return Err(slot) };
        self.entries[id as usize] = Entry { slot: Some(slot), handed_over: false, notifications_due: 0 };
        Ok(id)
    }

    /// A lent slot.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.entries.get(id as usize)?.slot.as_ref()
    }

    /// A send of it will be notified once the kernel reads it no more.
    pub fn expect_notification(&mut self, id: u32) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.notifications_due += 1;
        }
    }

    /// A send of it was notified; returns the slot if that was the last thing to wait for.
    pub fn notified(&mut self, id: u32) -> Option<T> {
        let entry = self.entries.get_mut(id as usize)?;
        entry.notifications_due = entry.notifications_due.saturating_sub(1);
        self.take_if_done(id)
    }

    /// All of it was handed over, or will never be; returns the slot if no notification is due.
    pub fn handed_over(&mut self, id: u32) -> Option<T> {
        self.entries.get_mut(id as usize)?.handed_over = true;
        self.take_if_done(id)
    }

    fn take_if_done(&mut self, id: u32) -> Option<T> {
        let entry = &mut self.entries[id as usize];
        if !entry.handed_over || entry.notifications_due > 0 {
            return None;
        }
        let slot = entry.slot.take()?;
        self.unused.push(id);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_copied_slot_is_free_at_once_and_a_zero_copied_one_when_notified() {
        let mut lent = Lent::new(2);
        let (copied, read) = (lent.lend('c').unwrap(), lent.lend('z').unwrap());
        assert_eq!(lent.lend('x'), Err('x'));
        assert_eq!(lent.handed_over(copied), Some('c'));
        lent.expect_notification(read);
        assert_eq!(lent.handed_over(read), None);
        assert_eq!((lent.len(), lent.get(read)), (1, Some(&'z')));
        assert_eq!(lent.notified(read), Some('z'));
        assert_eq!((lent.len(), lent.notified(read)), (0, None));
    }

    proptest! {
        /// Sends with random numbers of zero-copy messages, notified in random order, some before all was handed over.
        #[test]
        fn no_slot_is_free_while_the_kernel_reads_it_and_all_come_back(
            sends in prop::collection::vec(0u32..4, 1..80), picks in prop::collection::vec(any::<prop::sample::Index>(), 400),
        ) {
            let mut lent = Lent::new(8);
            let mut picks = picks.into_iter();
            // Ids of notifications that the kernel owes, and the oracle's count for each slot.
            let (mut owed, mut freed): (Vec<(u32, usize)>, Vec<usize>) = (Vec::new(), Vec::new());
            for (number, &notifications) in sends.iter().enumerate() {
                while lent.is_full() {
                    let Some(pick) = picks.next() else { return Ok(()) };
                    let (id, of) = owed.swap_remove(pick.index(owed.len()));
                    let slot = lent.notified(id);
                    prop_assert_eq!(slot.is_some(), owed.iter().all(|(_, other)| *other != of));
                    prop_assert!(slot.is_none_or(|slot| slot == of));
                    freed.extend(slot);
                }
                let id = lent.lend(number).unwrap();
                for _ in 0..notifications {
                    lent.expect_notification(id);
                    owed.push((id, number));
                }
                let slot = lent.handed_over(id);
                prop_assert_eq!(slot.is_some(), notifications == 0);
                freed.extend(slot);
                prop_assert_eq!(lent.len() + freed.len(), number + 1);
            }
            for (id, _) in owed {
                freed.extend(lent.notified(id));
            }
            freed.sort_unstable();
            prop_assert_eq!(freed, (0..sends.len()).collect::<Vec<_>>());
            prop_assert_eq!(lent.len(), 0);
        }
    }
}
