//! Runs a scenario: sends what the sessions send, kills the receiver when its time has come, and checks what it holds.

use crate::scenario::{Death, Scenario, Session};
use fleetcast_protocol::session::SymbolId;
use fleetcast_protocol::session::receiver::{Stats, journal};
use fleetcast_protocol::session::sender::SenderConfig;
use fleetcast_protocol::simulation::{Path, Random, Receiver, Transmission, device};
use std::iter::Peekable;
use std::time::Duration;

/// The wanted release must be complete this long after the last disturbance: 300 rounds of control packets, and
/// enough packets for dozens of passes.
const PATIENCE: Duration = Duration::from_secs(300);
const PATIENCE_PACKETS: u32 = 60_000;

/// What happened in a run, or in many.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    packets: u64,
    symbols: u64,
    surplus: u64,
    early: u64,
    foreign: u64,
    malformed: u64,
    refused: u64,
    decoded_blocks: u64,
    restored_blocks: u64,
    restored_symbols: u64,
    corrupt_blocks: u64,
    forged_symbols: u64,
    singular_decodes: u64,
    restarts: u64,
    replaced: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum.1 += more.1;
        }
    }

    /// Otherwise the runs would prove less than they seem to.
    pub fn assert_that_everything_happened(&self) {
        for (name, count) in self.fields() {
            assert!(count > 0, "in no run there was anything of: {name}");
        }
    }

    fn take(&mut self, stats: &Stats) {
        self.packets += stats.packets;
        self.symbols += stats.symbols;
        self.surplus += stats.surplus;
        self.early += stats.early;
        self.foreign += stats.foreign;
        self.malformed += stats.malformed;
        self.refused += stats.refused;
        self.decoded_blocks += u64::from(stats.decoded_blocks);
        self.restored_blocks += u64::from(stats.restored_blocks);
        self.restored_symbols += stats.restored_symbols;
        self.forged_symbols += stats.forged_symbols;
        self.corrupt_blocks += u64::from(stats.corrupt_blocks);
        self.singular_decodes += u64::from(stats.singular_decodes);
    }

    fn fields(mut self) -> Vec<(&'static str, u64)> {
        self.fields_mut().into_iter().map(|(name, count)| (name, *count)).collect()
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut u64); 15] {
        [
            ("packets", &mut self.packets),
            ("symbols", &mut self.symbols),
            ("surplus", &mut self.surplus),
            ("early", &mut self.early),
            ("foreign", &mut self.foreign),
            ("malformed", &mut self.malformed),
            ("refused", &mut self.refused),
            ("decoded blocks", &mut self.decoded_blocks),
            ("restored blocks", &mut self.restored_blocks),
            ("restored symbols", &mut self.restored_symbols),
            ("forged symbols", &mut self.forged_symbols),
            ("corrupt blocks", &mut self.corrupt_blocks),
            ("singular decodes", &mut self.singular_decodes),
            ("restarts", &mut self.restarts),
            ("replaced upgrades", &mut self.replaced),
        ]
    }
}

/// One session with the path to the receiver.
struct Source<'s> {
    session: &'s Session,
    transmission: Transmission<'s>,
    path: Path,
    /// The next packet and when it leaves, in the world's time.
    next: Option<(Duration, Vec<u8>)>,
}

impl<'s> Source<'s> {
    fn new(scenario: &'s Scenario, session: &'s Session, random: Random) -> Self {
        let release = &scenario.releases[session.release];
        let config = SenderConfig { rate_bps: rate_bps(scenario.tick), ..session.config.clone() };
        let transmission = Transmission::new(&config, release, scenario.tick);
        let mut source = Self { session, transmission, path: Path::new(session.path, random), next: None };
        source.advance();
        source
    }

    fn advance(&mut self) {
        let next = self.transmission.next().map(|(at, packet)| (self.session.start + at, packet));
        self.next = next.filter(|(at, _)| self.session.stop.is_none_or(|stop| *at < stop));
    }
}

fn change_bytes(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..random.within(1..=8) {
        if let Some(byte) = bytes.get_mut(random.index(bytes.len())) {
            *byte ^= random.byte();
        }
    }
}

/// The rate at which one packet of about the size of a control packet leaves every `tick`.
fn rate_bps(tick: Duration) -> u64 {
    const BITS: u128 = 340 * 8;
    u64::try_from(BITS * 1_000_000_000 / tick.as_nanos()).unwrap()
}

/// A run under way.
pub struct World<'s> {
    scenario: &'s Scenario,
    sources: Vec<Source<'s>>,
    receiver: Receiver,
    random: Random,
    deaths: Peekable<std::slice::Iter<'s, (Duration, Death)>>,
    /// A journal as it was some time ago, and for which manifest.
    old_journal: Option<([u8; 32], Vec<u8>)>,
    outcome: Outcome,
}

impl<'s> World<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let mut random = Random::new(!scenario.seed);
        let sources = scenario.sessions.iter().map(|session| Source::new(scenario, session, random.fork())).collect();
        let deaths = scenario.deaths.iter().peekable();
        let receiver = Receiver::new(device(None), None).with_check_time(scenario.check_time);
        Self { scenario, sources, receiver, random, deaths, old_journal: None, outcome: Outcome::default() }
    }

    pub fn run(mut self) -> Outcome {
        let latest = self.scenario.calm + PATIENCE + self.scenario.tick * PATIENCE_PACKETS;
        let mut done = false;
        while !done {
            let now = self.send();
            assert!(
                now <= latest,
                "still not complete at {now:?}, undisturbed since {:?}: {:?}",
                self.scenario.calm,
                self.receiver.session.stats()
            );
            self.die_when_due(now);
            self.deliver(now);
            done = self.is_done();
        }
        self.outcome.take(self.receiver.session.stats());
        self.outcome
    }

    /// Lets the session whose turn it is send a packet, and says when that was.
    fn send(&mut self) -> Duration {
        let turn = |source: &&mut Source<'_>| source.next.as_ref().map_or(Duration::MAX, |(at, _)| *at);
        let source = self.sources.iter_mut().min_by_key(turn).expect("a session");
        let (at, packet) = source.next.take().expect("a carousel without end");
        source.path.send(at, &packet);
        source.advance();
        at
    }

    /// Delivers what has arrived by `now`, from all paths in the order of time.
    fn deliver(&mut self, now: Duration) {
        loop {
            let first =
                self.sources.iter_mut().min_by_key(|source| source.path.next_arrival().unwrap_or(Duration::MAX));
            let Some((at, packet)) = first.and_then(|source| source.path.arrival(now)) else { return };
            if at < self.scenario.join {
                continue;
            }
            let before = (self.receiver.begun, self.receiver.complete);
            // What a check completes is looked at before the packet can replace it by a newer release.
            let at = at.max(self.receiver.now());
            self.receiver.pass_time(at);
            if self.receiver.complete > before.1 {
                self.assert_right_image();
            }
            let before = (before.0, self.receiver.complete);
            self.receiver.deliver(at, &packet);
            if self.random.chance(self.scenario.noise_permille) {
                let noise: Vec<u8> = (0..self.random.below(80)).map(|_| self.random.byte()).collect();
                self.receiver.deliver(self.receiver.now(), &noise);
            }
            self.outcome.replaced += u64::from(self.receiver.begun > before.0 && self.receiver.begun > 1);
            if self.receiver.complete > before.1 {
                self.assert_right_image();
            }
        }
    }

    fn die_when_due(&mut self, now: Duration) {
        while let Some((_, death)) = self.deaths.next_if(|(at, _)| *at <= now) {
            self.outcome.take(self.receiver.session.stats());
            self.outcome.restarts += 1;
            match death {
                Death::Killed => self.kill(),
                Death::PowerFailed => self.receiver.fail_power(&mut self.random),
                _ => {
                    self.harm_disk(*death);
                    self.receiver.restart();
                }
            }
            self.keep_a_journal();
            if self.receiver.session.is_complete() {
                self.assert_right_image();
            }
        }
    }

    /// Of what the receiver had, only that is gone whose records had not been written yet.
    fn kill(&mut self) {
        let lacked = self.receiver.session.lacking_symbols();
        let begun = self.receiver.session.manifest().map(|manifest| manifest.digest());
        let unwritten = self.receiver.disk.as_ref().map_or(0, |disk| disk.unwritten_records());
        self.receiver.restart();
        assert_eq!(self.receiver.session.manifest().map(|manifest| manifest.digest()), begun);
        let lacks = self.receiver.session.lacking_symbols();
        assert!(lacks <= lacked + unwritten, "{lacks} symbols are lacking after a kill, {lacked} before");
    }

    /// To be put back later.
    fn keep_a_journal(&mut self) {
        if let Some(disk) = &self.receiver.disk {
            self.old_journal = Some((disk.manifest().digest(), disk.journal.clone()));
        }
    }

    /// Does to the disk what a dying device, or somebody with access to it, may do.
    fn harm_disk(&mut self, death: Death) {
        let Some(disk) = &mut self.receiver.disk else { return };
        disk.sync();
        let random = &mut self.random;
        match death {
            Death::Killed | Death::PowerFailed => unreachable!("the disk is as it is"),
            Death::StaleJournal => match self.old_journal.take() {
                Some((digest, journal)) if random.chance(800) || digest == disk.manifest().digest() => {
                    disk.journal = journal;
                }
                _ => disk.journal.clear(),
            },
            Death::DamagedJournal => {
                change_bytes(&mut disk.journal, random);
                disk.journal.truncate(disk.journal.len() - random.index(disk.journal.len().min(30)));
            }
            Death::ForgedJournal => {
                let blocks: Vec<_> = disk.manifest().manifest().partition.iter().collect();
                for _ in 0..random.within(1..=40) {
                    let range = blocks[random.index(blocks.len())];
                    let (rows, symbol_size) = (disk.staging.rows(&range), range.shape.symbol_size());
                    let row = random.index(rows.len() / symbol_size);
                    let esi = if random.chance(500) { row } else { random.index(1 << 24) };
                    let id = SymbolId { sbn: range.sbn, esi: u32::try_from(esi).unwrap() };
                    let symbol = &rows[row * symbol_size..][..symbol_size];
                    let record = journal::symbol_record(id, u32::try_from(row).unwrap(), symbol, symbol_size);
                    disk.journal.extend_from_slice(&record);
                }
            }
            Death::DamagedStaging => change_bytes(disk.staging.bytes_mut(), random),
        }
        disk.sync();
    }

    /// Whatever is called complete is what the sender has, and is signed by whom the receiver trusts.
    fn assert_right_image(&self) {
        let manifest = self.receiver.session.manifest().expect("the manifest of what is complete");
        let sent = self.scenario.releases.iter().find(|release| release.manifest.digest() == manifest.digest());
        assert!(self.receiver.image() == sent.expect("a release that was sent").image, "the image is wrong");
    }

    fn is_done(&mut self) -> bool {
        let wanted = &self.scenario.releases[self.scenario.wanted].manifest;
        let current = self.receiver.session.manifest().is_some_and(|manifest| manifest.digest() == wanted.digest());
        let done = current && self.receiver.session.is_complete() && self.deaths.peek().is_none();
        if done {
            assert!(self.receiver.complete >= 1, "complete, and the driver was not told");
            self.assert_right_image();
        }
        done
    }
}
