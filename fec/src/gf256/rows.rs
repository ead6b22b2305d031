//! What kernels take: matrices and rows whose lengths were measured once.

use std::ops::Range;

/// Rows of a buffer, seen through one strip of columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    bytes: &'a [u8],
    /// Bytes from a row to the next.
    pub(super) stride: usize,
    /// Bytes of the strip.
    pub(super) width: usize,
}

impl<'a> Rows<'a> {
    /// The bytes `columns` of each of the rows of `stride` bytes in `bytes`; `columns` is within the stride.
    pub(crate) fn new(bytes: &'a [u8], stride: usize, columns: Range<usize>) -> Self {
        let whole = bytes.len() - bytes.len() % stride;
        let width = columns.end.min(stride).saturating_sub(columns.start);
        Self { bytes: bytes.get(columns.start..whole).unwrap_or_default(), stride, width }
    }

    /// Rows of the strip's own width, one after the other.
    pub(crate) fn packed(bytes: &'a [u8], width: usize) -> Self {
        Self::new(bytes, width, 0..width)
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        // The last one may lack the columns after the strip.
        (self.bytes.len() + self.stride).saturating_sub(self.width) / self.stride
    }

    /// The strip in row `number`.
    pub(super) fn row(&self, number: usize) -> &'a [u8] {
        &self.bytes[number * self.stride..][..self.width]
    }

    pub(super) fn start(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}

/// A matrix of coefficients, column by column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factors<'a> {
    bytes: &'a [u8],
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Bytes from a column to the next, at least `rows`.
    pub(super) stride: usize,
}

impl<'a> Factors<'a> {
    /// The matrix of `rows` rows whose columns are the first `rows` bytes of every `stride` in `bytes`.
    ///
    /// # Panics
    /// When the rows do not fit into the stride.
    pub(crate) fn new(bytes: &'a [u8], rows: usize, stride: usize) -> Self {
        assert!((1..=stride).contains(&rows), "a column does not fit into its stride");
        Self { bytes, rows, columns: bytes.len() / stride, stride }
    }

    /// Coefficients of column `number`.
    pub(super) fn column(&self, number: usize) -> &'a [u8] {
        &self.bytes[number * self.stride..][..self.rows]
    }

    pub(super) fn bytes(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}

/// The product MT · GAMMA of RFC 6330 §5.3.3.3 as a scheme: the running sum x[j] = α · x[j − 1] + column j is added to two of
/// the sums, for the last column times α^i to sum i.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Horner {
    pairs: Vec<[u8; 2]>,
    sums: usize,
}

impl Horner {
    /// `sums` sums over one column more than there are `pairs`.
    ///
    /// # Panics
    /// When a pair names a sum that does not exist.
    pub(crate) fn new(sums: usize, pairs: Vec<[u8; 2]>) -> Self {
        assert!(pairs.iter().flatten().all(|&sum| usize::from(sum) < sums), "a pair names a sum that does not exist");
        Self { pairs, sums }
    }

    /// The sums to which each column but the last contributes.
    pub(crate) fn pairs(&self) -> &[[u8; 2]] {
        &self.pairs
    }

    /// How many columns are summed.
    pub(crate) fn columns(&self) -> usize {
        self.pairs.len() + 1
    }

    /// How many sums there are.
    pub(crate) fn sums(&self) -> usize {
        self.sums
    }
}
