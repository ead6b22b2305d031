//! The codec: RFC 6330 repair symbols out of a block, and the block out of any sufficient set of symbols.
//!
//! What runs inside is the crate `raptorq`. It panics on most wrong arguments, so each function here validates all of them
//! first. Nothing of that crate shows in the interface: a codec that works in place can take its seat.

mod decode;
mod encode;
mod error;
mod plan;
#[cfg(test)]
mod tests;

use crate::{BlockShape, SYMBOL_ALIGNMENT, SymbolSet};
pub use error::{DecodeArgumentError, DecodeError, EncodeError};
use plan::PlanCache;
use raptorq::{ObjectTransmissionInformation, SourceBlockEncodingPlan};
use std::fmt;
use std::sync::Arc;

/// One repair symbol to compute, and where to write it.
#[derive(Debug)]
pub struct RepairRow<'a> {
    /// Which one: K..=[`MAX_ESI`](crate::MAX_ESI).
    pub esi: u32,
    /// Where it goes: T bytes. What they held before does not matter.
    pub out: &'a mut [u8],
}

/// A repair symbol that lies in a row of the block buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    /// The row, T bytes each: that of a source symbol which is missing, or one at or after K.
    pub row: u32,
    /// Which repair symbol it is: K..=[`MAX_ESI`](crate::MAX_ESI).
    pub esi: u32,
}

/// Encodes and decodes source blocks of any shape.
///
/// A clone shares the cache of the original and costs a reference count: give one to every thread.
#[derive(Clone)]
pub struct Codec {
    encoding_plans: Arc<PlanCache<SourceBlockEncodingPlan>>,
}

impl Codec {
    /// A codec with an empty cache.
    pub fn new() -> Self {
        Self { encoding_plans: Arc::new(PlanCache::new()) }
    }

    /// Computes repair symbols of the block `source` into `rows`.
    ///
    /// `source` has K·T bytes, or less by under one symbol: missing bytes count as zero, as RFC 6330 §4.4.1.2 pads the
    /// last symbol of an object. `rows` may come in any order and with gaps; ascending runs are fastest, and one call for
    /// many rows is far cheaper than many calls. The first call for a K also computes its plan, some milliseconds.
    ///
    /// An error is a mistake of the caller; then no row was written.
    pub fn encode(&self, shape: BlockShape, source: &[u8], rows: &mut [RepairRow<'_>]) -> Result<(), EncodeError> {
        encode::validate(shape, source, rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        let plan = self.encoding_plans.get(shape.k(), || encode::generate_plan(shape));
        encode::encode(shape, source, rows, &plan);
        Ok(())
    }

    /// Completes the source block in `block` from the symbols that lie in it.
    ///
    /// `block` has K rows of T bytes and any number of whole spill rows after them. A row below K that is in `received`
    /// holds that source symbol; `parked` says which of the other rows hold which repair symbols. Rows that are neither may
    /// hold anything. The last source symbol of an object counts with its zero padding.
    ///
    /// On success rows 0..K are the source block, and the spill rows are unspecified. With
    /// [`DecodeError::NeedMore`] the symbols do not suffice, and received and parked rows are unchanged: call again when
    /// there are more. [`DecodeError::Argument`] is a mistake of the caller; then the block was not touched.
    pub fn decode(
        &self,
        shape: BlockShape,
        block: &mut [u8],
        received: &SymbolSet,
        parked: &[Parked],
    ) -> Result<(), DecodeError> {
        decode::validate(shape, block, received, parked)?;
        decode::decode(shape, block, received, parked)
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Codec").finish_non_exhaustive()
    }
}

/// The OTI of an object that is this one block: Z = 1, N = 1.
fn transmission_information(shape: BlockShape) -> ObjectTransmissionInformation {
    // Al = 8 fits the 8 bits that it has on the wire.
    let [_, alignment] = SYMBOL_ALIGNMENT.to_be_bytes();
    ObjectTransmissionInformation::new(shape.len() as u64, shape.symbol_size_u16(), 1, 1, alignment)
}
