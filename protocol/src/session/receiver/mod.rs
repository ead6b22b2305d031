//! The receiver session: a pure state machine from packets and times to symbols, checks and a finished image.
//!
//! The caller feeds it packets. It answers with where a symbol belongs ([`Store`]) and queues [`Action`]s: prepare
//! staging for an accepted manifest, check a block, finish. The image's bytes never lie in the session, so its memory
//! is bitmaps: about 2 bits a symbol, and 12 bytes a parked repair symbol.
//!
//! State is keyed on the manifest's digest, never on the TSI: a sender that restarts under another TSI with the same
//! manifest continues the same upgrade.

mod action;
mod block;
mod check;
mod deficits;
mod delivery;
pub mod journal;
mod layout;
mod listener;
mod loss;
pub mod ranges;
mod received;
mod run;
mod shared;
mod signed;
mod stats;
mod unsigned;
mod verdict;

pub use action::{Action, BlockCheck, BlockOutcome, Held, Refused, Relocation, Restored, Store};
pub use block::BlockState;
pub use check::Settled;
pub use deficits::Request;
pub use delivery::Delivery;
pub use layout::{SPILL_ROWS, StagingLayout};
pub use run::SymbolRun;
pub use shared::SharedPacket;
pub use stats::Stats;
pub use unsigned::{UnsignedError, UnsignedFile};

use super::budget::Budget;
use super::schedule::SymbolId;
use crate::manifest::{SignedManifest, TrustStore};
use crate::partition::{BlockRange, Partition};
use crate::policy::Device;
use crate::wire::{FecId, Packet, TOI_ANNOUNCEMENT, TOI_FDT, TOI_IMAGE, TOI_MANIFEST};
use block::Block;
use deficits::Reporting;
use listener::Listener;
use loss::LossMeter;
use ranges::Ranges;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use unsigned::FdtTables;

/// A block that has K symbols and gets no more for this long is tried as it is.
pub const QUIET: Duration = Duration::from_millis(200);
/// Most refused manifests that are reported in a period: whoever floods a receiver with them shall not fill its log.
const REPORTS_PER_PERIOD: u32 = 16;
/// The period.
const REPORT_PERIOD: Duration = Duration::from_secs(60);
/// Signatures that are checked while an upgrade is under way: each takes as long as many symbols do.
const CHECKS_PER_SECOND: u32 = 100;
/// Reported manifests that are remembered, so that a repeated one is reported once.
const REPORTED_REFUSALS: usize = 8;

/// An upgrade that is being received.
#[derive(Debug)]
struct Upgrade {
    delivery: Delivery,
    partition: Partition,
    layout: StagingLayout,
    /// Whether its manifest came in a session; else it is only what an earlier run had begun.
    heard: bool,
    /// Empty until staging is prepared.
    blocks: Vec<Block>,
    loss: LossMeter,
}

/// What the session takes up.
#[derive(Debug)]
enum Mode {
    /// Manifests with a trusted signature that are for the device.
    Signed { trust: Arc<TrustStore>, device: Arc<Device> },
    /// Files that an FDT describes, by whomever.
    Unsigned(FdtTables),
}

/// The receiver's half of a session.
#[derive(Debug)]
pub struct ReceiverSession {
    mode: Mode,
    listener: Listener,
    upgrade: Option<Upgrade>,
    generation: u32,
    actions: VecDeque<Action>,
    stats: Stats,
    last_progress_at: Duration,
    /// Digests of the manifests that were reported as refused or installed, newest first.
    reported: VecDeque<[u8; 32]>,
    reports: Budget,
    /// Signatures to be checked beside an upgrade.
    checks: Budget,
    /// What is fetched from web servers, if anything may be.
    ranges: Option<Box<Ranges>>,
    /// What the sender is told, if anything is.
    reporting: Option<Reporting>,
}

impl ReceiverSession {
    /// A receiver for `device` that trusts the keys in `trust`; with `tsi`, only that session is listened to.
    ///
    /// Many receivers in one process share both.
    pub fn new(trust: impl Into<Arc<TrustStore>>, device: impl Into<Arc<Device>>, tsi: Option<u32>) -> Self {
        Self::in_mode(Mode::Signed { trust: trust.into(), device: device.into() }, tsi)
    }

    /// A receiver that takes the first file that an FDT describes and that it can decode, whoever sends it; with `tsi`,
    /// only that session is listened to. **Nothing that comes of it is authenticated.**
    pub fn unsigned(tsi: Option<u32>) -> Self {
        Self::in_mode(Mode::Unsigned(FdtTables::default()), tsi)
    }

    fn in_mode(mode: Mode, tsi: Option<u32>) -> Self {
        Self {
            mode,
            listener: Listener::new(tsi),
            upgrade: None,
            generation: 0,
            actions: VecDeque::new(),
            stats: Stats::default(),
            last_progress_at: Duration::ZERO,
            reported: VecDeque::new(),
            reports: Budget::new(REPORTS_PER_PERIOD, REPORT_PERIOD),
            checks: Budget::new(CHECKS_PER_SECOND, Duration::from_secs(1)),
            ranges: None,
            reporting: None,
        }
    }

    /// What was counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// When the session last came closer to its end: a manifest, a symbol that was kept, a block that was verified.
    pub fn last_progress_at(&self) -> Duration {
        self.last_progress_at
    }

    /// What is being received.
    pub fn delivery(&self) -> Option<&Delivery> {
        self.upgrade.as_ref().map(|upgrade| &upgrade.delivery)
    }

    /// The manifest of the upgrade that is being received.
    pub fn manifest(&self) -> Option<&Arc<SignedManifest>> {
        self.delivery()?.signed()
    }

    /// Counts the upgrades begun: what belongs to an earlier one is out of date.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Symbols that did not come, and their share of what was sent, as far as it is known.
    pub fn loss(&self) -> Option<(u64, f64)> {
        let meter = &self.upgrade.as_ref()?.loss;
        Some((meter.lost(), meter.loss()?))
    }

    /// Symbols still lacking over all blocks, at the least.
    pub fn lacking_symbols(&self) -> u64 {
        self.upgrade.iter().flat_map(|upgrade| &upgrade.blocks).map(|block| u64::from(block.lacking())).sum()
    }

    /// The next thing to do, if there is one.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if self.actions.is_empty() {
            // Actions are large and come seldom: an empty queue keeps no room for them.
            self.actions = VecDeque::new();
        }
        action
    }

    /// Whether there is something to do. What [`on_packet`](Self::on_packet) returned must be in staging before it is done.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Takes one UDP payload that arrived at `now`, and says where its symbol belongs if it is wanted.
    pub fn on_packet<'p>(&mut self, now: Duration, bytes: &'p [u8]) -> Option<Store<'p>> {
        self.stats.packets += 1;
        self.stats.bytes += bytes.len() as u64;
        let Ok(packet) = Packet::parse(bytes) else {
            self.stats.malformed += 1;
            return None;
        };
        if !self.listener.hears(packet.header.tsi) {
            self.stats.foreign += 1;
            return None;
        }
        if let Mode::Unsigned(_) = self.mode {
            return self.on_unsigned_packet(now, &packet);
        }
        match packet.header.toi {
            TOI_IMAGE => return self.on_symbol(now, &packet),
            TOI_MANIFEST => self.on_manifest(now, &packet),
            TOI_ANNOUNCEMENT => self.on_announcement(now, &packet),
            TOI_FDT => self.stats.control += 1,
            _ => self.stats.foreign += 1,
        }
        None
    }

    /// Counts a manifest or FDT that was refused, and reports it unless it is among the last ones reported.
    fn refuse(&mut self, now: Duration, bytes: &[u8], reason: Refused) {
        self.stats.refused += 1;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if self.reported.contains(&digest) || !self.reports.spend(now) {
            return;
        }
        self.remember_reported(digest);
        self.actions.push_back(Action::Refused { reason });
    }

    fn remember_reported(&mut self, digest: [u8; 32]) {
        self.reported.truncate(REPORTED_REFUSALS - 1);
        self.reported.push_front(digest);
    }

    /// Receives this from now on, in place of what was received before.
    fn take_up(&mut self, now: Duration, delivery: Delivery, heard: bool) {
        let partition = *delivery.partition();
        self.listener.unbind_all();
        self.generation = self.generation.wrapping_add(1);
        self.last_progress_at = now;
        self.upgrade = Some(Upgrade {
            delivery,
            partition,
            layout: StagingLayout::new(partition),
            heard,
            blocks: Vec::new(),
            loss: LossMeter::default(),
        });
        if let Some(ranges) = &mut self.ranges {
            ranges.restart(now);
        }
        if let Some(reporting) = &mut self.reporting {
            reporting.restart();
        }
        // What was queued belongs to the upgrade that this one replaces.
        self.actions.clear();
    }

    /// Staging is ready; `found` is what an earlier run left there, by SBN.
    pub fn begin(&mut self, now: Duration, found: impl IntoIterator<Item = (u8, Restored)>) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.blocks = upgrade.partition.iter().map(|range| Block::new(range.shape.k())).collect();
        upgrade.blocks.shrink_to_fit();
        self.stats.verified_blocks = 0;
        self.stats.decoded_blocks = 0;
        self.stats.restored_blocks = 0;
        self.stats.restored_symbols = 0;
        let mut ready = Vec::new();
        for (sbn, restored) in found {
            let Some(block) = upgrade.blocks.get_mut(usize::from(sbn)) else { continue };
            match restored {
                Restored::Whole => {
                    block.verified();
                    self.stats.restored_blocks += 1;
                    self.stats.verified_blocks += 1;
                }
                Restored::Symbols(held) => {
                    self.stats.restored_symbols += u64::from(block.restore(&held));
                    block.last_symbol_at = now;
                    ready.extend(block.is_ready(false).then_some(sbn));
                }
            }
        }
        ready.into_iter().for_each(|sbn| self.check(sbn));
        self.finish_if_complete();
    }

    fn finish_if_complete(&mut self) {
        if self.is_complete() {
            self.actions.push_back(Action::Complete);
        }
    }

    /// Whether every block of the upgrade is verified.
    pub fn is_complete(&self) -> bool {
        let verified = |block: &Block| block.state() == BlockState::Verified;
        self.upgrade.as_ref().is_some_and(|upgrade| !upgrade.blocks.is_empty() && upgrade.blocks.iter().all(verified))
    }

    fn on_symbol<'p>(&mut self, now: Duration, packet: &Packet<'p>) -> Option<Store<'p>> {
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| !upgrade.blocks.is_empty()) else {
            self.stats.early += 1;
            return None;
        };
        if !self.listener.is_bound(packet.header.tsi) {
            self.stats.foreign += 1;
            return None;
        }
        let Some((id, range)) = symbol_of(packet, &upgrade.partition) else {
            self.stats.malformed += 1;
            return None;
        };
        upgrade.loss.on_symbol(id);
        if self.ranges.as_mut().is_some_and(|ranges| !ranges.admits(now, id.sbn)) {
            self.stats.surplus += 1;
            return None;
        }
        let store = self.keep(now, id, &range, packet.payload);
        match store {
            Some(_) => self.stats.symbols += 1,
            None => self.stats.surplus += 1,
        }
        store
    }

    /// Keeps a symbol of `range` if it is of any use, and says where it belongs.
    fn keep<'p>(&mut self, now: Duration, id: SymbolId, range: &BlockRange, symbol: &'p [u8]) -> Option<Store<'p>> {
        let upgrade = self.upgrade.as_mut()?;
        let block = upgrade.blocks.get_mut(usize::from(id.sbn))?;
        let starts_over = block.waits_in_vain(id.esi);
        if starts_over {
            block.forget();
        }
        let placement = block.place(id.esi)?;
        self.last_progress_at = now;
        block.last_symbol_at = now;
        let offset_of = |row| upgrade.layout.row_offset(range, row);
        let store = Store {
            starts_over,
            relocate: placement.relocate.map(|tenant| Relocation {
                id: SymbolId { sbn: id.sbn, esi: tenant.esi },
                row: tenant.to,
                from: offset_of(placement.row),
                to: offset_of(tenant.to),
            }),
            id,
            row: placement.row,
            offset: offset_of(placement.row),
            symbol,
        };
        if block.is_ready(false) {
            self.check(id.sbn);
        }
        Some(store)
    }

    /// When [`on_timeout`](Self::on_timeout) wants to be called next, if at all.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let upgrade = self.upgrade.as_ref()?;
        upgrade.blocks.iter().filter(|block| block.waits_for_quiet()).map(|block| block.last_symbol_at + QUIET).min()
    }

    /// Time passed: blocks that have just enough symbols and get no more are tried.
    pub fn on_timeout(&mut self, now: Duration) {
        let Some(upgrade) = &self.upgrade else { return };
        let due = |block: &Block| block.waits_for_quiet() && block.last_symbol_at + QUIET <= now;
        let sbns: Vec<u8> =
            (0..=u8::MAX).zip(&upgrade.blocks).filter(|(_, block)| due(block)).map(|(sbn, _)| sbn).collect();
        for sbn in sbns {
            self.check(sbn);
        }
    }
}

/// The symbol that a packet of the image carries, and its block; `None` when it does not fit the partition.
fn symbol_of(packet: &Packet<'_>, partition: &Partition) -> Option<(SymbolId, BlockRange)> {
    let fec = packet.fec()?;
    let payload_id = packet.payload_id().ok()?;
    let sbn = u8::try_from(payload_id.sbn).ok()?;
    let range = partition.block(sbn)?;
    let symbol_size = usize::from(partition.symbol_size());
    let offset = usize::try_from(payload_id.esi).ok()?.checked_mul(symbol_size)?;
    let left = range.len.saturating_sub(offset);
    // The image's last symbol may be sent unpadded, always without FEC (RFC 5445), by some senders with it.
    let is_whole = packet.payload.len() == symbol_size || (left > 0 && packet.payload.len() == left.min(symbol_size));
    let fits = is_whole && (fec == FecId::RaptorQ || left > 0);
    fits.then_some((SymbolId { sbn, esi: payload_id.esi }, range))
}

#[cfg(test)]
mod tests;
