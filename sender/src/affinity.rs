//! Pinning threads to processors.

use crate::precompute::Threads;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Processors, as `taskset` and the kernel write them: `0,2-3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// Threads cannot be pinned as asked for.
#[derive(Debug, Error)]
pub enum AffinityError {
    /// The kernel does not tell.
    #[error("cannot ask which processors there are: {0}")]
    Ask(io::Error),
    /// This process may not run there.
    #[error("this process may not run on processor {cpu}; it may on {allowed}")]
    Forbidden {
        /// Processor asked for.
        cpu: usize,
        /// Processors that are allowed.
        allowed: String,
    },
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error =
            || format!("'{text}' is no list of processors; write for example 0,2-3, up to {}", CpuSet::MAX_CPU - 1);
        let number = |text: &str| text.parse::<usize>().ok().filter(|&cpu| cpu < CpuSet::MAX_CPU);
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first).ok_or_else(error)?, number(last).ok_or_else(error)?);
            if first > last {
                return Err(error());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl CpuList {
    /// An error when this process may not run on one of them.
    pub fn check(&self) -> Result<(), AffinityError> {
        let allowed = sched_getaffinity(None).map_err(|errno| AffinityError::Ask(errno.into()))?;
        match self.0.iter().find(|&&cpu| !allowed.is_set(cpu)) {
            None => Ok(()),
            Some(&cpu) => {
                let list = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).map(|cpu| cpu.to_string());
                Err(AffinityError::Forbidden { cpu, allowed: list.collect::<Vec<_>>().join(",") })
            }
        }
    }

    /// Pins the calling thread, the `index`th of its kind.
    fn pin(&self, index: usize) {
        let mut set = CpuSet::new();
        set.set(self.0[index % self.0.len()]);
        // It was checked; a processor that was taken away since costs speed only.
        let _ = sched_setaffinity(None, &set);
    }
}

/// `count` threads that pin themselves to `cpus` in turn.
pub fn pinned(count: usize, cpus: Option<CpuList>) -> Result<Threads, AffinityError> {
    let Some(cpus) = cpus else { return Ok(Threads::new(count)) };
    cpus.check()?;
    Ok(Threads { count, prepare: Arc::new(move |index| cpus.pin(index)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_lists_and_refuses_the_rest() {
        assert_eq!("0,2-4,1".parse(), Ok(CpuList(vec![0, 2, 3, 4, 1])));
        for bad in ["", "a", "1-", "-1", "3-2", "0,,1", "0-99999999", "1024", "0x1"] {
            assert!(bad.parse::<CpuList>().unwrap_err().contains("0,2-3"), "{bad}");
        }
    }

    #[test]
    fn pins_threads_in_turn() {
        let allowed = sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let threads = pinned(3, Some(CpuList(cpus.clone()))).unwrap();
        for index in 0..threads.count {
            let prepare = Arc::clone(&threads.prepare);
            let set = std::thread::spawn(move || {
                prepare(index);
                sched_getaffinity(None).unwrap()
            });
            let set = set.join().unwrap();
            assert_eq!((set.count(), set.is_set(cpus[index % cpus.len()])), (1, true));
        }
        let absent = (0..CpuSet::MAX_CPU).rfind(|&cpu| !allowed.is_set(cpu)).unwrap();
        let error = pinned(1, Some(CpuList(vec![absent]))).err().unwrap().to_string();
        assert!(error.contains(&format!("may not run on processor {absent}")), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9,\\-a ]{0,12}") {
            let _ = text.parse::<CpuList>();
        }
    }
}
