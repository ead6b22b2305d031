//! Repair symbols of a source block (RFC 6330 §5.3), written where the caller wants them.

use super::{EncodeError, RepairRow, transmission_information};
use crate::{BlockShape, MAX_ESI};
use raptorq::{SourceBlockEncoder, SourceBlockEncodingPlan};
use std::borrow::Cow;

/// Repair symbols that the crate gives at a time: it allocates each, so this bounds the heap used beside the block's.
const MAX_RUN: usize = 64;

/// What [`encode`] needs for every block of the shape's K, whatever its symbol size.
pub(super) fn generate_plan(shape: BlockShape) -> SourceBlockEncodingPlan {
    SourceBlockEncodingPlan::generate(shape.k_u16())
}

/// Refuses every argument on which the code below could panic or write nonsense.
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

/// Fills `rows`; the arguments have passed [`validate`] and `plan` is that of the shape's K.
pub(super) fn encode(shape: BlockShape, source: &[u8], rows: &mut [RepairRow<'_>], plan: &SourceBlockEncodingPlan) {
    let source = padded(shape, source);
    let encoder = SourceBlockEncoder::with_encoding_plan(0, &transmission_information(shape), &source, plan);
    // Rows in ascending order, as a sender asks for them, make long runs; any other order is only slower.
    for run in rows.chunk_by_mut(|row, next| row.esi + 1 == next.esi) {
        for part in run.chunks_mut(MAX_RUN) {
            fill_run(shape, &encoder, part);
        }
    }
}

/// Fills rows of consecutive ESIs.
fn fill_run(shape: BlockShape, encoder: &SourceBlockEncoder, run: &mut [RepairRow<'_>]) {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
    // The crate counts repair symbols from 0: ESI = K + number.
    let packets = encoder.repair_packets(first.esi - shape.k(), last.esi - first.esi + 1);
    for (row, packet) in run.iter_mut().zip(packets) {
        row.out.copy_from_slice(packet.data());
    }
}

/// The block with the missing end of its last symbol as zeros (RFC 6330 §4.4.1.2).
fn padded(shape: BlockShape, source: &[u8]) -> Cow<'_, [u8]> {
    if source.len() == shape.len() {
        return Cow::Borrowed(source);
    }
    let mut padded = Vec::with_capacity(shape.len());
    padded.extend_from_slice(source);
    padded.resize(shape.len(), 0);
    Cow::Owned(padded)
}
