//! How much was lost, told from the symbols that came.
//!
//! There are no sequence numbers on the wire, but both ends know the order of a pass: the symbol at position n was
//! preceded by n others. What lies between the first and the highest position and did not come was lost.

use super::run::{Position, SymbolRun};
use crate::session::schedule::{Schedule, SymbolId};

/// Measures the loss of one session.
#[derive(Debug, Default, PartialEq)]
pub struct LossMeter {
    current: Option<PassCount>,
    sent_before: u64,
    received_before: u64,
}

/// What was seen of one pass.
#[derive(Debug, PartialEq)]
struct PassCount {
    schedule: Schedule,
    pass: u32,
    span: Option<(u64, u64)>,
    received: u64,
}

impl PassCount {
    fn new(schedule: Schedule, pass: u32) -> Self {
        Self { schedule, pass, span: None, received: 0 }
    }

    fn sent(&self) -> u64 {
        self.span.map_or(0, |(first, highest)| highest - first + 1)
    }
}

impl LossMeter {
    /// The sender announced how it sends, and which pass.
    pub fn on_announcement(&mut self, schedule: Schedule, pass: u32, pass_ended: bool) {
        if self.current.as_ref().is_none_or(|count| count.schedule != schedule || count.pass != pass) {
            self.start_pass(schedule, pass);
        }
        if pass_ended
            && let Some(count) = &mut self.current
            && let Some((_, highest)) = &mut count.span
        {
            *highest = count.schedule.len() - 1;
        }
    }

    /// A symbol came, useful or not.
    pub fn on_symbol(&mut self, id: SymbolId) {
        let Some(count) = &mut self.current else { return };
        let Some(position) = count.schedule.position(id, count.pass) else { return };
        let Some((first, highest)) = &mut count.span else {
            count.span = Some((position, position));
            count.received = 1;
            return;
        };
        if position + count.schedule.len() / 2 < *highest {
            // Far back: a new pass whose announcement was lost.
            let (schedule, pass) = (count.schedule, count.pass);
            self.start_pass(schedule, pass.wrapping_add(1));
            return self.on_symbol(id);
        }
        *first = position.min(*first);
        *highest = position.max(*highest);
        count.received += 1;
    }

    /// The symbols of a run came, but for those at the indices `lost`, which ascend; as if they came one by one.
    pub fn on_range(&mut self, run: &SymbolRun, lost: &[u32]) {
        let Some(count) = &mut self.current else { return };
        let is_known = count.schedule == *run.schedule() && count.pass == run.pass();
        match (run.span(lost), run.position()) {
            (_, Position::Outside) if is_known => {}
            (Some((first, last)), Position::From(position)) if is_known => {
                let (first, last) = (position + u64::from(first), position + u64::from(last));
                let seen = count.span.unwrap_or((first, last));
                if first + count.schedule.len() / 2 < seen.1 {
                    return run.received(lost).for_each(|id| self.on_symbol(id));
                }
                count.span = Some((seen.0.min(first), seen.1.max(last)));
                count.received += run.len() - lost.len() as u64;
            }
            _ => run.received(lost).for_each(|id| self.on_symbol(id)),
        }
    }

    fn start_pass(&mut self, schedule: Schedule, pass: u32) {
        if let Some(count) = self.current.replace(PassCount::new(schedule, pass)) {
            self.sent_before += count.sent();
            self.received_before += count.received;
        }
    }

    /// Symbols that were sent and did not come; 0 while nothing is known.
    pub fn lost(&self) -> u64 {
        self.sent().saturating_sub(self.received())
    }

    /// Share of the symbols that did not come, from 0 to 1; `None` while nothing is known.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn loss(&self) -> Option<f64> {
        (self.sent() > 0).then(|| self.lost() as f64 / self.sent() as f64)
    }

    fn sent(&self) -> u64 {
        self.sent_before + self.current.as_ref().map_or(0, PassCount::sent)
    }

    fn received(&self) -> u64 {
        self.received_before + self.current.as_ref().map_or(0, |count| count.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announcement::MAX_REPAIR_SYMBOLS;
    use crate::partition::Partition;
    use proptest::prelude::*;

    fn schedule() -> Schedule {
        Schedule::new(Partition::new(8 * 1000, 8, 10).unwrap(), 3, 5, 5)
    }

    #[test]
    fn counts_what_did_not_come() {
        let mut meter = LossMeter::default();
        assert_eq!(meter.loss(), None);
        meter.on_announcement(schedule(), 0, false);
        let symbols: Vec<_> = schedule().pass(0).collect();
        for (index, id) in symbols.iter().enumerate() {
            if index % 10 != 3 {
                meter.on_symbol(*id);
            }
        }
        assert_eq!(meter.lost(), 105);
        assert!((meter.loss().unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn counts_the_end_of_a_pass_only_when_told() {
        let mut meter = LossMeter::default();
        meter.on_announcement(schedule(), 0, false);
        for id in schedule().pass(0).take(1000) {
            meter.on_symbol(id);
        }
        assert_eq!(meter.lost(), 0);
        meter.on_announcement(schedule(), 0, true);
        assert_eq!(meter.lost(), 50);
    }

    #[test]
    fn notices_a_new_pass_with_and_without_its_announcement() {
        let mut meter = LossMeter::default();
        meter.on_announcement(schedule(), 0, false);
        for pass in 0..3 {
            if pass == 1 {
                meter.on_announcement(schedule(), 1, false);
            }
            schedule().pass(pass).for_each(|id| meter.on_symbol(id));
        }
        assert_eq!(meter.lost(), 0);
        // Fresh repair goes first: of the unannounced pass it is of no known position until a source symbol tells the pass.
        assert_eq!(meter.received(), 3 * schedule().len() - schedule().window(0).unwrap().repair().len());
    }

    proptest! {
        /// Announcements are not signed. Whatever they say, in whatever order, the meter keeps counting (an overflow would
        /// panic here) and gives a share: it may be wrong, and nothing but a report rests on it.
        #[test]
        fn hostile_announcements_cost_nothing_but_the_estimate(
            symbols in 1u64..=255 * 56_403, blocks in 1u16..=255,
            steps in prop::collection::vec((
                any::<u16>(), prop_oneof![0..=MAX_REPAIR_SYMBOLS, Just(MAX_REPAIR_SYMBOLS)], 0..=MAX_REPAIR_SYMBOLS,
                prop_oneof![any::<u32>(), Just(u32::MAX)], any::<bool>(),
                prop::collection::vec((any::<u8>(), 0u32..1 << 24), 0..6),
            ), 1..40),
        ) {
            let blocks = blocks.max(u16::try_from(symbols.div_ceil(56_403)).unwrap()).min(u16::try_from(symbols).unwrap_or(255));
            let partition = Partition::new(symbols * 8, 8, blocks).unwrap();
            let mut meter = LossMeter::default();
            for (window, large, small, pass, pass_ended, ids) in steps {
                meter.on_announcement(Schedule::new(partition, window, large, small), pass, pass_ended);
                ids.iter().for_each(|&(sbn, esi)| meter.on_symbol(SymbolId { sbn, esi }));
                prop_assert!(meter.loss().is_none_or(|loss| (0.0..=1.0).contains(&loss)));
            }
        }
    }
}
