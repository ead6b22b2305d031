//! The truth per device: what receivers report, who is silent, and what `--require` makes of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::loss::Loss;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);
const ONCE: [&str; 3] = ["--once", "--timeout", "2s"];
const REPORTS: [&str; 4] = ["--report-url", "http://10.77.0.1:8091/report", "--report-period", "300ms"];
const FLEET_MISSED: i32 = 8;

struct Desk {
    fleet: Fleet,
    report: PathBuf,
    devices: PathBuf,
}

impl Desk {
    fn new(receivers: usize, devices: &str) -> Self {
        let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, receivers).unwrap();
        let (report, list) = (fleet.scratch.join("report.json"), fleet.scratch.join("devices"));
        fs::write(&list, devices).unwrap();
        Self { fleet, report, devices: list }
    }

    fn receiver(&self, index: usize, name: &str, more: &[&str]) -> Process {
        self.fleet.receiver(index).args(ONCE).args(REPORTS).args(["--device-id", name]).args(more).spawn().unwrap()
    }

    fn send(&self, release: &Release, more: &[&str]) -> Finished {
        let sender =
            self.fleet.sender(release).args(["--rate", "100M", "--serve-repair", "0.0.0.0:8091", "--linger", "3s"]);
        let report = ["--report".as_ref(), self.report.as_os_str(), "--devices".as_ref(), self.devices.as_os_str()];
        sender.args(report).args(more).spawn().unwrap().finish(LONG).unwrap()
    }

    fn read_report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(&self.report).unwrap()).unwrap()
    }
}

/// Receiver 0 gets the image, 1 loses half of it and gives up, 2 says nothing, r3 does not exist, and 3 is called r4, which is on no list.
#[test]
fn each_device_has_its_end_state_and_a_missed_requirement_its_exit_code() {
    skip_without_lab!();
    let mut desk = Desk::new(4, "r0\nr1\nr2 # says nothing\nr3\n");
    let losses = [0, 500_000, 0, 0].map(|loss_ppm| Loss::new(7, loss_ppm));
    desk.fleet.lab.set_losses(desk.fleet.channel.port, &losses).unwrap();
    let release = desk.fleet.release(4_000_000, 1).unwrap();
    let nobody = ["--repair-announced", "none"];
    let mut receivers = vec![desk.receiver(0, "r0", &[]), desk.receiver(1, "r1", &nobody)];
    receivers.push(desk.fleet.receiver(2).args(ONCE).spawn().unwrap());
    receivers.push(desk.receiver(3, "r4", &[]));
    desk.fleet.await_joined(&mut receivers).unwrap();
    let sent = desk.send(&release, &["--require", "50%", "--repair", "auto"]);
    for receiver in receivers {
        receiver.finish(LONG).unwrap();
    }
    assert_eq!(sent.code(), Some(FLEET_MISSED), "{}", sent.stderr);
    assert!(sent.stderr.contains("1 of 4 devices hold the image, --require demands 50 %"), "{}", sent.stderr);
    assert_eq!(sent.event("repair_sized").unwrap()["loss_ppm"], Value::Null, "there was no report yet");
    let report = desk.read_report();
    let states: Vec<(&str, &str)> = report["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| (device["device"].as_str().unwrap(), device["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("r0", "committed"), ("r1", "failed"), ("r2", "silent"), ("r3", "silent")]);
    let failed = &report["devices"][1];
    assert!(failed["reason"].as_str().unwrap().contains("no progress for 2 s"), "{failed}");
    assert!(failed["loss"].as_f64().is_some_and(|loss| (0.4..0.6).contains(&loss)), "{failed}");
    assert!(report["ignored_reports"]["stranger"].as_u64() >= Some(1), "{report}");
    assert_eq!(
        report["counts"],
        serde_json::json!({
        "receiving": 0, "verified": 0, "activated": 0, "committed": 1, "failed": 1, "silent": 2 })
    );
    assert_eq!(fs::read_to_string(desk.report.with_extension("csv")).unwrap().lines().count(), 5);
}

/// The next send: receiver 1 loses less, goes on where it was, and everybody listed is there; repair follows what was lost.
#[test]
fn a_fleet_that_is_complete_ends_the_send_at_once_and_sizes_the_next_repair() {
    skip_without_lab!();
    let mut desk = Desk::new(2, "r0\nr1\n");
    let losses = [0, 100_000].map(|loss_ppm| Loss::new(1, loss_ppm));
    desk.fleet.lab.set_losses(desk.fleet.channel.port, &losses).unwrap();
    let mut codes = Vec::new();
    for sequence in 1..=2 {
        let release = desk.fleet.release(4_000_000, sequence).unwrap();
        let hurry = ["--repair-offset", "300ms", "--repair-period", "200ms"];
        let mut receivers = vec![desk.receiver(0, "r0", &hurry), desk.receiver(1, "r1", &hurry)];
        desk.fleet.await_joined(&mut receivers).unwrap();
        let sent = desk.send(&release, &["--require", "100%", "--repair", "auto"]);
        for receiver in receivers {
            assert_eq!(receiver.finish(LONG).unwrap().code(), Some(0));
        }
        let (sized, fleet) = (sent.event("repair_sized").unwrap(), sent.event("fleet").unwrap());
        codes.push((sent.code(), sized["repair_permyriad"].as_u64(), fleet["committed"].as_u64()));
        let lingered = sent.event_at("served").unwrap() - sent.event_at("serving").unwrap();
        assert!(lingered < Duration::from_millis(2_900), "nobody is missing any more: {lingered:?}");
        if sequence == 1 {
            let fetched = desk.read_report()["devices"][1]["fetched_bytes"].as_u64();
            assert!(fetched > Some(1_344), "{fetched:?} bytes were fetched");
        }
    }
    assert_eq!((codes[0], codes[1].0, codes[1].2), ((Some(0), None, Some(2)), Some(0), Some(2)));
    // 10 % of loss, give or take.
    assert!((1_000..1_500).contains(&codes[1].1.unwrap()), "{codes:?}");
}
