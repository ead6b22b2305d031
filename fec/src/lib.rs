//! RaptorQ (RFC 6330) source blocks: encode into the caller's buffers, decode in place.
//!
//! A [`BlockShape`] is K and T of a block. A [`Codec`] computes repair symbols straight into the buffers that will be sent,
//! and puts a block together in the very buffer (a row a symbol) in which it was received: source symbols in their own
//! rows, repair symbols parked in the holes. A [`SymbolSet`] says which rows are there.
//!
//! ```
//! use fleetcast_fec::{BlockShape, Codec, Parked, RepairRow, SymbolSet};
//!
//! let shape = BlockShape::new(20, 64)?;
//! let codec = Codec::new();
//! let image: Vec<u8> = (0u8..=255).cycle().take(shape.len()).collect();
//!
//! // The sender: three repair symbols, the first ESIs after the source symbols.
//! let mut repair = vec![0; 3 * shape.symbol_size()];
//! let mut rows: Vec<RepairRow> =
//!     (shape.k()..).zip(repair.chunks_mut(shape.symbol_size())).map(|(esi, out)| RepairRow { esi, out }).collect();
//! codec.encode(shape, &image, &mut rows)?;
//!
//! // A receiver lost source symbol 7 and parked repair symbol 21 in its row.
//! let mut block = image.clone();
//! block[7 * 64..8 * 64].copy_from_slice(&repair[64..128]);
//! let mut received = SymbolSet::new(shape.k());
//! for row in (0..shape.k()).filter(|&row| row != 7) {
//!     received.insert(row);
//! }
//! codec.decode(shape, &mut block, &received, &[Parked { row: 7, esi: 21 }])?;
//! assert_eq!(block, image);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No argument makes a function here panic. The bytes of symbols are taken as they are: RaptorQ mends losses, and a forged
//! or damaged symbol silently makes a wrong block, which only a hash over the block can tell.
//!
//! Inside, from the bottom up: `rfc6330` has the tables and generators of the RFC; `gf256` has the arithmetic on rows of bytes,
//! for each instruction set, and all `unsafe` code; `plan` eliminates a constraint matrix once and records what to do with the
//! rows; `codec` runs plans on blocks.
#![deny(unsafe_code)]

mod codec;
mod gf256;
mod plan;
mod rfc6330;
mod shape;
mod symbol_set;

pub use codec::{Codec, DecodeArgumentError, DecodeError, EncodeError, Parked, PlanSize, RepairRow};
pub use gf256::Kernels;
pub use shape::{BlockShape, ShapeError};
pub use symbol_set::SymbolSet;

/// K'_max: source symbols that a block can have (RFC 6330 §5.1.2).
pub const MAX_SOURCE_SYMBOLS: u32 = 56_403;
/// The largest encoding symbol id: it has 24 bits in the FEC Payload ID (RFC 6330 §3.2).
pub const MAX_ESI: u32 = (1 << 24) - 1;
/// Al in bytes: T is a multiple of it (RFC 6330 §3.3.3). Twice the 4 that §4.3 recommends, for 64-bit words.
pub const SYMBOL_ALIGNMENT: u16 = 8;
