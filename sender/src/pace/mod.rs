//! The sending threads: post filled slots on an absolute schedule.
//!
//! A burst is the slots that fall into one burst's line time; it leaves when its first slot is due, so that the average
//! rate is exact and no burst is longer than allowed. When the host stalls, at most one burst is made up for; beyond that
//! the whole schedule slips, and the slip is reported.
//!
//! Between start and end a sending thread allocates nothing and hashes nothing. It takes the [`Timeline`]'s lock when the
//! rate changes and when the schedule slips; jobs come and slots go back through bounded channels, once a job.

mod burst;
mod crew;
mod kernel;
mod stats;
mod timeline;

pub use burst::{Burst, Bursts};
pub use crew::{Outcome, run};
pub use kernel::{KernelPacing, Pacing};
pub use stats::{PaceStats, Progress};
pub use timeline::{Mark, Plan, Timeline};

use crate::precompute::{Job, Next, Ordered, PrecomputeError};
use crate::rate::time_of;
use crate::transmit::{Slot, Transmit};
use crossbeam_channel::Sender;
use rustix::thread::{ClockId, Timespec, clock_nanosleep_absolute};
use rustix::time::clock_gettime;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;

/// Longest sleep without a look at whether to stop, or whether the rate changed.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Pause between two looks at what the kernel still holds, when there is nothing else to do.
const RECLAIM_PAUSE: Duration = Duration::from_micros(200);

/// Why sending stopped.
#[derive(Debug, Error)]
pub enum PaceError {
    /// Packets could not be made.
    #[error(transparent)]
    Precompute(#[from] PrecomputeError),
    /// Packets could not be sent.
    #[error("cannot send: {0}; was the interface taken down, or its address removed?")]
    Transmit(io::Error),
    /// The clock failed.
    #[error("cannot sleep: {0}")]
    Clock(io::Error),
    /// A sending thread could not be started.
    #[error("cannot start a sending thread: {0}")]
    Thread(io::Error),
}

/// What all sending threads share.
#[derive(Debug)]
pub struct Pace {
    /// Dates.
    pub timeline: Timeline,
    /// How long bursts may be.
    pub burst: Burst,
    /// Bits of a packet of the image, by which bursts are counted.
    pub packet_bits: u64,
    /// What the kernel paces by, where it does.
    pub kernel: Option<KernelPacing>,
    /// What has left.
    pub progress: Progress,
    /// Set to end before everything was sent.
    pub stop: Arc<AtomicBool>,
}

impl Pace {
    fn burst_bits(&self, rate_bps: u64) -> u64 {
        self.burst.packets(rate_bps, self.packet_bits) * self.packet_bits
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The monotonic clock.
pub fn monotonic_now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn sleep_until(due: Duration) -> Result<(), PaceError> {
    let request =
        Timespec { tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(due.subsec_nanos()) };
    match clock_nanosleep_absolute(ClockId::Monotonic, &request) {
        Ok(()) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(PaceError::Clock(errno.into())),
    }
}

/// One sending thread.
#[derive(Debug)]
pub struct SendingThread {
    pace: Arc<Pace>,
    plan: Plan,
    burst_bits: u64,
    filled: Ordered,
    free: Sender<Vec<Slot>>,
    backend: Box<dyn Transmit>,
    bursts: Bursts,
    /// Slots that came back from the backend.
    used: Vec<Slot>,
    /// The vectors in which jobs came, each with the number of its slots: they carry as many slots back.
    carriers: VecDeque<(usize, Vec<Slot>)>,
    first: Option<Mark>,
    last: Option<Mark>,
    stats: PaceStats,
}

impl SendingThread {
    /// Posts what comes from `filled` through `backend`; slots go back to `free`. There are `slots` slots in all.
    pub fn new(
        pace: Arc<Pace>,
        filled: Ordered,
        free: Sender<Vec<Slot>>,
        backend: Box<dyn Transmit>,
        slots: usize,
    ) -> Self {
        let plan = pace.timeline.plan();
        Self {
            burst_bits: pace.burst_bits(plan.rate_bps),
            plan,
            pace,
            filled,
            free,
            backend,
            bursts: Bursts::with_capacity(slots),
            used: Vec::with_capacity(slots),
            carriers: VecDeque::with_capacity(slots),
            first: None,
            last: None,
            stats: PaceStats::new(),
        }
    }

    /// Posts everything, each slot at its date, until it ends or a stop is asked for. What was seen comes with the result.
    pub fn run(mut self) -> (Result<(), PaceError>, PaceStats, Option<String>) {
        // The kernel delays ordinary sleepers by up to 50 µs to wake several at once; a refusal only costs precision.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut result = self.run_bursts();
        if result.is_err() {
            // The others' packets are worth nothing without this thread's.
            self.pace.stop.store(true, Ordering::Relaxed);
        }
        // Also after an error: the kernel may still read what was posted.
        let finished = self.backend.finish(&mut self.used).map_err(PaceError::Transmit);
        self.hand_back();
        result = result.and(finished);
        let findings = self.backend.findings();
        (result, self.stats, findings)
    }

    fn run_bursts(&mut self) -> Result<(), PaceError> {
        let mut burst = VecDeque::with_capacity(self.used.capacity());
        loop {
            let waited = self.gather()?;
            let Some(mark) = self.bursts.next() else { return Ok(()) };
            // Whoever waits for packets that are not due yet lacks nothing.
            let is_overdue = || self.plan.due(mark).is_some_and(|due| due < monotonic_now());
            self.stats.starved += u64::from(waited && self.stats.bursts > 0 && is_overdue());
            let Some(now) = self.wait_for(mark)? else { return Ok(()) };
            self.note_start(mark, now);
            self.bursts.take(self.burst_bits, &mut burst);
            self.count(&burst, now);
            self.backend.post(&mut burst, &mut self.used).map_err(PaceError::Transmit)?;
            self.hand_back();
        }
    }

    /// Puts a burst together from what is filled; only an empty one is waited for. Whether it was.
    fn gather(&mut self) -> Result<bool, PaceError> {
        let mut waited = false;
        while !self.bursts.hold_whole_burst(self.burst_bits) && !self.pace.is_stopped() {
            match self.filled.try_recv()? {
                Next::Job(job) => self.take_up(job),
                Next::NotYet if !self.bursts.is_empty() => break,
                Next::NotYet => {
                    waited = true;
                    self.wait_for_job()?;
                }
                Next::End => break,
            }
        }
        Ok(waited && !self.bursts.is_empty())
    }

    /// Waits until a job may have come. Slots that the kernel holds may be all that the planner waits for.
    fn wait_for_job(&mut self) -> Result<(), PaceError> {
        let lent = self.backend.reclaim(&mut self.used).map_err(PaceError::Transmit)?;
        self.hand_back();
        self.filled.wait(if lent > 0 { RECLAIM_PAUSE } else { LONGEST_SLEEP });
        Ok(())
    }

    fn take_up(&mut self, job: Job) {
        let mut slots = job.slots;
        let count = slots.len();
        self.bursts.extend(&mut slots);
        if count > 0 {
            self.carriers.push_back((count, slots));
        }
    }

    /// Gives slots back, in the vectors in which they came: as many as came in one, so that none has to grow.
    fn hand_back(&mut self) {
        while let Some((count, mut slots)) = self.carriers.pop_front_if(|(count, _)| *count <= self.used.len()) {
            // Exactly as many: once everything is back, nothing stays here that the planner may be waiting for.
            slots.extend(self.used.drain(..count));
            // The planner is gone once the session is over; then slots are not needed any more.
            let _ = self.free.send(slots);
        }
    }

    /// Waits until `mark` is due; `None` when a stop is asked for. Returns the time.
    fn wait_for(&mut self, mark: Mark) -> Result<Option<Duration>, PaceError> {
        loop {
            let now = monotonic_now();
            if self.pace.is_stopped() {
                return Ok(None);
            }
            if self.last.is_none() || !self.pace.timeline.is_current(&self.plan) {
                self.plan = self.pace.timeline.refresh(self.last, mark, now);
                self.burst_bits = self.pace.burst_bits(self.plan.rate_bps);
                if let Some(kernel) = &self.pace.kernel {
                    let bytes_per_s = kernel.bytes_per_s(self.plan.rate_bps);
                    self.backend.pace_at(bytes_per_s).map_err(PaceError::Transmit)?;
                }
            }
            let due = self.plan.due(mark).unwrap_or(now);
            if now >= due {
                return Ok(Some(now));
            }
            // A short wait is slept through to its end; a stop or another rate must not wait for a long one.
            sleep_until(due.min(now + LONGEST_SLEEP))?;
        }
    }

    /// A burst leaves at `now`: records how late, and slips the schedule when that is more than a burst can make up.
    fn note_start(&mut self, mark: Mark, now: Duration) {
        let late = now.saturating_sub(self.plan.due(mark).unwrap_or(now));
        self.stats.note_burst(now, late);
        let burst_time = time_of(self.burst_bits, self.plan.rate_bps);
        if let Some(slip) = late.checked_sub(burst_time).filter(|slip| !slip.is_zero()) {
            self.plan = self.pace.timeline.slip(&self.plan, slip);
        }
        self.stats.pauses = mark.pauses.saturating_sub(self.first.get_or_insert(mark).pauses);
        self.last = Some(mark);
    }

    fn count(&mut self, burst: &VecDeque<Slot>, now: Duration) {
        let (mut packets, mut bytes, mut bits) = (0, 0, 0);
        for slot in burst {
            packets += slot.packets() as u64;
            bytes += slot.payload_bytes() as u64;
            bits += slot.bits;
        }
        self.stats.bits += bits;
        self.stats.last_at = (now, bits);
        self.pace.progress.add(packets, bytes);
    }
}

#[cfg(test)]
mod tests;
