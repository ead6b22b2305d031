//! Which intermediate symbols make up each of some encoding symbols.

use crate::rfc6330::Parameters;

/// The columns of a few encoding symbols.
#[derive(Debug, Default)]
pub(super) struct SymbolRows {
    columns: Vec<u16>,
    ends: Vec<usize>,
}

impl SymbolRows {
    /// Those of the internal symbol ids `isis`.
    pub(super) fn new(code: &Parameters, isis: impl IntoIterator<Item = u32>) -> Self {
        let mut rows = Self::default();
        for isi in isis {
            code.encoding_row(isi, &mut rows.columns);
            rows.ends.push(rows.columns.len());
        }
        rows
    }

    /// The columns of each, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u16]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(&start, &end)| self.columns.get(start..end))
    }
}

/// The internal symbol id of a repair symbol: padding symbols lie between it and the source symbols (RFC 6330 §5.3.1).
pub(super) fn repair_isi(code: &Parameters, k: u32, esi: u32) -> u32 {
    // K' − K is below 2^16, and an ESI has 24 bits.
    esi + (u32::try_from(code.k_prime).unwrap_or(k) - k)
}
