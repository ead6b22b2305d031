//! Where symbols lie in staging.
//!
//! The image comes first, symbol by symbol (K·T a block, so the image is padded to whole symbols), then a few spill
//! rows a block. A *row* of a block is one of its K symbols' places, or a spill row from K on. Repair symbols are
//! parked in rows whose source symbol is missing; the spill rows hold those few that exceed the missing ones, which
//! happens because a decoder may need K + 2 symbols where only K rows exist.

use crate::partition::{BlockRange, Partition};

/// Spill rows per block.
pub const SPILL_ROWS: u32 = 4;

/// The layout of a staging area for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagingLayout {
    partition: Partition,
}

impl StagingLayout {
    /// The layout for `partition`.
    pub fn new(partition: Partition) -> Self {
        Self { partition }
    }

    /// The partition laid out.
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Bytes of the image region: Kt · T.
    pub fn image_region_len(&self) -> u64 {
        self.partition.total_symbols() * u64::from(self.partition.symbol_size())
    }

    /// Bytes of the whole staging area.
    pub fn len(&self) -> u64 {
        let spill_rows = u64::from(self.partition.blocks()) * u64::from(SPILL_ROWS);
        self.image_region_len() + spill_rows * u64::from(self.partition.symbol_size())
    }

    /// Whether the staging area is empty (never: an image has at least one symbol).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Byte offset of row `row` of `block`.
    pub fn row_offset(&self, block: &BlockRange, row: u32) -> u64 {
        let symbol_size = u64::from(self.partition.symbol_size());
        match row.checked_sub(block.shape.k()) {
            None => block.offset + u64::from(row) * symbol_size,
            Some(spill) => self.spill_offset(block) + u64::from(spill) * symbol_size,
        }
    }

    /// Byte offset of the spill rows of `block`.
    pub fn spill_offset(&self, block: &BlockRange) -> u64 {
        let first_row = u64::from(block.sbn) * u64::from(SPILL_ROWS);
        self.image_region_len() + first_row * u64::from(self.partition.symbol_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_overlap_and_fill_the_area() {
        let layout = StagingLayout::new(Partition::new(8 * 103 - 5, 8, 10).unwrap());
        let mut offsets: Vec<u64> = layout
            .partition()
            .iter()
            .flat_map(|block| {
                (0..block.shape.k() + SPILL_ROWS).map(move |row| layout.row_offset(&block, row)).collect::<Vec<_>>()
            })
            .collect();
        offsets.sort_unstable();
        let expected: Vec<u64> = (0..layout.len() / 8).map(|row| row * 8).collect();
        assert_eq!(offsets, expected);
    }
}
