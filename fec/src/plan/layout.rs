//! Which row of a slab holds what while a plan runs.

use crate::rfc6330::{Parameters, narrow};
use std::ops::Range;

/// Rows: L columns, sums of taken rows, HDPC sums, those of taken rows reduced, unknowns, combinations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    l: usize,
    h: usize,
    /// Binary rows taken.
    rank: usize,
    /// Columns that the HDPC rows determine.
    unknowns: usize,
    /// Taken rows that are combined at a time.
    group: usize,
}

/// The most rows: u16 codes, and the last one is not a row.
const MAX_ROWS: usize = u16::MAX as usize;

impl Layout {
    pub(super) fn new(code: &Parameters, rank: usize, unknowns: usize) -> Self {
        let with = |group| Self { l: code.l, h: code.h, rank, unknowns, group };
        // Operations to make all combinations, and to use one of every group in every row.
        let cost = |group: &usize| rank.div_ceil(*group) * ((1 << group) + rank);
        // One at a time needs no rows for combinations, and then L + 2 · rank + 2 H is far below 2^16.
        let group = (1..=6).filter(|&group| with(group).rows() <= MAX_ROWS).min_by_key(cost).unwrap_or(1);
        with(group)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.combinations() + self.rank.div_ceil(self.group) * self.per_group()
    }

    pub(super) fn group(&self) -> usize {
        self.group
    }

    /// Where the sum of taken row `number` is made.
    pub(super) fn taken(&self, number: usize) -> u16 {
        narrow(self.l + number)
    }

    fn hdpc_start(&self) -> usize {
        self.l + self.rank
    }

    /// Taken row `number` in echelon form.
    pub(super) fn reduced(&self, number: usize) -> u16 {
        narrow(self.hdpc_start() + self.h + number)
    }

    /// The HDPC sums, and the reduced rows after them.
    pub(super) fn known(&self) -> Range<usize> {
        self.hdpc_start()..self.unknown_start()
    }

    fn unknown_start(&self) -> usize {
        self.hdpc_start() + self.h + self.rank
    }

    /// Where the product puts unknown `number`.
    pub(super) fn unknown(&self, number: usize) -> u16 {
        narrow(self.unknown_start() + number)
    }

    /// All unknowns, which follow the known rows.
    pub(super) fn unknowns(&self) -> Range<usize> {
        self.unknown_start()..self.combinations()
    }

    fn combinations(&self) -> usize {
        self.unknown_start() + self.unknowns
    }

    /// Sums of two and more.
    fn per_group(&self) -> usize {
        (1 << self.group) - 1 - self.group
    }

    /// The sum of those of the taken rows from `first` on whose bits are set in `pattern`, which is not 0.
    pub(super) fn combination(&self, first: usize, pattern: usize) -> u16 {
        if pattern.is_power_of_two() {
            return self.taken(first + pattern.trailing_zeros() as usize);
        }
        // Patterns in ascending order, without the powers of two and 0.
        let skipped = 1 + (usize::BITS - pattern.leading_zeros()) as usize;
        narrow(self.combinations() + first / self.group * self.per_group() + pattern - skipped)
    }
}
