//! Which symbol is sent when within a pass (design section 5).
//!
//! A pass goes window by window: the source symbols of W blocks interleaved, then those blocks' planned repair
//! interleaved, then the next window. Sender and receiver compute the same order, so that a receiver can tell from any
//! symbol how many were sent before it: that is how loss is measured without sequence numbers on the wire.
//!
//! From the second pass on, a window's repair goes first. It is fresh, so it serves whoever lost something in the pass before,
//! and a late joiner as well as source symbols would; source symbols repeat what most have.

use super::interleave::Interleave;
use crate::partition::Partition;
use fleetcast_fec::MAX_ESI;

/// One encoding symbol of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolId {
    /// Source block number.
    pub sbn: u8,
    /// Encoding symbol id: below K a source symbol, from K on a repair symbol.
    pub esi: u32,
}

/// The order of one kind of pass: partition, window and planned repair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    partition: Partition,
    window_blocks: u16,
    repair_large: u32,
    repair_small: u32,
    seed: Option<u32>,
}

/// W consecutive blocks whose symbols are interleaved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    first_sbn: u16,
    blocks: u16,
    source: Interleave,
    repair: Interleave,
}

impl Window {
    /// The window's blocks.
    pub fn sbns(&self) -> std::ops::Range<u16> {
        self.first_sbn..self.first_sbn + self.blocks
    }

    /// How its source symbols are interleaved; the lane is `sbn − first`, the row is the ESI.
    pub fn source(&self) -> &Interleave {
        &self.source
    }

    /// How its repair symbols are interleaved; the row counts from the first repair symbol of the pass.
    pub fn repair(&self) -> &Interleave {
        &self.repair
    }

    /// Symbols of the window, source and repair.
    pub fn len(&self) -> u64 {
        self.source.len() + self.repair.len()
    }

    /// Whether nothing is sent in the window.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Schedule {
    /// A schedule for `partition` with `window_blocks` (W, at least 1) and the planned repair symbols of a block of
    /// the larger and of the smaller K.
    pub fn new(partition: Partition, window_blocks: u16, repair_large: u32, repair_small: u32) -> Self {
        Self {
            partition,
            window_blocks: window_blocks.clamp(1, partition.blocks()),
            repair_large,
            repair_small: repair_small.min(repair_large),
            seed: None,
        }
    }

    /// The same, with the blocks of each window taken in an order that follows from `seed`: the TSI, which both ends know.
    #[must_use]
    pub fn with_seed(self, seed: u32) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// The same with so many repair symbols of a block of the larger and of the smaller K.
    #[must_use]
    pub fn with_repair(self, (repair_large, repair_small): (u32, u32)) -> Self {
        Self { repair_large, repair_small: repair_small.min(repair_large), ..self }
    }

    /// The partition whose symbols are scheduled.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// W.
    pub fn window_blocks(&self) -> u16 {
        self.window_blocks
    }

    /// Planned repair symbols of a block of the larger and of the smaller K.
    pub fn repair_symbols(&self) -> (u32, u32) {
        (self.repair_large, self.repair_small)
    }

    /// Planned repair symbols of block `sbn`.
    fn repair_of(&self, sbn: u8) -> u32 {
        if u16::from(sbn) < self.partition.large_blocks() { self.repair_large } else { self.repair_small }
    }

    /// Window `index`, counted from 0.
    pub fn window(&self, index: u16) -> Option<Window> {
        let first_sbn = index.checked_mul(self.window_blocks)?;
        let left = self.partition.blocks().checked_sub(first_sbn).filter(|&left| left > 0)?;
        let blocks = self.window_blocks.min(left);
        let large = self.partition.large_blocks().saturating_sub(first_sbn).min(blocks);
        let (long_k, short_k) = (self.partition.largest_k(), self.partition.smallest_k());
        Some(Window {
            first_sbn,
            blocks,
            source: Interleave::new(blocks, large, long_k, short_k).with_seed(self.seed),
            // Other rotations than those of the source rows with the same numbers.
            repair: Interleave::new(blocks, large, self.repair_large, self.repair_small)
                .with_seed(self.seed.map(|seed| !seed)),
        })
    }

    /// Symbols of a whole pass.
    pub fn len(&self) -> u64 {
        let large = u64::from(self.partition.large_blocks());
        let small = u64::from(self.partition.blocks()) - large;
        self.partition.total_symbols() + large * u64::from(self.repair_large) + small * u64::from(self.repair_small)
    }

    /// Whether a pass sends nothing (never: a partition has at least one symbol).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first ESI of the repair symbols that block `sbn` gets in pass `pass`: each pass sends fresh ones, until the
    /// 24 bits of the ESI are used up and it starts over.
    pub fn first_repair_esi(&self, sbn: u8, pass: u32) -> Option<u32> {
        let k = self.partition.k(sbn)?;
        let per_pass = self.repair_of(sbn).max(1);
        let distinct_passes = ((MAX_ESI - k + 1) / per_pass).max(1);
        Some(k + (pass % distinct_passes) * per_pass)
    }

    /// How many symbols pass `pass` sends before `symbol`; `None` for a symbol that this pass does not send.
    pub fn position(&self, symbol: SymbolId, pass: u32) -> Option<u64> {
        let sbn = u16::from(symbol.sbn);
        let index = sbn / self.window_blocks;
        let window = self.window(index)?;
        let lane = sbn - window.first_sbn;
        let k = self.partition.k(symbol.sbn)?;
        let before = self.len_before_window(index);
        if symbol.esi < k {
            let ahead = if repair_first(pass) { window.repair.len() } else { 0 };
            return Some(before + ahead + window.source.position(lane, symbol.esi)?);
        }
        let row = symbol.esi.checked_sub(self.first_repair_esi(symbol.sbn, pass)?)?;
        let ahead = if repair_first(pass) { 0 } else { window.source.len() };
        Some(before + ahead + window.repair.position(lane, row)?)
    }

    /// Symbols in all windows before window `index`.
    fn len_before_window(&self, index: u16) -> u64 {
        let blocks = u64::from(index) * u64::from(self.window_blocks);
        let large = blocks.min(u64::from(self.partition.large_blocks()));
        let small = blocks - large;
        large * u64::from(self.partition.largest_k() + self.repair_large)
            + small * u64::from(self.partition.smallest_k() + self.repair_small)
    }

    /// The symbols of pass `pass`, in the order in which they are sent.
    pub fn pass(&self, pass: u32) -> Pass {
        Pass { schedule: *self, pass, window: 0, position: 0 }
    }
}

/// Whether a pass sends each window's repair before its source symbols.
fn repair_first(pass: u32) -> bool {
    pass > 0
}

/// Walks the symbols of one pass.
#[derive(Debug, Clone)]
pub struct Pass {
    schedule: Schedule,
    pass: u32,
    window: u16,
    position: u64,
}

impl Iterator for Pass {
    type Item = SymbolId;

    fn next(&mut self) -> Option<SymbolId> {
        loop {
            let window = self.schedule.window(self.window)?;
            let parts = [(false, window.source), (true, window.repair)];
            let [(first_is_repair, first), (_, second)] =
                if repair_first(self.pass) { [parts[1], parts[0]] } else { parts };
            let (is_repair, entry) = match self.position.checked_sub(first.len()) {
                None => (first_is_repair, first.at(self.position)),
                Some(position) => (!first_is_repair, second.at(position)),
            };
            let Some((lane, row)) = entry else {
                self.window += 1;
                self.position = 0;
                continue;
            };
            self.position += 1;
            let sbn = u8::try_from(window.first_sbn + lane).ok()?;
            let base = if is_repair { self.schedule.first_repair_esi(sbn, self.pass)? } else { 0 };
            return Some(SymbolId { sbn, esi: base + row });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn schedule(symbols: u64, blocks: u16, window: u16, repair: (u32, u32)) -> Schedule {
        let partition = Partition::new(symbols * 8, 8, blocks).unwrap();
        Schedule::new(partition, window, repair.0, repair.1)
    }

    #[test]
    fn interleaves_a_window_s_source_then_its_repair() {
        let order: Vec<_> = schedule(7, 3, 2, (1, 1)).pass(0).map(|s| (s.sbn, s.esi)).collect();
        let expected = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (2, 0), (2, 1), (2, 2)];
        assert_eq!(order, expected);
    }

    #[test]
    fn repair_starts_over_when_the_esis_are_used_up() {
        let s = schedule(10, 1, 1, (1 << 23, 1 << 23));
        assert_eq!(s.first_repair_esi(0, 0), Some(10));
        assert_eq!(s.first_repair_esi(0, 1), Some(10));
        assert!(schedule(10, 1, 1, (7, 7)).pass(u32::MAX).all(|s| s.esi <= MAX_ESI));
    }

    proptest! {
        #[test]
        fn a_pass_sends_every_symbol_once_and_positions_agree(
            symbols in 1u64..400, blocks in 1u16..20, window in 1u16..25, small in 0u32..6, more in 0u32..3, pass in 0u32..5,
            seed in prop::option::of(any::<u32>()),
        ) {
            let blocks = blocks.min(u16::try_from(symbols).unwrap());
            let s = schedule(symbols, blocks, window, (small + more, small));
            let s = seed.map_or(s, |seed| s.with_seed(seed));
            let mut seen = HashSet::new();
            for (position, symbol) in s.pass(pass).enumerate() {
                prop_assert_eq!(s.position(symbol, pass), Some(position as u64));
                prop_assert!(seen.insert((symbol.sbn, symbol.esi)));
            }
            prop_assert_eq!(seen.len() as u64, s.len());
            for block in s.partition().iter() {
                let k = block.shape.k();
                prop_assert!((0..k).all(|esi| seen.contains(&(block.sbn, esi))));
                let repair = seen.iter().filter(|(sbn, esi)| *sbn == block.sbn && *esi >= k).count();
                prop_assert_eq!(repair, s.repair_of(block.sbn) as usize);
            }
            // The next pass brings other repair symbols.
            let next: Vec<_> = s.pass(pass + 1).filter(|n| n.esi >= s.partition().k(n.sbn).unwrap()).collect();
            prop_assert!(next.iter().all(|n| !seen.contains(&(n.sbn, n.esi))));
        }
    }
}
