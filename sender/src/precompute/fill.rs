//! Fills the slots of a job: heads, source symbols by one copy from the mapped image, repair symbols computed in place.

use super::job::{Job, JobPacket};
use crate::image::{Image, ImageError, State};
use crate::transmit::Slot;
use fleetcast_fec::{Codec, EncodeError, RepairRow};
use fleetcast_protocol::manifest::{ImageMismatch, UnverifiedManifest};
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::sender::{Outgoing, SymbolWriter, WriterError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use thiserror::Error;

/// A job is filled again when something was done to the file meanwhile, this often at most.
const ATTEMPTS: u32 = 8;

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
    verified: Mutex<Verified>,
}

/// The blocks whose hash was compared since something was done to the file: renamed, linked, or changed with its time set
/// back.
#[derive(Debug)]
struct Verified {
    state: State,
    sbns: BTreeSet<u8>,
}

impl Filler {
    /// Fills slots with packets of `image`, as `writer` lays them out.
    pub fn new(image: Image, manifest: UnverifiedManifest, writer: SymbolWriter) -> Self {
        let verified = Mutex::new(Verified { state: image.opened(), sbns: BTreeSet::new() });
        Self { image, manifest, writer, codec: Codec::new(), verified }
    }

    /// Fills all slots of `job`, from the file as the manifest describes it and nothing else.
    pub fn fill(&self, job: &mut Job) -> Result<(), FillError> {
        self.fill_after(job, || ())
    }

    /// Does `meanwhile` at the worst moment: when the file was looked at and its bytes are about to be read.
    pub(super) fn fill_after(&self, job: &mut Job, mut meanwhile: impl FnMut()) -> Result<(), FillError> {
        for _ in 0..ATTEMPTS {
            let state = self.image.state()?;
            self.check_blocks(job, state)?;
            meanwhile();
            self.fill_slots(job)?;
            if self.image.state()? == state {
                return Ok(());
            }
        }
        Ok(self.image.check_unchanged()?)
    }

    fn fill_slots(&self, job: &mut Job) -> Result<(), FillError> {
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
        job.slots.iter_mut().for_each(Slot::finish);
        Ok(())
    }

    /// Compares blocks with the manifest before anything of them is sent, and again once something was done to the file.
    fn check_blocks(&self, job: &Job, state: State) -> Result<(), FillError> {
        if state == self.image.opened() {
            return job.new_blocks.iter().try_for_each(|&sbn| self.check_block(sbn));
        }
        let sbns: BTreeSet<u8> = job.packets.iter().filter_map(|packet| sbn_of(&packet.packet)).collect();
        // Held while hashing: it happens seldom, and each block is hashed once.
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.state != state {
            *verified = Verified { state, sbns: BTreeSet::new() };
        }
        for sbn in sbns {
            if !verified.sbns.contains(&sbn) {
                self.check_block(sbn)?;
                verified.sbns.insert(sbn);
            }
        }
        Ok(())
    }

    fn check_block(&self, sbn: u8) -> Result<(), FillError> {
        if self.manifest.manifest().block_matches(sbn, self.block(sbn)) {
            return Ok(());
        }
        // It may have been changed just now: then that is the better message.
        self.image.state()?;
        Err(ImageError::from(ImageMismatch::Block { sbn }).into())
    }

    fn is_source(&self, id: SymbolId) -> bool {
        self.manifest.manifest().partition.k(id.sbn).is_some_and(|k| id.esi < k)
    }

    fn block(&self, sbn: u8) -> &[u8] {
        self.manifest.manifest().partition.block(sbn).map_or(&[], |range| self.image.block(&range))
    }
}

fn sbn_of(packet: &Outgoing) -> Option<u8> {
    match packet {
        Outgoing::Symbol { id, .. } => Some(id.sbn),
        Outgoing::Control(_) => None,
    }
}
