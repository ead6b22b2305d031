//! A driver that remembers every write to its medium, in order: what is replayed when a kill is tested.

use super::*;
use crate::session::receiver::journal::{self, Journal};
use fleetcast_fec::{Codec, DecodeArgumentError};

/// One write of a receiver.
#[derive(Clone)]
pub(super) enum Write {
    Staging { offset: u64, bytes: Vec<u8> },
    Journal(Vec<u8>),
}

/// What a receiver has on its medium.
#[derive(Clone, Default)]
pub(super) struct Medium {
    pub(super) staging: Vec<u8>,
    pub(super) journal: Vec<u8>,
}

impl Medium {
    pub(super) fn new(manifest: &SignedManifest) -> Self {
        let layout = StagingLayout::new(manifest.manifest().partition);
        Self { staging: vec![0; layout.len() as usize], journal: journal::header(&manifest.digest()).to_vec() }
    }

    pub(super) fn write(&mut self, write: &Write) {
        match write {
            Write::Staging { offset, bytes } => self.staging[*offset as usize..][..bytes.len()].copy_from_slice(bytes),
            Write::Journal(bytes) => self.journal.extend_from_slice(bytes),
        }
    }

    /// All rows of a block, its own and its spill rows.
    pub(super) fn rows(&self, layout: &StagingLayout, range: &BlockRange) -> Vec<u8> {
        let spill = layout.spill_offset(range) as usize;
        let mut rows = self.staging[range.offset as usize..][..range.shape.len()].to_vec();
        rows.extend_from_slice(&self.staging[spill..][..SPILL_ROWS as usize * range.shape.symbol_size()]);
        rows
    }

    /// What a restarted receiver finds.
    pub(super) fn restore(&self, manifest: &SignedManifest) -> Vec<(u8, Restored)> {
        let content = manifest.manifest();
        let layout = StagingLayout::new(content.partition);
        let journal = Journal::parse(&self.journal, &manifest.digest()).unwrap_or_default();
        let found = |range: BlockRange| {
            let rows = self.rows(&layout, &range);
            match content.block_matches(range.sbn, &rows[..range.len]) {
                true => (range.sbn, Restored::Whole),
                false => (range.sbn, Restored::Symbols(journal.held(&range, &rows))),
            }
        };
        content.partition.iter().map(found).collect()
    }
}

/// A receiver with staging in memory: what the receiver binary does, without threads or files.
pub(super) struct Receiver {
    pub(super) session: ReceiverSession,
    pub(super) medium: Medium,
    /// Every write to the medium, in order.
    pub(super) log: Vec<Write>,
    pub(super) now: Duration,
    pub(super) codec: Codec,
    pub(super) complete: u32,
    pub(super) begun: u32,
    pub(super) refused: Vec<String>,
    pub(super) installed: u32,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self::with(device(None))
    }

    pub(super) fn with(device: Device) -> Self {
        let trust = TrustStore::new([release_key().verifying_key()]);
        Self {
            session: ReceiverSession::new(trust, device, None),
            medium: Medium::default(),
            log: Vec::new(),
            now: Duration::ZERO,
            codec: Codec::new(),
            complete: 0,
            begun: 0,
            refused: Vec::new(),
            installed: 0,
        }
    }

    pub(super) fn take(&mut self, packet: &[u8]) {
        self.now += TICK;
        if let Some(store) = self.session.on_packet(self.now, packet) {
            self.store(&store);
        }
        self.act();
    }

    pub(super) fn store(&mut self, store: &Store<'_>) {
        let symbol_size = usize::from(self.session.manifest().unwrap().manifest().partition.symbol_size());
        if store.starts_over {
            self.note(&journal::forgotten_record(store.id.sbn));
        }
        if let Some(Relocation { id, row, from, to }) = store.relocate {
            let tenant = self.medium.staging[from as usize..][..symbol_size].to_vec();
            self.note(&journal::symbol_record(id, row, &tenant, symbol_size));
            self.write(Write::Staging { offset: to, bytes: tenant });
        }
        let mut symbol = store.symbol.to_vec();
        symbol.resize(symbol_size, 0);
        self.write(Write::Staging { offset: store.offset, bytes: symbol });
        self.note(&journal::symbol_record(store.id, store.row, store.symbol, symbol_size));
    }

    pub(super) fn write(&mut self, write: Write) {
        self.medium.write(&write);
        self.log.push(write);
    }

    pub(super) fn note(&mut self, record: &[u8]) {
        self.write(Write::Journal(record.to_vec()));
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.session.on_timeout(self.now);
        self.act();
    }

    pub(super) fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Begin { manifest, .. } => {
                    self.begun += 1;
                    self.medium = Medium::new(&manifest);
                    self.log.clear();
                    self.session.begin(self.now, []);
                }
                Action::BeginUnsigned { .. } => unreachable!("the session wants signatures"),
                Action::AlreadyInstalled { .. } => self.installed += 1,
                Action::Refused { reason } => self.refused.push(reason.to_string()),
                Action::Check(check) => {
                    let outcome = self.check(&check);
                    self.session.on_block(self.now, check.generation, check.range.sbn, outcome);
                }
                Action::Bound { tsi } => self.note(&journal::session_record(tsi)),
                Action::Forgotten { sbn } => self.note(&journal::forgotten_record(sbn)),
                Action::Complete => self.complete += 1,
            }
        }
    }

    pub(super) fn check(&mut self, check: &BlockCheck) -> BlockOutcome {
        let layout = StagingLayout::new(self.session.manifest().unwrap().manifest().partition);
        let range = check.range;
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
            *rows = self.medium.rows(&layout, &range);
            Ok(())
        };
        let settled = check.settle(&self.codec, &mut rows, read).unwrap();
        for row in settled.computed_rows {
            let bytes = rows.chunks_exact(range.shape.symbol_size()).nth(row as usize).unwrap().to_vec();
            self.write(Write::Staging { offset: layout.row_offset(&range, row), bytes });
        }
        settled.outcome
    }

    pub(super) fn image(&self) -> &[u8] {
        let len = self.session.manifest().unwrap().manifest().partition.image_len();
        &self.medium.staging[..len as usize]
    }
}
