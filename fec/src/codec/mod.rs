//! The codec: RFC 6330 repair symbols out of a block, and the block out of any sufficient set of symbols.

mod decode;
mod encode;
mod error;
mod scratch;
mod strips;
mod symbol_rows;
#[cfg(test)]
mod tests;

use crate::gf256::Kernels;
use crate::plan::{Plan, PlanCache};
use crate::rfc6330::Parameters;
use crate::{BlockShape, SymbolSet};
pub use error::{DecodeArgumentError, DecodeError, EncodeError};
use scratch::Scratch;
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

/// How large an encoding plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanSize {
    /// Bytes of heap that it occupies while it is cached.
    pub heap_len: usize,
    /// Rows that it adds to others, or moves, for each strip of a block; repair symbols come on top.
    pub additions: usize,
}

/// Encodes and decodes source blocks of any shape.
///
/// A clone shares the caches of the original and costs reference counts: give one to every thread.
#[derive(Clone)]
pub struct Codec {
    kernels: Kernels,
    encoding_plans: Arc<PlanCache<Plan>>,
    scratch: Arc<Scratch>,
}

impl Codec {
    /// A codec with empty caches, on the fastest kernels that the CPU has.
    pub fn new() -> Self {
        Self::with_kernels(Kernels::detect())
    }

    /// A codec with empty caches, on kernels of choice: for tests and comparisons.
    pub fn with_kernels(kernels: Kernels) -> Self {
        Self { kernels, encoding_plans: Arc::new(PlanCache::new()), scratch: Arc::default() }
    }

    /// The kernels that it computes with.
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Computes the plan for blocks of `shape`, unless it is cached, and returns how large it is.
    ///
    /// Encoding, and decoding few losses, need it: one for each K' of RFC 6330 §5.6, the next at or above K. The last few
    /// used are kept. Calls that need one compute it themselves; this only moves the time, some milliseconds.
    pub fn prepare(&self, shape: BlockShape) -> PlanSize {
        let plan = self.encoding_plan(shape);
        PlanSize { heap_len: plan.heap_len(), additions: plan.additions() }
    }

    fn encoding_plan(&self, shape: BlockShape) -> Arc<Plan> {
        let code = Parameters::for_k(shape.rows());
        self.encoding_plans.get(code.k_prime, || Plan::for_encoding(code))
    }

    /// Computes repair symbols of the block `source` into `rows`.
    ///
    /// `source` has K·T bytes, or less by under one symbol: missing bytes count as zero, as RFC 6330 §4.4.1.2 pads the
    /// last symbol of an object. `rows` may come in any order and with gaps; one call for
    /// many rows is far cheaper than many calls. The first call for a K also computes its plan: see
    /// [`prepare`](Self::prepare).
    ///
    /// An error is a mistake of the caller; then no row was written.
    pub fn encode(&self, shape: BlockShape, source: &[u8], rows: &mut [RepairRow<'_>]) -> Result<(), EncodeError> {
        encode::validate(shape, source, rows)?;
        if rows.is_empty() {
            return Ok(());
        }
        let plan = self.encoding_plan(shape);
        encode::encode(self.kernels, &plan, &mut self.scratch.lease(), shape, source, rows);
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
        let plan = || self.encoding_plan(shape);
        decode::decode(self.kernels, plan, &mut self.scratch.lease(), shape, block, received, parked)
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Codec").field("kernels", &self.kernels).finish_non_exhaustive()
    }
}
