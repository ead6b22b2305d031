//! Puts jobs back into order: workers finish them as they can.

use super::{Filled, Job, PrecomputeError};
use crossbeam_channel::{Receiver, TryRecvError};
use std::collections::VecDeque;
use std::time::Duration;

/// Receives filled jobs in the order of their sequence numbers. Allocates nothing as long as no more jobs wait than it
/// was made for.
#[derive(Debug)]
pub struct Ordered {
    incoming: Receiver<(u64, Filled)>,
    /// Jobs from `next` on, where they have come.
    waiting: VecDeque<Option<Filled>>,
    next: u64,
    ended: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// This job.
    Job(Job),
    /// A job that is not filled yet.
    NotYet,
    /// Nothing: all were handed out.
    End,
}

impl Ordered {
    /// Orders what comes from `incoming`, starting with sequence number 0; about `jobs` jobs wait at most.
    pub fn new(incoming: Receiver<(u64, Filled)>, jobs: usize) -> Self {
        Self { incoming, waiting: VecDeque::with_capacity(jobs), next: 0, ended: false }
    }

    /// The next job, if it is there.
    pub fn try_recv(&mut self) -> Result<Next, PrecomputeError> {
        loop {
            if let Some(Some(filled)) = self.waiting.pop_front_if(|filled| filled.is_some()) {
                self.next += 1;
                return filled.map(Next::Job);
            }
            match self.incoming.try_recv() {
                Ok((sequence, filled)) => self.keep(sequence, filled),
                Err(TryRecvError::Empty) if !self.ended => return Ok(Next::NotYet),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(Next::End),
            }
        }
    }

    /// Waits until a job has come, which need not be the next, or everything ended, for `longest` at most.
    pub fn wait(&mut self, longest: Duration) {
        match self.incoming.recv_timeout(longest) {
            Ok((sequence, filled)) => self.keep(sequence, filled),
            Err(error) => self.ended = error.is_disconnected(),
        }
    }

    fn keep(&mut self, sequence: u64, filled: Filled) {
        let index = usize::try_from(sequence.saturating_sub(self.next)).unwrap_or(usize::MAX);
        while self.waiting.len() <= index {
            self.waiting.push_back(None);
        }
        self.waiting[index] = Some(filled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    fn send(filled: &crossbeam_channel::Sender<(u64, Filled)>, sequence: u64) {
        let job = Job { sequence, first_slot: 0, slots: Vec::new(), packets: Vec::new(), new_blocks: Vec::new() };
        filled.send((sequence, Ok(job))).unwrap();
    }

    fn next(ordered: &mut Ordered) -> Option<u64> {
        match ordered.try_recv().unwrap() {
            Next::Job(job) => Some(job.sequence),
            Next::NotYet | Next::End => None,
        }
    }

    #[test]
    fn hands_out_jobs_in_order_and_ends() {
        let (filled, incoming) = unbounded();
        let mut ordered = Ordered::new(incoming, 4);
        for sequence in [2, 0, 3, 1] {
            send(&filled, sequence);
        }
        drop(filled);
        for sequence in 0..4 {
            assert_eq!(next(&mut ordered), Some(sequence));
        }
        assert!(matches!(ordered.try_recv(), Ok(Next::End)));
        ordered.wait(Duration::from_secs(60));
        assert!(matches!(ordered.try_recv(), Ok(Next::End)));
    }

    #[test]
    fn waits_for_the_gap_to_close() {
        let (filled, incoming) = unbounded();
        let mut ordered = Ordered::new(incoming, 4);
        send(&filled, 1);
        assert_eq!(next(&mut ordered), None);
        assert!(matches!(ordered.try_recv(), Ok(Next::NotYet)));
        send(&filled, 0);
        ordered.wait(Duration::from_secs(60));
        assert_eq!([next(&mut ordered), next(&mut ordered)], [Some(0), Some(1)]);
    }
}
