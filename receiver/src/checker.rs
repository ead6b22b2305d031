//! The checker thread, at work while packets keep coming: decodes what was lost in a block, compares the block's hash, and
//! reads verified blocks back.

use crate::read_back::ReadBack;
use crate::staging::{Staging, StagingError};
use crossbeam_channel::{Receiver, Sender, unbounded};
use fleetcast_fec::{Codec, DecodeArgumentError};
use fleetcast_protocol::session::receiver::{BlockCheck, BlockOutcome};
use rustix::event::{EventfdFlags, eventfd};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use thiserror::Error;

/// Why a block could not be checked at all.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Staging failed.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The codec was asked for something impossible: a bug of ours.
    #[error("a block cannot be decoded: {0}")]
    Decode(#[from] DecodeArgumentError),
}

/// Something the thread has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// A block.
    Block {
        /// As in the request.
        generation: u32,
        /// Source block number.
        sbn: u8,
        /// How it ended.
        outcome: BlockOutcome,
    },
    /// All blocks are verified, durable and read back.
    Image {
        /// As in the request.
        generation: u32,
        /// SHA-256 of what was read back.
        sha256: [u8; 32],
    },
}

enum Job {
    Begin { generation: u32, staging: Arc<Staging>, whole: Vec<u8> },
    Check(BlockCheck),
    Sync { generation: u32, journal: Arc<File> },
}

/// A thread that checks blocks, one after the other: its memory is one block and one decode, whatever the image.
#[derive(Debug)]
pub struct Checker {
    /// Taken when the checker is dropped, which ends the thread.
    jobs: Option<Sender<Job>>,
    results: Receiver<Result<Checked, CheckError>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        // At most Z = 255 blocks are under way, so neither queue grows beyond that.
        let (jobs, incoming) = unbounded::<Job>();
        let (outgoing, results) = unbounded();
        let waker = Arc::clone(&wake);
        let thread = thread::Builder::new().name("checker".into()).spawn(move || {
            let mut worker = Worker { codec: Codec::new(), rows: Vec::new(), image: None };
            let tell = |result: Result<Option<Checked>, CheckError>| {
                if let Some(result) = result.transpose() {
                    // Nobody listens any more only when the checker is being dropped.
                    let _ = outgoing.send(result);
                    // The counter cannot overflow: it is read after every wake-up.
                    let _ = rustix::io::write(&*waker, &1u64.to_ne_bytes());
                }
            };
            for job in incoming {
                tell(worker.take(job));
                tell(worker.read_on());
            }
        })?;
        Ok(Self { jobs: Some(jobs), results, wake, thread: Some(thread) })
    }

    /// An upgrade begins: the thread reserves its room, and takes the blocks `whole` as verified. What belongs to an earlier
    /// upgrade is dropped.
    pub fn begin(&self, generation: u32, staging: &Arc<Staging>, whole: Vec<u8>) {
        self.submit(Job::Begin { generation, staging: Arc::clone(staging), whole });
    }

    /// Hands a block to the thread.
    pub fn check(&self, check: BlockCheck) {
        self.submit(Job::Check(check));
    }

    /// Asks the thread to make staging and journal durable.
    pub fn sync(&self, generation: u32, journal: Arc<File>) {
        self.submit(Job::Sync { generation, journal });
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only when the thread is gone, and then poll() has already said why.
            let _ = jobs.send(job);
        }
    }

    /// What was finished next, if anything; an error when staging failed.
    pub fn poll(&self) -> Result<Option<Checked>, CheckError> {
        self.results.try_recv().ok().transpose()
    }

    /// Readable when there are results.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Clears the wake-up before results are polled.
    pub fn clear_wake(&self) {
        let mut count = [0; 8];
        // EAGAIN says that it was clear.
        let _ = rustix::io::read(&*self.wake, &mut count);
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The upgrade that is being received.
struct Image {
    generation: u32,
    staging: Arc<Staging>,
    read_back: ReadBack,
}

struct Worker {
    codec: Codec,
    rows: Vec<u8>,
    image: Option<Image>,
}

impl Worker {
    fn take(&mut self, job: Job) -> Result<Option<Checked>, CheckError> {
        match job {
            Job::Begin { generation, staging, whole } => {
                let mut read_back = ReadBack::new(Arc::clone(&staging));
                whole.into_iter().for_each(|sbn| read_back.block_is_verified(sbn));
                staging.reserve()?;
                self.image = Some(Image { generation, staging, read_back });
                Ok(None)
            }
            Job::Check(check) => {
                let (generation, sbn) = (check.generation, check.range.sbn);
                let Some(image) = self.image.as_ref().filter(|image| image.generation == generation) else {
                    return Ok(None);
                };
                let staging = Arc::clone(&image.staging);
                let outcome = self.check(&check, &staging)?;
                if let (BlockOutcome::Verified { .. }, Some(image)) = (outcome, &mut self.image) {
                    image.read_back.block_is_verified(sbn);
                }
                Ok(Some(Checked::Block { generation, sbn, outcome }))
            }
            Job::Sync { generation, journal } => {
                if let Some(image) = self.image.as_ref().filter(|image| image.generation == generation) {
                    image.staging.sync_data()?;
                    // The journal only saves bytes: where it cannot be synced, its records are torn or stale at worst.
                    let _ = journal.sync_data();
                }
                Ok(None)
            }
        }
    }

    /// Reads verified blocks back, and tells the image's hash when that was the last.
    fn read_on(&mut self) -> Result<Option<Checked>, CheckError> {
        let Some(image) = &mut self.image else { return Ok(None) };
        let sha256 = image.read_back.read_on()?;
        Ok(sha256.map(|sha256| Checked::Image { generation: image.generation, sha256 }))
    }

    fn check(&mut self, check: &BlockCheck, staging: &Staging) -> Result<BlockOutcome, CheckError> {
        let range = &check.range;
        let read = |rows: &mut Vec<u8>| Ok::<(), CheckError>(staging.read_rows(range, rows)?);
        let settled = check.settle(&self.codec, &mut self.rows, read)?;
        staging.write_rows(range, &self.rows, settled.computed_rows)?;
        Ok(settled.outcome)
    }
}
