//! Our receiver session that trusts nobody, driven in process.

use std::sync::Arc;
use std::time::Duration;

use fleetcast_fec::{Codec, DecodeArgumentError};
use fleetcast_protocol::session::receiver::{
    Action, BlockCheck, BlockOutcome, QUIET, ReceiverSession, SPILL_ROWS, StagingLayout, Store, UnsignedFile,
};

use crate::flute_sender::PACKET_GAP;

/// Our receiver session that trusts nobody, with its staging in memory.
pub struct Receiver {
    pub session: ReceiverSession,
    codec: Codec,
    pub file: Option<Arc<UnsignedFile>>,
    staging: Vec<u8>,
    now: Duration,
    complete: bool,
    pub refused: Vec<String>,
}

impl Receiver {
    pub fn new() -> Self {
        Self {
            session: ReceiverSession::unsigned(None),
            codec: Codec::new(),
            file: None,
            staging: Vec::new(),
            now: Duration::ZERO,
            complete: false,
            refused: Vec::new(),
        }
    }

    pub fn push(&mut self, packet: &[u8]) {
        self.now += PACKET_GAP;
        if let Some(store) = self.session.on_packet(self.now, packet) {
            self.store(&store);
        }
        self.act();
    }

    /// Nothing comes for a while.
    pub fn rest(&mut self) {
        self.now += QUIET;
        self.session.on_timeout(self.now);
        self.act();
    }

    fn layout(&self) -> StagingLayout {
        StagingLayout::new(self.file.as_ref().unwrap().partition)
    }

    fn store(&mut self, store: &Store<'_>) {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let size = usize::from(self.layout().partition().symbol_size());
        if let Some(tenant) = store.relocate {
            self.staging.copy_within(at(tenant.from)..at(tenant.from) + size, at(tenant.to));
        }
        let row = &mut self.staging[at(store.offset)..at(store.offset) + size];
        row.fill(0);
        row[..store.symbol.len()].copy_from_slice(store.symbol);
    }

    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::BeginUnsigned { file } => {
                    self.staging = vec![0; usize::try_from(StagingLayout::new(file.partition).len()).unwrap()];
                    self.file = Some(file);
                    self.session.begin(self.now, []);
                }
                Action::Check(check) => {
                    let outcome = self.check(&check);
                    self.session.on_block(self.now, check.generation, check.range.sbn, outcome);
                }
                Action::Refused { reason } => self.refused.push(reason.to_string()),
                Action::Complete => self.complete = true,
                Action::Forgotten { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn check(&mut self, check: &BlockCheck) -> BlockOutcome {
        let (range, size) = (check.range, check.range.shape.symbol_size());
        let start = usize::try_from(range.offset).unwrap();
        let spill = usize::try_from(self.layout().spill_offset(&range)).unwrap();
        let mut rows = Vec::new();
        let read = |rows: &mut Vec<u8>| -> Result<(), DecodeArgumentError> {
            *rows = self.staging[start..start + range.shape.len()].to_vec();
            rows.extend_from_slice(&self.staging[spill..spill + SPILL_ROWS as usize * size]);
            Ok(())
        };
        let settled = check.settle(&self.codec, &mut rows, read).unwrap();
        for row in settled.computed_rows {
            let at = row as usize * size;
            self.staging[start + at..start + at + size].copy_from_slice(&rows[at..at + size]);
        }
        settled.outcome
    }

    /// The file, when it is complete.
    pub fn file(&self) -> Option<&[u8]> {
        let len = self.file.as_ref()?.partition.image_len();
        self.complete.then(|| &self.staging[..usize::try_from(len).unwrap()])
    }
}
