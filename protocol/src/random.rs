//! Small deterministic random numbers, from a seed that the caller draws: back-offs, and worlds that can be replayed. Nothing
//! secret rests on them.

use std::time::Duration;

/// The step of SplitMix64's counter.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output for the counter after `state`: numbers that differ in one bit come out unrelated.
pub fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// SplitMix64: every run can be replayed from its seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform over 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let number = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        number
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is of no matter for bounds that are tiny against 2^64.
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// An index below `len`; 0 when `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// A number from `range`, both ends included.
    pub fn within(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// A time below `bound`; zero when `bound` is zero.
    #[expect(clippy::cast_precision_loss, reason = "32 bits are exact")]
    pub fn time_below(&mut self, bound: Duration) -> Duration {
        bound.mul_f64((self.next_u64() >> 32) as f64 / 4_294_967_296.0)
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[0]
    }

    /// True with a probability of `permille` in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A generator of its own, so that what one part of a world draws does not shift what another draws.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spread_over_the_bound() {
        let mut random = Random::new(3);
        let bound = Duration::from_secs(60);
        let times: Vec<Duration> = (0..1000).map(|_| random.time_below(bound)).collect();
        assert!(times.iter().all(|time| *time < bound));
        for quarter in 0..4u32 {
            let within = |time: &&Duration| (bound * quarter / 4..bound * (quarter + 1) / 4).contains(*time);
            assert!((200..300).contains(&times.iter().filter(within).count()));
        }
        assert_eq!(random.time_below(Duration::ZERO), Duration::ZERO);
    }
}
