//! A source block from any sufficient set of its symbols (RFC 6330 §5.4), put together where they lie.

use super::{DecodeArgumentError, DecodeError, Parked, transmission_information};
use crate::{BlockShape, MAX_ESI, SymbolSet};
use raptorq::{EncodingPacket, PayloadId, SourceBlockDecoder};

/// Refuses every argument on which the code below could panic or give a wrong block.
pub(super) fn validate(
    shape: BlockShape,
    block: &[u8],
    received: &SymbolSet,
    parked: &[Parked],
) -> Result<(), DecodeArgumentError> {
    let (k, symbol_size) = (shape.k(), shape.symbol_size());
    if block.len() < shape.len() || !block.len().is_multiple_of(symbol_size) {
        return Err(DecodeArgumentError::BlockLength { len: block.len(), k, symbol_size });
    }
    if received.len() != k {
        return Err(DecodeArgumentError::ReceivedLength { len: received.len(), k });
    }
    let rows = block.len() / symbol_size;
    for &Parked { row, esi } in parked {
        if row as usize >= rows {
            return Err(DecodeArgumentError::RowOutOfRange { row, esi, rows });
        }
        if received.contains(row) {
            return Err(DecodeArgumentError::RowReceived { row, esi });
        }
        if !(k..=MAX_ESI).contains(&esi) {
            return Err(DecodeArgumentError::Esi { esi, k });
        }
    }
    if let Some(row) = first_duplicate(parked.iter().map(|symbol| symbol.row)) {
        return Err(DecodeArgumentError::DuplicateRow { row });
    }
    if let Some(esi) = first_duplicate(parked.iter().map(|symbol| symbol.esi)) {
        return Err(DecodeArgumentError::DuplicateEsi { esi });
    }
    Ok(())
}

/// The smallest number that comes twice.
fn first_duplicate(numbers: impl Iterator<Item = u32>) -> Option<u32> {
    let mut sorted: Vec<u32> = numbers.collect();
    sorted.sort_unstable();
    sorted.array_windows().find(|[one, next]| one == next).map(|[one, _]| *one)
}

/// Fills the missing rows of `block`; the arguments have passed [`validate`].
pub(super) fn decode(
    shape: BlockShape,
    block: &mut [u8],
    received: &SymbolSet,
    parked: &[Parked],
) -> Result<(), DecodeError> {
    if received.is_full() {
        return Ok(());
    }
    // All are distinct ESIs of 24 bits, so neither the count nor the sum comes near 32 bits.
    let have = received.count() + u32::try_from(parked.len()).unwrap_or(MAX_ESI);
    if have < shape.k() {
        return Err(DecodeError::NeedMore { have, need: shape.k() });
    }
    // One call with all symbols: the crate repeats the whole elimination in every call.
    let mut decoder = SourceBlockDecoder::new(0, &transmission_information(shape), shape.len() as u64);
    let Some(source) = decoder.decode(packets(shape, block, received, parked)) else {
        return Err(DecodeError::NeedMore { have, need: have + 1 });
    };
    let symbol_size = shape.symbol_size();
    let rows = block.chunks_exact_mut(symbol_size).zip(source.chunks_exact(symbol_size));
    for (index, (row, symbol)) in (0u32..).zip(rows) {
        if !received.contains(index) {
            row.copy_from_slice(symbol);
        }
    }
    Ok(())
}

/// Every symbol there is, as the crate takes it.
fn packets<'a>(
    shape: BlockShape,
    block: &'a [u8],
    received: &'a SymbolSet,
    parked: &'a [Parked],
) -> impl Iterator<Item = EncodingPacket> + 'a {
    let symbol_size = shape.symbol_size();
    let source = received.iter().map(|row| Parked { row, esi: row });
    source.chain(parked.iter().copied()).map(move |Parked { row, esi }| {
        let symbol = block.chunks_exact(symbol_size).nth(row as usize).unwrap_or_default();
        EncodingPacket::new(PayloadId::new(0, esi), symbol.to_vec())
    })
}
