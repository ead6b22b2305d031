//! What can go wrong in a codec: the caller's mistakes, and too few symbols.

use thiserror::Error;

/// Why a call of [`Codec::encode`](super::Codec::encode) was refused. Each is a mistake of the caller; no row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The source is longer than K·T bytes, or shorter by a whole symbol or more.
    #[error(
        "a source block of {len} bytes does not have {k} symbols of {symbol_size} bytes; pass the range of exactly one block"
    )]
    SourceLength {
        /// Bytes passed.
        len: usize,
        /// K of the shape.
        k: u32,
        /// T of the shape in bytes.
        symbol_size: usize,
    },
    /// The buffer of a row is not one symbol long.
    #[error("the buffer for ESI {esi} has {len} bytes instead of the {symbol_size} of a symbol")]
    RowLength {
        /// ESI of the row.
        esi: u32,
        /// Bytes passed.
        len: usize,
        /// T of the shape in bytes.
        symbol_size: usize,
    },
    /// The ESI of a row is below K or has more than 24 bits.
    #[error("ESI {esi} is not one of a repair symbol ({k} to {max})", max = crate::MAX_ESI)]
    Esi {
        /// ESI of the row.
        esi: u32,
        /// K of the shape.
        k: u32,
    },
}

/// Why [`Codec::decode`](super::Codec::decode) gave no source block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// These symbols do not determine the block. No mistake: receive more and call again.
    #[error("{have} symbols do not determine the block; call again with {need} or more")]
    NeedMore {
        /// Distinct symbols passed, source and repair together.
        have: u32,
        /// The least number of symbols with which another call can succeed.
        need: u32,
    },
    /// The call itself was wrong: a mistake of the caller that more symbols do not mend.
    #[error(transparent)]
    Argument(#[from] DecodeArgumentError),
}

/// Which argument of [`Codec::decode`](super::Codec::decode) was wrong. The block was not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeArgumentError {
    /// The block is shorter than K·T bytes or no whole number of rows.
    #[error("a block buffer of {len} bytes is not {k} or more whole rows of {symbol_size} bytes")]
    BlockLength {
        /// Bytes passed.
        len: usize,
        /// K of the shape.
        k: u32,
        /// T of the shape in bytes.
        symbol_size: usize,
    },
    /// The set of received source symbols is not one over 0..K.
    #[error("the set of received symbols is over {len} symbols instead of the {k} of the block")]
    ReceivedLength {
        /// Length of the set passed.
        len: u32,
        /// K of the shape.
        k: u32,
    },
    /// A repair symbol is said to lie outside the block buffer.
    #[error("repair symbol {esi} is parked in row {row}, but the block buffer has {rows} rows")]
    RowOutOfRange {
        /// Row named.
        row: u32,
        /// ESI of the repair symbol.
        esi: u32,
        /// Rows that the buffer has.
        rows: usize,
    },
    /// A repair symbol is said to lie where a source symbol lies.
    #[error("repair symbol {esi} is parked in row {row}, where a received source symbol lies")]
    RowReceived {
        /// Row named.
        row: u32,
        /// ESI of the repair symbol.
        esi: u32,
    },
    /// Two repair symbols are said to lie in one row.
    #[error("two repair symbols are parked in row {row}")]
    DuplicateRow {
        /// The row.
        row: u32,
    },
    /// The ESI of a parked symbol is below K or has more than 24 bits.
    #[error("parked ESI {esi} is not one of a repair symbol ({k} to {max})", max = crate::MAX_ESI)]
    Esi {
        /// ESI named.
        esi: u32,
        /// K of the shape.
        k: u32,
    },
    /// One repair symbol is parked twice.
    #[error("repair symbol {esi} is parked twice; drop the duplicate when it arrives")]
    DuplicateEsi {
        /// ESI named twice.
        esi: u32,
    },
}
