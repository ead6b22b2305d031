//! Packets ahead of time: a planner decides what goes into which slot, workers fill the slots, and the paced thread gets
//! them in order.
//!
//! ```text
//! planner ──jobs──► worker ──┐         ┌► Ordered ──► pace ──► transmit
//!    ▲      (queue) worker ──┼──filled──┼► Ordered ──► pace ──► transmit   (one a sending thread)
//!    └────────── free slots ─┴──────────┴────────────────────────────┘
//! ```
//!
//! All memory is the slots, made once; the planner waits for free ones, so nothing grows and nothing runs far ahead.

mod fill;
mod job;
mod ordered;
mod plan;
mod pool;

pub use fill::{FillError, Filler};
pub use job::{Job, JobPacket};
pub use ordered::{Next, Ordered};
pub use plan::{Planned, Planner, Resident, Shape};
pub use pool::SlotPool;

use crate::transmit::Slot;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::thread;
use thiserror::Error;

use fleetcast_protocol::session::sender::SenderError;

/// Jobs waiting for a worker, per worker.
const QUEUED_JOBS_PER_WORKER: usize = 16;

/// Why precomputation stopped.
#[derive(Debug, Error)]
pub enum PrecomputeError {
    /// The session cannot go on.
    #[error(transparent)]
    Session(#[from] SenderError),
    /// A slot could not be filled.
    #[error(transparent)]
    Fill(#[from] FillError),
    /// A thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[from] io::Error),
}

/// A job whose slots are filled, or what prevented it.
pub type Filled = Result<Job, PrecomputeError>;

/// The ends of the pipeline that the sending threads hold.
#[derive(Debug)]
pub struct Pipeline {
    /// Filled jobs, in the order in which they are sent: one queue a sending thread, and each job's slots dealt to them in turn.
    pub filled: Vec<Ordered>,
    /// Takes slots back once they were sent, several at a time: each hand-over may wake a thread.
    pub free: Sender<Vec<Slot>>,
}

/// How many threads there are of a kind, and what each of them does first.
#[derive(Clone)]
pub struct Threads {
    /// How many.
    pub count: usize,
    /// Called by each of them with its number before it starts, to pin it for example.
    pub prepare: Arc<dyn Fn(usize) + Send + Sync>,
}

impl Threads {
    /// `count` threads without more.
    pub fn new(count: usize) -> Self {
        Self { count, prepare: Arc::new(|_| ()) }
    }
}

/// Starts the planner and the workers on `slots`, for so many sending threads.
///
/// The threads end by themselves: when the session is over, or when the [`Pipeline`] is dropped.
pub fn start(
    planner: Planner,
    filler: Filler,
    slots: Vec<Slot>,
    workers: &Threads,
    senders: usize,
) -> Result<Pipeline, PrecomputeError> {
    // A job has at least one slot, so no more jobs are under way: bounded channels allocate nothing later.
    let jobs = slots.len() + 1;
    let (free_in, free_out) = bounded(jobs);
    // The receiver is right here.
    let _ = free_in.send(slots);
    let (job_in, job_out) = bounded(workers.count * QUEUED_JOBS_PER_WORKER);
    let (filled_in, filled_out): (Vec<_>, Vec<_>) = (0..senders.max(1)).map(|_| bounded(jobs)).unzip();
    let filler = Arc::new(filler);
    for index in 0..workers.count {
        let (jobs, filled, filler) = (job_out.clone(), filled_in.clone(), Arc::clone(&filler));
        let prepare = Arc::clone(&workers.prepare);
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            prepare(index);
            work(&filler, &jobs, &filled);
        })?;
    }
    thread::Builder::new().name("planner".into()).spawn(move || plan(planner, free_out, &job_in, &filled_in))?;
    let filled = filled_out.into_iter().map(|incoming| Ordered::new(incoming, jobs)).collect();
    Ok(Pipeline { filled, free: free_in })
}

fn plan(mut planner: Planner, free: Receiver<Vec<Slot>>, jobs: &Sender<Job>, filled: &[Sender<(u64, Filled)>]) {
    // No sender of free slots left means that nobody listens.
    let mut pool = SlotPool::new(free);
    while let Some(planned) = planner.next(&mut pool).transpose() {
        let sent = match planned {
            Ok(Planned::Fill(job)) => jobs.send(job).is_ok(),
            Ok(Planned::Ready(job)) => deal(job, filled),
            Err(error) => {
                let _ = filled[0].send((planner.next_sequence(), Err(error.into())));
                false
            }
        };
        if !sent {
            return;
        }
    }
}

fn work(filler: &Filler, jobs: &Receiver<Job>, filled: &[Sender<(u64, Filled)>]) {
    for mut job in jobs {
        let sequence = job.sequence;
        let result = filler.fill(&mut job).map_err(PrecomputeError::from);
        // What was planned has been written; freeing it here keeps that off the sending thread.
        job.packets = Vec::new();
        let sent = match result {
            Ok(()) => deal(job, filled),
            // One sending thread is told; it stops the others.
            Err(error) => filled[0].send((sequence, Err(error))).is_ok(),
        };
        if !sent {
            return;
        }
    }
}

/// Deals a job's slots to the sending threads in turn: each gets a job of the same number, so that each knows its order.
fn deal(job: Job, filled: &[Sender<(u64, Filled)>]) -> bool {
    let sequence = job.sequence;
    let [single] = filled else {
        let mut hands: Vec<Vec<Slot>> = filled.iter().map(|_| Vec::new()).collect();
        for (slot, index) in job.slots.into_iter().zip(job.first_slot..) {
            hands[usize::try_from(index % filled.len() as u64).unwrap_or_default()].push(slot);
        }
        let job =
            |slots| Job { sequence, first_slot: job.first_slot, slots, packets: Vec::new(), new_blocks: Vec::new() };
        return filled.iter().zip(hands).all(|(filled, slots)| filled.send((sequence, Ok(job(slots)))).is_ok());
    };
    single.send((sequence, Ok(job))).is_ok()
}

#[cfg(test)]
mod tests;
