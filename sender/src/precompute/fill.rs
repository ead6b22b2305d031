//! Fills the slots of a job: heads, source symbols by one copy from the mapped image, repair symbols computed in place.

use super::job::{Job, JobPacket};
use crate::image::{Image, ImageError};
use fleetcast_fec::{Codec, EncodeError, RepairRow};
use fleetcast_protocol::manifest::{ImageMismatch, UnverifiedManifest};
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::sender::{Outgoing, SymbolWriter, WriterError};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a slot could not be filled.
#[derive(Debug, Error)]
pub enum FillError {
    /// The image is not what the manifest describes, or changed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A packet could not be written: a bug of ours.
    #[error("cannot lay out a packet: {0}")]
    Writer(#[from] WriterError),
    /// Repair could not be computed: a bug of ours.
    #[error("cannot compute repair symbols: {0}")]
    Encode(#[from] EncodeError),
}

/// What every worker needs, shared.
#[derive(Debug)]
pub struct Filler {
    image: Image,
    manifest: UnverifiedManifest,
    writer: SymbolWriter,
    codec: Codec,
}

impl Filler {
    /// Fills slots with packets of `image`, as `writer` lays them out.
    pub fn new(image: Image, manifest: UnverifiedManifest, writer: SymbolWriter) -> Self {
        Self { image, manifest, writer, codec: Codec::new() }
    }

    /// Fills all slots of `job`.
    pub fn fill(&self, job: &mut Job) -> Result<(), FillError> {
        self.check_blocks(&job.new_blocks)?;
        // Repair rows of a block are computed together: the cost is nearly all in the block, not in the rows.
        let mut repair: BTreeMap<u8, Vec<RepairRow<'_>>> = BTreeMap::new();
        let mut packets = job.packets.iter().peekable();
        for (index, slot) in job.slots.iter_mut().enumerate() {
            for memory in slot.packets_mut() {
                let Some(JobPacket { packet, .. }) = packets.next_if(|packet| packet.slot == index) else { break };
                match packet {
                    Outgoing::Control(bytes) => memory.copy_from_slice(bytes),
                    Outgoing::Symbol { id, close_object } if self.is_source(*id) => {
                        self.writer.write_source(*id, *close_object, self.block(id.sbn), memory)?;
                    }
                    Outgoing::Symbol { id, close_object } => {
                        let out = self.writer.write_head(*id, *close_object, memory)?;
                        repair.entry(id.sbn).or_default().push(RepairRow { esi: id.esi, out });
                    }
                }
            }
        }
        for (sbn, mut rows) in repair {
            if let Some(range) = self.manifest.manifest().partition.block(sbn) {
                self.codec.encode(range.shape, self.image.block(&range), &mut rows)?;
            }
        }
        Ok(())
    }

    /// Compares blocks with the manifest before anything of them is sent, and the file with what was mapped always.
    fn check_blocks(&self, sbns: &[u8]) -> Result<(), FillError> {
        self.image.check_unchanged()?;
        for &sbn in sbns {
            if !self.manifest.manifest().block_matches(sbn, self.block(sbn)) {
                self.image.check_unchanged()?;
                return Err(ImageError::from(ImageMismatch::Block { sbn }).into());
            }
        }
        Ok(())
    }

    fn is_source(&self, id: SymbolId) -> bool {
        self.manifest.manifest().partition.k(id.sbn).is_some_and(|k| id.esi < k)
    }

    fn block(&self, sbn: u8) -> &[u8] {
        self.manifest.manifest().partition.block(sbn).map_or(&[], |range| self.image.block(&range))
    }
}
