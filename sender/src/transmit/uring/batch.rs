//! What became of a batch of messages: a pure state machine.
//!
//! The messages of a batch are linked: the kernel starts one when the one before it was sent, and cancels the rest when one
//! is refused. So nothing overtakes: what was sent is a prefix, and the rest is submitted again, in order.

/// Messages submitted together, at most.
pub const MESSAGES: usize = 32;

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All were sent.
    Sent,
    /// The first so many were sent, the next one was refused for this reason (errno), the others were not tried.
    Refused(usize, i32),
}

/// One batch under way.
#[derive(Debug, Default)]
pub struct Batch {
    len: usize,
    seen: usize,
    refused: Option<(usize, i32)>,
}

impl Batch {
    /// A batch of `len` messages.
    pub fn new(len: usize) -> Self {
        Self { len, ..Self::default() }
    }

    /// How many results are still to come.
    pub fn pending(&self) -> usize {
        self.len - self.seen
    }

    /// The result of message `index`: bytes, or a negative errno. Results may come in any order.
    pub fn on_result(&mut self, index: usize, result: i32) {
        self.seen += 1;
        // Cancelled means that one before it was refused; whose errno counts.
        if result < 0 && self.refused.is_none_or(|(first, _)| index < first) {
            self.refused = Some((index, -result));
        }
    }

    /// How it ended, once nothing is pending.
    pub fn ending(&self) -> Ending {
        self.refused.map_or(Ending::Sent, |(index, errno)| Ending::Refused(index, errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_sent_is_a_prefix_whatever_the_order_of_results(
            len in 1usize..=MESSAGES, refused in prop::option::of(any::<prop::sample::Index>()), seed in any::<u64>(),
        ) {
            let refused = refused.map(|index| index.index(len));
            let result = |index| match refused {
                Some(refused) if index == refused => -libc::ENOBUFS,
                Some(refused) if index > refused => -libc::ECANCELED,
                _ => 1364,
            };
            let mut order: Vec<usize> = (0..len).collect();
            order.sort_by_key(|&index| (index as u64 + 1).wrapping_mul(seed | 1));
            let mut batch = Batch::new(len);
            for index in order {
                prop_assert!(batch.pending() > 0);
                batch.on_result(index, result(index));
            }
            prop_assert_eq!(batch.pending(), 0);
            let expected = refused.map_or(Ending::Sent, |refused| Ending::Refused(refused, libc::ENOBUFS));
            prop_assert_eq!(batch.ending(), expected);
        }
    }
}
