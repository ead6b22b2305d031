//! The paced thread: posts filled slots on an absolute schedule.
//!
//! Every slot has a date. A burst is the slots that fall into one burst's time; it leaves when its first slot is due, so
//! that the average rate is exact and no burst is longer than allowed. When the host stalls, at most one burst is made up
//! for; beyond that the whole schedule slips, and the slip is reported.

use crate::precompute::{Job, Ordered, PrecomputeError};
use crate::rate::bits_in;
use crate::transmit::{Slot, Transmit};
use crossbeam_channel::Sender;
use hdrhistogram::Histogram;
use rustix::thread::{ClockId, Timespec, clock_nanosleep_absolute};
use rustix::time::clock_gettime;
use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;
use thiserror::Error;

/// Line time of a burst, at rates where that is more than [`MIN_BURST_PACKETS`].
const BURST_TIME: Duration = Duration::from_micros(250);
/// Up to [`MIN_BURST_RATE_BPS`], bursts of this many packets are allowed: waking for fewer costs much and wins little.
const MIN_BURST_PACKETS: u64 = 8;
/// Above this rate a burst is [`BURST_TIME`] and nothing more.
const MIN_BURST_RATE_BPS: u64 = 1_000_000_000;
/// Used slots that are handed back together.
const FREE_BATCH: usize = 32;
/// Lateness is recorded up to this.
const MAX_LATENESS_US: u64 = 60_000_000;

/// Packets of `packet_bits` that may leave back to back at `rate_bps` (design section 5), unless told otherwise.
pub fn burst_packets(rate_bps: u64, packet_bits: u64, wanted: Option<u64>) -> u64 {
    let by_time = bits_in(BURST_TIME, rate_bps) / packet_bits.max(1);
    let least = if rate_bps <= MIN_BURST_RATE_BPS { MIN_BURST_PACKETS } else { 1 };
    wanted.unwrap_or(by_time.max(least)).max(1)
}

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
}

/// What the paced thread saw.
#[derive(Debug)]
pub struct PaceStats {
    /// Packets posted.
    pub packets: u64,
    /// Bytes of their UDP payloads.
    pub payload_bytes: u64,
    /// Bursts posted.
    pub bursts: u64,
    /// How late bursts left, in µs.
    pub lateness_us: Histogram<u64>,
    /// Times that the schedule slipped, and by how much in all.
    pub slips: u64,
    /// Time that the schedule slipped by in all.
    pub slipped: Duration,
    /// Times that a burst had to wait for packets that were not made yet.
    pub starved: u64,
}

/// Keeps slots to their dates.
#[derive(Debug)]
pub struct Pacer {
    burst_time: Duration,
    /// Clock reading at the session's time zero; slips move it.
    origin: Duration,
    stats: PaceStats,
}

impl Pacer {
    /// A pacer whose bursts last `burst_time` at the session's rate; time zero is `now` on the monotonic clock.
    pub fn new(burst_time: Duration, now: Duration) -> Result<Self, PaceError> {
        let lateness_us = Histogram::new_with_bounds(1, MAX_LATENESS_US, 3)
            .map_err(|error| PaceError::Clock(io::Error::other(error.to_string())))?;
        let stats = PaceStats {
            packets: 0,
            payload_bytes: 0,
            bursts: 0,
            lateness_us,
            slips: 0,
            slipped: Duration::ZERO,
            starved: 0,
        };
        Ok(Self { burst_time, origin: now, stats })
    }

    /// What was seen so far.
    pub fn stats(&self) -> &PaceStats {
        &self.stats
    }

    /// When a burst that is dated `at` is due on the clock.
    fn due(&self, at: Duration) -> Duration {
        self.origin + at
    }

    /// A burst leaves at `now`: records how late, and slips the schedule when that is more than a burst can make up.
    fn note_start(&mut self, at: Duration, now: Duration) {
        let late = now.saturating_sub(self.due(at));
        self.stats.bursts += 1;
        self.stats.lateness_us.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        if let Some(slip) = late.checked_sub(self.burst_time).filter(|slip| !slip.is_zero()) {
            self.origin += slip;
            self.stats.slips += 1;
            self.stats.slipped += slip;
        }
    }
}

/// Takes jobs apart into bursts.
#[derive(Debug, Default)]
struct Bursts {
    slots: VecDeque<Slot>,
}

impl Bursts {
    fn add(&mut self, job: Job) {
        self.slots.extend(job.slots);
    }

    /// Moves the slots of the next burst to `burst`: the first, and what follows it without a pause within `burst_time`.
    fn take(&mut self, burst_time: Duration, burst: &mut VecDeque<Slot>) {
        let Some(first) = self.slots.front() else { return };
        let (start, mut end) = (first.at, first.at);
        while let Some(slot) = self
            .slots
            .pop_front_if(|slot| slot.at == end && (slot.at == start || slot.at + slot.duration <= start + burst_time))
        {
            end = slot.at + slot.duration;
            burst.push_back(slot);
        }
    }

    /// Whether the slots at hand already make a whole burst.
    fn hold_whole_burst(&self, burst_time: Duration) -> bool {
        match (self.slots.front(), self.slots.back()) {
            (Some(first), Some(last)) => last.at + last.duration >= first.at + burst_time,
            _ => false,
        }
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
    loop {
        match clock_nanosleep_absolute(ClockId::Monotonic, &request) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(PaceError::Clock(errno.into())),
        }
    }
}

/// Posts everything that comes from `filled`, each slot at its date, until it ends or `keep_on` says no.
///
/// `keep_on` is asked before every burst. Slots go back to `free`.
pub fn run(
    pacer: &mut Pacer,
    filled: &mut Ordered,
    free: &Sender<Vec<Slot>>,
    backend: &mut dyn Transmit,
    mut keep_on: impl FnMut(&PaceStats) -> bool,
) -> Result<(), PaceError> {
    // The kernel delays ordinary sleepers by up to 50 µs to wake several at once; a refusal only costs precision.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut bursts = Bursts::default();
    let mut burst = VecDeque::new();
    let mut used = Vec::new();
    loop {
        // A burst is put together from what is filled; only an empty one waits.
        while !bursts.hold_whole_burst(pacer.burst_time) {
            let must_wait = !filled.is_ready();
            if must_wait && !bursts.slots.is_empty() {
                break;
            }
            let Some(job) = filled.recv()? else { break };
            bursts.add(job);
            pacer.stats.starved += u64::from(must_wait && pacer.stats.bursts > 0);
        }
        bursts.take(pacer.burst_time, &mut burst);
        let Some(at) = burst.front().map(|slot| slot.at) else { return Ok(()) };
        if !keep_on(&pacer.stats) {
            return Ok(());
        }
        let due = pacer.due(at);
        if monotonic_now() < due {
            sleep_until(due)?;
        }
        pacer.note_start(at, monotonic_now());
        for slot in &burst {
            pacer.stats.packets += slot.packets() as u64;
            pacer.stats.payload_bytes += slot.bytes().len() as u64;
        }
        backend.post(&mut burst, &mut used).map_err(PaceError::Transmit)?;
        // Slots go back in batches, but at once when the planner may be waiting for them.
        if used.len() >= FREE_BATCH || bursts.slots.is_empty() {
            // The planner is gone once the session is over; then slots are not needed any more.
            let _ = free.send(std::mem::take(&mut used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_eight_packets_or_a_quarter_millisecond() {
        let packet_bits = 1430 * 8;
        assert_eq!(burst_packets(10_000_000, packet_bits, None), 8);
        assert_eq!(burst_packets(100_000_000, packet_bits, None), 8);
        assert_eq!(burst_packets(1_000_000_000, packet_bits, None), 21);
        assert_eq!(burst_packets(5_000_000_000, packet_bits, None), 109);
        assert_eq!(burst_packets(5_000_000_000, packet_bits, Some(3)), 3);
        assert_eq!(burst_packets(2_000_000_000, u64::MAX, None), 1);
    }

    #[test]
    fn a_stall_is_made_up_for_by_one_burst_and_the_rest_slips() {
        let ms = Duration::from_millis;
        let mut pacer = Pacer::new(ms(2), ms(1000)).unwrap();
        pacer.note_start(ms(0), ms(1000));
        pacer.note_start(ms(2), ms(1003));
        assert_eq!(pacer.stats.slips, 0);
        assert_eq!(pacer.due(ms(4)), ms(1004));
        pacer.note_start(ms(4), ms(1100));
        assert_eq!((pacer.stats.slips, pacer.stats.slipped), (1, ms(94)));
        assert_eq!(pacer.due(ms(6)), ms(1100));
        assert!(pacer.stats.lateness_us.max() >= 96_000);
    }

    #[test]
    fn a_burst_ends_at_a_pause_and_at_its_length() {
        let ms = Duration::from_millis;
        let slot = |at, duration| {
            let mut slot = Slot::with_capacity(64);
            slot.push(1).unwrap();
            (slot.at, slot.duration) = (at, duration);
            slot
        };
        let mut bursts = Bursts::default();
        for (at, duration) in [(0, 1), (1, 1), (2, 1), (10, 1), (11, 9), (20, 1)] {
            bursts.slots.push_back(slot(ms(at), ms(duration)));
        }
        let mut lens = Vec::new();
        loop {
            let mut burst = VecDeque::new();
            bursts.take(ms(2), &mut burst);
            if burst.is_empty() {
                break;
            }
            lens.push(burst.len());
        }
        assert_eq!(lens, [2, 1, 1, 1, 1]);
    }
}
