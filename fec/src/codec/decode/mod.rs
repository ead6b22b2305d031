//! A source block from any sufficient set of its symbols (RFC 6330 §5.4), put together where they lie.
//!
//! What it costs depends on what was lost. The code is systematic, so with r source symbols missing only r unknowns remain,
//! however large the block is ([`syndrome`]); when r is a good part of K, eliminating anew is cheaper ([`general`]).
//!
//! Either way the rank is settled before a byte of the block changes, and then the block is worked through in strips: all of
//! a strip that is needed is read before missing rows, in which repair symbols may be parked, are written.

mod general;
mod inverse;
mod suspects;
mod syndrome;

use super::scratch::Lease;
use super::{DecodeArgumentError, DecodeError, Parked};
use crate::gf256::Kernels;
use crate::plan::Plan;
use crate::{BlockShape, MAX_ESI, SymbolSet};

/// Refuses every argument on which the code below would give a wrong block.
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

/// What every way to decode needs to know.
#[derive(Debug, Clone, Copy)]
struct Task<'a> {
    kernels: Kernels,
    shape: BlockShape,
    received: &'a SymbolSet,
    parked: &'a [Parked],
    /// Source symbols that are missing, ascending.
    missing: &'a [u32],
}

/// The symbols do not have full rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Singular;

/// Fills the missing rows of `block`; the arguments have passed [`validate`], and `plan` gives the encoding plan of the
/// shape's K'.
pub(super) fn decode<P: AsRef<Plan>>(
    kernels: Kernels,
    plan: impl FnOnce() -> P,
    scratch: &mut Lease<'_>,
    shape: BlockShape,
    block: &mut [u8],
    received: &SymbolSet,
    parked: &[Parked],
) -> Result<(), DecodeError> {
    let missing: Vec<u32> = received.missing().collect();
    if missing.is_empty() {
        return Ok(());
    }
    // All are distinct ESIs of 24 bits, so neither the count nor the sum comes near 32 bits.
    let have = received.count() + u32::try_from(parked.len()).unwrap_or(MAX_ESI);
    if have < shape.k() {
        return Err(DecodeError::NeedMore { have, need: shape.k() });
    }
    let task = Task { kernels, shape, received, parked, missing: &missing };
    let result = match method(kernels, shape, missing.len()) {
        Method::Matrix => syndrome::by_matrix(task, plan().as_ref(), scratch, block),
        Method::Plan => syndrome::by_plan(task, plan().as_ref(), scratch, block),
        Method::General => general::decode(task, scratch, block),
    };
    result.map_err(|Singular| DecodeError::NeedMore { have, need: have + 1 })
}

/// How to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Missing symbols as one matrix times all others.
    Matrix,
    /// The encoding plan with holes, then a matrix of missing times missing.
    Plan,
    /// Elimination of what was received.
    General,
}

/// The cheapest method for `missing` source symbols.
fn method(kernels: Kernels, shape: BlockShape, missing: usize) -> Method {
    // The matrix costs `missing` products for each source symbol. The plan's way costs missing² products of rows, the general one an elimination of K, whose cost is about that of some
    // dozens of products a symbol. The other bounds are of memory: the plan's way keeps a row of `missing` bytes for each
    // intermediate symbol.
    let by_plan = (4 * shape.rows().isqrt()).min(shape.symbol_size() / 4).min(shape.rows() / 6);
    if missing <= kernels.plan_in_products().min(shape.symbol_size() / 4) || shape.rows() < 64 {
        Method::Matrix
    } else if missing <= by_plan {
        Method::Plan
    } else {
        Method::General
    }
}
