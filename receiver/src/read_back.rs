//! Reading the image back, in order, while it is still being received.
//!
//! Each block is synced, dropped from the page cache where the kernel lets go of it, and read again, as soon as it and all
//! before it are verified. So the SHA-256 of the whole image is of what the medium holds, and is there moments after the
//! last block, however large the image is.

use crate::staging::{Staging, StagingError};
use fleetcast_fec::SymbolSet;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The SHA-256 of an image as far as it has been read back.
#[derive(Debug)]
pub struct ReadBack {
    staging: Arc<Staging>,
    hash: Sha256,
    /// Blocks that are verified, by SBN.
    verified: SymbolSet,
    /// The first block that has not been read back.
    next: u32,
}

impl ReadBack {
    /// Nothing of the image in `staging` is verified yet.
    pub fn new(staging: Arc<Staging>) -> Self {
        let blocks = u32::from(staging.layout().partition().blocks());
        Self { staging, hash: Sha256::new(), verified: SymbolSet::new(blocks), next: 0 }
    }

    /// Block `sbn` is verified, and will not be written any more.
    pub fn block_is_verified(&mut self, sbn: u8) {
        self.verified.insert(u32::from(sbn));
    }

    /// Reads on as far as blocks are verified, and returns the image's SHA-256 when the last was read: once.
    pub fn read_on(&mut self) -> Result<Option<[u8; 32]>, StagingError> {
        if !self.verified.contains(self.next) {
            return Ok(None);
        }
        self.staging.sync_data()?;
        while self.verified.contains(self.next) {
            let block = u8::try_from(self.next).ok().and_then(|sbn| self.staging.layout().partition().block(sbn));
            if let Some(block) = block {
                self.staging.read_back(&block, &mut self.hash)?;
            }
            self.next += 1;
        }
        Ok((self.next == self.verified.len()).then(|| std::mem::take(&mut self.hash).finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::partition::Partition;
    use fleetcast_protocol::session::receiver::StagingLayout;

    #[test]
    fn hashes_the_image_in_order_whatever_the_order_of_its_blocks() {
        let image: Vec<u8> = (0..1000u32).map(|n| n.to_le_bytes()[0]).collect();
        let folder = tempfile::tempdir().unwrap();
        let layout = StagingLayout::new(Partition::new(1000, 64, 4).unwrap());
        let staging = Arc::new(Staging::open(&folder.path().join("staging"), layout).unwrap());
        let mut symbols: Vec<(u64, &[u8])> = (0..).step_by(64).zip(image.chunks(64)).collect();
        staging.store(&mut symbols).unwrap();
        let mut read_back = ReadBack::new(staging);
        for sbn in [2, 0, 3] {
            read_back.block_is_verified(sbn);
            assert_eq!(read_back.read_on().unwrap(), None);
        }
        read_back.block_is_verified(1);
        assert_eq!(read_back.read_on().unwrap(), Some(Sha256::digest(&image).into()));
        assert_eq!(read_back.read_on().unwrap(), None);
    }
}
