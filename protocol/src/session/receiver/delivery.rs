//! What is being received.

use super::unsigned::UnsignedFile;
use crate::manifest::SignedManifest;
use crate::partition::Partition;
use std::sync::Arc;

/// What is being received, and what is promised of it.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The image that a signed manifest describes.
    Signed(Arc<SignedManifest>),
    /// A file that an FDT describes: nothing of it is authenticated.
    Unsigned(Arc<UnsignedFile>),
}

impl Delivery {
    /// Name of the image; for people when unsigned, and then as it came.
    pub fn name(&self) -> &str {
        match self {
            Self::Signed(manifest) => &manifest.manifest().name,
            Self::Unsigned(file) => &file.content_location,
        }
    }

    /// Length, and how it lies in source blocks.
    pub fn partition(&self) -> &Partition {
        match self {
            Self::Signed(manifest) => &manifest.manifest().partition,
            Self::Unsigned(file) => &file.partition,
        }
    }

    /// The identity of what is received: another one is another upgrade.
    pub fn digest(&self) -> [u8; 32] {
        match self {
            Self::Signed(manifest) => manifest.digest(),
            Self::Unsigned(file) => file.digest(),
        }
    }

    /// SHA-256 promised for block `sbn`.
    pub fn block_sha256(&self, sbn: u8) -> Option<[u8; 32]> {
        self.signed()?.manifest().block_sha256.get(usize::from(sbn)).copied()
    }

    /// SHA-256 promised for the whole.
    pub fn image_sha256(&self) -> Option<[u8; 32]> {
        self.signed().map(|manifest| manifest.manifest().image_sha256)
    }

    /// The manifest, if there is one.
    pub fn signed(&self) -> Option<&Arc<SignedManifest>> {
        match self {
            Self::Signed(manifest) => Some(manifest),
            Self::Unsigned(_) => None,
        }
    }

    /// The file of an FDT, if it is one.
    pub fn unsigned(&self) -> Option<&Arc<UnsignedFile>> {
        match self {
            Self::Signed(_) => None,
            Self::Unsigned(file) => Some(file),
        }
    }
}
