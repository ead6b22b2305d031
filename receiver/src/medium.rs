//! The medium thread: everything that waits for the disk. It reserves room, syncs, and reads verified blocks back, while
//! the checker thread decodes and hashes: a flash that takes seconds to sync holds up no block.

use crate::checker::{CheckError, Checked};
use crate::read_back::ReadBack;
use crate::staging::{Staging, StagingError};
use crossbeam_channel::Receiver;
use std::fs::File;
use std::sync::Arc;

/// What the thread is asked to do.
#[derive(Debug)]
pub enum Job {
    /// An upgrade begins: reserve its room, and take the blocks `whole` as verified.
    Begin {
        /// Of which upgrade the following jobs are.
        generation: u32,
        /// Its staging area.
        staging: Arc<Staging>,
        /// Blocks that an earlier run has verified, by SBN.
        whole: Vec<u8>,
    },
    /// A block is verified: read it back when its turn comes.
    Verified {
        /// Of which upgrade.
        generation: u32,
        /// Source block number.
        sbn: u8,
    },
    /// Make staging and journal durable.
    Sync {
        /// Of which upgrade.
        generation: u32,
        /// The journal's file.
        journal: Arc<File>,
    },
}

/// The upgrade that is being received.
#[derive(Debug)]
struct Image {
    generation: u32,
    staging: Arc<Staging>,
    read_back: ReadBack,
}

/// Takes jobs until no more can come, and tells what became of them.
pub fn run(jobs: &Receiver<Job>, tell: impl Fn(Result<Option<Checked>, CheckError>)) {
    let mut image = None;
    for job in jobs {
        if let Err(error) = take(job, &mut image) {
            tell(Err(error.into()));
        }
        // Blocks that were verified while the last sync lasted share the next one.
        if jobs.is_empty() {
            tell(read_on(&mut image));
        }
    }
}

fn take(job: Job, current: &mut Option<Image>) -> Result<(), StagingError> {
    match job {
        Job::Begin { generation, staging, whole } => {
            let mut read_back = ReadBack::new(Arc::clone(&staging));
            whole.into_iter().for_each(|sbn| read_back.block_is_verified(sbn));
            staging.reserve()?;
            *current = Some(Image { generation, staging, read_back });
        }
        Job::Verified { generation, sbn } => {
            if let Some(image) = of(current, generation) {
                image.read_back.block_is_verified(sbn);
            }
        }
        Job::Sync { generation, journal } => {
            if let Some(image) = of(current, generation) {
                image.staging.sync_data()?;
                // The journal only saves bytes: where it cannot be synced, its records are torn or stale at worst.
                let _ = journal.sync_data();
            }
        }
    }
    Ok(())
}

/// What belongs to an earlier upgrade is dropped.
fn of(current: &mut Option<Image>, generation: u32) -> Option<&mut Image> {
    current.as_mut().filter(|image| image.generation == generation)
}

/// Reads verified blocks back, and tells the image's hash when that was the last.
fn read_on(current: &mut Option<Image>) -> Result<Option<Checked>, CheckError> {
    let Some(image) = current else { return Ok(None) };
    let sha256 = image.read_back.read_on()?;
    Ok(sha256.map(|sha256| Checked::Image { generation: image.generation, sha256 }))
}
