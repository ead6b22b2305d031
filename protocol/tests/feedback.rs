//! Feedback rounds with real sessions and real decoding: many receivers, a network that takes time and loses, and nothing
//! planned beforehand. What it costs and whom it serves.

use fleetcast_protocol::feedback::{Deficits, Feedback};
use fleetcast_protocol::session::RepairShare;
use fleetcast_protocol::session::sender::{FeedbackConfig, FeedbackStats, SenderConfig, SenderSession};
use fleetcast_protocol::simulation::{
    Random, Receiver, Release, Sent, Transmission, image, release_key, sender_config,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_micros(100);

/// Feedback on its way: when it arrives, from whom, and the datagram.
type Reports = BinaryHeap<Reverse<(Duration, usize, Vec<u8>)>>;

struct Fleet<'r> {
    sender: Transmission<'r>,
    receivers: Vec<Receiver>,
    /// Packets in a thousand that each receiver loses.
    loss_permille: Vec<u64>,
    feedback_loss_permille: u64,
    random: Random,
    reports: Reports,
    packets: u64,
    reports_sent: u64,
}

fn config(group_size: u32) -> FeedbackConfig {
    FeedbackConfig { port: 5001, group_size, rtt: 2 * DELAY, budget_permyriad: 5000 }
}

fn plan(passes: Option<u32>) -> SenderConfig {
    SenderConfig { repair: RepairShare::NONE, ..sender_config(1, passes) }
}

impl<'r> Fleet<'r> {
    fn new(release: &'r Release, plan: &SenderConfig, loss_permille: &[u64], seed: u64) -> Self {
        let size = u32::try_from(loss_permille.len()).unwrap();
        let session = SenderSession::new(plan, &release.manifest).unwrap().with_feedback(config(size)).unwrap();
        let receivers = (0..u64::from(size)).map(|n| Receiver::default().with_feedback(seed * 1000 + n)).collect();
        Self {
            sender: Transmission::of(session, release, TICK),
            receivers,
            loss_permille: loss_permille.to_vec(),
            feedback_loss_permille: 0,
            random: Random::new(seed),
            reports: Reports::new(),
            packets: 0,
            reports_sent: 0,
        }
    }

    fn address(index: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], 1000 + u16::try_from(index).unwrap()))
    }

    /// Runs to the end of the session, or at most until `limit`.
    fn run(&mut self, limit: Duration) -> FeedbackStats {
        loop {
            match self.sender.step() {
                Sent::Packet(at, _) if at > limit => break,
                Sent::Packet(at, packet) => self.deliver(at + DELAY, &packet),
                Sent::Listens(until) => self.listen(until),
                Sent::Done => break,
            }
        }
        self.sender.session().feedback_stats().unwrap()
    }

    fn deliver(&mut self, at: Duration, packet: &[u8]) {
        self.speak(at);
        self.packets += 1;
        for (receiver, loss) in self.receivers.iter_mut().zip(&self.loss_permille) {
            if !self.random.chance(*loss) {
                receiver.deliver(at, packet);
            }
        }
    }

    /// Lets receivers speak until `until`.
    fn speak(&mut self, until: Duration) {
        loop {
            let times = self.receivers.iter().map(|receiver| receiver.session.next_feedback_at());
            let due = times.enumerate().filter_map(|(index, at)| Some((at?, index))).min();
            let Some((at, index)) = due.filter(|(at, _)| *at <= until) else { return };
            let receiver = &mut self.receivers[index];
            receiver.pass_time(at);
            if let Some(request) = receiver.session.poll_feedback(at) {
                assert_eq!((request.tsi, request.port), (1, 5001));
                self.reports_sent += 1;
                if !self.random.chance(self.feedback_loss_permille) {
                    self.reports.push(Reverse((at + DELAY, index, request.datagram)));
                }
            }
        }
    }

    /// The sender listens until `until`, or until the next report.
    fn listen(&mut self, until: Duration) {
        // What receivers say until then arrives a delay later.
        self.speak(until.saturating_sub(DELAY));
        match self.reports.peek() {
            Some(Reverse((at, ..))) if *at <= until => {
                let Some(Reverse((at, index, datagram))) = self.reports.pop() else { unreachable!() };
                self.sender.listened(at);
                self.sender.feedback(Self::address(index), &datagram);
            }
            _ => self.sender.listened(until),
        }
    }

    fn all_have(&self, image: &[u8]) -> bool {
        self.receivers.iter().all(|receiver| receiver.session.is_complete() && receiver.image() == image)
    }
}

fn release(symbols: usize, blocks: u16) -> Release {
    Release::seal(image(symbols * 8, 5), 8, blocks, 1, &release_key())
}

#[test]
fn one_pass_without_planned_repair_serves_everybody_with_little_more_than_the_most_that_one_lacks() {
    for (loss, seed) in [(10, 1), (50, 2), (200, 3)] {
        let release = release(3000, 5);
        let mut fleet = Fleet::new(&release, &plan(Some(1)), &[loss; 30], seed);
        let stats = fleet.run(Duration::MAX);
        assert!(fleet.all_have(&release.image), "loss {loss}: {stats:?}");
        // The deficits of 30 receivers in blocks of 600: mean + 2 standard deviations, over what arrives.
        let (p, k) = (loss as f64 / 1000.0, 600.0);
        let most = (k * p + 2.1 * (k * p * (1.0 - p)).sqrt()) / (1.0 - p);
        let bound = 5.0 * (most * 1.1 + 8.0);
        assert!(
            (stats.requested_symbols as f64) < bound,
            "loss {loss}: {} symbols, bound {bound}",
            stats.requested_symbols
        );
        assert_eq!(stats.limited, 0);
    }
}

#[test]
fn no_loss_costs_two_quiet_rounds_and_no_symbol() {
    let release = release(300, 2);
    let mut fleet = Fleet::new(&release, &plan(Some(1)), &[0; 5], 1);
    let stats = fleet.run(Duration::MAX);
    assert!(fleet.all_have(&release.image));
    assert_eq!((stats.rounds, stats.requested_symbols, fleet.reports_sent), (2, 0, 0));
}

#[test]
fn lost_reports_and_lost_announcements_are_made_up_for() {
    for seed in 0..5 {
        let release = release(1000, 4);
        let mut fleet = Fleet::new(&release, &plan(Some(1)), &[150; 6], seed);
        fleet.feedback_loss_permille = 300;
        let stats = fleet.run(Duration::MAX);
        assert!(fleet.all_have(&release.image), "seed {seed}: {stats:?}");
    }
}

#[test]
fn few_speak_for_many() {
    let release = release(600, 2);
    let mut fleet = Fleet::new(&release, &plan(Some(1)), &[50; 400], 7);
    let stats = fleet.run(Duration::MAX);
    assert!(fleet.all_have(&release.image));
    assert!(fleet.reports_sent / stats.rounds <= 64, "{} reports in {} rounds", fleet.reports_sent, stats.rounds);
}

#[test]
fn a_liar_and_a_deaf_receiver_are_bounded_and_hold_nobody_up() {
    let release = release(3000, 5);
    let mut fleet = Fleet::new(&release, &plan(Some(1)), &[20, 20, 20, 20], 3);
    // One says for ever that it lacks everything.
    let digest = release.manifest.digest();
    let lie = |round| Feedback {
        digest_prefix: digest[..8].try_into().unwrap(),
        tsi: 1,
        round,
        deficits: Deficits::from_counts([60_000; 255]),
        loss_ppm: Some(1),
    };
    let mut done_at = None;
    let mut sent_until_done = 0;
    loop {
        match fleet.sender.step() {
            Sent::Packet(at, packet) => {
                fleet.deliver(at + DELAY, &packet);
                if done_at.is_none() && fleet.all_have(&release.image) {
                    (done_at, sent_until_done) = (Some(at), fleet.packets);
                }
            }
            Sent::Listens(until) => {
                for round in 1..20 {
                    fleet.sender.feedback(Fleet::address(99), &lie(round).to_cbor());
                }
                fleet.listen(until);
            }
            Sent::Done => break,
        }
    }
    let stats = fleet.sender.session().feedback_stats().unwrap();
    assert_eq!(stats.limited, 1, "{stats:?}");
    assert!(stats.requested_symbols <= 1500, "half of the pass at most: {stats:?}");
    assert!(stats.reports <= 3 * stats.rounds + fleet.reports_sent, "three of a reporter and round: {stats:?}");
    assert!(sent_until_done < 3000 + 500, "honest receivers were served within the first turns: {sent_until_done}");
}

#[test]
fn a_late_joiner_completes_within_a_cycle_and_leaves_the_rest_alone() {
    // A symbol a tick of 100 µs.
    let release = Release::seal(image(10_000 * 256, 6), 256, 5, 1, &release_key());
    for (seed, join_at) in [(1, 20), (2, 3500), (3, 7500), (4, 10_600)] {
        let repair = RepairShare::from_permyriad(500);
        let plan = SenderConfig { repair, rate_bps: 27_000_000, ..sender_config(1, None) };
        let session = SenderSession::new(&plan, &release.manifest).unwrap();
        let cycle = session.schedule().len();
        let mut sender = Transmission::of(session, &release, TICK);
        let mut random = Random::new(seed);
        let mut receiver = Receiver::default();
        let mut sent = 0u64;
        while sent * 100 <= join_at * 100 + cycle * 105 && !receiver.session.is_complete() {
            let Sent::Packet(at, packet) = sender.step() else { unreachable!() };
            sent += 1;
            if sent > join_at && !random.chance(10) {
                receiver.deliver(at, &packet);
            }
        }
        assert!(receiver.session.is_complete(), "joined at {join_at}: {} lacking", receiver.session.lacking_symbols());
        assert_eq!(receiver.image(), release.image);
    }
}
