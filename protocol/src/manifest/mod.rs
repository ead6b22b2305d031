//! The manifest: what an image is, for which devices, and how it is cut, signed by whoever releases it.
//!
//! A manifest travels as COSE_Sign1 (RFC 9052) over deterministic CBOR; `docs/manifest.cddl` is its schema. A
//! [`Manifest`] is only content. [`UnverifiedManifest`] has been parsed and nothing more: enough for a sender, which
//! holds no key. [`SignedManifest`] carries a signature by a trusted key; only that type can be accepted by a
//! [`Device`](crate::policy::Device).

mod codec;
mod image;
mod sign;
#[cfg(test)]
mod tests;
mod trust;

use thiserror::Error;

pub use crate::cbor::{CborError, FieldError, FieldProblem};
use crate::partition::{Partition, PartitionError};
pub use codec::{FORMAT_VERSION, MAX_MANIFEST_LEN};
pub use image::{ImageHashes, ImageMismatch};
pub use sign::{CONTENT_TYPE, SignedManifest, UnverifiedManifest};
pub use trust::{TrustError, TrustStore};

/// Longest image name, in bytes: what file systems take as a file name.
pub const MAX_NAME_LEN: usize = 255;
/// Longest product id, hardware id and version text, in bytes.
pub const MAX_TEXT_LEN: usize = 128;
/// Most hardware ids of one manifest.
pub const MAX_HARDWARE_IDS: usize = 64;

/// What one image is. The fields are those of `docs/manifest.cddl`; [`Manifest::check`] says what they may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// File name of the image, 1 to 255 bytes, no path.
    pub name: String,
    /// The product the image is for, 1 to 128 bytes.
    pub product: String,
    /// The hardware ids it runs on, 1 to 64 of 1 to 128 bytes each.
    pub hardware: Vec<String>,
    /// Version for people, 1 to 128 bytes; nothing compares it.
    pub version: String,
    /// Release counter of the product: a device never goes back to a lower one.
    pub sequence: u64,
    /// SHA-256 of the whole image.
    pub image_sha256: [u8; 32],
    /// Length of the image and how it lies in source blocks.
    pub partition: Partition,
    /// SHA-256 of each source block's bytes in the image (without padding), Z of them.
    pub block_sha256: Vec<[u8; 32]>,
    /// First second at which the manifest may be installed, in seconds since 1970 (UTC).
    pub not_before_unix_s: Option<u64>,
    /// First second at which it may no longer be installed, in seconds since 1970 (UTC).
    pub expires_unix_s: Option<u64>,
}

/// Why bytes are no manifest that this version can use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The envelope or the content is no CBOR of ours.
    #[error("this is not a fleetcast manifest: {0}")]
    Cbor(#[from] CborError),
    /// The envelope is no COSE_Sign1.
    #[error("this is not a fleetcast manifest: {0}")]
    Envelope(&'static str),
    /// The protected header names another signature algorithm.
    #[error("the manifest is not signed with Ed25519 (COSE algorithm EdDSA, -8) but with {0}")]
    Algorithm(String),
    /// The protected header makes something critical (RFC 9052 §3.1) that we do not know.
    #[error(
        "the manifest was made by a newer fleetcast: its signature header has critical parameters; \
         update this program"
    )]
    CriticalHeader,
    /// The format version is not ours.
    #[error(
        "the manifest has format version {found}, this program reads version {FORMAT_VERSION}: \
         it was made by a newer fleetcast; update this program"
    )]
    FormatVersion {
        /// Version found.
        found: u64,
    },
    /// An essential field that we do not know (RFC 8949 leaves such rules to the application).
    #[error(
        "the manifest was made by a newer fleetcast: it needs field {0}, which this program does not know; \
         update this program"
    )]
    UnknownField(u64),
    /// A field is missing or has no valid content.
    #[error("manifest {0}")]
    Field(#[from] FieldError),
    /// Length, symbol size and number of blocks do not go together.
    #[error("manifest fields `image_length`, `symbol_size`, `blocks`: {0}")]
    Partition(#[from] PartitionError),
    /// The number of block hashes is not Z.
    #[error("manifest field `block_sha256` has {hashes} hashes for {blocks} blocks")]
    BlockHashes {
        /// Hashes found.
        hashes: usize,
        /// Z.
        blocks: u16,
    },
    /// The manifest would expire before it becomes valid.
    #[error("manifest field `expires` ({expires_unix_s}) is not after `not_before` ({not_before_unix_s})")]
    Validity {
        /// First valid second.
        not_before_unix_s: u64,
        /// First second no longer valid.
        expires_unix_s: u64,
    },
}

impl Manifest {
    /// Checks the rules of every field, the same for writing and reading.
    pub fn check(&self) -> Result<(), ManifestError> {
        check_text(&self.name, MAX_NAME_LEN, "name")?;
        check_file_name(&self.name)?;
        check_text(&self.product, MAX_TEXT_LEN, "product")?;
        check_text(&self.version, MAX_TEXT_LEN, "version")?;
        check_len(self.hardware.len(), MAX_HARDWARE_IDS, "hardware")?;
        for id in &self.hardware {
            check_text(id, MAX_TEXT_LEN, "hardware")?;
        }
        let (hashes, blocks) = (self.block_sha256.len(), self.partition.blocks());
        if hashes != usize::from(blocks) {
            return Err(ManifestError::BlockHashes { hashes, blocks });
        }
        match (self.not_before_unix_s, self.expires_unix_s) {
            (Some(not_before_unix_s), Some(expires_unix_s)) if expires_unix_s <= not_before_unix_s => {
                Err(ManifestError::Validity { not_before_unix_s, expires_unix_s })
            }
            _ => Ok(()),
        }
    }
}

fn check_len(len: usize, max: usize, field: &'static str) -> Result<(), FieldError> {
    if (1..=max).contains(&len) { Ok(()) } else { Err(FieldProblem::Length { len, min: 1, max }.of(field)) }
}

/// Text that ends up on terminals, in logs and in the environment of hooks: bounded, and no control characters.
fn check_text(text: &str, max: usize, field: &'static str) -> Result<(), FieldError> {
    check_len(text.len(), max, field)?;
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(FieldProblem::Character(c).of(field)),
        None => Ok(()),
    }
}

/// The name becomes a file name in a folder of the receiver's choice: it must not lead elsewhere.
fn check_file_name(name: &str) -> Result<(), FieldError> {
    match name {
        "." => Err(FieldProblem::Text(".").of("name")),
        ".." => Err(FieldProblem::Text("..").of("name")),
        _ if name.contains('/') => Err(FieldProblem::Character('/').of("name")),
        _ => Ok(()),
    }
}
