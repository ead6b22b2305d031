//! What this process has cost so far.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads, user and system, in seconds.
pub fn cpu_s() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9
}

/// The most memory this process held at a time, in bytes, as the kernel counts it.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_this_process() {
        assert!(cpu_s() > 0.0);
        assert!(peak_rss_bytes().is_some_and(|bytes| bytes > 1 << 16));
    }
}
