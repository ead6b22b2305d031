//! Repair that receivers asked for: which symbols, and in which order.

use crate::feedback::Deficits;
use crate::random::mix;
use crate::session::schedule::{Schedule, SymbolId};
use fleetcast_fec::MAX_ESI;

/// Repair sent on request has ESIs of its own, from the upper half of what 24 bits can name, so that no pass sends the same.
const FIRST_ESI: u32 = 1 << 23;
/// Where in that half a session begins follows from its TSI: a restarted sender brings other symbols than before.
const STARTS: u32 = 1 << 22;
/// Blocks take turns with so much of K at a time: whoever claims to lack everything holds others up by that much.
const TURN_PARTS: u32 = 16;
/// Symbols that are sent beyond a deficit in any case.
pub(super) const MARGIN: u32 = 1;
/// Most of a deficit that is added against the loss of the repair itself, as one part in this many.
const MAX_MARGIN_PARTS: u32 = 8;

/// The symbols of one round's repair, in the order in which they are sent: turns of up to K / 16 symbols a block, and in each
/// turn window by window, interleaved.
#[derive(Debug, Clone)]
pub struct Requested {
    window_blocks: usize,
    blocks: Vec<Asked>,
    /// Symbols that are still sent.
    left: u64,
    window: usize,
    row: u32,
    lane: usize,
}

/// What is sent of one block.
#[derive(Debug, Clone, Copy)]
struct Asked {
    sbn: u8,
    /// The next symbol's place among those sent on request.
    next: u32,
    left: u32,
    /// Symbols in a turn.
    turn: u32,
    start: u32,
}

/// Symbols to send to whoever lacks `deficit` of K: a few more, because some of them get lost as well. The share that is
/// lost is estimated by the deficit's share of K.
fn with_margin(deficit: u32, k: u32) -> u32 {
    let lost = (u64::from(deficit) * u64::from(deficit)).div_ceil(u64::from(k.max(1)));
    deficit + MARGIN + u32::try_from(lost).unwrap_or(u32::MAX).min(deficit / MAX_MARGIN_PARTS)
}

impl Requested {
    /// What covers `asked`, at most `most` symbols; `sent` counts what was sent on request of each block, and is raised.
    pub(super) fn new(schedule: &Schedule, asked: &Deficits, sent: &mut [u32], most: u64, tsi: u32) -> Self {
        let blocks: Vec<Asked> = asked
            .iter()
            .filter_map(|(sbn, deficit)| {
                let k = schedule.partition().k(sbn)?;
                let sent = sent.get(usize::from(sbn))?;
                let offset = mix((u64::from(tsi) << 8) | u64::from(sbn)) % u64::from(STARTS);
                let start = FIRST_ESI + u32::try_from(offset).ok()?;
                let left = with_margin(deficit.min(k), k);
                Some(Asked { sbn, next: *sent, left, turn: (k / TURN_PARTS).max(1), start })
            })
            .collect();
        let all: u64 = blocks.iter().map(|block| u64::from(block.left)).sum();
        let requested = Self {
            window_blocks: usize::from(schedule.window_blocks()),
            blocks,
            left: all.min(most),
            window: 0,
            row: 0,
            lane: 0,
        };
        for id in requested.clone() {
            if let Some(sent) = sent.get_mut(usize::from(id.sbn)) {
                *sent += 1;
            }
        }
        requested
    }

    /// Symbols that are still to be sent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next block in turn, as an index; moves on through lanes, rows, windows and turns.
    fn next_block(&mut self) -> Option<usize> {
        loop {
            let start = self.window * self.window_blocks;
            if start >= self.blocks.len() {
                // A new turn.
                (self.window, self.row, self.lane) = (0, 0, 0);
                self.blocks.retain(|block| block.left > 0);
                if self.blocks.is_empty() {
                    return None;
                }
                continue;
            }
            let window = &self.blocks[start..self.blocks.len().min(start + self.window_blocks)];
            let may_go = |block: &Asked| block.left > 0 && self.row < block.turn;
            if let Some(lane) = (self.lane..window.len()).find(|&lane| may_go(&window[lane])) {
                self.lane = lane + 1;
                return Some(start + lane);
            }
            if self.lane == 0 {
                (self.window, self.row) = (self.window + 1, 0);
            } else {
                (self.row, self.lane) = (self.row + 1, 0);
            }
        }
    }
}

impl Iterator for Requested {
    type Item = SymbolId;

    fn next(&mut self) -> Option<SymbolId> {
        self.left = self.left.checked_sub(1)?;
        let index = self.next_block()?;
        let block = &mut self.blocks[index];
        // Past the last ESI it starts over: by then everybody has what came first, or never will.
        let esi = block.start + block.next % (MAX_ESI - block.start + 1);
        block.next += 1;
        block.left -= 1;
        Some(SymbolId { sbn: block.sbn, esi })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn schedule(k: u64, blocks: u16, window: u16) -> Schedule {
        Schedule::new(Partition::new(k * u64::from(blocks) * 8, 8, blocks).unwrap(), window, 0, 0)
    }

    #[test]
    fn who_lacks_everything_holds_others_up_by_a_turn() {
        let schedule = schedule(1600, 20, 8);
        let mut counts = vec![20; 20];
        counts[0] = 1600;
        let mut sent = vec![0; 20];
        let requested = Requested::new(&schedule, &Deficits::from_counts(counts), &mut sent, 100_000, 1);
        let last_honest = requested.enumerate().filter(|(_, id)| id.sbn != 0).last().unwrap().0;
        assert!(last_honest < 100 + 20 * 25, "{last_honest}");
    }

    #[test]
    fn a_margin_goes_with_the_loss_that_a_deficit_tells() {
        assert_eq!(with_margin(1, 2000), 3 - 1);
        assert_eq!(with_margin(20, 2000), 22);
        assert_eq!(with_margin(100, 2000), 106);
        assert_eq!(with_margin(2000, 2000), 2251);
    }

    proptest! {
        #[test]
        fn covers_what_was_asked_with_fresh_symbols(
            k in 1u32..200, window in 1u16..9, counts in prop::collection::vec(0u32..300, 1..20), tsi: u32, most in 0u64..3000,
        ) {
            let schedule = schedule(u64::from(k), 20, window);
            let mut sent = vec![0; 20];
            let mut seen = HashSet::new();
            for _ in 0..2 {
                let asked = Deficits::from_counts(counts.clone());
                let requested = Requested::new(&schedule, &asked, &mut sent, most, tsi);
                let planned = requested.left();
                let mut by_block: HashMap<u8, u32> = HashMap::new();
                let mut total = 0;
                for id in requested {
                    total += 1;
                    prop_assert!(id.esi >= FIRST_ESI && id.esi <= MAX_ESI && seen.insert((id.sbn, id.esi)));
                    *by_block.entry(id.sbn).or_default() += 1;
                }
                prop_assert_eq!(total, planned);
                prop_assert!(total <= most);
                for (sbn, deficit) in asked.iter() {
                    let got = by_block.get(&sbn).copied().unwrap_or(0);
                    prop_assert!(got > deficit.min(k) || total == most, "block {}: {} of {}", sbn, got, deficit);
                }
            }
            prop_assert_eq!(sent.iter().map(|&sent| sent as usize).sum::<usize>(), seen.len());
        }
    }
}
