//! Free slots, as the planner takes them: any empty one, or the one that holds a certain part of a resident pass.

use crate::transmit::Slot;
use crossbeam_channel::Receiver;

/// Slots that came back from the sending threads.
#[derive(Debug)]
pub struct SlotPool {
    incoming: Receiver<Vec<Slot>>,
    empty: Vec<Slot>,
    /// Resident slots that are here, by place.
    resident: Vec<Option<Slot>>,
}

impl SlotPool {
    /// Slots come from `incoming`.
    pub fn new(incoming: Receiver<Vec<Slot>>) -> Self {
        Self { incoming, empty: Vec::new(), resident: Vec::new() }
    }

    /// An empty slot, waited for; `None` when nobody sends any more.
    ///
    /// Waiting is what keeps the planner from running ahead.
    pub fn take_empty(&mut self) -> Option<Slot> {
        loop {
            if let Some(slot) = self.empty.pop() {
                return Some(slot);
            }
            self.wait()?;
        }
    }

    /// The slot of a place, if it is here.
    pub fn take_resident(&mut self, place: u32) -> Option<Slot> {
        while self.resident.get(place as usize).is_none_or(Option::is_none) {
            let slots = self.incoming.try_recv().ok()?;
            self.put(slots);
        }
        self.resident.get_mut(place as usize)?.take()
    }

    /// Waits until some slots have come back; `None` when nobody sends any more.
    pub fn wait(&mut self) -> Option<()> {
        let slots = self.incoming.recv().ok()?;
        self.put(slots);
        Some(())
    }

    fn put(&mut self, slots: Vec<Slot>) {
        for slot in slots {
            let Some(place) = slot.place.map(|place| place as usize) else {
                self.empty.push(slot);
                continue;
            };
            if self.resident.len() <= place {
                self.resident.resize_with(place + 1, || None);
            }
            self.resident[place] = Some(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    fn slot(place: Option<u32>) -> Slot {
        let mut slot = Slot::with_capacity(8);
        slot.place = place;
        slot
    }

    #[test]
    fn resident_slots_keep_their_places_in_any_order_of_return() {
        let (free, incoming) = unbounded();
        let mut pool = SlotPool::new(incoming);
        free.send(vec![slot(Some(2)), slot(None), slot(Some(0))]).unwrap();
        assert_eq!(pool.take_resident(0).unwrap().place, Some(0));
        assert!(pool.take_resident(1).is_none());
        assert_eq!(pool.take_empty().unwrap().place, None);
        free.send(vec![slot(Some(1))]).unwrap();
        drop(free);
        assert_eq!(pool.take_resident(1).unwrap().place, Some(1));
        assert_eq!(pool.take_resident(2).unwrap().place, Some(2));
        assert!(pool.take_empty().is_none());
    }
}
