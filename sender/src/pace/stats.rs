//! What sending threads saw: counters that others may read meanwhile, and what is known at the end.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lateness is recorded up to this.
const MAX_LATENESS_US: u64 = 60_000_000;

/// What has left so far, over all sending threads.
#[derive(Debug, Default)]
pub struct Progress {
    packets: AtomicU64,
    payload_bytes: AtomicU64,
}

impl Progress {
    /// A burst was posted.
    pub fn add(&self, packets: u64, payload_bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.payload_bytes.fetch_add(payload_bytes, Ordering::Relaxed);
    }

    /// Packets posted.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Bytes of their UDP payloads.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes.load(Ordering::Relaxed)
    }
}

/// What a sending thread saw.
#[derive(Debug, Clone)]
pub struct PaceStats {
    /// Bursts posted.
    pub bursts: u64,
    /// How late bursts left, in µs.
    pub lateness_us: Histogram<u64>,
    /// Times that a burst had to wait for packets that were not made yet.
    pub starved: u64,
    /// Bits of all bursts.
    pub bits: u64,
    /// The first burst's time, on the monotonic clock.
    pub first_at: Duration,
    /// The last burst's time, and its bits.
    pub last_at: (Duration, u64),
    /// Pauses that the session wanted between the two.
    pub pauses: Duration,
}

impl PaceStats {
    /// Nothing seen yet. Allocates all that is needed later.
    pub fn new() -> Self {
        // The bounds are constants that the library takes.
        let lateness_us = Histogram::new_with_bounds(1, MAX_LATENESS_US, 3).expect("1 to 60,000,000 with 3 digits");
        Self {
            bursts: 0,
            lateness_us,
            starved: 0,
            bits: 0,
            first_at: Duration::MAX,
            last_at: (Duration::ZERO, 0),
            pauses: Duration::ZERO,
        }
    }

    /// A burst leaves at `now`, `late` after its date.
    pub fn note_burst(&mut self, now: Duration, late: Duration) {
        self.bursts += 1;
        self.lateness_us.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        self.first_at = self.first_at.min(now);
    }

    /// Adds what another thread saw.
    pub fn merge(&mut self, other: &Self) {
        self.bursts += other.bursts;
        self.lateness_us += &other.lateness_us;
        self.starved += other.starved;
        self.bits += other.bits;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
        self.pauses = self.pauses.max(other.pauses);
    }

    /// The rate that was kept while sending, in bits a second: from the first burst to the last, which itself takes no part,
    /// without the session's pauses. `None` for a single burst.
    pub fn rate_bps(&self) -> Option<f64> {
        let (last_at, last_bits) = self.last_at;
        let time = last_at.checked_sub(self.first_at)?.checked_sub(self.pauses)?;
        (!time.is_zero()).then(|| (self.bits - last_bits) as f64 / time.as_secs_f64())
    }
}

impl Default for PaceStats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_from_the_first_burst_to_the_last() {
        let ms = Duration::from_millis;
        let mut stats = PaceStats::new();
        assert_eq!(stats.rate_bps(), None);
        stats.note_burst(ms(1000), ms(2));
        (stats.bits, stats.last_at, stats.pauses) = (3000, (ms(1012), 1000), ms(10));
        let mut other = PaceStats::new();
        other.note_burst(ms(1001), ms(50));
        (other.bits, other.last_at) = (1000, (ms(1001), 1000));
        stats.merge(&other);
        // 3,000 bits in 2 ms.
        assert_eq!(stats.rate_bps(), Some(1_500_000.0));
        assert_eq!((stats.bursts, stats.lateness_us.len()), (2, 2));
        assert!(stats.lateness_us.max() >= 50_000);
    }
}
