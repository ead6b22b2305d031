//! Symbols into staging, and notes of them into the journal.

use super::{ReceiveError, Run, SYNC_INTERVAL};
use crate::journal::JournalFile;
use fleetcast_protocol::session::receiver::{Relocation, Store};

impl Run<'_> {
    /// Adds a symbol to those that are about to be written, and notes it.
    pub(super) fn place<'p>(
        &mut self,
        store: &Store<'p>,
        symbols: &mut Vec<(u64, &'p [u8])>,
    ) -> Result<(), ReceiveError> {
        if store.starts_over {
            self.note(|journal| journal.forget(store.id.sbn));
        }
        if let Some(relocation) = store.relocate {
            self.store(symbols)?;
            self.relocate(relocation)?;
        }
        symbols.push((store.offset, store.symbol));
        self.note(|journal| journal.symbol(store.id, store.row, store.symbol));
        Ok(())
    }

    pub(super) fn store(&self, symbols: &mut Vec<(u64, &[u8])>) -> Result<(), ReceiveError> {
        self.staging.as_ref().map_or(Ok(()), |staging| Ok(staging.store(symbols)?))
    }

    fn relocate(&mut self, tenant: Relocation) -> Result<(), ReceiveError> {
        let (Some(staging), Some(journal)) = (&self.staging, &mut self.journal) else { return Ok(()) };
        let symbol = staging.relocate(tenant.from, tenant.to)?;
        journal.symbol(tenant.id, tenant.row, &symbol);
        Ok(())
    }

    /// Notes what was stored since, and syncs it now and then.
    pub(super) fn keep_journal(&mut self) -> Result<(), ReceiveError> {
        let now = self.now();
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.flush_if_due(now)?;
        let stats = self.session.stats();
        let symbols = stats.symbols + stats.fetched_symbols;
        if now >= self.next_sync && symbols > self.synced_symbols {
            self.next_sync = now + SYNC_INTERVAL;
            self.synced_symbols = symbols;
            self.checker.sync(self.session.generation(), journal.file());
        }
        Ok(())
    }

    pub(super) fn note(&mut self, what: impl FnOnce(&mut JournalFile)) {
        if let Some(journal) = &mut self.journal {
            what(journal);
        }
    }
}
