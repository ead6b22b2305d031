//! A receiver: the real session with staging in memory, as the receiver program drives it, without threads or files.

use super::{Disk, Random, device, release_key};
use crate::manifest::TrustStore;
use crate::policy::Device;
use crate::session::receiver::{Action, BlockCheck, BlockOutcome, ReceiverSession, Stats};
use fleetcast_fec::Codec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A receiver with what a test wants to know of it.
#[derive(Debug)]
pub struct Receiver {
    /// The session.
    pub session: ReceiverSession,
    /// What lies on its disk; survives [`restart`](Self::restart).
    pub disk: Option<Disk>,
    /// Upgrades begun since the last restart.
    pub begun: u32,
    /// Upgrades completed since the last restart.
    pub complete: u32,
    /// Refusals reported since the last restart.
    pub refused: Vec<String>,
    /// Times it was said that the release is installed already, since the last restart.
    pub installed: u32,
    device: Device,
    tsi: Option<u32>,
    feedback_seed: Option<u64>,
    codec: Codec,
    /// Checks take this long, so that packets arrive while a block is checked.
    check_time: Duration,
    checks: VecDeque<(Duration, BlockCheck)>,
    now: Duration,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new(device(None), None)
    }
}

impl Receiver {
    /// A receiver that trusts [`release_key`] and listens to every session, or only to `tsi`. Checks take no time.
    pub fn new(device: Device, tsi: Option<u32>) -> Self {
        Self {
            session: session(&device, tsi),
            disk: None,
            begun: 0,
            complete: 0,
            refused: Vec::new(),
            installed: 0,
            device,
            tsi,
            feedback_seed: None,
            codec: Codec::new(),
            check_time: Duration::ZERO,
            checks: VecDeque::new(),
            now: Duration::ZERO,
        }
    }

    /// Tells the sender what is lacking, when it asks.
    #[must_use]
    pub fn with_feedback(mut self, seed: u64) -> Self {
        self.feedback_seed = Some(seed);
        self.session = self.session.with_feedback(seed);
        self
    }

    /// Lets every check of a block take `time`.
    #[must_use]
    pub fn with_check_time(mut self, time: Duration) -> Self {
        self.check_time = time;
        self
    }

    /// The time up to which the receiver has lived.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// A packet arrives at `now`, which never runs backwards.
    ///
    /// # Panics
    ///
    /// When the session asks for what would damage staging, or counts the packet not exactly once.
    pub fn deliver(&mut self, now: Duration, packet: &[u8]) {
        self.pass_time(now);
        let before = *self.session.stats();
        if let Some(store) = self.session.on_packet(self.now, packet) {
            let disk = self.disk.as_mut().expect("a symbol before staging was prepared");
            disk.store(self.now, &store);
        }
        let stats = self.session.stats();
        assert_eq!(stats.packets, before.packets + 1);
        assert_eq!(counted(stats), counted(&before) + 1, "a packet is counted under one reason: {before:?}, {stats:?}");
        self.act();
    }

    /// Time passes until `now` with no packet.
    pub fn pass_time(&mut self, now: Duration) {
        loop {
            let check = self.checks.front().map(|(due, _)| *due);
            let timeout = self.session.poll_timeout();
            let Some(due) = check.into_iter().chain(timeout).min().filter(|&due| due <= now) else { break };
            self.now = self.now.max(due);
            if check == Some(due) {
                self.finish_check();
            } else {
                self.session.on_timeout(self.now);
            }
            self.act();
        }
        self.now = self.now.max(now);
    }

    /// The process is killed, and started again later.
    pub fn restart(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.kill(self.now);
        }
        self.start();
    }

    /// The power fails, and the receiver is started again later.
    pub fn fail_power(&mut self, random: &mut Random) {
        if let Some(disk) = &mut self.disk {
            disk.fail_power(random);
        }
        self.start();
    }

    /// Starts with what lies on the disk.
    fn start(&mut self) {
        self.session = session(&self.device, self.tsi);
        if let Some(seed) = self.feedback_seed {
            self.session = session(&self.device, self.tsi).with_feedback(seed);
        }
        self.checks.clear();
        (self.begun, self.complete, self.installed) = (0, 0, 0);
        self.refused.clear();
        if let Some(disk) = &self.disk {
            let (manifest, journal) = (Arc::clone(disk.manifest()), disk.old_journal());
            // What is refused today begins anew, if at all.
            let _ = self.session.resume(self.now, manifest.bytes(), journal.sessions());
            self.act();
        }
    }

    /// The image as it lies in staging.
    ///
    /// # Panics
    ///
    /// When no upgrade has begun.
    pub fn image(&self) -> &[u8] {
        self.disk.as_ref().expect("an upgrade").staging.image()
    }

    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Begin { .. } => self.begin(),
                Action::BeginUnsigned { .. } => unreachable!("the session wants signatures"),
                Action::AlreadyInstalled { .. } => self.installed += 1,
                Action::Refused { reason } => self.refused.push(reason.to_string()),
                Action::Check(check) => {
                    if let Some(disk) = &mut self.disk {
                        disk.staging.freeze(check.range.sbn, true);
                    }
                    self.checks.push_back((self.now + self.check_time, check));
                    if self.check_time.is_zero() {
                        self.finish_check();
                    }
                }
                Action::Bound { tsi } => self.note(|disk, now| disk.bound(now, tsi)),
                Action::Forgotten { sbn } => self.note(|disk, now| disk.forgotten(now, sbn)),
                Action::Complete => self.complete += 1,
            }
        }
    }

    fn note(&mut self, what: impl FnOnce(&mut Disk, Duration)) {
        if let Some(disk) = &mut self.disk {
            what(disk, self.now);
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        let manifest = Arc::clone(self.session.manifest().expect("the manifest of the upgrade begun"));
        let disk = match self.disk.take() {
            Some(disk) if disk.manifest().digest() == manifest.digest() => disk,
            _ => Disk::new(manifest),
        };
        let found = self.disk.insert(disk).restore();
        self.session.begin(self.now, found);
    }

    fn finish_check(&mut self) {
        let Some((_, check)) = self.checks.pop_front() else { return };
        let sbn = check.range.sbn;
        // An upgrade that was replaced has no staging any more; the session has to ignore its blocks by itself.
        let outcome = match &mut self.disk {
            Some(disk) if check.generation == self.session.generation() => {
                let outcome = disk.staging.check(&self.codec, &check);
                disk.staging.freeze(sbn, matches!(outcome, BlockOutcome::Verified { .. }));
                outcome
            }
            _ => BlockOutcome::Verified { decoded: false, forged_symbols: 0 },
        };
        self.session.on_block(self.now, check.generation, sbn, outcome);
    }
}

fn session(device: &Device, tsi: Option<u32>) -> ReceiverSession {
    ReceiverSession::new(TrustStore::new([release_key().verifying_key()]), device.clone(), tsi)
}

/// The packets that are counted under some reason.
fn counted(stats: &Stats) -> u64 {
    stats.symbols + stats.surplus + stats.early + stats.foreign + stats.malformed + stats.control
}
