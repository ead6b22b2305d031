//! Files that an FDT describes and nobody signed: other FLUTE senders' streams, by explicit demand only.

mod file;
mod tables;

pub use file::{UnsignedError, UnsignedFile};
pub(super) use tables::FdtTables;

use super::action::{Action, Refused, Store};
use super::delivery::Delivery;
use super::{Mode, ReceiverSession};
use crate::fdt::Fdt;
use crate::wire::{Packet, TOI_FDT};
use std::sync::Arc;
use std::time::Duration;

/// A file of which nothing came for this long gives way to another one.
const STALLED: Duration = Duration::from_secs(10);

impl ReceiverSession {
    pub(super) fn on_unsigned_packet<'p>(&mut self, now: Duration, packet: &Packet<'p>) -> Option<Store<'p>> {
        let (tsi, toi) = (packet.header.tsi, packet.header.toi);
        if toi == TOI_FDT {
            self.on_fdt(now, packet);
            return None;
        }
        match self.delivery().and_then(Delivery::unsigned) {
            None => self.stats.early += 1,
            Some(file) if (file.tsi, file.toi) == (tsi, toi) => return self.on_symbol(now, packet),
            Some(_) => self.stats.foreign += 1,
        }
        None
    }

    fn on_fdt(&mut self, now: Duration, packet: &Packet<'_>) {
        self.stats.control += 1;
        let Mode::Unsigned(tables) = &mut self.mode else { return };
        let Some(xml) = tables.push(packet) else { return };
        let tsi = packet.header.tsi;
        let file = Fdt::parse(&xml).map_err(Refused::from).and_then(|fdt| Ok(UnsignedFile::choose(&fdt, tsi)?));
        match file {
            Ok(file) => self.take_up_unsigned(now, file),
            Err(reason) => {
                // It may have been spoiled by a forged symbol.
                if let Mode::Unsigned(tables) = &mut self.mode {
                    tables.reject(tsi);
                }
                self.refuse(now, &xml, reason);
            }
        }
    }

    /// Receives `file`, unless it is being received, was received last, or another one is making progress.
    fn take_up_unsigned(&mut self, now: Duration, file: UnsignedFile) {
        let is_stalled = now.saturating_sub(self.last_progress_at) >= STALLED;
        let is_free = |current: &Delivery| current.digest() != file.digest() && (self.is_complete() || is_stalled);
        if self.delivery().is_some_and(|current| !is_free(current)) {
            return;
        }
        let file = Arc::new(file);
        self.take_up(now, Delivery::Unsigned(Arc::clone(&file)), true);
        self.listener.bind(file.tsi);
        self.actions.push_back(Action::BeginUnsigned { file });
    }
}

#[cfg(test)]
mod tests;
