//! Repair symbols of a source block (RFC 6330 §5.3), written where the caller wants them.

use super::scratch::Lease;
use super::strips::{strips, width};
use super::symbol_rows::{SymbolRows, repair_isi};
use super::{EncodeError, RepairRow};
use crate::gf256::{Kernels, Source};
use crate::plan::Plan;
use crate::{BlockShape, MAX_ESI};

/// Refuses every argument on which the code below would write nonsense.
pub(super) fn validate(shape: BlockShape, source: &[u8], rows: &[RepairRow<'_>]) -> Result<(), EncodeError> {
    let (k, symbol_size) = (shape.k(), shape.symbol_size());
    let padding = shape.len().checked_sub(source.len());
    if padding.is_none_or(|padding| padding >= symbol_size) {
        return Err(EncodeError::SourceLength { len: source.len(), k, symbol_size });
    }
    for row in rows {
        if row.out.len() != symbol_size {
            return Err(EncodeError::RowLength { esi: row.esi, len: row.out.len(), symbol_size });
        }
        if !(k..=MAX_ESI).contains(&row.esi) {
            return Err(EncodeError::Esi { esi: row.esi, k });
        }
    }
    Ok(())
}

/// Fills `rows`; the arguments have passed [`validate`] and `plan` is the encoding plan of the shape's K'.
pub(super) fn encode(
    kernels: Kernels,
    plan: &Plan,
    scratch: &mut Lease<'_>,
    shape: BlockShape,
    source: &[u8],
    rows: &mut [RepairRow<'_>],
) {
    let symbol_size = shape.symbol_size();
    let symbols = SymbolRows::new(plan.code(), rows.iter().map(|row| repair_isi(plan.code(), shape.k(), row.esi)));
    let (whole, rest) = source.split_at(source.len() - source.len() % symbol_size);
    let tail = padded(rest, symbol_size);
    let row_of: Vec<u32> = (0..shape.k()).collect();

    let width = width(plan.rows(), symbol_size);
    let slab = scratch.get(plan.rows() * width);
    for strip in strips(symbol_size, width) {
        let slab = &mut slab[..plan.rows() * strip.len()];
        let source = Source { bytes: whole, tail: &tail, stride: symbol_size, offset: strip.start, row_of: &row_of };
        plan.run(kernels, &source, slab, strip.len());
        for (row, terms) in rows.iter_mut().zip(symbols.iter()) {
            kernels.sum(&mut row.out[strip.clone()], slab, terms);
        }
    }
}

/// The last symbol of an object with its missing end as zeros (RFC 6330 §4.4.1.2); nothing when it is whole.
fn padded(rest: &[u8], symbol_size: usize) -> Vec<u8> {
    let mut symbol = rest.to_vec();
    symbol.resize(if rest.is_empty() { 0 } else { symbol_size }, 0);
    symbol
}
