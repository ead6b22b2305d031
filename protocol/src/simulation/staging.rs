//! A model of staging: the bytes, and which of them may not change.

use super::Random;
use crate::manifest::Manifest;
use crate::partition::BlockRange;
use crate::session::receiver::{BlockCheck, BlockOutcome, SPILL_ROWS, StagingLayout};
use fleetcast_fec::{Codec, DecodeArgumentError};

/// A staging area in memory. It panics on what would damage a real one.
#[derive(Debug, Clone)]
pub struct Staging {
    layout: StagingLayout,
    bytes: Vec<u8>,
    /// Blocks that a checker reads, or that are done: none of their rows may be written.
    frozen: Vec<bool>,
    /// What was overwritten since the last sync, with its index, the oldest first.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Staging {
    /// An empty area for `manifest`.
    pub fn new(manifest: &Manifest) -> Self {
        let layout = StagingLayout::new(manifest.partition);
        Self {
            layout,
            bytes: vec![0; to_usize(layout.len())],
            frozen: vec![false; usize::from(manifest.partition.blocks())],
            unsynced: Vec::new(),
        }
    }

    /// Copies the row at `from` to that at `to`, and returns it.
    ///
    /// # Panics
    ///
    /// When one of them is outside the layout, no whole row, or in a block that may not change.
    pub fn relocate(&mut self, from: u64, to: u64) -> Vec<u8> {
        assert_ne!(from, to, "a row is moved onto itself");
        let from = self.row(from);
        let symbol = self.bytes[from..][..usize::from(self.layout.partition().symbol_size())].to_vec();
        self.write(to, &symbol);
        symbol
    }

    /// Writes a symbol of at most T bytes to the row at `offset`; what is missing to T is zeros.
    ///
    /// # Panics
    ///
    /// When that is outside the layout, no whole row, or in a block that may not change.
    pub fn write(&mut self, offset: u64, symbol: &[u8]) {
        let symbol_size = usize::from(self.layout.partition().symbol_size());
        assert!(symbol.len() <= symbol_size, "a symbol longer than T");
        let row = self.row(offset);
        self.unsynced.push((row, self.bytes[row..][..symbol_size].to_vec()));
        let row = &mut self.bytes[row..][..symbol_size];
        row.fill(0);
        row[..symbol.len()].copy_from_slice(symbol);
    }

    /// The index of a row that may be written.
    fn row(&self, offset: u64) -> usize {
        let symbol_size = u64::from(self.layout.partition().symbol_size());
        assert!(offset.is_multiple_of(symbol_size), "offset {offset} is not that of a row");
        assert!(offset + symbol_size <= self.layout.len(), "offset {offset} is outside the layout");
        let sbn = self.block_at(offset);
        assert!(!self.frozen[sbn], "block {sbn} is written to while it is checked or when it is done");
        to_usize(offset)
    }

    fn block_at(&self, offset: u64) -> usize {
        let partition = self.layout.partition();
        match offset.checked_sub(self.layout.image_region_len()) {
            Some(spill) => to_usize(spill / (u64::from(SPILL_ROWS) * u64::from(partition.symbol_size()))),
            None => partition.iter().take_while(|block| block.offset <= offset).count() - 1,
        }
    }

    /// No row of the block may be written from now on, or may be again.
    pub fn freeze(&mut self, sbn: u8, frozen: bool) {
        self.frozen[usize::from(sbn)] = frozen;
    }

    /// Decodes a block if need be and compares its hash; only what matches is written back.
    ///
    /// # Panics
    ///
    /// When what the session says of the block cannot be.
    pub fn check(&mut self, codec: &Codec, check: &BlockCheck) -> BlockOutcome {
        let range = check.range;
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
            *rows = self.rows(&range);
            Ok(())
        };
        let settled = check.settle(codec, &mut rows, read).expect("the session describes a block that can be");
        let symbol_size = range.shape.symbol_size();
        for row in settled.computed_rows {
            let start = row as usize * symbol_size;
            self.bytes[to_usize(range.offset) + start..][..symbol_size].copy_from_slice(&rows[start..][..symbol_size]);
        }
        if matches!(settled.outcome, BlockOutcome::Verified { .. }) {
            // It is synced and read back.
            self.sync();
        }
        settled.outcome
    }

    /// All rows of a block: its K, and its spill rows.
    pub fn rows(&self, range: &BlockRange) -> Vec<u8> {
        let spill = to_usize(self.layout.spill_offset(range));
        let mut rows = self.bytes[to_usize(range.offset)..][..range.shape.len()].to_vec();
        rows.extend_from_slice(&self.bytes[spill..][..SPILL_ROWS as usize * range.shape.symbol_size()]);
        rows
    }

    /// All that was written is on the medium, whatever happens.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// The power fails: any writes since the last sync are lost, and some are torn.
    pub fn fail_power(&mut self, random: &mut Random) {
        let lost_permille = random.below(1001);
        for (index, old) in std::mem::take(&mut self.unsynced).into_iter().rev() {
            if random.chance(lost_permille) {
                let kept = if random.chance(100) { random.index(old.len()) } else { 0 };
                self.bytes[index + kept..][..old.len() - kept].copy_from_slice(&old[kept..]);
            }
        }
    }

    /// The image region without its padding.
    pub fn image(&self) -> &[u8] {
        &self.bytes[..to_usize(self.layout.partition().image_len())]
    }

    /// All bytes, to do damage to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).expect("staging in memory")
}
