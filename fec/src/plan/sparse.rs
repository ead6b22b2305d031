//! The binary rows of the constraint matrix A (RFC 6330 §5.3.3.4.2): LDPC rows and those of symbols.

use crate::rfc6330::Parameters;

/// Binary rows, each as the ascending or generated list of its ones.
#[derive(Debug, Default)]
pub(super) struct SparseRows {
    columns: Vec<u16>,
    rows: Vec<Extent>,
}

#[derive(Debug, Clone, Copy)]
struct Extent {
    start: u32,
    /// Where the PI columns begin.
    pi: u32,
    end: u32,
}

impl SparseRows {
    /// The S LDPC rows, then a row for each of `isis`.
    pub(super) fn new(code: &Parameters, isis: &[u32]) -> Self {
        let mut rows = Self {
            columns: Vec::with_capacity(8 * isis.len() + 4 * code.l),
            rows: Vec::with_capacity(code.s + isis.len() + 1),
        };
        for row in 0..code.s {
            rows.push(code, |columns| code.ldpc_row(row, columns));
        }
        for &isi in isis {
            rows.push_symbol(code, isi);
        }
        rows
    }

    /// Appends the row of the symbol `isi`.
    pub(super) fn push_symbol(&mut self, code: &Parameters, isi: u32) {
        self.push(code, |columns| code.encoding_row(isi, columns));
    }

    fn push(&mut self, code: &Parameters, generate: impl FnOnce(&mut Vec<u16>)) {
        let start = self.columns.len();
        generate(&mut self.columns);
        let lt = self.columns[start..].partition_point(|&column| usize::from(column) < code.w);
        // A row has few ones and there are under 2^17 rows.
        let position = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        self.rows.push(Extent { start: position(start), pi: position(start + lt), end: position(self.columns.len()) });
    }

    /// Takes the last row away.
    pub(super) fn pop(&mut self) {
        if let Some(extent) = self.rows.pop() {
            self.columns.truncate(extent.start as usize);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All columns in which row `row` is one.
    pub(super) fn all(&self, row: usize) -> &[u16] {
        let extent = self.rows[row];
        &self.columns[extent.start as usize..extent.end as usize]
    }

    /// Those below W.
    pub(super) fn lt(&self, row: usize) -> &[u16] {
        let extent = self.rows[row];
        &self.columns[extent.start as usize..extent.pi as usize]
    }

    /// For each column below `width`, the rows that are one there.
    pub(super) fn transposed_lt(&self, width: usize) -> Columns {
        let mut starts = vec![0_u32; width + 1];
        for row in 0..self.len() {
            for &column in self.lt(row) {
                starts[usize::from(column) + 1] += 1;
            }
        }
        for column in 0..width {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut rows = vec![0_u32; starts[width] as usize];
        for row in 0..self.len() {
            for &column in self.lt(row) {
                let slot = &mut next[usize::from(column)];
                rows[*slot as usize] = u32::try_from(row).unwrap_or(u32::MAX);
                *slot += 1;
            }
        }
        Columns { starts, rows }
    }
}

/// The rows in which each column is one.
#[derive(Debug)]
pub(super) struct Columns {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Columns {
    pub(super) fn rows(&self, column: u16) -> &[u32] {
        let column = usize::from(column);
        &self.rows[self.starts[column] as usize..self.starts[column + 1] as usize]
    }
}
