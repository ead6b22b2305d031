//! Repair on demand: receivers say how many symbols they lack, and the sender multicasts the most that any of them does.

use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::demo::{self, DemoConfig, ImageSource};
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::skip_without_lab;

const SOON: Duration = Duration::from_secs(30);
const ONCE: [&str; 3] = ["--once", "--timeout", "10s"];
const ASKING: [&str; 8] = ["--repair", "0%", "--feedback", "5001", "--group-size", "8", "--rtt", "20ms"];

fn binaries() -> Binaries {
    Binaries::beside_this_program().unwrap()
}

/// One pass, nothing planned, and losses from none to 5 %: the wire carries little more than the worst receiver needs.
#[test]
fn one_pass_without_planned_repair_completes_everybody_for_what_the_worst_one_lacks() {
    skip_without_lab!();
    let config = DemoConfig {
        receivers: 6,
        image: ImageSource::PseudoRandom(10_000_000),
        repair: "0%".into(),
        loss_ppm: 0..=50_000,
        send_args: ASKING[2..].iter().map(ToString::to_string).collect(),
        ..DemoConfig::new(binaries())
    };
    let report = demo::run(&config, |_| ()).unwrap();
    assert!(report.all_verified(), "\n{report}");
    // Headers are 4.6 %; 5 % of 1,861 symbols are 93, with the margin and what is lost of the repair 7 % at most.
    assert!((1.09..1.13).contains(&report.sender.wire_ratio()), "{:?}", report.sender);
}

#[test]
fn ipv6_receivers_ask_too() {
    skip_without_lab!();
    let config = DemoConfig {
        receivers: 2,
        channel: Channel::SSM_V6,
        image: ImageSource::PseudoRandom(3_000_000),
        repair: "0%".into(),
        loss_ppm: 30_000..=30_000,
        send_args: ASKING[2..].iter().map(ToString::to_string).collect(),
        ..DemoConfig::new(binaries())
    };
    let report = demo::run(&config, |_| ()).unwrap();
    assert!(report.all_verified(), "\n{report}");
}

/// With --repair auto the second pass plans what the first one's losses take, and says so.
#[test]
fn further_passes_plan_what_reported_losses_take() {
    skip_without_lab!();
    let mut fleet = Fleet::new(binaries(), Channel::SSM_V4, 1).unwrap();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(1, 80_000)]).unwrap();
    let release = fleet.release(3_000_000, 1).unwrap();
    let mut receivers = vec![fleet.receiver(0).args(ONCE).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let sender = fleet.sender(&release).args(["--rate", "100M", "--passes", "2", "--repair", "auto"]);
    let sent = sender.args(&ASKING[2..]).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let sized = sent.event("repair_sized").unwrap();
    // Blocks of 1,117 symbols, 8 % loss and a margin of 1.5 %.
    assert!((75_000..85_000).contains(&sized["loss_ppm"].as_u64().unwrap()), "{sized}");
    assert!((108..=120).contains(&sized["repair_symbols"].as_u64().unwrap()), "{sized}");
    assert_eq!(receivers.remove(0).finish(SOON).unwrap().code(), Some(0));
}

/// A sender that is killed in its pass and started again: what receivers have counts, and they ask for the rest. Whoever may not
/// ask stays incomplete, and has said nothing.
#[test]
fn a_sender_killed_in_its_pass_goes_on_and_only_who_may_asks() {
    skip_without_lab!();
    let mut fleet = Fleet::new(binaries(), Channel::SSM_V4, 3).unwrap();
    let losses: Vec<Loss> = (1..=3).map(|key| Loss::new(key, 20_000)).collect();
    fleet.lab.set_losses(fleet.channel.port, &losses).unwrap();
    let release = fleet.release(20_000_000, 1).unwrap();
    let silent = fleet.receiver(2).args(["--once", "--timeout", "3s", "--no-feedback"]);
    let asking = (0..2).map(|index| fleet.receiver(index).args(ONCE).spawn().unwrap());
    let mut receivers: Vec<_> = asking.chain([silent.spawn().unwrap()]).collect();
    fleet.await_joined(&mut receivers).unwrap();
    let mut sender = fleet.sender(&release).args(["--rate", "100M"]).args(ASKING).spawn().unwrap();
    // The first progress event comes a second later: most of the pass is still to come.
    sender.wait_event("progress", SOON).unwrap();
    drop(sender);
    let sent = fleet.sender(&release).args(["--rate", "100M"]).args(ASKING).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let summary = sent.event("summary").unwrap();
    assert!(summary["reports"].as_u64() > Some(0) && summary["requested_symbols"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["rounds_limited"], 0, "{summary}");

    let silent = receivers.remove(2).finish(SOON).unwrap();
    assert_eq!(silent.code(), Some(5), "{}", silent.stderr);
    assert_eq!(silent.event("summary").unwrap()["feedback_reports"], 0);
    for (index, receiver) in receivers.into_iter().enumerate() {
        let received = receiver.finish(SOON).unwrap();
        assert_eq!(received.code(), Some(0), "{}", received.stderr);
        assert_eq!(image::sha256(&fleet.device(index).out).unwrap(), release.sha256);
        let summary = received.event("summary").unwrap();
        // 20 MB are 14,881 symbols. What came before the kill counts: little more than that is kept in all.
        assert!(summary["symbols"].as_u64() < Some(15_200), "{summary}");
        assert!(summary["surplus"].as_u64() > Some(1_000), "the second sender repeats what came before: {summary}");
    }
}
