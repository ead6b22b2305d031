//! What survives when a receiver is killed: its manifest, staging, and the journal as far as it was written.

use super::{Random, Staging};
use crate::manifest::SignedManifest;
use crate::session::SymbolId;
use crate::session::receiver::journal::{
    HEADER_LEN, Journal, RECORD_LEN, forgotten_record, header, session_record, symbol_record,
};
use crate::session::receiver::{Relocation, Restored, Store};
use std::sync::Arc;
use std::time::Duration;

/// Records wait so long at most before they are written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);

/// The state folder of a receiver with an upgrade under way.
#[derive(Debug, Clone)]
pub struct Disk {
    manifest: Arc<SignedManifest>,
    /// The image's symbols.
    pub staging: Staging,
    /// The journal's bytes, with the records that wait to be written at the end.
    pub journal: Vec<u8>,
    written: usize,
    waiting_since: Option<Duration>,
}

impl Disk {
    /// The state folder of an upgrade that begins.
    pub fn new(manifest: Arc<SignedManifest>) -> Self {
        let journal = header(&manifest.digest()).to_vec();
        let staging = Staging::new(manifest.manifest());
        Self { manifest, staging, written: journal.len(), journal, waiting_since: None }
    }

    /// The manifest of the upgrade.
    pub fn manifest(&self) -> &Arc<SignedManifest> {
        &self.manifest
    }

    /// What the journal says, if it can be read.
    pub fn old_journal(&self) -> Journal {
        Journal::parse(&self.journal, &self.manifest.digest()).unwrap_or_default()
    }

    /// Finds what staging holds, and begins a new journal with it.
    pub fn restore(&mut self) -> Vec<(u8, Restored)> {
        let old = self.old_journal();
        self.journal = header(&self.manifest.digest()).to_vec();
        let mut found = Vec::new();
        for range in self.manifest.manifest().partition.iter() {
            let rows = self.staging.rows(&range);
            if self.manifest.manifest().block_matches(range.sbn, &rows[..range.len]) {
                found.push((range.sbn, Restored::Whole));
                continue;
            }
            let symbol_size = range.shape.symbol_size();
            let held = old.held(&range, &rows);
            for symbol in &held {
                let bytes = &rows[symbol.row as usize * symbol_size..][..symbol_size];
                let id = SymbolId { sbn: range.sbn, esi: symbol.esi };
                self.journal.extend_from_slice(&symbol_record(id, symbol.row, bytes, symbol_size));
            }
            found.push((range.sbn, Restored::Symbols(held)));
        }
        self.written = self.journal.len();
        let whole = |sbn| found.contains(&(sbn, Restored::Whole));
        self.manifest.manifest().partition.iter().for_each(|range| self.staging.freeze(range.sbn, whole(range.sbn)));
        found
    }

    /// Does what the session wants done with a symbol, at `now`.
    ///
    /// # Panics
    ///
    /// When that would damage staging, see [`Staging`].
    pub fn store(&mut self, now: Duration, store: &Store<'_>) {
        let symbol_size = usize::from(self.manifest.manifest().partition.symbol_size());
        if store.starts_over {
            self.forgotten(now, store.id.sbn);
        }
        if let Some(Relocation { id, row, from, to }) = store.relocate {
            let symbol = self.staging.relocate(from, to);
            self.note(now, &symbol_record(id, row, &symbol, symbol_size));
        }
        self.staging.write(store.offset, store.symbol);
        self.note(now, &symbol_record(store.id, store.row, store.symbol, symbol_size));
    }

    /// Notes that a session is bound to the manifest.
    pub fn bound(&mut self, now: Duration, tsi: u64) {
        self.note(now, &session_record(tsi));
    }

    /// Notes that the symbols of a block are worthless.
    pub fn forgotten(&mut self, now: Duration, sbn: u8) {
        self.note(now, &forgotten_record(sbn));
    }

    fn note(&mut self, now: Duration, record: &[u8; RECORD_LEN]) {
        self.flush_if_due(now);
        self.journal.extend_from_slice(record);
        self.waiting_since.get_or_insert(now);
    }

    fn flush_if_due(&mut self, now: Duration) {
        if self.waiting_since.is_some_and(|since| now.saturating_sub(since) >= FLUSH_INTERVAL) {
            self.written = self.journal.len();
            self.waiting_since = None;
        }
    }

    /// Records that wait to be written.
    pub fn unwritten_records(&self) -> u64 {
        ((self.journal.len() - self.written) / RECORD_LEN) as u64
    }

    /// All that was stored until now is on the medium, whatever happens.
    pub fn sync(&mut self) {
        self.written = self.journal.len();
        self.waiting_since = None;
        self.staging.sync();
    }

    /// The process is killed: records that waited are lost.
    pub fn kill(&mut self, now: Duration) {
        self.flush_if_due(now);
        self.journal.truncate(self.written);
        self.waiting_since = None;
    }

    /// The power fails: of what was not synced anything may be lost or torn, in any order, and the journal ends anywhere.
    pub fn fail_power(&mut self, random: &mut Random) {
        self.staging.fail_power(random);
        let end = HEADER_LEN + random.index(self.journal.len() - HEADER_LEN + 1);
        self.journal.truncate(end);
        self.written = end;
        self.waiting_since = None;
    }
}
