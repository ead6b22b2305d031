//! Sums and products of rows of bytes in GF(256), on whatever vectors the CPU has.
//!
//! All `unsafe` of this crate is in this folder. [`vector`] has the kernels, written once over a [`vector::Vector`];
//! [`levels`] compiles them for each instruction set; the methods of [`Kernels`] check every length and index on which the
//! kernels rely, so that no caller has anything to promise.
#![expect(unsafe_code, reason = "vector instructions, and rows by pointers instead of a bounds check each")]

mod levels;
#[cfg(target_arch = "aarch64")]
mod neon;
mod program;
mod rows;
mod scalar;
mod source;
mod tables;
#[cfg(test)]
mod tests;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use levels::Level;
use std::fmt;

pub(crate) use program::Program;
pub(crate) use rows::{Factors, Horner, Rows};
pub(crate) use scalar::double_bytes;
pub(crate) use source::{Source, ZERO_ROW};
pub(crate) use tables::{inverse, product};

/// The instruction set that a codec computes with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernels(Level);

impl Kernels {
    /// The fastest that this CPU has.
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::scalar())
    }

    /// Without vector instructions of our choice: what every CPU has.
    pub fn scalar() -> Self {
        Self(Level::Scalar)
    }

    /// All that this CPU has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Level::ALL.iter().copied().filter(|level| level.is_available()).map(Self)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Writes the sum of all rows of `rows`, as long as `to` each, to `to`: what this crate does most, for measuring how fast it
    /// could be. Rows after the first 2^16 are left out.
    pub fn add_rows(self, to: &mut [u8], rows: &[u8]) {
        let count = rows.len().checked_div(to.len()).unwrap_or(0);
        let terms: Vec<u16> = (0..=u16::MAX).take(count).collect();
        self.sum(to, rows, &terms);
    }

    /// For how many products of a row by a coefficient, in a large matrix, a plan's work on a symbol takes as long (measured).
    pub(crate) fn plan_in_products(self) -> usize {
        self.0.plan_in_products()
    }

    /// Bytes of a register: rows of whole registers are fastest.
    pub(crate) fn register_len(self) -> usize {
        self.0.register_len()
    }

    /// Runs `program` on the rows of `slab`, `width` bytes each.
    ///
    /// # Panics
    /// When the slab has fewer rows than the program names.
    pub(crate) fn run(self, program: &Program, source: &Source<'_>, slab: &mut [u8], width: usize) {
        assert!(program.rows() * width <= slab.len(), "the program names a row outside the slab");
        // SAFETY: the level is available, and the slab has the program's rows.
        unsafe { self.0.run(program, source, slab.as_mut_ptr(), width) }
    }

    /// Runs the transpose of `program`: every row of `slab` is what the row of that number contributes to a result, every row
    /// of `sources` the same of a source symbol; `width` bytes each. Symbols without a row in `sources` are left out.
    ///
    /// # Panics
    /// When the slab has fewer rows than the program names.
    pub(crate) fn run_transposed(self, program: &Program, slab: &mut [u8], sources: &mut [u8], width: usize) {
        assert!(program.rows() * width <= slab.len(), "the program names a row outside the slab");
        // SAFETY: the level is available, and the slab has the program's rows.
        unsafe { self.0.run_transposed(program, slab.as_mut_ptr(), sources, width) }
    }

    /// Writes the sum of the rows `terms` of `slab` to `to`; rows are as long as `to`.
    ///
    /// # Panics
    /// When a term is outside the slab.
    pub(crate) fn sum(self, to: &mut [u8], slab: &[u8], terms: &[u16]) {
        let rows = terms.iter().max().map_or(0, |&largest| usize::from(largest) + 1);
        assert!(rows * to.len() <= slab.len(), "a term is outside the slab");
        // SAFETY: the level is available, the slab has a row for every term, and `to` is borrowed apart from it.
        unsafe { self.0.sum_into(to.as_mut_ptr(), slab.as_ptr(), terms, to.len()) }
    }

    /// Writes the sums of `horner` over the first rows of `slab` to the rows of `sums`, `width` bytes each.
    ///
    /// # Panics
    /// When either has too few rows.
    pub(crate) fn horner(self, horner: &Horner, slab: &[u8], sums: &mut [u8], width: usize) {
        assert!(horner.columns() * width <= slab.len() && horner.sums() * width <= sums.len(), "too few rows");
        // SAFETY: the level is available, and both slices have the rows that are read and written.
        unsafe { self.0.horner(horner, slab.as_ptr(), sums.as_mut_ptr(), width) }
    }

    /// Adds to the first rows of `slab` what each contributes to `sums`: the transpose of [`horner`](Self::horner).
    ///
    /// # Panics
    /// When either has too few rows.
    pub(crate) fn horner_transposed(self, horner: &Horner, slab: &mut [u8], sums: &[u8], width: usize) {
        assert!(horner.columns() * width <= slab.len() && horner.sums() * width <= sums.len(), "too few rows");
        // SAFETY: the level is available, and both slices have the rows that are read and written.
        unsafe { self.0.horner_transposed(horner, slab.as_mut_ptr(), sums.as_ptr(), width) }
    }

    /// Adds to row `i` of `to` the sum of factor (`i`, `k`) times row `k` of `from`, for all `k`.
    ///
    /// # Panics
    /// When `to` or `from` has fewer rows than the matrix.
    pub(crate) fn multiply(self, to: &mut [u8], factors: &Factors<'_>, from: &Rows<'_>) {
        assert!(factors.rows * from.width <= to.len() && factors.columns <= from.count(), "too few rows");
        let to = &mut to[..factors.rows * from.width];
        if self.0 == Level::Scalar {
            return scalar::multiply(to, factors, from);
        }
        // SAFETY: the level is available; `to` has the rows that are written, and `from` those that are read.
        unsafe { self.0.multiply(to.as_mut_ptr(), factors, from) }
    }

    /// Multiplies every byte of `to` by `coefficient`.
    pub(crate) fn scale(self, to: &mut [u8], coefficient: u8) {
        // SAFETY: the level is available.
        unsafe { self.0.scale(to, coefficient) }
    }

    /// Adds `coefficient` times `from` to `to`.
    ///
    /// # Panics
    /// When the lengths differ.
    pub(crate) fn add_scaled(self, to: &mut [u8], coefficient: u8, from: &[u8]) {
        assert_eq!(to.len(), from.len());
        // SAFETY: the level is available, and the lengths are equal.
        unsafe { self.0.add_scaled(to, coefficient, from) }
    }
}

impl Default for Kernels {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Kernels({})", self.name())
    }
}
