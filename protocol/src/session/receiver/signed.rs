//! Upgrades that a signed manifest describes.

use super::action::{Action, Refused};
use super::delivery::Delivery;
use super::{Mode, ReceiverSession};
use crate::announcement::Announcement;
use crate::manifest::SignedManifest;
use crate::policy::Acceptance;
use crate::session::schedule::Schedule;
use crate::wire::Packet;
use std::sync::Arc;
use std::time::Duration;

impl ReceiverSession {
    pub(super) fn on_manifest(&mut self, now: Duration, packet: &Packet<'_>) {
        self.stats.control += 1;
        let Some(bytes) = self.listener.assemble(packet) else { return };
        let Mode::Signed { trust, .. } = &self.mode else { return };
        if let Some(current) = &mut self.upgrade {
            if current.delivery.signed().is_some_and(|signed| signed.bytes() == bytes) {
                // The same upgrade, under a new TSI when the sender was restarted: no signature to check again.
                current.heard = true;
                return self.bind(packet.header.tsi);
            }
            if !self.checks.spend(now) {
                return self.listener.reject(packet.header.tsi);
            }
        }
        let manifest = match SignedManifest::verify(&bytes, trust) {
            Ok(manifest) => manifest,
            Err(error) => {
                self.listener.reject(packet.header.tsi);
                return self.refuse(now, &bytes, Refused::Manifest(error));
            }
        };
        self.on_trusted(now, packet.header.tsi, &Arc::new(manifest));
    }

    /// A manifest whose signature is trusted is sent by session `tsi`.
    pub(super) fn on_trusted(&mut self, now: Duration, tsi: u64, manifest: &Arc<SignedManifest>) {
        let Mode::Signed { device, .. } = &self.mode else { return };
        if let Some(current) = &mut self.upgrade {
            if manifest.digest() == current.delivery.digest() {
                current.heard = true;
                return self.bind(tsi);
            }
            let sequence = |manifest: &SignedManifest| manifest.manifest().sequence;
            let is_newer = current.delivery.signed().is_none_or(|current| sequence(manifest) > sequence(current));
            // What nobody was heard sending may have been given up for a release that reuses its sequence.
            if !is_newer && current.heard {
                return;
            }
        }
        match device.accept(manifest) {
            Err(refusal) => self.refuse(now, manifest.bytes(), Refused::Policy(refusal)),
            Ok(Acceptance::Resume { .. }) => {
                if !self.reported.contains(&manifest.digest()) {
                    self.remember_reported(manifest.digest());
                    self.actions.push_back(Action::AlreadyInstalled { manifest: Arc::clone(manifest) });
                }
            }
            Ok(acceptance @ Acceptance::New { .. }) => {
                self.accept(now, Arc::clone(manifest), acceptance, true);
                self.bind(tsi);
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
        let Mode::Signed { trust, device } = &self.mode else { return Ok(()) };
        let manifest = SignedManifest::verify(manifest, trust)?;
        let acceptance = device.accept(&manifest)?;
        if let Acceptance::New { .. } = acceptance {
            self.accept(now, Arc::new(manifest), acceptance, false);
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

    fn accept(&mut self, now: Duration, manifest: Arc<SignedManifest>, acceptance: Acceptance, heard: bool) {
        self.take_up(now, Delivery::Signed(Arc::clone(&manifest)), heard);
        self.actions.push_back(Action::Begin { manifest, acceptance });
    }

    pub(super) fn on_announcement(&mut self, now: Duration, packet: &Packet<'_>) {
        let Ok(announcement) = Announcement::from_cbor(packet.payload) else {
            self.stats.malformed += 1;
            return;
        };
        self.stats.control += 1;
        self.on_announced(now, packet.header.tsi, &announcement);
    }

    /// Session `tsi` says where it stands.
    pub(super) fn on_announced(&mut self, now: Duration, tsi: u64, announcement: &Announcement) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if announcement.manifest_digest != upgrade.delivery.digest() {
            // The sender of this TSI went on to another manifest: take it up afresh.
            return self.listener.forget(tsi);
        }
        if !self.listener.is_bound(tsi) {
            // It says that it carries this manifest: its next repetition proves that.
            self.listener.forget(tsi);
        } else {
            let (large, small) = announcement.repair_symbols;
            if let Some(ranges) = &mut self.ranges {
                ranges.announced(&announcement.repair_urls);
            }
            let schedule = Schedule::new(upgrade.partition, announcement.window_blocks, large, small);
            // The TSIs of a sender of ours have 32 bits at most.
            let schedule = u32::try_from(tsi).map_or(schedule, |seed| schedule.with_seed(seed));
            upgrade.loss.on_announcement(schedule, announcement.pass, announcement.pass_ended);
            let reporting = self.reporting.as_mut();
            if reporting.is_some_and(|reporting| reporting.on_announcement(now, tsi, announcement)) {
                self.on_round();
            }
        }
    }
}
