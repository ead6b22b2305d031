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
pub mod journal;
mod layout;
mod listener;
mod loss;
mod stats;

pub use action::{Action, BlockCheck, BlockOutcome, Held, Refused, Relocation, Restored, Store};
pub use block::BlockState;
pub use check::Settled;
pub use layout::{SPILL_ROWS, StagingLayout};
pub use stats::Stats;

use super::schedule::{Schedule, SymbolId};
use crate::announcement::Announcement;
use crate::manifest::{SignedManifest, TrustStore};
use crate::partition::{BlockRange, Partition};
use crate::policy::{Acceptance, Device};
use crate::wire::{FecId, Packet, TOI_ANNOUNCEMENT, TOI_FDT, TOI_IMAGE, TOI_MANIFEST};
use block::Block;
use listener::Listener;
use loss::LossMeter;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A block that has K symbols and gets no more for this long is tried as it is.
pub const QUIET: Duration = Duration::from_millis(200);
/// Refused manifests that are remembered, so that a repeated one is reported once.
const REPORTED_REFUSALS: usize = 8;

/// An upgrade that is being received.
#[derive(Debug)]
struct Upgrade {
    manifest: Arc<SignedManifest>,
    partition: Partition,
    layout: StagingLayout,
    /// Whether its manifest came in a session; else it is only what an earlier run had begun.
    heard: bool,
    /// Empty until staging is prepared.
    blocks: Vec<Block>,
    loss: LossMeter,
}

/// The receiver's half of a session.
#[derive(Debug)]
pub struct ReceiverSession {
    trust: TrustStore,
    device: Device,
    listener: Listener,
    upgrade: Option<Upgrade>,
    generation: u32,
    actions: VecDeque<Action>,
    stats: Stats,
    last_progress_at: Duration,
    /// SHA-256 of the manifests whose refusal was reported, newest first.
    reported: VecDeque<[u8; 32]>,
}

impl ReceiverSession {
    /// A receiver for `device` that trusts the keys in `trust`; with `tsi`, only that session is listened to.
    pub fn new(trust: TrustStore, device: Device, tsi: Option<u32>) -> Self {
        Self {
            trust,
            device,
            listener: Listener::new(tsi),
            upgrade: None,
            generation: 0,
            actions: VecDeque::new(),
            stats: Stats::default(),
            last_progress_at: Duration::ZERO,
            reported: VecDeque::with_capacity(REPORTED_REFUSALS),
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

    /// The manifest of the upgrade that is being received.
    pub fn manifest(&self) -> Option<&Arc<SignedManifest>> {
        self.upgrade.as_ref().map(|upgrade| &upgrade.manifest)
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
        self.actions.pop_front()
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
        match packet.header.toi {
            TOI_IMAGE => return self.on_symbol(now, &packet),
            TOI_MANIFEST => self.on_manifest(now, &packet),
            TOI_ANNOUNCEMENT => self.on_announcement(&packet),
            TOI_FDT => self.stats.control += 1,
            _ => self.stats.foreign += 1,
        }
        None
    }

    fn on_manifest(&mut self, now: Duration, packet: &Packet<'_>) {
        self.stats.control += 1;
        let Some(bytes) = self.listener.assemble(packet) else { return };
        let manifest = match SignedManifest::verify(&bytes, &self.trust) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.listener.reject(packet.header.tsi);
                return self.refuse(&bytes, Refused::Manifest(error));
            }
        };
        if let Some(current) = &mut self.upgrade {
            if manifest.digest() == current.manifest.digest() {
                // The same upgrade, under a new TSI when the sender was restarted.
                current.heard = true;
                return self.bind(packet.header.tsi);
            }
            let is_newer = manifest.manifest().sequence > current.manifest.manifest().sequence;
            // What nobody was heard sending may have been given up for a release that reuses its sequence.
            if !is_newer && current.heard {
                return;
            }
        }
        match self.device.accept(&manifest) {
            Err(refusal) => self.refuse(&bytes, Refused::Policy(refusal)),
            Ok(Acceptance::Resume { .. }) => {
                self.actions.push_back(Action::AlreadyInstalled { manifest: Arc::new(manifest) });
            }
            Ok(acceptance @ Acceptance::New { .. }) => {
                self.accept(now, manifest, acceptance, true);
                self.bind(packet.header.tsi);
            }
        }
    }

    /// Takes up what an earlier run had begun, before any session is heard: its manifest as it came, and the sessions
    /// that were bound to it, whose symbols then count at once.
    ///
    /// The manifest must be trusted, and for this device, today as on the day it came.
    ///
    /// # Errors
    /// Why it is not accepted any more; the session is then as before.
    pub fn resume(&mut self, now: Duration, manifest: &[u8], sessions: &[u64]) -> Result<(), Refused> {
        let manifest = SignedManifest::verify(manifest, &self.trust)?;
        let acceptance = self.device.accept(&manifest)?;
        if let Acceptance::New { .. } = acceptance {
            self.accept(now, manifest, acceptance, false);
            for &tsi in sessions {
                if self.listener.hears(tsi) {
                    self.bind(tsi);
                }
            }
        }
        Ok(())
    }

    /// Symbols of `tsi` belong to the upgrade from now on.
    fn bind(&mut self, tsi: u64) {
        if self.listener.bind(tsi) {
            self.actions.push_back(Action::Bound { tsi });
        }
    }

    /// Counts a refused manifest, and reports it unless it is among the last ones reported.
    fn refuse(&mut self, bytes: &[u8], reason: Refused) {
        self.stats.refused += 1;
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if self.reported.contains(&digest) {
            return;
        }
        self.reported.truncate(REPORTED_REFUSALS - 1);
        self.reported.push_front(digest);
        self.actions.push_back(Action::Refused { reason });
    }

    fn accept(&mut self, now: Duration, manifest: SignedManifest, acceptance: Acceptance, heard: bool) {
        let partition = manifest.manifest().partition;
        let manifest = Arc::new(manifest);
        self.listener.unbind_all();
        self.generation = self.generation.wrapping_add(1);
        self.last_progress_at = now;
        self.upgrade = Some(Upgrade {
            manifest: Arc::clone(&manifest),
            partition,
            layout: StagingLayout::new(partition),
            heard,
            blocks: Vec::new(),
            loss: LossMeter::default(),
        });
        // What was queued belongs to the upgrade that this one replaces.
        self.actions.clear();
        self.actions.push_back(Action::Begin { manifest, acceptance });
    }

    /// Staging is ready; `found` is what an earlier run left there, by SBN.
    pub fn begin(&mut self, now: Duration, found: impl IntoIterator<Item = (u8, Restored)>) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.blocks = upgrade.partition.iter().map(|range| Block::new(range.shape.k())).collect();
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

    fn on_announcement(&mut self, packet: &Packet<'_>) {
        let Ok(announcement) = Announcement::from_cbor(packet.payload) else {
            self.stats.malformed += 1;
            return;
        };
        self.stats.control += 1;
        let tsi = packet.header.tsi;
        let Some(upgrade) = &mut self.upgrade else { return };
        if announcement.manifest_digest != upgrade.manifest.digest() {
            // The sender of this TSI went on to another manifest: take it up afresh.
            return self.listener.forget(tsi);
        }
        if !self.listener.is_bound(tsi) {
            // It says that it carries this manifest: its next repetition proves that.
            self.listener.forget(tsi);
        } else {
            let (large, small) = announcement.repair_symbols;
            let schedule = Schedule::new(upgrade.partition, announcement.window_blocks, large, small);
            upgrade.loss.on_announcement(schedule, announcement.pass, announcement.pass_ended);
        }
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
        let block = upgrade.blocks.get_mut(usize::from(id.sbn))?;
        if block.waits_in_vain(id.esi) {
            block.forget();
            self.actions.push_back(Action::Forgotten { sbn: id.sbn });
        }
        let Some(placement) = block.place(id.esi) else {
            self.stats.surplus += 1;
            return None;
        };
        self.stats.symbols += 1;
        self.last_progress_at = now;
        block.last_symbol_at = now;
        let offset_of = |row| upgrade.layout.row_offset(&range, row);
        let store = Store {
            relocate: placement.relocate.map(|tenant| Relocation {
                id: SymbolId { sbn: id.sbn, esi: tenant.esi },
                row: tenant.to,
                from: offset_of(placement.row),
                to: offset_of(tenant.to),
            }),
            id,
            row: placement.row,
            offset: offset_of(placement.row),
            symbol: packet.payload,
        };
        if block.is_ready(false) {
            self.check(id.sbn);
        }
        Some(store)
    }

    /// Queues the check of a block. The store that completed it is returned before the action can be polled.
    fn check(&mut self, sbn: u8) {
        let Some(upgrade) = &mut self.upgrade else { return };
        let (Some(range), Some(block)) = (upgrade.partition.block(sbn), upgrade.blocks.get_mut(usize::from(sbn)))
        else {
            return;
        };
        let Some(&sha256) = upgrade.manifest.manifest().block_sha256.get(usize::from(sbn)) else { return };
        block.start_check();
        let (received, parked) = block.symbols();
        self.actions.push_back(Action::Check(BlockCheck {
            generation: self.generation,
            range,
            sha256,
            received,
            parked,
        }));
    }

    /// A block was checked.
    pub fn on_block(&mut self, now: Duration, generation: u32, sbn: u8, outcome: BlockOutcome) {
        if generation != self.generation {
            return;
        }
        let Some(block) = self.upgrade.as_mut().and_then(|upgrade| upgrade.blocks.get_mut(usize::from(sbn))) else {
            return;
        };
        match outcome {
            BlockOutcome::Verified { decoded, forged_symbols } => {
                block.verified();
                self.stats.forged_symbols += u64::from(forged_symbols);
                self.stats.verified_blocks += 1;
                self.stats.decoded_blocks += u32::from(decoded);
                self.last_progress_at = now;
                self.finish_if_complete();
            }
            BlockOutcome::Singular => {
                self.stats.singular_decodes += 1;
                if !block.need_more() {
                    self.actions.push_back(Action::Forgotten { sbn });
                }
            }
            BlockOutcome::Corrupt => {
                self.stats.corrupt_blocks += u32::from(!block.is_doubtful());
                if !block.doubt() {
                    self.actions.push_back(Action::Forgotten { sbn });
                }
            }
        }
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
    let len = packet.payload.len();
    let fits = match fec {
        FecId::RaptorQ => len == symbol_size,
        // No repair symbols; the image's last symbol may be sent unpadded (RFC 5445).
        FecId::NoCode => {
            let left = range.len.checked_sub(usize::try_from(payload_id.esi).ok()?.checked_mul(symbol_size)?)?;
            left > 0 && (len == symbol_size || len == left.min(symbol_size))
        }
    };
    fits.then_some((SymbolId { sbn, esi: payload_id.esi }, range))
}

#[cfg(test)]
mod tests;
