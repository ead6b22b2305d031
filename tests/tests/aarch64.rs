//! The receiver as a router runs it: built for aarch64, under emulation, with a real image from a real sender.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;

/// Emulation is some ten times slower, and everything else on the machine may be running.
const PATIENCE: Duration = Duration::from_secs(120);

/// The programs of this machine, with the emulated receiver in place of the native one.
fn binaries(folder: &Path) -> Binaries {
    let receiver = std::env::var("FLEETCAST_AARCH64_RECV").expect("FLEETCAST_AARCH64_RECV names the receiver");
    let emulated = folder.join("emulated-recv");
    let script = format!("#!/bin/sh\nexec qemu-aarch64-static '{receiver}' \"$@\"\n");
    fs::write(&emulated, script).unwrap();
    fs::set_permissions(&emulated, fs::Permissions::from_mode(0o755)).unwrap();
    Binaries { recv: emulated, ..Binaries::beside_this_program().unwrap() }
}

#[test]
#[ignore = "needs an emulator and the receiver built for aarch64: scripts/aarch64 has both, and runs it"]
fn a_receiver_on_aarch64_gets_an_image_over_a_lossy_link() {
    skip_without_lab!();
    let scratch = Scratch::new().unwrap();
    let mut fleet = Fleet::new(binaries(scratch.path()), Channel::SSM_V4, 1).unwrap();
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(1, 20_000)]).unwrap();
    let release = fleet.release(6_000_000, 1).unwrap();
    let mut receiver = fleet.receiver(0).args(["--once", "--timeout", "60s"]).spawn().unwrap();
    let joined = receiver.wait_event("joined", PATIENCE).unwrap();
    println!("the emulator does not know {}", joined["lacks"]);
    fleet.await_joined(&mut []).unwrap();
    let sender = fleet.sender(&release).args(["--rate", "10M", "--repair", "5%", "--passes", "4"]).spawn().unwrap();
    let received = receiver.finish(PATIENCE).unwrap();
    drop(sender);
    assert_eq!(received.code(), Some(0), "{}", received.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
    let summary = received.event("summary").unwrap();
    assert!(summary["decoded_blocks"].as_u64() > Some(0), "{summary}");
}
