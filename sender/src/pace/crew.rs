//! All sending threads of a send: started together, joined at the end, while the caller looks on.

use super::{Pace, PaceError, PaceStats, SendingThread};
use crate::precompute::{Pipeline, Threads};
use crate::transmit::Transmit;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Time between two looks of the caller.
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

/// Sends what comes from `pipeline` through `senders`, one a thread; there are `slots` slots. `tick` is called meanwhile.
pub fn run(
    pace: &Arc<Pace>,
    pipeline: Pipeline,
    senders: Vec<Box<dyn Transmit>>,
    slots: usize,
    threads: &Threads,
    mut tick: impl FnMut(),
) -> Result<Outcome, PaceError> {
    let count = senders.len();
    let (ended_in, ended) = bounded(count.max(1));
    for (index, (filled, backend)) in pipeline.filled.into_iter().zip(senders).enumerate() {
        let thread = SendingThread::new(Arc::clone(pace), filled, pipeline.free.clone(), backend, slots);
        let (ended, prepare) = (ended_in.clone(), Arc::clone(&threads.prepare));
        let run = move || {
            prepare(index);
            let _ = ended.send(thread.run());
        };
        thread::Builder::new().name(format!("sender-{index}")).spawn(run).map_err(PaceError::Thread)?;
    }
    drop((ended_in, pipeline.free));
    let mut outcome = Outcome { result: Ok(()), stats: PaceStats::new(), findings: None };
    loop {
        match ended.recv_timeout(TICK) {
            Ok((result, stats, findings)) => {
                outcome.result = outcome.result.and(result);
                outcome.stats.merge(&stats);
                outcome.findings = outcome.findings.or(findings);
            }
            Err(RecvTimeoutError::Timeout) => tick(),
            Err(RecvTimeoutError::Disconnected) => return Ok(outcome),
        }
    }
}
