//! One lab at a time on a machine: two cores cannot run two without each spoiling the other's timing.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::{LabError, interrupt};

const PATH: &str = "/run/fleetcast-lab.lock";
const PATIENCE: Duration = Duration::from_secs(20 * 60);
const POLL: Duration = Duration::from_millis(50);

/// The right to have namespaces, among all processes and threads of the machine. Released on drop, and by the kernel when
/// the holder dies.
#[derive(Debug)]
pub struct LabLock {
    _file: File,
}

impl LabLock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// When the lock file cannot be opened, on an interrupt, or after 20 minutes.
    pub fn acquire() -> Result<Self, LabError> {
        Self::acquire_at(Path::new(PATH), PATIENCE)
    }

    fn acquire_at(path: &Path, patience: Duration) -> Result<Self, LabError> {
        let shown = path.display();
        let file = File::create(path).map_err(LabError::io(format!("open the lab's lock {shown}")))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(LabError::io(format!("lock {shown}"))(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            interrupt::check()?;
            if start.elapsed() > patience {
                return Err(LabError::Timeout { what: format!("another lab to release {shown}"), waited: patience });
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_drop_releases_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = LabLock::acquire_at(&path, Duration::ZERO).unwrap();
        assert!(matches!(LabLock::acquire_at(&path, Duration::from_millis(1)), Err(LabError::Timeout { .. })));
        drop(first);
        // Not at once: another test may just be forking, and its child holds a copy of the file until it executes.
        LabLock::acquire_at(&path, Duration::from_secs(10)).unwrap();
    }
}
