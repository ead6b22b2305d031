//! Where AF_XDP cannot send: the sender names what is missing and what to use instead, and sends nothing. Where the queue is
//! only being given up, it waits.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::image;
use fleetcast_tests::pair::{INTERFACE, Pair};
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::{KeyPair, Release};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;
use rustix::process::Signal;

const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;
const SOON: Duration = Duration::from_secs(20);
/// Less than the sender waits for a queue.
const A_WHILE: Duration = Duration::from_millis(400);

/// More packets than probes and the kernel itself send.
const PROOF_PACKETS: u64 = 200;

/// A cable, and something to send over it.
struct Desk {
    pair: Pair,
    binaries: Binaries,
    release: Release,
    _scratch: Scratch,
}

impl Desk {
    fn new() -> Self {
        let (binaries, scratch) = (Binaries::beside_this_program().unwrap(), Scratch::new().unwrap());
        let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
        let image = scratch.join("firmware.bin");
        image::write_pseudo_random(&image, 100_000, 1).unwrap();
        let release = Release::seal(&binaries, image, &key, 1).unwrap();
        Self { pair: Pair::new(1500, 1).unwrap(), binaries, release, _scratch: scratch }
    }

    /// The sender, started by `launcher` (a program and its arguments), with `more` arguments.
    fn spawn(&self, launcher: &[&str], more: &[&str]) -> Process {
        let mut command = self.launch(launcher);
        command.arg("send").arg(&self.release.image).args(["--group", "232.1.1.1", "--port", "5000"]);
        command.args(["--rate", "10M", "--json"]).args(more);
        Process::spawn(format!("sender {more:?}"), command).unwrap()
    }

    fn launch(&self, launcher: &[&str]) -> Command {
        let [program, args @ ..] = launcher else { return self.pair.sender().command(&self.binaries.send) };
        let mut command = self.pair.sender().command(Path::new(program));
        command.args(args).arg(&self.binaries.send);
        command
    }

    fn send(&self, launcher: &[&str], more: &[&str]) -> Finished {
        self.spawn(launcher, more).finish(SOON).unwrap()
    }
}

#[track_caller]
fn assert_refused(finished: &Finished, code: i32, messages: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{}", finished.stderr);
    assert!(finished.event("started").is_none(), "it has started");
    for message in messages {
        assert!(finished.stderr.contains(message), "{}\nlacks {message:?}", finished.stderr);
    }
}

#[test]
fn says_what_af_xdp_is_missing() {
    skip_without_lab!();
    let desk = Desk::new();
    desk.pair
        .sender()
        .ip(&["tuntap add dev tun0 mode tun", "link set tun0 up", "addr add 10.79.0.1/24 dev tun0"])
        .unwrap();
    let xdp = ["--backend", "xdp", "--interface"];
    let send = |launcher: &[&str], more: &[&str]| desk.send(launcher, &[&xdp, more].concat());
    let uncapable = ["setpriv", "--bounding-set", "-net_raw"];
    assert_refused(
        &send(&uncapable, &[INTERFACE]),
        ENVIRONMENT,
        &["CAP_NET_RAW", "setcap cap_net_raw+ep", "--backend uring or mmsg"],
    );
    assert_refused(&send(&[], &["tun0"]), ENVIRONMENT, &["'tun0' is no Ethernet interface", "--backend uring or mmsg"]);
    assert_refused(
        &send(&[], &[INTERFACE, "--threads", "2"]),
        ENVIRONMENT,
        &["--threads 2", "'eth0' has 1 transmit queue(s)"],
    );
    assert_refused(&send(&[], &[INTERFACE, "--loopback"]), ENVIRONMENT, &["leave --loopback out"]);
    let tagged = ["--backend", "mmsg", "--interface", INTERFACE, "--vlan", "7"];
    assert_refused(&desk.send(&[], &tagged), USAGE, &["--vlan goes with --backend xdp", "make a VLAN interface"]);
    // The others need no capability.
    let other = ["--backend", "mmsg", "--interface", INTERFACE];
    let sent = desk.send(&uncapable, &other);
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
}

#[test]
fn a_queue_in_use_is_refused_and_one_given_up_meanwhile_is_taken() {
    skip_without_lab!();
    let desk = Desk::new();
    let once = ["--backend", "xdp", "--interface", INTERFACE];
    let mut holder = desk.spawn(&[], &[&once[..], &["--passes", "forever"]].concat());
    holder.wait_event("started", SOON).unwrap();
    // It has the queue once frames leave.
    let deadline = Instant::now() + SOON;
    while desk.pair.sink_link().counters().unwrap().rx_packets < PROOF_PACKETS {
        assert!(Instant::now() < deadline, "the holder does not send");
        thread::sleep(Duration::from_millis(10));
    }
    assert_refused(
        &desk.send(&[], &once),
        ENVIRONMENT,
        &["cannot bind AF_XDP to transmit queue 0", "does another program use it"],
    );
    let waiting = desk.spawn(&[], &once);
    thread::sleep(A_WHILE);
    holder.signal(Signal::KILL).unwrap();
    let sent = waiting.finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    assert_eq!(sent.event("started").unwrap()["backend"], "xdp");
}
