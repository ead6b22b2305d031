//! What is distributed: an image and its signed manifest.

use super::Random;
use crate::keys::{SigningKey, signing_key_from_random};
use crate::manifest::{ImageHashes, Manifest, SignedManifest, UnverifiedManifest};
use crate::partition::Partition;
use crate::policy::{Device, Floor};

/// The time in every simulated world, in seconds since 1970.
pub(super) const NOW_UNIX_S: u64 = 1_800_000_000;
const PRODUCT: &str = "router";
const HARDWARE: &str = "rev-b";

/// An image and the manifest that promises it.
#[derive(Debug, Clone)]
pub struct Release {
    /// The image's bytes.
    pub image: Vec<u8>,
    /// Its manifest, as a sender holds it.
    pub manifest: UnverifiedManifest,
}

impl Release {
    /// Seals `image` in `blocks` source blocks of symbols of `symbol_size` bytes, signed with `key`, for [`device`].
    ///
    /// # Panics
    ///
    /// When the image cannot be partitioned like that.
    pub fn seal(image: Vec<u8>, symbol_size: u16, blocks: u16, sequence: u64, key: &SigningKey) -> Self {
        let partition = Partition::new(image.len() as u64, symbol_size, blocks).expect("a legal partition");
        let hashes = ImageHashes::compute(&partition, &image).expect("the image that was partitioned");
        let manifest = Manifest {
            name: "image".into(),
            product: PRODUCT.into(),
            hardware: vec!["rev-a".into(), HARDWARE.into()],
            version: format!("1.{sequence}"),
            sequence,
            image_sha256: hashes.image_sha256,
            partition,
            block_sha256: hashes.block_sha256,
            not_before_unix_s: None,
            expires_unix_s: None,
        };
        let signed = SignedManifest::sign(&manifest, key).expect("a legal manifest");
        let manifest = SignedManifest::parse_unverified(signed.bytes()).expect("what was just signed");
        Self { image, manifest }
    }

    /// How the image is cut.
    pub fn partition(&self) -> &Partition {
        &self.manifest.manifest().partition
    }
}

/// The key that simulated receivers trust.
pub fn release_key() -> SigningKey {
    signing_key_from_random(&[7; 32])
}

/// An image of `len` random bytes.
pub fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.byte()).collect()
}

/// A device that releases are sealed for, with `floor` committed.
pub fn device(floor: Option<Floor>) -> Device {
    Device { product: PRODUCT.into(), hardware: HARDWARE.into(), floor, trusted_time_unix_s: Some(NOW_UNIX_S) }
}
