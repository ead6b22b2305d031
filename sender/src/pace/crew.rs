//! All sending threads of a send: started together, joined at the end, while the caller looks on.
//!
//! The first of them is the thread that calls: what an operator gave the program (a real-time priority, with
//! `chrt --reset-on-fork` for it alone) goes to the thread that keeps the schedule. Looking on is another thread's.

use super::{Pace, PaceError, PaceStats, SendingThread};
use crate::precompute::{Pipeline, Threads};
use crate::transmit::Transmit;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// Time between two looks.
const TICK: Duration = Duration::from_millis(50);

/// How a send ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether everything left, or why not; a stop that was asked for is no error.
    pub result: Result<(), PaceError>,
    /// What all threads saw.
    pub stats: PaceStats,
    /// What turned out about the backend.
    pub findings: Option<String>,
}

impl Outcome {
    fn merge(&mut self, (result, stats, findings): (Result<(), PaceError>, PaceStats, Option<String>)) {
        self.stats.merge(&stats);
        self.findings = self.findings.take().or(findings);
        if self.result.is_ok() {
            self.result = result;
        }
    }
}

/// Sends what comes from `pipeline` through `senders`, one a thread; there are `slots` slots. `tick` is called meanwhile.
pub fn run(
    pace: &Arc<Pace>,
    pipeline: Pipeline,
    senders: Vec<Box<dyn Transmit>>,
    slots: usize,
    threads: &Threads,
    mut tick: impl FnMut() + Send,
) -> Result<Outcome, PaceError> {
    let free = pipeline.free;
    let mut crew = pipeline
        .filled
        .into_iter()
        .zip(senders)
        .map(|(filled, backend)| SendingThread::new(Arc::clone(pace), filled, free.clone(), backend, slots));
    let first = crew.next();
    let others: Vec<_> = crew.collect();
    drop(free);
    let (ended_in, ended) = bounded::<()>(0);
    let look_on = move || {
        while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            tick();
        }
    };
    thread::scope(|scope| {
        let ended_in = ended_in;
        thread::Builder::new().name("progress".into()).spawn_scoped(scope, look_on).map_err(PaceError::Thread)?;
        let mut handles = Vec::with_capacity(others.len());
        for (index, thread) in (1..).zip(others) {
            let prepare = Arc::clone(&threads.prepare);
            let run = move || {
                prepare(index);
                thread.run()
            };
            let spawned = thread::Builder::new().name(format!("sender-{index}")).spawn_scoped(scope, run);
            // Those that have started end by themselves.
            handles.push(spawned.inspect_err(|_| pace.stop.store(true, Ordering::Relaxed)).map_err(PaceError::Thread)?);
        }
        let mut outcome = Outcome { result: Ok(()), stats: PaceStats::new(), findings: None };
        if let Some(first) = first {
            (threads.prepare)(0);
            outcome.merge(first.run());
        }
        for handle in handles {
            outcome.merge(handle.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        drop(ended_in);
        Ok(outcome)
    })
}
