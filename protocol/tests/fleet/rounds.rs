//! Feedback rounds with real sessions and real decoding: many receivers, a network that takes time and loses, and nothing
//! planned beforehand. What it costs and whom it serves.

use fleetcast_protocol::feedback::{Deficits, Feedback};
use fleetcast_protocol::session::RepairShare;
use fleetcast_protocol::session::sender::{FeedbackConfig, SenderConfig, SenderSession};
use fleetcast_protocol::simulation::fleet::{DevicePlan, Run, SenderPlan, World};
use fleetcast_protocol::simulation::{
    Loss, PathConfig, Random, Receiver, Release, Sent, Transmission, image, release_key, sender_config,
};
use std::net::SocketAddr;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_micros(100);

/// One pass without planned repair that asks.
fn plan(group_size: usize) -> SenderPlan {
    let config = SenderConfig { repair: RepairShare::NONE, ..sender_config(1, Some(1)) };
    let group_size = u32::try_from(group_size).unwrap();
    let feedback = FeedbackConfig { port: 5001, group_size, rtt: 2 * DELAY, budget_permyriad: 5000 };
    SenderPlan { config, feedback: Some(feedback), killed_at: None }
}

/// Devices that each lose so many packets, and reports, in a thousand.
fn world<'r>(release: &'r Release, loss_permille: &[u64], feedback_loss_permille: u64, seed: u64) -> World<'r> {
    let device = |permille: &u64| {
        let path = PathConfig { loss: Loss::Independent { permille: *permille }, ..PathConfig::PERFECT };
        DevicePlan { feedback_loss_permille, ..DevicePlan::new(path, DELAY) }
    };
    World::new(release, TICK, loss_permille.iter().map(device).collect(), &mut Random::new(seed))
}

fn run(world: &mut World<'_>) -> Run {
    let plan = plan(world.devices.len());
    world.run(&plan, |_| Vec::new(), |_| false)
}

fn reports(world: &World<'_>) -> u64 {
    world.devices.iter().map(|device| device.reports).sum()
}

fn assert_complete(world: &World<'_>, release: &Release, run: &Run) {
    for device in &world.devices {
        let lacking = device.receiver.session.lacking_symbols();
        assert!(device.receiver.session.is_complete(), "{lacking} symbols are lacking: {run:?}");
        assert_eq!(device.receiver.image(), release.image);
    }
}

fn release(symbols: usize, blocks: u16) -> Release {
    Release::seal(image(symbols * 8, 5), 8, blocks, 1, &release_key())
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn one_pass_without_planned_repair_serves_everybody_with_little_more_than_the_most_that_one_lacks() {
    for (loss, seed) in [(10, 1), (50, 2), (200, 3)] {
        let release = release(3000, 5);
        let mut world = world(&release, &[loss; 30], 0, seed);
        let run = run(&mut world);
        assert_complete(&world, &release, &run);
        // The deficits of 30 receivers in blocks of 600: mean + 2 standard deviations, over what arrives.
        let (p, k) = (loss as f64 / 1000.0, 600.0);
        let most = (k * p + 2.1 * (k * p * (1.0 - p)).sqrt()) / (1.0 - p);
        let bound = 5.0 * (most * 1.1 + 8.0);
        let requested = run.feedback.requested_symbols;
        assert!((requested as f64) < bound, "loss {loss}: {requested} symbols, bound {bound}");
        assert_eq!(run.feedback.limited, 0);
    }
}

#[test]
fn no_loss_costs_two_quiet_rounds_and_no_symbol() {
    let release = release(300, 2);
    let mut world = world(&release, &[0; 5], 0, 1);
    let run = run(&mut world);
    assert_complete(&world, &release, &run);
    assert_eq!((run.feedback.rounds, run.feedback.requested_symbols, reports(&world)), (2, 0, 0));
}

#[test]
fn lost_reports_and_lost_announcements_are_made_up_for() {
    for seed in 0..5 {
        let release = release(1000, 4);
        let mut world = world(&release, &[150; 6], 300, seed);
        let run = run(&mut world);
        assert_complete(&world, &release, &run);
    }
}

#[test]
fn few_speak_for_many() {
    let release = release(600, 2);
    let mut world = world(&release, &[50; 400], 0, 7);
    let run = run(&mut world);
    assert_complete(&world, &release, &run);
    assert!(reports(&world) <= 64 * run.feedback.rounds, "{} reports: {run:?}", reports(&world));
}

#[test]
fn a_liar_is_bounded_and_holds_nobody_up() {
    let release = release(3000, 5);
    let mut world = world(&release, &[20; 4], 0, 3);
    let plan = plan(4);
    // It says in every round, again and again, that it lacks everything.
    let digest_prefix = release.manifest.digest()[..8].try_into().unwrap();
    let deficits = Deficits::from_counts([60_000; 255]);
    let lie = |session: &SenderSession| -> Vec<(SocketAddr, Vec<u8>)> {
        let round = u32::try_from(session.feedback_stats().unwrap().rounds).unwrap();
        let lie = Feedback { digest_prefix, tsi: 1, round, deficits: deficits.clone(), loss_ppm: Some(1) };
        vec![(World::address(50_000), lie.to_cbor()); 10]
    };
    let mut honest_done_at = None;
    let run = world.run(&plan, lie, |world| {
        if honest_done_at.is_none() && world.all_complete() {
            honest_done_at = Some(world.now());
        }
        false
    });
    assert_complete(&world, &release, &run);
    let stats = run.feedback;
    assert_eq!(stats.limited, 1, "{stats:?}");
    assert!(stats.requested_symbols <= 1500, "half of the pass at most: {stats:?}");
    assert!(stats.reports <= 3 * stats.rounds + reports(&world), "three of a reporter and round: {stats:?}");
    // Pass and lead-in, a round of 180 ms, and two turns of K / 16 symbols of all five blocks.
    let bound = TICK * (3000 + 100) + Duration::from_millis(180 + 80 + 30) + TICK * 2 * 5 * 38;
    assert!(honest_done_at.unwrap() < bound, "{honest_done_at:?}, bound {bound:?}");
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
