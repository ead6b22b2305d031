//! What the session asks of the one who drives it, and what it is told in return.

use super::unsigned::{UnsignedError, UnsignedFile};
use crate::fdt::FdtError;
use crate::manifest::{SignedManifest, TrustError};
use crate::partition::BlockRange;
use crate::policy::{Acceptance, Refusal};
use crate::session::schedule::SymbolId;
use fleetcast_fec::{Parked, SymbolSet};
use std::sync::Arc;

/// What the receiver must do in staging with a symbol, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store<'p> {
    /// All that was held of its block is worthless, as [`Action::Forgotten`] says: note that before the symbol.
    pub starts_over: bool,
    /// First make room for it.
    pub relocate: Option<Relocation>,
    /// Which symbol it is.
    pub id: SymbolId,
    /// Its row in the block.
    pub row: u32,
    /// Where in staging that row is: write the symbol here.
    pub offset: u64,
    /// At most T bytes; what is missing to T counts as zeros.
    pub symbol: &'p [u8],
}

/// A parked symbol makes room: copy T bytes from one offset of staging to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Which symbol moves.
    pub id: SymbolId,
    /// The row that it moves to.
    pub row: u32,
    /// Offset in staging that it moves from.
    pub from: u64,
    /// Offset in staging that it moves to.
    pub to: u64,
}

/// What the receiver must do next.
#[derive(Debug)]
pub enum Action {
    /// A manifest was accepted: prepare staging, then call [`ReceiverSession::begin`](super::ReceiverSession::begin).
    Begin {
        /// The manifest.
        manifest: Arc<SignedManifest>,
        /// How it was accepted.
        acceptance: Acceptance,
    },
    /// An FDT describes a file that can be received, and nobody vouches for it: prepare staging, then call
    /// [`ReceiverSession::begin`](super::ReceiverSession::begin).
    BeginUnsigned {
        /// The file.
        file: Arc<UnsignedFile>,
    },
    /// The manifest is the one that is installed already: there is nothing to do. Reported once per session heard.
    AlreadyInstalled {
        /// The manifest.
        manifest: Arc<SignedManifest>,
    },
    /// A manifest or FDT was not accepted. Reported once for each.
    Refused {
        /// Why.
        reason: Refused,
    },
    /// Decode the block if symbols are missing, compare its hash, then call [`ReceiverSession::on_block`](super::ReceiverSession::on_block).
    Check(BlockCheck),
    /// Symbols of this session belong to the accepted manifest from now on: note it, for [`ReceiverSession::resume`](super::ReceiverSession::resume).
    Bound {
        /// The transport session id.
        tsi: u64,
    },
    /// The symbols of a block turned out to be worthless: they must not come back by [`ReceiverSession::begin`](super::ReceiverSession::begin).
    Forgotten {
        /// Source block number.
        sbn: u8,
    },
    /// Every block is verified: read the image back and apply it.
    Complete,
}

/// Why a manifest or FDT was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no manifest, or its signature is not trusted.
    #[error(transparent)]
    Manifest(#[from] TrustError),
    /// It is trusted, and not for this device.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// The FDT cannot be read.
    #[error(transparent)]
    Fdt(#[from] FdtError),
    /// The FDT describes nothing that can be received.
    #[error(transparent)]
    File(#[from] UnsignedError),
}

/// A block to check.
#[derive(Debug, Clone)]
pub struct BlockCheck {
    /// Of which upgrade: pass it back.
    pub generation: u32,
    /// Where the block lies.
    pub range: BlockRange,
    /// SHA-256 that its bytes in the image must have; `None` when nobody promised any.
    pub sha256: Option<[u8; 32]>,
    /// Source symbols in place.
    pub received: SymbolSet,
    /// Repair symbols, and the rows where they are parked.
    pub parked: Vec<Parked>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOutcome {
    /// The hash matched, or there is none; `decoded` says whether symbols had to be decoded.
    Verified {
        /// Whether there were losses.
        decoded: bool,
        /// Symbols that were found to be forged, and done without.
        forged_symbols: u32,
    },
    /// The symbols do not determine the block: more are needed.
    Singular,
    /// The hash did not match.
    Corrupt,
}

/// A block that an earlier run of the receiver left in staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// Its bytes have the hash that the manifest promises.
    Whole,
    /// These symbols of it are there.
    Symbols(Vec<Held>),
}

/// A symbol in staging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its encoding symbol id.
    pub esi: u32,
    /// The row where it lies.
    pub row: u32,
}
