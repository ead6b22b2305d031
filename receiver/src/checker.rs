//! The checker thread: decodes what was lost in a block and compares the block's hash, while packets keep coming.

use crate::staging::{Staging, StagingError};
use crossbeam_channel::{Receiver, Sender, unbounded};
use fleetcast_fec::{Codec, DecodeError};
use fleetcast_protocol::session::receiver::{BlockCheck, BlockOutcome};
use rustix::event::{EventfdFlags, eventfd};
use sha2::{Digest, Sha256};
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
    #[error("block {sbn} cannot be decoded: {reason}")]
    Decode {
        /// Source block number.
        sbn: u8,
        /// What the codec said.
        reason: String,
    },
}

/// A checked block.
#[derive(Debug)]
pub struct Checked {
    /// As in the request.
    pub generation: u32,
    /// Source block number.
    pub sbn: u8,
    /// How it ended.
    pub outcome: BlockOutcome,
}

enum Job {
    Reserve(Arc<Staging>),
    Check(BlockCheck, Arc<Staging>),
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
            let mut worker = Worker { codec: Codec::new(), rows: Vec::new() };
            for job in incoming {
                let Some(result) = worker.take(job).transpose() else { continue };
                if outgoing.send(result).is_err() {
                    return;
                }
                // The counter cannot overflow: it is read after every wake-up.
                let _ = rustix::io::write(&*waker, &1u64.to_ne_bytes());
            }
        })?;
        Ok(Self { jobs: Some(jobs), results, wake, thread: Some(thread) })
    }

    /// Has the thread reserve the room for an image, before it checks blocks.
    pub fn reserve(&self, staging: &Arc<Staging>) {
        self.submit(Job::Reserve(Arc::clone(staging)));
    }

    /// Hands a block to the thread.
    pub fn check(&self, check: BlockCheck, staging: &Arc<Staging>) {
        self.submit(Job::Check(check, Arc::clone(staging)));
    }

    fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Fails only when the thread is gone, and then poll() has already said why.
            let _ = jobs.send(job);
        }
    }

    /// The next block that was checked, if there is one; an error when staging failed.
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

struct Worker {
    codec: Codec,
    rows: Vec<u8>,
}

impl Worker {
    fn take(&mut self, job: Job) -> Result<Option<Checked>, CheckError> {
        match job {
            Job::Reserve(staging) => {
                staging.reserve()?;
                Ok(None)
            }
            Job::Check(check, staging) => {
                let outcome = self.check(&check, &staging)?;
                Ok(Some(Checked { generation: check.generation, sbn: check.range.sbn, outcome }))
            }
        }
    }

    fn check(&mut self, check: &BlockCheck, staging: &Staging) -> Result<BlockOutcome, CheckError> {
        let range = &check.range;
        let lost = !check.received.is_full();
        if lost {
            staging.read_rows(range, &mut self.rows)?;
            match self.codec.decode(range.shape, &mut self.rows, &check.received, &check.parked) {
                Ok(()) => {}
                Err(DecodeError::NeedMore { .. }) => return Ok(BlockOutcome::Singular),
                Err(error) => return Err(CheckError::Decode { sbn: range.sbn, reason: error.to_string() }),
            }
        } else {
            staging.read_block(range, &mut self.rows)?;
        }
        if <[u8; 32]>::from(Sha256::digest(&self.rows[..range.len])) != check.sha256 {
            return Ok(BlockOutcome::Corrupt);
        }
        if lost {
            staging.write_rows(range, &self.rows, check.received.missing())?;
        }
        Ok(BlockOutcome::Verified { decoded: lost })
    }
}
