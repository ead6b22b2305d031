//! What a device does with what it gets: trust, policies, several upgrades in a row, exit codes.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet, Invocation};
use fleetcast_tests::image;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::{HARDWARE, KeyPair, PRODUCT, Release};
use fleetcast_tests::skip_without_lab;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(30);
const IMAGE_BYTES: u64 = 2_000_000;
const REFUSED: Option<i32> = Some(4);
const TIMEOUT: Option<i32> = Some(5);
const APPLY_FAILED: Option<i32> = Some(7);
const INTERRUPTED: Option<i32> = Some(130);

fn fleet() -> Fleet {
    Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap()
}

/// Starts the only receiver and waits for its membership.
fn joined(fleet: &Fleet, receiver: Invocation) -> Process {
    let mut receivers = [receiver.spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let [receiver] = receivers;
    receiver
}

#[track_caller]
fn send(fleet: &Fleet, release: &Release) {
    let sender = fleet.sender(release).args(["--rate", "100M", "--repair", "5%", "--passes", "1"]).spawn().unwrap();
    let sent = sender.finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
}

/// One release to one receiver, to the end of both.
fn deliver(fleet: &Fleet, receiver: Invocation, release: &Release) -> Finished {
    let receiver = joined(fleet, receiver.args(["--once", "--timeout", "3s"]));
    send(fleet, release);
    receiver.finish(SOON).unwrap()
}

/// No file below the folder is large enough to hold any part of an image worth the name.
#[track_caller]
fn assert_holds_no_image(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            assert_holds_no_image(&entry.path());
        } else {
            assert!(metadata.len() < 64 << 10, "{} has {} bytes", entry.path().display(), metadata.len());
        }
    }
}

#[test]
fn what_another_key_signed_is_refused() {
    skip_without_lab!();
    let fleet = fleet();
    let stranger = KeyPair::generate(&fleet.binaries, fleet.scratch.path(), "stranger").unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let device = fleet.device(0);
    let receiver = fleet.bare_receiver(0).args(fleet.channel.options());
    let receiver =
        receiver.args([OsStr::new("--trust"), stranger.public.as_os_str(), "--out".as_ref(), device.out.as_os_str()]);
    let finished = deliver(&fleet, receiver, &release);
    assert_eq!(finished.code(), REFUSED, "{}", finished.stderr);
    assert!(!device.out.exists());
    assert_holds_no_image(&device.state);
    let failed = finished.event("failed").unwrap();
    assert_eq!(failed["exit_code"], 4, "{failed}");
}

#[test]
fn other_hardware_is_refused() {
    skip_without_lab!();
    let mut fleet = fleet();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    fleet.hardware = "rev-z".into();
    let finished = deliver(&fleet, fleet.receiver(0), &release);
    assert_eq!(finished.code(), REFUSED, "{}", finished.stderr);
    assert!(!fleet.device(0).out.exists());
    assert_holds_no_image(&fleet.device(0).state);
}

#[test]
fn nothing_in_time_is_a_timeout() {
    skip_without_lab!();
    let fleet = fleet();
    let finished = joined(&fleet, fleet.receiver(0).args(["--once", "--timeout", "1s"])).finish(SOON).unwrap();
    assert_eq!(finished.code(), TIMEOUT, "{}", finished.stderr);
    assert_eq!(finished.event("summary").unwrap()["result"], "timeout");
}

#[test]
fn ctrl_c_ends_both_with_a_summary() {
    skip_without_lab!();
    let fleet = fleet();
    let release = fleet.release(20_000_000, 1).unwrap();
    let mut receiver = joined(&fleet, fleet.receiver(0));
    let mut sender = fleet.sender(&release).args(["--rate", "20M"]).spawn().unwrap();
    receiver.wait_event("progress", SOON).unwrap();
    sender.wait_event("progress", SOON).unwrap();
    for process in [receiver, sender] {
        process.signal(Signal::INT).unwrap();
        let finished = process.finish(SOON).unwrap();
        assert_eq!(finished.code(), INTERRUPTED, "{}", finished.stderr);
        assert!(finished.event("summary").is_some());
    }
    assert!(!fleet.device(0).out.exists(), "what is not verified has no final name");
}

#[test]
fn the_hook_gets_the_documented_environment() {
    skip_without_lab!();
    let fleet = fleet();
    let release = fleet.release(IMAGE_BYTES, 7).unwrap();
    let seen = fleet.scratch.join("seen");
    let hook = format!("env | grep ^FLEETCAST_ > {0}; sha256sum < \"$FLEETCAST_IMAGE\" >> {0}", seen.display());
    let finished = deliver(&fleet, fleet.receiver(0).args(["--apply", &format!("exec:{hook}")]), &release);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let seen = fs::read_to_string(seen).unwrap();
    let (sha256, version) = (&release.sha256, &release.version);
    for line in [
        format!("FLEETCAST_PRODUCT={PRODUCT}"),
        format!("FLEETCAST_HARDWARE={HARDWARE}"),
        format!("FLEETCAST_VERSION={version}"),
        "FLEETCAST_SEQUENCE=7".into(),
        format!("FLEETCAST_LENGTH={IMAGE_BYTES}"),
        format!("FLEETCAST_SHA256={sha256}"),
        format!("{sha256}  -"),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in\n{seen}");
    }
    for variable in ["FLEETCAST_NAME=", "FLEETCAST_MANIFEST="] {
        assert!(seen.lines().any(|line| line.len() > variable.len() && line.starts_with(variable)), "{seen}");
    }
    assert_eq!(finished.event("applied").unwrap()["policy"], "exec");
}

#[test]
fn a_hook_that_fails_has_not_applied() {
    skip_without_lab!();
    let fleet = fleet();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let failed = deliver(&fleet, fleet.receiver(0).args(["--apply", "exec:exit 3"]), &release);
    assert_eq!(failed.code(), APPLY_FAILED, "{}", failed.stderr);
    assert!(failed.event("applied").is_none());
    assert!(!fleet.device(0).out.exists(), "the final name changes only once the hook has said yes");
    // The floor did not rise: the same release may be tried again.
    let again = deliver(&fleet, fleet.receiver(0).args(["--apply", "exec:true"]), &release);
    assert_eq!(again.code(), Some(0), "{}", again.stderr);
}

#[test]
fn a_service_outlives_a_hook_that_fails() {
    skip_without_lab!();
    let fleet = fleet();
    let [bad, good] = [1, 2].map(|sequence| fleet.release(IMAGE_BYTES, sequence).unwrap());
    let hook = "exec:test \"$FLEETCAST_SEQUENCE\" = 2";
    let mut receiver = joined(&fleet, fleet.receiver(0).args(["--apply", hook]));
    send(&fleet, &bad);
    let failed = receiver.wait_event("failed", SOON).unwrap();
    assert_eq!(failed["exit_code"], i64::from(APPLY_FAILED.unwrap()));
    assert!(!fleet.device(0).out.exists());
    send(&fleet, &good);
    receiver.wait_event("applied", SOON).unwrap();
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), good.sha256);
}

#[test]
fn policy_none_stages_and_leaves_the_final_name_alone() {
    skip_without_lab!();
    let fleet = fleet();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let finished = deliver(&fleet, fleet.receiver_without_output(0).args(["--apply", "none"]), &release);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let summary = finished.event("summary").unwrap();
    assert_eq!((&summary["result"], &summary["sha256"]), (&"verified".into(), &release.sha256.as_str().into()));
    assert!(!fleet.device(0).out.exists());
}

#[test]
fn a_service_takes_one_upgrade_after_another_and_never_an_older_one() {
    skip_without_lab!();
    let fleet = fleet();
    let [first, second] = [1, 2].map(|sequence| fleet.release(IMAGE_BYTES, sequence).unwrap());
    let out = fleet.device(0).out;
    let mut receiver = joined(&fleet, fleet.receiver(0));
    for release in [&first, &second] {
        send(&fleet, release);
        let applied = receiver.wait_event("applied", SOON).unwrap();
        assert_eq!(applied["policy"], "file", "{applied}");
        assert_eq!(image::sha256(&out).unwrap(), release.sha256);
    }
    // The older one again: to the service, which goes on with what it has, and to one that starts anew from the same state.
    send(&fleet, &first);
    receiver.signal(Signal::TERM).unwrap();
    let finished = receiver.finish(SOON).unwrap();
    assert_eq!(finished.code(), INTERRUPTED);
    let applied = finished.events.iter().filter(|event| event.fields["event"] == "applied").count();
    assert_eq!(applied, 2, "{:?}", finished.events);
    let finished = deliver(&fleet, fleet.receiver(0), &first);
    assert_eq!(finished.code(), REFUSED, "{}", finished.stderr);
    assert_eq!(image::sha256(&out).unwrap(), second.sha256);
}
