//! The part of the dense system that needs GF(256): HDPC rows, in at most H unknowns.

use super::binary::BinarySystem;
use crate::gf256::{inverse, product};

/// H rows of coefficients of the inactive columns, a byte each.
#[derive(Debug)]
pub(super) struct HdpcRows {
    words: Vec<u64>,
    /// Words of a row.
    stride: usize,
    rows: usize,
}

impl HdpcRows {
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let stride = columns.div_ceil(8);
        Self { words: vec![0; rows * stride], stride, rows }
    }

    /// Byte `i % 8` of word `i / 8`, the lowest first, is column `i`.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [u64] {
        &mut self.words[row * self.stride..][..self.stride]
    }

    fn get(&self, row: usize, column: usize) -> u8 {
        self.words[row * self.stride + column / 8].to_le_bytes()[column % 8]
    }
}

/// How the inactive columns that the binary rows leave unknown follow from the HDPC sums and from the binary rows.
#[derive(Debug)]
pub(super) struct Solution {
    /// The inactive columns that are no pivot of a binary row.
    pub unknown: Vec<usize>,
    /// Row i of this matrix times (HDPC sums, sums of binary rows) is unknown i: column by column, H + rank columns.
    pub factors: Vec<u8>,
}

impl Solution {
    /// `None` when the HDPC rows do not determine the unknowns either.
    pub(super) fn new(system: &BinarySystem, columns: usize, hdpc: Option<&HdpcRows>) -> Option<Self> {
        let mut is_pivot = vec![false; columns];
        system.pivots().iter().for_each(|&pivot| is_pivot[pivot] = true);
        let unknown: Vec<usize> = (0..columns).filter(|&column| !is_pivot[column]).collect();
        let Some(hdpc) = hdpc else { return unknown.is_empty().then(|| Self { unknown, factors: Vec::new() }) };

        // With pivots replaced, HDPC row h is (its coefficients of the unknowns) = sum h + sum of its coefficients of pivots.
        let mut matrix: Vec<Vec<u8>> = (0..hdpc.rows).map(|row| reduced(system, hdpc, row, &unknown)).collect();
        let solved = solve(&mut matrix, unknown.len())?;
        let mut factors = vec![0; unknown.len() * (hdpc.rows + system.rank())];
        for (row, from) in solved.iter().enumerate() {
            let of_sums = &matrix[*from][unknown.len()..];
            for (h, &coefficient) in of_sums.iter().enumerate() {
                factors[h * unknown.len() + row] = coefficient;
                for (number, &pivot) in system.pivots().iter().enumerate() {
                    factors[(hdpc.rows + number) * unknown.len() + row] ^= product(coefficient, hdpc.get(h, pivot));
                }
            }
        }
        Some(Self { unknown, factors })
    }
}

/// Coefficients of the unknowns in HDPC row `row` after the pivots have been replaced; then the row's own place in a unit
/// matrix.
fn reduced(system: &BinarySystem, hdpc: &HdpcRows, row: usize, unknown: &[usize]) -> Vec<u8> {
    let mut coefficients: Vec<u8> = unknown.iter().map(|&column| hdpc.get(row, column)).collect();
    for (number, &pivot) in system.pivots().iter().enumerate() {
        let coefficient = hdpc.get(row, pivot);
        for (sum, &column) in coefficients.iter_mut().zip(unknown) {
            if system.has(number, column) {
                *sum ^= coefficient;
            }
        }
    }
    coefficients.extend((0..hdpc.rows).map(|other| u8::from(other == row)));
    coefficients
}

/// Gauss-Jordan elimination of the first `columns` columns; the row that ends up with the one of each column.
fn solve(matrix: &mut [Vec<u8>], columns: usize) -> Option<Vec<usize>> {
    let mut solved = Vec::with_capacity(columns);
    for column in 0..columns {
        let row = (0..matrix.len()).find(|row| !solved.contains(row) && matrix[*row][column] != 0)?;
        let scale = inverse(matrix[row][column]);
        let pivot: Vec<u8> = matrix[row].iter().map(|&byte| product(byte, scale)).collect();
        for other in matrix.iter_mut() {
            let coefficient = other[column];
            for (to, from) in other.iter_mut().zip(&pivot) {
                *to ^= product(coefficient, *from);
            }
        }
        matrix[row] = pivot;
        solved.push(row);
    }
    Some(solved)
}
