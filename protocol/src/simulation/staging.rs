//! A model of staging: the bytes, and which of them may not change.

use crate::manifest::Manifest;
use crate::partition::BlockRange;
use crate::session::receiver::{BlockCheck, BlockOutcome, Relocation, SPILL_ROWS, StagingLayout, Store};
use fleetcast_fec::{Codec, DecodeArgumentError};

/// A staging area in memory. It panics on what would damage a real one.
#[derive(Debug, Clone)]
pub struct Staging {
    layout: StagingLayout,
    bytes: Vec<u8>,
    /// Blocks that a checker reads, or that are done: none of their rows may be written.
    frozen: Vec<bool>,
}

impl Staging {
    /// An empty area for `manifest`.
    pub fn new(manifest: &Manifest) -> Self {
        let layout = StagingLayout::new(manifest.partition);
        Self {
            layout,
            bytes: vec![0; to_usize(layout.len())],
            frozen: vec![false; usize::from(manifest.partition.blocks())],
        }
    }

    /// Does what the session wants done with a symbol.
    ///
    /// # Panics
    ///
    /// When that is outside the layout, no whole row, or in a block that may not change.
    pub fn store(&mut self, store: &Store<'_>) {
        let symbol_size = usize::from(self.layout.partition().symbol_size());
        assert!(store.symbol.len() <= symbol_size, "a symbol longer than T");
        if let Some(Relocation { from, to, .. }) = store.relocate {
            let (from, to) = (self.row(from), self.row(to));
            assert_ne!(from, to, "a row is moved onto itself");
            self.bytes.copy_within(from..from + symbol_size, to);
        }
        let row = self.row(store.offset);
        let row = &mut self.bytes[row..][..symbol_size];
        row.fill(0);
        row[..store.symbol.len()].copy_from_slice(store.symbol);
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
        let (range, block_len) = (check.range, check.range.shape.len());
        let spill = to_usize(self.layout.spill_offset(&range));
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
            rows.clear();
            rows.extend_from_slice(&self.bytes[to_usize(range.offset)..][..block_len]);
            rows.extend_from_slice(&self.bytes[spill..][..SPILL_ROWS as usize * range.shape.symbol_size()]);
            Ok(())
        };
        let settled = check.settle(codec, &mut rows, read).expect("the session describes a block that can be");
        let symbol_size = range.shape.symbol_size();
        for row in settled.computed_rows {
            let start = row as usize * symbol_size;
            self.bytes[to_usize(range.offset) + start..][..symbol_size].copy_from_slice(&rows[start..][..symbol_size]);
        }
        settled.outcome
    }

    /// The blocks whose bytes are those that `manifest` promises.
    pub fn whole_blocks(&self, manifest: &Manifest) -> Vec<u8> {
        let is_whole = |range: &BlockRange| {
            let bytes = &self.bytes[to_usize(range.offset)..][..range.len];
            manifest.block_matches(range.sbn, bytes)
        };
        self.layout.partition().iter().filter(is_whole).map(|range| range.sbn).collect()
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
