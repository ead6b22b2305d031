//! The journal file: which symbols staging holds, so that a restarted receiver need not receive them again.
//!
//! Records are appended behind the symbols that they name, a few dozen milliseconds' worth at a time. What they look like,
//! and why no order between this file and staging is needed, is in [`fleetcast_protocol::session::receiver::journal`].

use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::receiver::journal::{
    HEADER_LEN, RECORD_LEN, forgotten_record, header, session_record, symbol_record,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Records wait for each other so long at most: what a killed receiver loses.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// Or until they are so many bytes.
const FLUSH_BYTES: usize = 4096;
/// Records for each symbol of the image, before the journal counts as overrun.
const RECORDS_PER_SYMBOL: u64 = 2;

/// The journal cannot be written.
#[derive(Debug, Error)]
#[error("cannot write the journal {path}: {source}; free some space, or give another folder with --state")]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// An open journal.
#[derive(Debug)]
pub struct JournalFile {
    file: Arc<File>,
    path: PathBuf,
    symbol_size: usize,
    waiting: Vec<u8>,
    /// When the first of the waiting records came.
    waiting_since: Option<Duration>,
    len: u64,
    /// Forged symbols can make blocks start over without end; past this many bytes the journal starts over too.
    max_len: u64,
}

impl JournalFile {
    /// Begins a journal for the manifest with `digest` in place of what is at `path`.
    pub fn create(path: &Path, digest: &[u8; 32], partition: &Partition) -> Result<Self, JournalError> {
        let error = |source| JournalError { path: path.to_owned(), source };
        let temporary = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).append(true).truncate(false).open(&temporary).map_err(error)?;
        file.set_len(0).and_then(|()| file.write_all(&header(digest))).map_err(error)?;
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            symbol_size: usize::from(partition.symbol_size()),
            waiting: Vec::with_capacity(2 * FLUSH_BYTES),
            waiting_since: None,
            len: HEADER_LEN as u64,
            max_len: HEADER_LEN as u64 + RECORDS_PER_SYMBOL * RECORD_LEN as u64 * partition.total_symbols().max(1000),
        })
    }

    /// Gives it its name, in place of the one that was there: all that was kept of that one has been noted.
    pub fn replace(&mut self) -> Result<(), JournalError> {
        self.flush()?;
        let renamed = self.file.sync_data().and_then(|()| fs::rename(self.path.with_extension("new"), &self.path));
        renamed.map_err(|source| self.error(source))
    }

    /// Symbol `id` lies in `row`.
    pub fn symbol(&mut self, id: SymbolId, row: u32, symbol: &[u8]) {
        self.waiting.extend_from_slice(&symbol_record(id, row, symbol, self.symbol_size));
    }

    /// The symbols of block `sbn` were worthless.
    pub fn forget(&mut self, sbn: u8) {
        self.waiting.extend_from_slice(&forgotten_record(sbn));
    }

    /// Symbols of session `tsi` belong to the image.
    pub fn session(&mut self, tsi: u64) {
        self.waiting.extend_from_slice(&session_record(tsi));
    }

    /// Writes the records that are many enough, or have waited for long enough.
    pub fn flush_if_due(&mut self, now: Duration) -> Result<(), JournalError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let since = *self.waiting_since.get_or_insert(now);
        if self.waiting.len() >= FLUSH_BYTES || now.saturating_sub(since) >= FLUSH_INTERVAL {
            self.flush()?;
        }
        Ok(())
    }

    /// When [`flush_if_due`](Self::flush_if_due) wants to be called next.
    pub fn next_flush(&self) -> Option<Duration> {
        self.waiting_since.map(|since| since + FLUSH_INTERVAL)
    }

    /// Writes the records that wait.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.waiting_since = None;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting.len() as u64;
        if self.len + waiting > self.max_len {
            // It costs bytes if the receiver is killed now, and the disk is not filled by an attacker.
            self.file.set_len(HEADER_LEN as u64).map_err(|source| self.error(source))?;
            self.len = HEADER_LEN as u64;
        }
        let written = (&*self.file).write_all(&self.waiting);
        written.map_err(|source| self.error(source))?;
        self.len += waiting;
        self.waiting.clear();
        Ok(())
    }

    /// The file, to be synced by another thread.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    fn error(&self, source: io::Error) -> JournalError {
        JournalError { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetcast_protocol::session::receiver::journal::Journal;

    const DIGEST: [u8; 32] = [5; 32];
    const SYMBOL: [u8; 16] = [7; 16];

    fn partition() -> Partition {
        Partition::new(16 * 10, 16, 1).unwrap()
    }

    fn journal(folder: &tempfile::TempDir) -> JournalFile {
        JournalFile::create(&folder.path().join("journal"), &DIGEST, &partition()).unwrap()
    }

    fn held(folder: &tempfile::TempDir) -> usize {
        let bytes = fs::read(folder.path().join("journal")).unwrap();
        let block = partition().block(0).unwrap();
        Journal::parse(&bytes, &DIGEST).unwrap().held(&block, &[7; 16 * 14]).len()
    }

    fn id(esi: u32) -> SymbolId {
        SymbolId { sbn: 0, esi }
    }

    #[test]
    fn takes_the_place_of_the_old_one_only_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let mut old = journal(&folder);
        old.symbol(id(1), 1, &SYMBOL);
        old.replace().unwrap();
        let mut new = journal(&folder);
        new.symbol(id(1), 1, &SYMBOL);
        new.symbol(id(2), 2, &SYMBOL);
        assert_eq!(held(&folder), 1);
        new.replace().unwrap();
        assert_eq!(held(&folder), 2);
        new.symbol(id(3), 3, &SYMBOL);
        new.flush().unwrap();
        assert_eq!(held(&folder), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn writes_when_enough_records_wait_or_one_for_long_enough() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(&folder);
        journal.replace().unwrap();
        journal.symbol(id(1), 1, &SYMBOL);
        let start = Duration::from_secs(1);
        journal.flush_if_due(start).unwrap();
        assert_eq!((held(&folder), journal.next_flush()), (0, Some(start + FLUSH_INTERVAL)));
        journal.flush_if_due(start + FLUSH_INTERVAL).unwrap();
        assert_eq!((held(&folder), journal.next_flush()), (1, None));
        (0..FLUSH_BYTES / RECORD_LEN + 1).for_each(|_| journal.symbol(id(2), 2, &SYMBOL));
        journal.flush_if_due(start).unwrap();
        assert_eq!(held(&folder), 2);
    }

    #[test]
    fn starts_over_rather_than_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(&folder);
        journal.replace().unwrap();
        for _ in 0..10_000 {
            journal.symbol(id(1), 1, &SYMBOL);
            journal.flush().unwrap();
            assert!(fs::metadata(folder.path().join("journal")).unwrap().len() <= journal.max_len);
        }
        assert_eq!(held(&folder), 1);
    }
}
