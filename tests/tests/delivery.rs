//! Images get through: lossy links, both IP versions, any-source groups, profiles, late and restarted receivers.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::demo::{self, DemoConfig, DemoReport, ImageSource};
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::skip_without_lab;

const SOON: Duration = Duration::from_secs(30);
const ONCE: [&str; 3] = ["--once", "--timeout", "15s"];
/// Bytes that an Ethernet frame takes on the wire besides those that the kernel counts: preamble 8, FCS 4, gap 12.
const L1_OVERHEAD_BYTES: u64 = 24;

fn binaries() -> Binaries {
    Binaries::beside_this_program().unwrap()
}

fn small(receivers: usize, len: u64) -> DemoConfig {
    DemoConfig { receivers, image: ImageSource::PseudoRandom(len), ..DemoConfig::new(binaries()) }
}

#[track_caller]
fn delivered(config: &DemoConfig) -> DemoReport {
    let report = demo::run(config, |_| ()).unwrap();
    assert!(report.all_verified(), "\n{report}");
    report
}

#[test]
fn eight_receivers_with_two_percent_loss_all_hold_the_image() {
    skip_without_lab!();
    let config = DemoConfig { rate: "200M".into(), loss_ppm: 20_000..=20_000, ..small(8, 50_000_000) };
    let report = delivered(&config);
    for receiver in &report.receivers {
        assert!((0.015..0.025).contains(&receiver.loss), "{receiver:?}");
        assert!(receiver.decoded_blocks > Some(0), "{receiver:?}");
        // A socket that overflows loses more than the link did.
        if receiver.socket_drops == Some(0) {
            let estimate = receiver.estimated_loss.unwrap();
            assert!((estimate - receiver.loss).abs() < 0.005, "{receiver:?}");
        }
    }
    let sender = &report.sender;
    assert!((1.05..1.13).contains(&sender.wire_ratio()), "{sender:?}");
    let unreported = sender.wire_bytes - sender.reported_bytes.unwrap();
    assert!(unreported < 2_000, "more than the kernel's own membership reports: {sender:?}");
    #[expect(clippy::cast_precision_loss, reason = "exact at this size")]
    let wire_s = (sender.wire_bytes + sender.packets.unwrap() * L1_OVERHEAD_BYTES) as f64 * 8.0 / 200e6;
    let seconds = sender.seconds.unwrap();
    // Never faster than the rate. Slower when two cores cannot feed eight receivers at it: a bench says how much.
    assert!(seconds > wire_s * 0.995, "{seconds} s for {wire_s} s of wire");
}

#[test]
fn ipv6_source_specific() {
    skip_without_lab!();
    delivered(&DemoConfig { channel: Channel::SSM_V6, ..small(2, 5_000_000) });
}

#[test]
fn ipv4_any_source() {
    skip_without_lab!();
    delivered(&DemoConfig { channel: Channel::ASM_V4, ..small(2, 5_000_000) });
}

#[test]
fn images_of_odd_sizes() {
    skip_without_lab!();
    for len in [1, 1_343, 1_344, 1_345, 300_001] {
        delivered(&small(1, len));
    }
}

#[test]
fn profile_flute() {
    skip_without_lab!();
    let send_args = vec!["--profile".into(), "flute".into()];
    delivered(&DemoConfig { send_args, ..small(2, 10_000_000) });
}

/// Without a code every single symbol must come: some pass has to bring each.
#[test]
fn profile_no_code_with_passes() {
    skip_without_lab!();
    let send_args = ["--profile", "no-code", "--passes", "5"].map(String::from).to_vec();
    let report = delivered(&DemoConfig { send_args, repair: "0%".into(), ..small(2, 2_000_000) });
    assert!(report.receivers.iter().all(|receiver| receiver.decoded_blocks == Some(0)), "\n{report}");
}

#[test]
fn a_session_description_is_enough_to_join() {
    skip_without_lab!();
    let fleet = Fleet::new(binaries(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(2_000_000, 1).unwrap();
    let options = fleet.channel.options();
    let sdp = run(std::process::Command::new(&fleet.binaries.send).arg("sdp").args(options)).unwrap();
    let file = fleet.scratch.join("session.sdp");
    fs::write(&file, sdp).unwrap();
    let device = fleet.device(0);
    let receiver = fleet.bare_receiver(0).args([file.as_os_str(), "--trust".as_ref(), fleet.key.public.as_os_str()]);
    let receiver = receiver.args(["--out".as_ref(), device.out.as_os_str()]);
    let mut receivers = vec![receiver.args(ONCE).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let sent = fleet.sender(&release).args(["--rate", "100M"]).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let received = receivers.remove(0).finish(SOON).unwrap();
    assert_eq!(received.code(), Some(0), "{}", received.stderr);
    assert_eq!(image::sha256(&device.out).unwrap(), release.sha256);
}

#[test]
fn a_late_joiner_lives_on_the_next_pass() {
    skip_without_lab!();
    let fleet = Fleet::new(binaries(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(20_000_000, 1).unwrap();
    fleet.lab.bridge().settle().unwrap();
    let mut sender =
        fleet.sender(&release).args(["--rate", "100M", "--repair", "5%", "--carousel", "2"]).spawn().unwrap();
    // The first progress event comes a second later: half of the first pass is over.
    sender.wait_event("progress", SOON).unwrap();
    let receiver = fleet.receiver(0).args(ONCE).spawn().unwrap();
    let received = receiver.finish(SOON).unwrap();
    assert_eq!(received.code(), Some(0), "{}", received.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
}

#[test]
fn a_killed_receiver_goes_on_where_it_was() {
    skip_without_lab!();
    let mut fleet = Fleet::new(binaries(), Channel::SSM_V4, 1).unwrap();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(1, 10_000)]).unwrap();
    let release = fleet.release(30_000_000, 1).unwrap();
    let mut receivers = vec![fleet.receiver(0).args(ONCE).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let sender = fleet.sender(&release).args(["--rate", "100M", "--repair", "5%", "--passes", "2"]).spawn().unwrap();
    // Within a few seconds: the image takes longer than that.
    while receivers[0].wait_event("progress", SOON).unwrap()["blocks_done"].as_u64() < Some(2) {}
    // SIGKILL, without a word of warning.
    drop(receivers);
    let mut again = fleet.receiver(0).args(ONCE).spawn().unwrap();
    let manifest = again.wait_event("manifest", SOON).unwrap();
    assert!(manifest["restored_blocks"].as_u64() > Some(0), "{manifest}");
    let received = again.finish(SOON).unwrap();
    assert_eq!(received.code(), Some(0), "{}", received.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
    assert_eq!(sender.finish(SOON).unwrap().code(), Some(0));
}

/// A receiver that listens to S gets nothing that another host sends to the same group.
#[test]
fn another_source_is_not_heard() {
    skip_without_lab!();
    let mut fleet = Fleet::new(binaries(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(1_000_000, 1).unwrap();
    fleet.channel.source = Some(IpAddr::from([10, 77, 0, 99]));
    let mut receivers = vec![fleet.receiver(0).args(["--once", "--timeout", "3s"]).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let sent = fleet.sender(&release).args(["--rate", "100M"]).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    let finished = receivers.remove(0).finish(SOON).unwrap();
    assert_eq!(finished.code(), Some(5), "{}", finished.stderr);
    assert_eq!(finished.event("summary").unwrap()["packets"], 0);
}
