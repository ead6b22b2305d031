//! Packets ahead of time: a planner decides what goes into which slot, workers fill the slots, and the paced thread gets
//! them in order.
//!
//! ```text
//! planner ──jobs──► worker ──┐
//!    ▲      (queue) worker ──┼──filled──► Ordered ──► pace ──► transmit
//!    └────────── free slots ─┴───────────────────────────────────┘
//! ```
//!
//! All memory is the slots, made once; the planner waits for free ones, so nothing grows and nothing runs far ahead.

mod fill;
mod job;
mod ordered;
mod plan;

pub use fill::{FillError, Filler};
pub use job::{Job, JobPacket};
pub use ordered::Ordered;
pub use plan::{Planner, Shape};

use crate::transmit::Slot;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
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

/// The ends of the pipeline that the paced thread holds.
#[derive(Debug)]
pub struct Pipeline {
    /// Filled jobs, in the order in which they are sent.
    pub filled: Ordered,
    /// Takes slots back once they were sent, several at a time: each hand-over may wake a thread.
    pub free: Sender<Vec<Slot>>,
}

/// Starts the planner and `workers` workers on `slots`.
///
/// The threads end by themselves: when the session is over, or when the [`Pipeline`] is dropped.
pub fn start(planner: Planner, filler: Filler, slots: Vec<Slot>, workers: usize) -> Result<Pipeline, PrecomputeError> {
    let (free_in, free_out) = unbounded();
    // The receiver is right here.
    let _ = free_in.send(slots);
    let (job_in, job_out) = bounded(workers * QUEUED_JOBS_PER_WORKER);
    let (filled_in, filled_out) = unbounded();
    let filler = Arc::new(filler);
    for index in 0..workers {
        let (jobs, filled, filler) = (job_out.clone(), filled_in.clone(), Arc::clone(&filler));
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || work(&filler, &jobs, &filled))?;
    }
    thread::Builder::new().name("planner".into()).spawn(move || plan(planner, &free_out, &job_in, &filled_in))?;
    Ok(Pipeline { filled: Ordered::new(filled_out), free: free_in })
}

fn plan(mut planner: Planner, free: &Receiver<Vec<Slot>>, jobs: &Sender<Job>, filled: &Sender<(u64, Filled)>) {
    let mut at_hand = Vec::new();
    // Waiting for a free slot is what keeps the planner from running ahead; no sender left means that nobody listens.
    let mut take_slot = || {
        while at_hand.is_empty() {
            at_hand = free.recv().ok()?;
        }
        at_hand.pop()
    };
    while let Some(job) = planner.next_job(&mut take_slot).transpose() {
        let sent = match job {
            Ok(job) => jobs.send(job).is_ok(),
            Err(error) => {
                let _ = filled.send((planner.next_sequence(), Err(error.into())));
                false
            }
        };
        if !sent {
            return;
        }
    }
}

fn work(filler: &Filler, jobs: &Receiver<Job>, filled: &Sender<(u64, Filled)>) {
    for mut job in jobs {
        let sequence = job.sequence;
        let result = filler.fill(&mut job).map_err(PrecomputeError::from);
        // What was planned has been written; freeing it here keeps that off the paced thread.
        job.packets = Vec::new();
        let result = result.map(|()| job);
        if filled.send((sequence, result)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
