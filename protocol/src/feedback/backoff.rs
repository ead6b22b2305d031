//! When a receiver speaks, so that a fleet does not speak at once.

use crate::random::Random;
use std::time::Duration;

/// A random time below `longest`, from the truncated exponential distribution of RFC 5401 §3.2.2 for a group of
/// `group_size` receivers: most of them draw late times, and a few early ones, whose word silences the others.
///
/// With a back-off of six round trips, a sender that repeats what it heard gets a handful of reports before the rest
/// hears it, however large the group.
#[expect(clippy::cast_precision_loss, reason = "32 bits are exact")]
pub fn truncated_exponential(random: &mut Random, longest: Duration, group_size: u32) -> Duration {
    let uniform = (random.next_u64() >> 32) as f64 / 4_294_967_296.0;
    // RFC 5401: L = ln(group size) + 1; x = uniform(L/T·1/(e^L − 1), that + L/T); t = T/L · ln(x · (e^L − 1) · T/L).
    // Both factors T/L and L/T cancel inside the logarithm.
    let lambda = f64::from(group_size.max(1)).ln() + 1.0;
    let share = (uniform * lambda.exp_m1()).ln_1p() / lambda;
    longest.mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_a_large_group_speak_early() {
        let longest = Duration::from_millis(600);
        for (group_size, seed) in [(1, 1), (10, 2), (1000, 3), (100_000, 4)] {
            let mut random = Random::new(seed);
            let draws: Vec<Duration> =
                (0..group_size).map(|_| truncated_exponential(&mut random, longest, group_size)).collect();
            assert!(draws.iter().all(|draw| *draw <= longest));
            // Within one round trip, a sixth of the back-off, of the earliest, before its echo can have come.
            let first = draws.iter().min().unwrap();
            let unheard = draws.iter().filter(|draw| **draw < *first + longest / 6).count();
            assert!(unheard <= 40, "{unheard} of {group_size}");
        }
    }

    #[test]
    fn the_distribution_is_that_of_the_rfc() {
        // P(t <= T·s) = (e^(L·s) − 1) / (e^L − 1).
        let (group_size, longest) = (50, Duration::from_secs(1));
        let lambda = f64::from(group_size).ln() + 1.0;
        let mut random = Random::new(9);
        let draws: Vec<f64> =
            (0..20_000).map(|_| truncated_exponential(&mut random, longest, group_size).as_secs_f64()).collect();
        for share in [0.25, 0.5, 0.75, 0.9] {
            let expected = (lambda * share).exp_m1() / lambda.exp_m1();
            let found = draws.iter().filter(|draw| **draw <= share).count() as f64 / draws.len() as f64;
            assert!((found - expected).abs() < 0.01, "{share}: {found} against {expected}");
        }
    }
}
