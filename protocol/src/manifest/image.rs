//! Hashes of an image and its blocks: made when it is sealed, compared when it is sent and received.

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Manifest;
use crate::partition::Partition;

/// The hashes of an image cut by a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageHashes {
    /// SHA-256 of the whole image.
    pub image_sha256: [u8; 32],
    /// SHA-256 of each block's bytes, in order of the SBN.
    pub block_sha256: Vec<[u8; 32]>,
}

/// How bytes differ from what a manifest describes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageMismatch {
    /// The length is another one.
    #[error(
        "the image has {found} bytes, the manifest describes one of {expected}; seal this image, or name the right file"
    )]
    Length {
        /// Bytes of the image.
        found: u64,
        /// F of the manifest.
        expected: u64,
    },
    /// A block's content is another one.
    #[error(
        "source block {sbn} of the image is not the one in the manifest; the file was changed after it was sealed, \
         or it is another one"
    )]
    Block {
        /// Source block number.
        sbn: u8,
    },
    /// All blocks match and the whole does not: the manifest contradicts itself.
    #[error("the image does not have the SHA-256 of the manifest although its blocks do; seal it again")]
    Image,
}

impl ImageHashes {
    /// Hashes `image`, once by block and once as a whole; an error when its length is not the partition's.
    pub fn compute(partition: &Partition, image: &[u8]) -> Result<Self, ImageMismatch> {
        let mut whole = Sha256::new();
        let mut block_sha256 = Vec::with_capacity(usize::from(partition.blocks()));
        let mut rest = check_len(partition, image)?;
        for range in partition.iter() {
            // The lengths of the blocks add up to the checked length of the image.
            let (block, after) = rest.split_at_checked(range.len).unwrap_or((rest, &[]));
            // Both hashes while the block is in the cache: an image larger than memory is read once.
            whole.update(block);
            block_sha256.push(Sha256::digest(block).into());
            rest = after;
        }
        Ok(Self { image_sha256: whole.finalize().into(), block_sha256 })
    }
}

impl Manifest {
    /// Checks a whole image against every hash.
    pub fn check_image(&self, image: &[u8]) -> Result<(), ImageMismatch> {
        let hashes = ImageHashes::compute(&self.partition, image)?;
        for (range, hash) in self.partition.iter().zip(&hashes.block_sha256) {
            if self.block_sha256.get(usize::from(range.sbn)) != Some(hash) {
                return Err(ImageMismatch::Block { sbn: range.sbn });
            }
        }
        if hashes.image_sha256 == self.image_sha256 { Ok(()) } else { Err(ImageMismatch::Image) }
    }

    /// Whether `bytes` (without padding) are the content of block `sbn`.
    pub fn block_matches(&self, sbn: u8, bytes: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        self.block_sha256.get(usize::from(sbn)) == Some(&digest)
    }
}

fn check_len<'i>(partition: &Partition, image: &'i [u8]) -> Result<&'i [u8], ImageMismatch> {
    let (found, expected) = (image.len() as u64, partition.image_len());
    if found == expected { Ok(image) } else { Err(ImageMismatch::Length { found, expected }) }
}
