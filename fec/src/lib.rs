//! RaptorQ (RFC 6330) source blocks: encode into the caller's buffers, decode in place.
//!
//! A [`BlockShape`] is K and T of a block, a [`SymbolSet`] says which symbols are there.
#![forbid(unsafe_code)]

mod shape;
mod symbol_set;

pub use shape::{BlockShape, ShapeError};
pub use symbol_set::SymbolSet;

/// K'_max: source symbols that a block can have (RFC 6330 §5.1.2).
pub const MAX_SOURCE_SYMBOLS: u32 = 56_403;
/// The largest encoding symbol id: it has 24 bits in the FEC Payload ID (RFC 6330 §3.2).
pub const MAX_ESI: u32 = (1 << 24) - 1;
/// Al: T is a multiple of it (RFC 6330 §4.3 recommends at least 4).
pub const SYMBOL_ALIGNMENT: u16 = 8;
