//! The control socket of a running sender, over the loopback: what is asked for happens at once.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::image;
use fleetcast_tests::process::Process;
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

fn ask(binaries: &Binaries, socket: &Path, words: &[&str]) -> Output {
    Command::new(&binaries.send).arg("control").arg(socket).args(words).output().unwrap()
}

fn start(binaries: &Binaries, release: &Release, socket: &Path, rate: &str) -> Process {
    let mut command = Command::new(&binaries.send);
    command.arg("send").arg(&release.image).args(["--group", "232.1.1.1", "--port", "5000", "--interface", "lo"]);
    command.args(["--rate", rate, "--json", "--control"]).arg(socket);
    let mut process = Process::spawn("sender", command).unwrap();
    process.wait_event("started", PATIENCE).unwrap();
    process
}

#[test]
fn the_rate_of_a_running_send_is_changed() {
    let (binaries, scratch) = (Binaries::beside_this_program().unwrap(), Scratch::new().unwrap());
    let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
    let image = scratch.join("firmware.bin");
    image::write_pseudo_random(&image, 3_000_000, 1).unwrap();
    let release = Release::seal(&binaries, image, &key, 1).unwrap();
    let socket = scratch.join("control");

    // At 1 Mbit/s it would take 27 s, and all of it is planned at once.
    let sender = start(&binaries, &release, &socket, "1M");
    let started = Instant::now();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let status = ask(&binaries, &socket, &["status"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["rate_bps"], 1_000_000);
    let refused = ask(&binaries, &socket, &["rate", "fast"]);
    assert_eq!(refused.status.code(), Some(2));
    let taken = start_second(&binaries, &release, &socket);
    assert_eq!(taken.status.code(), Some(3), "{taken:?}");
    assert!(ask(&binaries, &socket, &["rate", "50M"]).status.success());
    let finished = sender.finish(PATIENCE).unwrap();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(finished.event("rate").unwrap()["rate_bps"], 50_000_000);
    assert!(!socket.exists());

    let sender = start(&binaries, &release, &socket, "1M");
    assert!(ask(&binaries, &socket, &["stop"]).status.success());
    let finished = sender.finish(PATIENCE).unwrap();
    assert_eq!(finished.code(), Some(130), "{}", finished.stderr);
    assert_eq!(ask(&binaries, &socket, &["status"]).status.code(), Some(3));
}

fn start_second(binaries: &Binaries, release: &Release, socket: &Path) -> Output {
    let mut command = Command::new(&binaries.send);
    command.arg("send").arg(&release.image).args(["--group", "232.1.1.2", "--port", "5000", "--interface", "lo"]);
    command.args(["--rate", "1M", "--control"]).arg(socket).output().unwrap()
}
