//! Source symbols where they lie in a caller's buffer.

/// The row of a symbol that is all zeros: a padding symbol, or one that is missing.
pub(crate) const ZERO_ROW: u32 = u32::MAX;

/// Symbols in the rows of a buffer, seen through one strip of columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Whole rows.
    pub bytes: &'a [u8],
    /// The row after them, when it is in another buffer.
    pub tail: &'a [u8],
    /// Bytes from a row to the next.
    pub stride: usize,
    /// Where the strip begins in a row.
    pub offset: usize,
    /// The row of each symbol, or [`ZERO_ROW`].
    pub row_of: &'a [u32],
}

impl<'a> Source<'a> {
    /// `width` bytes of symbol `number`, or `None` when it is all zeros.
    #[inline(always)]
    pub(crate) fn strip(&self, number: u16, width: usize) -> Option<&'a [u8]> {
        let row = *self.row_of.get(usize::from(number))?;
        if row == ZERO_ROW {
            return None;
        }
        let start = row as usize * self.stride;
        let strip = start + self.offset..start + self.offset + width;
        match self.bytes.get(strip) {
            Some(strip) => Some(strip),
            None if start == self.bytes.len() => self.tail.get(self.offset..self.offset + width),
            None => None,
        }
    }
}
