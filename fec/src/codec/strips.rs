//! Strips: how many columns of bytes are computed at a time.

use std::ops::Range;

/// Bytes of a slab: about a second-level cache. Of that, source rows of the strip take part, too; what is used again soon stays.
const SLAB_LEN: usize = if cfg!(target_arch = "x86_64") { 1 << 20 } else { 256 << 10 };
/// Less than two cache lines of a source row at a time would waste what memory delivers.
const MIN_WIDTH: usize = 128;
/// More is not faster: four of the longest registers.
const MAX_WIDTH: usize = 256;

/// Bytes of a row of a slab with `rows` rows, for symbols of `symbol_size` bytes.
pub(super) fn width(rows: usize, symbol_size: usize) -> usize {
    let fitting = SLAB_LEN / rows.max(1) / 64 * 64;
    fitting.clamp(MIN_WIDTH, MAX_WIDTH).min(symbol_size)
}

/// The strips of a symbol.
pub(super) fn strips(symbol_size: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..symbol_size).step_by(width).map(move |start| start..symbol_size.min(start + width))
}
