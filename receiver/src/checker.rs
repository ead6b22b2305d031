//! The checker thread, at work while packets keep coming: decodes what was lost in a block and compares the block's hash.
//! Verified blocks go on to the [medium](crate::medium) thread, which reads them back.

use crate::medium;
use crate::staging::{Staging, StagingError};
use crate::wake::Wake;
use crossbeam_channel::{Receiver, Sender, unbounded};
use fleetcast_fec::{Codec, DecodeArgumentError};
use fleetcast_protocol::session::receiver::{BlockCheck, BlockOutcome};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
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
    Begin { generation: u32, staging: Arc<Staging> },
    Check(BlockCheck),
}

/// The threads that check blocks, one after the other, and read them back: their memory is one block and one decode,
/// whatever the image.
#[derive(Debug)]
pub struct Checker {
    /// Taken when the checker is dropped, which ends the threads.
    jobs: Option<(Sender<Job>, Sender<medium::Job>)>,
    results: Receiver<Result<Checked, CheckError>>,
    wake: Wake,
    threads: Vec<JoinHandle<()>>,
}

/// How the threads tell what they have finished.
#[derive(Clone)]
struct Teller {
    results: Sender<Result<Checked, CheckError>>,
    wake: Wake,
}

impl Teller {
    fn tell(&self, result: Result<Option<Checked>, CheckError>) {
        if let Some(result) = result.transpose() {
            // Nobody listens any more only when the checker is being dropped.
            let _ = self.results.send(result);
            self.wake.ask();
        }
    }
}

impl Checker {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let wake = Wake::new()?;
        // At most Z = 255 blocks are under way, so no queue grows beyond that.
        let (jobs, incoming) = unbounded();
        let (medium_jobs, medium_incoming) = unbounded();
        let (outgoing, results) = unbounded();
        let teller = Teller { results: outgoing, wake: wake.clone() };
        let mut worker = Worker { codec: Codec::new(), rows: Vec::new(), image: None, medium: medium_jobs.clone() };
        let checker_teller = teller.clone();
        let threads = vec![
            thread::Builder::new().name("checker".into()).spawn(move || {
                for job in incoming {
                    checker_teller.tell(worker.take(job));
                }
            })?,
            thread::Builder::new()
                .name("medium".into())
                .spawn(move || medium::run(&medium_incoming, |result| teller.tell(result)))?,
        ];
        Ok(Self { jobs: Some((jobs, medium_jobs)), results, wake, threads })
    }

    /// An upgrade begins: its room is reserved, and the blocks `whole` are taken as verified. What belongs to an earlier
    /// upgrade is dropped.
    pub fn begin(&self, generation: u32, staging: &Arc<Staging>, whole: Vec<u8>) {
        self.ask_medium(medium::Job::Begin { generation, staging: Arc::clone(staging), whole });
        self.submit(Job::Begin { generation, staging: Arc::clone(staging) });
    }

    /// Has a block checked.
    pub fn check(&self, check: BlockCheck) {
        self.submit(Job::Check(check));
    }

    /// Has staging and journal made durable.
    pub fn sync(&self, generation: u32, journal: Arc<File>) {
        self.ask_medium(medium::Job::Sync { generation, journal });
    }

    fn submit(&self, job: Job) {
        if let Some((jobs, _)) = &self.jobs {
            // Fails only when the thread is gone, and then poll() has already said why.
            let _ = jobs.send(job);
        }
    }

    fn ask_medium(&self, job: medium::Job) {
        if let Some((_, jobs)) = &self.jobs {
            // As above.
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
        self.wake.clear();
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The upgrade that is being received.
struct Image {
    generation: u32,
    staging: Arc<Staging>,
}

struct Worker {
    codec: Codec,
    rows: Vec<u8>,
    image: Option<Image>,
    medium: Sender<medium::Job>,
}

impl Worker {
    fn take(&mut self, job: Job) -> Result<Option<Checked>, CheckError> {
        match job {
            Job::Begin { generation, staging } => {
                self.image = Some(Image { generation, staging });
                Ok(None)
            }
            Job::Check(check) => {
                let (generation, sbn) = (check.generation, check.range.sbn);
                let Some(image) = self.image.as_ref().filter(|image| image.generation == generation) else {
                    return Ok(None);
                };
                let staging = Arc::clone(&image.staging);
                let outcome = self.check(&check, &staging)?;
                if let BlockOutcome::Verified { .. } = outcome {
                    // Fails only when the medium thread is gone: the checker is being dropped.
                    let _ = self.medium.send(medium::Job::Verified { generation, sbn });
                }
                Ok(Some(Checked::Block { generation, sbn, outcome }))
            }
        }
    }

    fn check(&mut self, check: &BlockCheck, staging: &Staging) -> Result<BlockOutcome, CheckError> {
        let range = &check.range;
        let read = |rows: &mut Vec<u8>| Ok::<(), CheckError>(staging.read_rows(range, rows)?);
        let settled = check.settle(&self.codec, &mut self.rows, read)?;
        staging.write_rows(range, &self.rows, settled.computed_rows)?;
        Ok(settled.outcome)
    }
}
