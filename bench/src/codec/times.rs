//! Times of two contenders, round by round.
//!
//! What is measured is the CPU time of the thread: both contenders only compute, so that on a quiet machine it is the time that
//! passes, and on a busy one other programs do not count.

use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

/// How long each round took each contender.
#[derive(Default)]
pub struct Times {
    pub ours: Vec<Duration>,
    pub bare_crate: Vec<Duration>,
}

impl Times {
    /// Times both, and lets the other one go first each round.
    pub fn round(
        &mut self,
        round: u32,
        ours: impl FnOnce() -> anyhow::Result<()>,
        bare_crate: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if round.is_multiple_of(2) {
            self.ours.push(timed(ours)?);
            self.bare_crate.push(timed(bare_crate)?);
        } else {
            self.bare_crate.push(timed(bare_crate)?);
            self.ours.push(timed(ours)?);
        }
        Ok(())
    }
}

/// How much CPU time `operation` takes.
pub fn timed(operation: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = cpu_time()?;
    black_box(operation())?;
    Ok(cpu_time()?.saturating_sub(start))
}

/// CPU time that this thread has had.
fn cpu_time() -> anyhow::Result<Duration> {
    Ok(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime))?)
}

/// The median in seconds, at least a nanosecond so that it can divide.
pub fn median_s(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    median.max(Duration::from_nanos(1)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times = [5, 1, 900].map(Duration::from_millis);
        assert!((median_s(&times) - 0.005).abs() < 1e-9);
        assert!(median_s(&[]) > 0.0);
    }
}
