//! What happens to a fleet in one run, and what must hold in each.

use fleetcast_protocol::feedback::{Deficits, Feedback};
use fleetcast_protocol::session::RepairShare;
use fleetcast_protocol::session::sender::{FeedbackConfig, MAX_ROUNDS, SenderConfig, SenderSession};
use fleetcast_protocol::simulation::fleet::{DevicePlan, Outage, Run, SenderPlan, World};
use fleetcast_protocol::simulation::{Loss, PathConfig, Random, Release, image, release_key, sender_config};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// One packet leaves in so much time.
const TICK: Duration = Duration::from_millis(1);
const SYMBOL_SIZE: u16 = 16;
/// What that is with headers, about.
const RATE_BPS: u64 = 700_000;

/// Who else speaks to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intruder {
    Nobody,
    /// Claims in every round to lack everything.
    Liar,
    /// Sends what is no report, and reports of other sessions and rounds.
    Flooder,
}

/// One run.
#[derive(Debug)]
pub struct Scenario {
    seed: u64,
    symbols: usize,
    blocks: u16,
    devices: Vec<DevicePlan>,
    senders: Vec<SenderPlan>,
    intruder: Intruder,
    /// Whether all that gets lost gets lost independently and seldom, and everybody is there: then the rounds must suffice.
    is_gentle: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    runs: Vec<Run>,
    reports: u64,
    complete_by_rounds: bool,
    intruder: Intruder,
    is_gentle: bool,
    restarts: u64,
    joined_late: u64,
    partitions: u64,
}

fn below(random: &mut Random, bound: Duration) -> Duration {
    random.time_below(bound)
}

fn span(random: &mut Random, within: Duration, longest: Duration) -> Range<Duration> {
    let start = below(random, within);
    start..start + below(random, longest) + TICK
}

impl Scenario {
    /// The run with this seed.
    pub fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let blocks = u16::try_from(random.within(1..=5)).unwrap();
        let symbols = usize::try_from(random.within(20..=120)).unwrap() * usize::from(blocks);
        let is_gentle = random.chance(500);
        let about = TICK * u32::try_from(symbols).unwrap();
        let count = random.within(1..=6);
        let devices = (0..count).map(|_| device(random, is_gentle, about)).collect();
        let mut senders = vec![sender(random, 1, is_gentle)];
        if random.chance(300) {
            senders[0].killed_at = Some(below(random, about));
            senders.push(SenderPlan { killed_at: None, ..sender(random, 2, is_gentle) });
        }
        let intruder = [Intruder::Nobody, Intruder::Nobody, Intruder::Liar, Intruder::Flooder][random.index(4)];
        Self { seed, symbols, blocks, devices, senders, intruder, is_gentle }
    }

    /// Lives through it.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(&self) -> Outcome {
        let bytes = image(self.symbols * usize::from(SYMBOL_SIZE), self.seed);
        let release = Release::seal(bytes, SYMBOL_SIZE, self.blocks, 1, &release_key());
        let mut random = Random::new(!self.seed);
        let mut world = World::new(&release, TICK, self.devices.clone(), &mut random);
        let mut runs = Vec::new();
        for plan in &self.senders {
            let intrude = |session: &SenderSession| self.intrude(session, &release, plan, &mut random);
            runs.push(world.run(plan, intrude, |_| false));
            self.check(&world, &release, plan, runs.last().unwrap());
        }
        let complete_by_rounds = world.all_complete();
        let last = runs.last().unwrap();
        if self.is_gentle && last.feedback.limited == 0 && self.senders.last().unwrap().feedback.is_some() {
            assert!(complete_by_rounds, "nobody was out of reach and no limit was met, but somebody is incomplete");
        }
        self.complete(&mut world, &release);
        Outcome {
            reports: world.devices.iter().map(|device| device.reports).sum(),
            runs,
            complete_by_rounds,
            intruder: self.intruder,
            is_gentle: self.is_gentle,
            restarts: self.devices.iter().map(|device| device.outages.len() as u64).sum(),
            joined_late: self.devices.iter().filter(|device| !device.joins_at.is_zero()).count() as u64,
            partitions: self.devices.iter().map(|device| device.partitions.len() as u64).sum(),
        }
    }

    /// What must hold after every run of a sender.
    fn check(&self, world: &World<'_>, release: &Release, plan: &SenderPlan, run: &Run) {
        for device in &world.devices {
            if device.receiver.session.is_complete() {
                assert_eq!(device.receiver.image(), release.image, "a wrong file");
            }
        }
        let stats = run.feedback;
        let Some(feedback) = plan.feedback else { return };
        let passes = u64::from(plan.config.passes.unwrap());
        let session = SenderSession::new(&plan.config, &release.manifest).unwrap();
        let budget = session.schedule().len() * u64::from(feedback.budget_permyriad) / 10_000;
        assert!(stats.requested_symbols <= budget * passes, "more repair than the budget: {stats:?}");
        assert!(stats.rounds <= u64::from(MAX_ROUNDS) * passes, "more rounds than allowed: {stats:?}");
        let reporters = self.devices.len() as u64 + 1;
        assert!(stats.reports <= 3 * reporters * stats.rounds, "more reports than count: {stats:?}");
        for device in &world.devices {
            let stats = device.receiver.session.stats();
            assert!(stats.feedback_reports <= 3 * u64::from(MAX_ROUNDS) * passes * self.senders.len() as u64);
        }
        assert!(run.is_over || plan.killed_at.is_some());
    }

    /// A last sender, a carousel over good links: everybody ends with the right file.
    fn complete(&self, world: &mut World<'_>, release: &Release) {
        let config = SenderConfig { window_blocks: 2, rate_bps: RATE_BPS, ..sender_config(9, None) };
        // What the partitions and outages still have in store may take a while.
        let limit = world.now() + TICK * 40 * u32::try_from(self.symbols + 200).unwrap();
        let plan = SenderPlan { config, feedback: None, killed_at: Some(limit) };
        world.run(&plan, |_| Vec::new(), World::all_complete);
        for (index, device) in world.devices.iter().enumerate() {
            let lacking = device.receiver.session.lacking_symbols();
            assert!(device.receiver.session.is_complete(), "device {index} never completes: {lacking} lacking");
            assert_eq!(device.receiver.image(), release.image, "a wrong file");
        }
    }

    fn intrude(
        &self,
        session: &SenderSession,
        release: &Release,
        plan: &SenderPlan,
        random: &mut Random,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        let from = World::address(60_000);
        let round = session.feedback_stats().map_or(0, |stats| u32::try_from(stats.rounds).unwrap());
        let digest_prefix = release.manifest.digest()[..8].try_into().unwrap();
        let deficits = Deficits::from_counts([60_000; 255]);
        let lie = Feedback { digest_prefix, tsi: plan.config.tsi, round, deficits, loss_ppm: Some(1) };
        match self.intruder {
            Intruder::Nobody => Vec::new(),
            Intruder::Liar => vec![(from, lie.to_cbor()); 5],
            Intruder::Flooder => {
                let other_session = Feedback { tsi: 77, ..lie.clone() };
                let other_round = Feedback { round: round + 1, ..lie.clone() };
                let other_release = Feedback { digest_prefix: [1; 8], ..lie };
                let noise: Vec<u8> = (0..random.within(0..=1200)).map(|_| random.byte()).collect();
                let mut datagrams = vec![noise, Vec::new()];
                datagrams.extend([other_session, other_round, other_release].map(|it| it.to_cbor()));
                datagrams.into_iter().map(|datagram| (from, datagram)).collect()
            }
        }
    }
}

fn device(random: &mut Random, is_gentle: bool, about: Duration) -> DevicePlan {
    let loss = if is_gentle || random.chance(500) {
        Loss::Independent { permille: random.within(0..=if is_gentle { 80 } else { 250 }) }
    } else {
        Loss::Bursts { begin_permille: random.within(1..=20), end_permille: random.within(100..=500) }
    };
    let jitter = if random.chance(500) { Duration::from_millis(random.within(1..=8)) } else { Duration::ZERO };
    let path = PathConfig { loss, duplicate_permille: random.within(0..=30), jitter, ..PathConfig::PERFECT };
    let mut plan = DevicePlan::new(path, Duration::from_millis(random.within(1..=10)));
    plan.feedback_loss_permille = random.within(0..=if is_gentle { 50 } else { 400 });
    if is_gentle {
        return plan;
    }
    plan.reports = random.chance(900);
    if random.chance(300) {
        plan.joins_at = below(random, about);
    }
    for _ in 0..random.below(3) {
        plan.partitions.push(span(random, about * 2, about));
    }
    let mut at = Duration::ZERO;
    for _ in 0..random.below(4) {
        let time = span(random, about, about / 4);
        let time = at + time.start..at + time.end;
        at = time.end;
        plan.outages.push(Outage { time, is_power: random.chance(300) });
    }
    plan
}

fn sender(random: &mut Random, tsi: u32, is_gentle: bool) -> SenderPlan {
    let passes = u32::try_from(random.within(1..=2)).unwrap();
    let config = SenderConfig {
        window_blocks: u16::try_from(random.within(1..=4)).unwrap(),
        repair: RepairShare::from_permyriad(u32::try_from(random.below(3)).unwrap() * 200),
        rate_bps: RATE_BPS,
        ..sender_config(tsi, Some(passes))
    };
    let feedback = FeedbackConfig {
        port: 5001,
        group_size: u32::try_from(random.within(1..=50)).unwrap(),
        rtt: Duration::from_millis(random.within(30..=60)),
        budget_permyriad: u32::try_from(random.within(1000..=10_000)).unwrap(),
    };
    SenderPlan { config, feedback: (is_gentle || random.chance(900)).then_some(feedback), killed_at: None }
}

/// What happened in all runs.
#[derive(Debug, Default)]
pub struct Seen {
    runs: u64,
    complete_by_rounds: u64,
    gentle: u64,
    reports: u64,
    requested: u64,
    limited: u64,
    ignored: u64,
    killed_senders: u64,
    liars: u64,
    flooders: u64,
    restarts: u64,
    joined_late: u64,
    partitions: u64,
}

impl Seen {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.complete_by_rounds += u64::from(outcome.complete_by_rounds);
        self.gentle += u64::from(outcome.is_gentle);
        self.reports += outcome.reports;
        for run in &outcome.runs {
            self.requested += run.feedback.requested_symbols;
            self.limited += run.feedback.limited;
            self.ignored += run.feedback.ignored;
            self.killed_senders += u64::from(!run.is_over);
        }
        self.liars += u64::from(outcome.intruder == Intruder::Liar);
        self.flooders += u64::from(outcome.intruder == Intruder::Flooder);
        self.restarts += outcome.restarts;
        self.joined_late += outcome.joined_late;
        self.partitions += outcome.partitions;
    }

    /// # Panics
    /// When something that the runs are for never happened.
    pub fn assert_that_everything_happened(&self) {
        let Self { complete_by_rounds, gentle, reports, requested, limited, ignored, killed_senders, .. } = *self;
        let Self { liars, flooders, restarts, joined_late, partitions, runs, .. } = *self;
        for count in [gentle, limited, ignored, killed_senders, liars, flooders, restarts, joined_late, partitions] {
            assert!(count > 10, "too seldom: {self:#?}");
        }
        assert!(complete_by_rounds * 2 > runs && reports > runs && requested > runs, "{self:#?}");
    }
}
