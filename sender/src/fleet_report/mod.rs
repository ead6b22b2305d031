//! The truth per device: takes receivers' reports, keeps the last word of each, and writes it to a file for the operator.

mod file;
mod sizing;

pub use file::FileError;
pub use sizing::{Sizing, SizingError};

use file::{Snapshot, write};
use fleetcast_protocol::fleet::{DeviceId, DeviceIdError, DeviceReport, Fleet, Tally};
use fleetcast_protocol::manifest::UnverifiedManifest;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use thiserror::Error;

/// The file is written anew so often at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is looked whether something has changed.
const POLL: Duration = Duration::from_millis(100);
/// Longest list of devices, in bytes.
const MAX_LIST_LEN: u64 = 64 << 20;

/// Why the list of devices cannot be used.
#[derive(Debug, Error)]
pub enum DevicesError {
    /// It cannot be read.
    #[error("cannot read the list of devices {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A line is no device.
    #[error("{path}, line {line}: {source}; write one device id a line")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        source: DeviceIdError,
    },
    /// There is no device in it.
    #[error("{0} names no device; write one device id a line, or leave --devices out")]
    Empty(PathBuf),
}

/// Reads a list of devices: one id a line; empty lines and what follows a # are passed over.
pub fn read_devices(path: &Path) -> Result<Vec<DeviceId>, DevicesError> {
    let read = |source| DevicesError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read)?.len() > MAX_LIST_LEN {
        return Err(read(io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map_err(read)?;
    let mut devices = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let name = content.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            let device = name.parse().map_err(|source| DevicesError::Line { path: path.to_owned(), line, source })?;
            devices.push(device);
        }
    }
    if devices.is_empty() { Err(DevicesError::Empty(path.to_owned())) } else { Ok(devices) }
}

/// Takes reports, from any thread.
#[derive(Debug)]
pub struct Watch {
    fleet: Mutex<Fleet>,
    started: Instant,
    silent_after: Duration,
}

impl Watch {
    /// Watches the devices `expected` (or whoever reports, when there are none) get the release with `digest`.
    pub fn new(digest: [u8; 32], expected: Vec<DeviceId>, silent_after: Duration) -> Self {
        Self { fleet: Mutex::new(Fleet::new(digest, expected)), started: Instant::now(), silent_after }
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report; false when it is none. One that counts for nothing is no error of its sender.
    pub fn take(&self, from: IpAddr, bytes: &[u8]) -> bool {
        let Ok(report) = DeviceReport::from_cbor(bytes) else { return false };
        // What is ignored is counted.
        let _ = self.fleet().on_report(self.started.elapsed(), from, report);
        true
    }

    /// The sum of it now.
    pub fn tally(&self) -> Tally {
        self.fleet().tally(self.started.elapsed(), self.silent_after)
    }

    /// Whether every device on the list has said how it ended.
    pub fn is_settled(&self) -> bool {
        self.fleet().is_settled()
    }

    fn changes(&self) -> u64 {
        self.fleet().changes()
    }
}

/// Writes a report file now and then, from a thread of its own, and a last time when it ends.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), FileError>>>,
}

impl Writer {
    /// Writes what `watch` knows of the release with `manifest` to `path`, and beside it the same as CSV.
    ///
    /// # Errors
    /// When the first, empty report cannot be written: that is found before anything is sent.
    pub fn start(path: PathBuf, manifest: &UnverifiedManifest, watch: Arc<Watch>) -> Result<Self, FileError> {
        let release = file::Release::of(manifest);
        let snapshot =
            move |watch: &Watch| Snapshot::of(&release, &watch.fleet(), watch.started.elapsed(), watch.silent_after);
        write(&path, &snapshot(&watch))?;
        let stop = Arc::<AtomicBool>::default();
        let asked = Arc::clone(&stop);
        let run = move || {
            let (mut written, mut next) = (0, Instant::now());
            while !asked.load(Ordering::Relaxed) {
                if watch.changes() != written && Instant::now() >= next {
                    (written, next) = (watch.changes(), Instant::now() + WRITE_INTERVAL);
                    // A disk that is full now may have room at the end, and then it counts.
                    let _ = write(&path, &snapshot(&watch));
                }
                thread::sleep(POLL);
            }
            write(&path, &snapshot(&watch))
        };
        let failed = |source| FileError { path: PathBuf::from("the report's thread"), source };
        let thread = thread::Builder::new().name("fleet-report".into()).spawn(run).map_err(failed)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Writes it a last time.
    ///
    /// # Errors
    /// When that fails.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.end().unwrap_or(Ok(()))
    }

    fn end(&mut self) -> Option<Result<(), FileError>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A send that fails leaves what was known.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests;
