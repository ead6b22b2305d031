//! Puts jobs back into order: workers finish them as they can.

use super::{Filled, Job, PrecomputeError};
use crossbeam_channel::{Receiver, TryRecvError};
use std::collections::BTreeMap;

/// Receives filled jobs in the order of their sequence numbers.
#[derive(Debug)]
pub struct Ordered {
    incoming: Receiver<(u64, Filled)>,
    waiting: BTreeMap<u64, Filled>,
    next: u64,
}

impl Ordered {
    /// Orders what comes from `incoming`, starting with sequence number 0.
    pub fn new(incoming: Receiver<(u64, Filled)>) -> Self {
        Self { incoming, waiting: BTreeMap::new(), next: 0 }
    }

    /// The next job, waiting for it; `None` when all were handed out.
    pub fn recv(&mut self) -> Result<Option<Job>, PrecomputeError> {
        loop {
            if let Some(filled) = self.take() {
                return filled.map(Some);
            }
            match self.incoming.recv() {
                Ok((sequence, filled)) => self.waiting.insert(sequence, filled),
                Err(_) => return Ok(None),
            };
        }
    }

    /// The next job if it is there already; the flag says whether it has to be waited for.
    pub fn is_ready(&mut self) -> bool {
        loop {
            if self.waiting.contains_key(&self.next) {
                return true;
            }
            match self.incoming.try_recv() {
                Ok((sequence, filled)) => self.waiting.insert(sequence, filled),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            };
        }
    }

    fn take(&mut self) -> Option<Filled> {
        let filled = self.waiting.remove(&self.next)?;
        self.next += 1;
        Some(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    fn job(sequence: u64) -> Job {
        Job { sequence, slots: Vec::new(), packets: Vec::new(), new_blocks: Vec::new() }
    }

    #[test]
    fn hands_out_jobs_in_order_and_ends() {
        let (filled, incoming) = unbounded();
        let mut ordered = Ordered::new(incoming);
        for sequence in [2, 0, 3, 1] {
            filled.send((sequence, Ok(job(sequence)))).unwrap();
        }
        drop(filled);
        for sequence in 0..4 {
            assert!(ordered.is_ready());
            assert_eq!(ordered.recv().unwrap().unwrap().sequence, sequence);
        }
        assert!(!ordered.is_ready());
        assert!(ordered.recv().unwrap().is_none());
    }

    #[test]
    fn waits_for_the_gap_to_close() {
        let (filled, incoming) = unbounded();
        let mut ordered = Ordered::new(incoming);
        filled.send((1, Ok(job(1)))).unwrap();
        assert!(!ordered.is_ready());
        filled.send((0, Ok(job(0)))).unwrap();
        assert!(ordered.is_ready());
    }
}
