//! What is known of one source block: which symbols lie where, and whether they suffice.

use super::action::Held;
use super::layout::SPILL_ROWS;
use super::received::Received;
use fleetcast_fec::{Parked, SymbolSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// A block is decoded at once when it has this many symbols more than K: RaptorQ then fails less than once in 10^6.
const EAGER_OVERHEAD: u32 = 2;

/// Where a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockState {
    /// Symbols are wanted.
    Receiving,
    /// Its rows are being decoded and hashed; they must not change.
    Checking,
    /// Its hash matched.
    Verified,
}

/// What must happen to staging so that a symbol is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// First move the parked repair symbol that lies in the row: it makes room for the source symbol.
    pub relocate: Option<Tenant>,
    /// Then write the symbol to this row.
    pub row: u32,
}

/// A parked repair symbol that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenant {
    /// Its ESI.
    pub esi: u32,
    /// The row that it moves to.
    pub to: u32,
}

/// One source block.
#[derive(Debug, PartialEq)]
pub struct Block {
    k: u32,
    state: BlockState,
    received: Received,
    /// ESI → row of the repair symbols that are parked.
    parked: BTreeMap<u32, u32>,
    /// Rows that hold a parked symbol, of K + SPILL_ROWS; over nothing until there is one.
    occupied: SymbolSet,
    /// Rows are given to parked symbols from the top: source symbols arrive from the bottom, so most never move.
    next_free: u32,
    /// Symbols with which a decode is worth trying at once.
    wanted: u32,
    /// Symbols with which it is worth trying when no more are expected soon.
    wanted_when_quiet: u32,
    /// The hash did not match: some symbol is wrong, and a few more may tell which.
    doubtful: bool,
    /// When the last symbol came.
    pub(super) last_symbol_at: Duration,
}

impl Block {
    /// A block of `k` source symbols of which nothing is known.
    pub fn new(k: u32) -> Self {
        Self {
            k,
            state: BlockState::Receiving,
            received: Received::new(k),
            parked: BTreeMap::new(),
            occupied: SymbolSet::new(0),
            next_free: k + SPILL_ROWS,
            wanted: k + EAGER_OVERHEAD,
            wanted_when_quiet: k,
            doubtful: false,
            last_symbol_at: Duration::ZERO,
        }
    }

    /// Where the block stands.
    pub fn state(&self) -> BlockState {
        self.state
    }

    /// Distinct symbols held.
    pub fn have(&self) -> u32 {
        self.received.count() + u32::try_from(self.parked.len()).unwrap_or(u32::MAX)
    }

    /// Symbols that are lacking, at the least.
    pub fn lacking(&self) -> u32 {
        match self.state {
            BlockState::Verified => 0,
            _ => self.k.saturating_sub(self.have()),
        }
    }

    /// K; 0 once the block is verified.
    pub fn k(&self) -> u32 {
        self.k
    }

    /// Symbols that are lacking before a try is worth it: more than [`lacking`](Self::lacking) says where K did not do.
    pub fn needed(&self) -> u32 {
        match self.state {
            BlockState::Receiving => self.wanted_when_quiet.saturating_sub(self.have()),
            _ => 0,
        }
    }

    /// Source symbols in place, and repair symbols with their rows: what a decode needs.
    pub fn symbols(&self) -> (SymbolSet, Vec<Parked>) {
        let parked = self.parked.iter().map(|(&esi, &row)| Parked { row, esi }).collect();
        (self.received.to_set(), parked)
    }

    /// Takes up symbols that already lie in staging, and returns how many. Those that fit no free row are passed over.
    pub fn restore(&mut self, held: &[Held]) -> u32 {
        let before = self.have();
        for &Held { esi, row } in held {
            let is_free = !self.occupied.contains(row) && !self.received.contains(row);
            if esi < self.k && row == esi && is_free {
                self.received.insert(esi);
            } else if esi >= self.k && row < self.k + SPILL_ROWS && is_free && !self.parked.contains_key(&esi) {
                self.occupy(esi, row);
            }
        }
        self.have() - before
    }

    /// Finds the place for symbol `esi`, or `None` when it is a repeat or cannot help.
    pub fn place(&mut self, esi: u32) -> Option<Placement> {
        if self.state != BlockState::Receiving {
            return None;
        }
        if esi < self.k { self.place_source(esi) } else { self.park(esi).map(|row| Placement { relocate: None, row }) }
    }

    /// Takes the symbols `esis`, all source or all repair, in this order, but for those `lost`, which ascend; as if they came
    /// one by one. Returns how many were kept, and with which one the block became ready, whose check then is due.
    pub fn take_range(&mut self, esis: Range<u32>, lost: &[u32]) -> (u32, Option<u32>) {
        if self.state != BlockState::Receiving {
            return (0, None);
        }
        let is_source = esis.end <= self.k;
        if is_source && self.received.end() <= esis.start && self.parked.is_empty() && !self.doubtful {
            let (before, last) = (self.received.count(), esis.end - 1);
            self.received.extend(esis, lost);
            // Without repair it is ready when nothing is missing, so with the last one.
            return (self.received.count() - before, self.is_ready(false).then_some(last));
        }
        let wanted = if is_source && !self.doubtful { self.received.missing_of(esis) } else { esis.collect() };
        let mut lost = lost.iter().peekable();
        let mut kept = 0;
        for esi in wanted {
            while lost.next_if(|lost| **lost < esi).is_some() {}
            if lost.next_if_eq(&&esi).is_some() {
                continue;
            }
            if self.waits_in_vain(esi) {
                self.forget();
            }
            if self.place(esi).is_some() {
                kept += 1;
                if self.is_ready(false) {
                    return (kept, Some(esi));
                }
            }
        }
        (kept, None)
    }

    fn place_source(&mut self, esi: u32) -> Option<Placement> {
        if !self.received.insert(esi) {
            return None;
        }
        let mut relocate = None;
        if self.occupied.contains(esi) {
            let tenant = self.parked.iter().find(|&(_, &row)| row == esi).map(|(&tenant, _)| tenant)?;
            self.parked.remove(&tenant);
            self.occupied.remove(esi);
            // With no free row left there are more symbols than any decode needs, so the tenant may be lost.
            relocate = self.park(tenant).map(|to| Tenant { esi: tenant, to });
        }
        Some(Placement { relocate, row: esi })
    }

    /// Gives repair symbol `esi` a row, unless it has one or there is none.
    fn park(&mut self, esi: u32) -> Option<u32> {
        if self.parked.contains_key(&esi) {
            return None;
        }
        let row = self.free_row()?;
        self.occupy(esi, row);
        Some(row)
    }

    fn occupy(&mut self, esi: u32, row: u32) {
        if self.occupied.is_empty() {
            self.occupied = SymbolSet::new(self.k + SPILL_ROWS);
        }
        self.parked.insert(esi, row);
        self.occupied.insert(row);
    }

    /// The highest row that is neither received nor occupied, below the last one given out.
    ///
    /// Rows freed above it stay free: a row is freed only by its source symbol, which then fills it.
    fn free_row(&mut self) -> Option<u32> {
        while self.next_free > 0 {
            self.next_free -= 1;
            if !self.received.contains(self.next_free) && !self.occupied.contains(self.next_free) {
                return Some(self.next_free);
            }
        }
        None
    }

    /// Whether a check is due as things stand: all source symbols are there, or enough in all.
    ///
    /// `quiet` says that no more symbols are expected soon; then K symbols are worth a try.
    pub fn is_ready(&self, quiet: bool) -> bool {
        if self.state != BlockState::Receiving {
            return false;
        }
        (self.received.is_full() && !self.doubtful)
            || self.have() >= if quiet { self.wanted_when_quiet } else { self.wanted }
    }

    /// Whether K symbols are there and it waits only for a little more.
    pub fn waits_for_quiet(&self) -> bool {
        !self.is_ready(false) && self.is_ready(true)
    }

    /// Hands the block to the checker.
    pub fn start_check(&mut self) {
        self.state = BlockState::Checking;
    }

    /// The hash matched.
    pub fn verified(&mut self) {
        *self = Self { state: BlockState::Verified, ..Self::new(0) };
    }

    /// The symbols were a singular set: at least one more is needed. False when there is no room for more, and the block
    /// starts over.
    pub fn need_more(&mut self) -> bool {
        let rows = self.k + SPILL_ROWS;
        if self.have() >= rows {
            // A set of K + 4 symbols is singular about once in 10^10: rather than keep it for ever, start over.
            self.forget();
            return false;
        }
        self.state = BlockState::Receiving;
        self.wanted_when_quiet = self.have() + 1;
        self.wanted = (self.wanted_when_quiet + EAGER_OVERHEAD).min(rows);
        true
    }

    /// The hash did not match. The symbols stay, since with each one more it is likelier to be seen which are wrong; false
    /// when there is no room for more, and the block starts over.
    pub fn doubt(&mut self) -> bool {
        let rows = self.k + SPILL_ROWS;
        if self.have() >= rows {
            self.forget();
            return false;
        }
        self.state = BlockState::Receiving;
        self.doubtful = true;
        self.wanted = (self.have() + 1).max(self.k + EAGER_OVERHEAD);
        self.wanted_when_quiet = self.wanted;
        true
    }

    /// Source symbols in place.
    pub fn received(&self) -> SymbolSet {
        self.received.to_set()
    }

    /// Symbols that are lacking for a check at once.
    pub fn wanted(&self) -> u32 {
        self.wanted.saturating_sub(self.have())
    }

    /// The hash did not match, and the source symbols in `doubted` may be why: they go, the others stay.
    pub fn withdraw(&mut self, doubted: &SymbolSet) {
        doubted.iter().for_each(|esi| {
            self.received.remove(esi);
        });
        self.state = BlockState::Receiving;
        (self.wanted, self.wanted_when_quiet) = (self.k + EAGER_OVERHEAD, self.k);
        // Rows have become free anywhere.
        self.next_free = self.k + SPILL_ROWS;
    }

    /// Whether some symbol held is known to be wrong.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Whether it waits for more symbols than K and gets source symbol `esi` again: the stream repeats itself.
    pub fn waits_in_vain(&self, esi: u32) -> bool {
        self.state == BlockState::Receiving && self.doubtful && self.received.contains(esi)
    }

    /// The symbols are worthless: all go.
    pub fn forget(&mut self) {
        *self = Self::new(self.k);
    }
}

#[cfg(test)]
mod tests;
