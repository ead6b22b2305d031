//! The XDP source filter on a receiver's interface, with the real programs. Needs root.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::command::run;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::lab::INTERFACE;
use fleetcast_tests::loss::Loss;
use fleetcast_tests::namespace::Namespace;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const ONCE: [&str; 3] = ["--once", "--timeout", "15s"];
const XDP: [&str; 2] = ["--filter", "xdp"];
const ENVIRONMENT: i32 = 3;
/// CAP_NET_ADMIN and CAP_BPF as bits of /proc/PID/status, and what else the receiver gives up.
const GIVEN_UP: u64 = 1 << 12 | 1 << 13 | 1 << 21 | 1 << 38 | 1 << 39;

fn fleet(receivers: usize) -> Fleet {
    Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, receivers).unwrap()
}

/// Sends datagrams as any host does, from the address of the namespace.
fn send(from: &Namespace, port: u16, payload: &[u8], count: usize) {
    let group = Channel::SSM_V4.group;
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for _ in 0..count {
            socket.send_to(payload, (group, port)).unwrap();
        }
    })
    .unwrap();
}

/// `filter status --json` inside a namespace.
fn status(fleet: &Fleet, namespace: &Namespace) -> Vec<Value> {
    let lines = run(namespace.command(&fleet.binaries.recv).args(["filter", "status", "--json"])).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the only filter of the namespace has counted so many packets of a kind.
fn await_count(fleet: &Fleet, namespace: &Namespace, kind: &str, count: u64) -> Value {
    let start = Instant::now();
    let mut last = Vec::new();
    loop {
        let filters = status(fleet, namespace);
        assert_eq!(filters.len(), 1, "{filters:?}, {last:?} before");
        last = filters.clone();
        if filters[0]["counters"][kind].as_u64() >= Some(count) {
            return filters[0].clone();
        }
        assert!(start.elapsed() < SOON, "{kind} stays below {count}: {filters:?}");
    }
}

fn receiver(fleet: &Fleet, args: &[&str]) -> (Process, Value) {
    let mut receiver = fleet.receiver(0).args(ONCE).args(args).spawn().unwrap();
    let filter = receiver.wait_event("filter", SOON).unwrap();
    (receiver, filter)
}

fn deliver(fleet: &Fleet, release: &Release, receivers: Vec<Process>) -> Vec<Finished> {
    fleet.lab.await_all_joined(fleet.channel.group).unwrap();
    deliver_to_joined(fleet, release, receivers)
}

fn deliver_to_joined(fleet: &Fleet, release: &Release, mut receivers: Vec<Process>) -> Vec<Finished> {
    let sent = fleet.sender(release).args(["--rate", "100M"]).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
    receivers.drain(..).map(|receiver| receiver.finish(SOON).unwrap()).collect()
}

#[track_caller]
fn assert_delivered(fleet: &Fleet, release: &Release, received: &Finished) {
    assert_eq!(received.code(), Some(0), "{}", received.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
}

#[test]
fn other_sources_are_dropped_at_the_interface_and_told() {
    skip_without_lab!();
    let fleet = fleet(2);
    let release = fleet.release(3_000_000, 1).unwrap();
    let [host, stranger] = fleet.lab.receivers() else { panic!("two were asked for") };
    let (mut receiver, filter) = receiver(&fleet, &XDP);
    assert_eq!((filter["filter"].as_str(), filter["gro"].as_bool()), (Some("xdp"), Some(true)), "{filter}");
    // A switch that knows no IGMPv3: it floods what the source-specific membership would keep away.
    fleet.lab.bridge().namespace().ip(&["link set br0 type bridge mcast_snooping 0"]).unwrap();
    send(stranger, fleet.channel.port, &[0x10; 100], 40);
    send(stranger, fleet.channel.port + 1, b"of another program", 7);
    // Larger than the MTU: it comes in fragments.
    send(stranger, fleet.channel.port, &[0; 3_000], 1);
    let at_work = await_count(&fleet, host, "fragment", 3);
    assert_eq!(at_work["counters"]["wrong_source"], 40, "{at_work}");
    assert_eq!(at_work["counters"]["other_port"], 7, "{at_work}");
    assert_eq!((at_work["dropped"].as_u64(), at_work["interface"].as_str()), (Some(43), Some(INTERFACE)));
    assert_eq!(at_work["channels"][0]["source"], fleet.channel.source.unwrap().to_string());
    let told = receiver.wait_event("filter_dropped", SOON).unwrap();
    let example = &told["examples"][0];
    let said = (example["source"].as_str(), example["reason"].as_str());
    assert_eq!(said, (Some("10.77.1.2"), Some("wrong_source")), "{told}");
    let received = deliver_to_joined(&fleet, &release, vec![receiver]);
    assert_delivered(&fleet, &release, &received[0]);
    let filtered = received[0].event("filtered").unwrap();
    assert_eq!(filtered["counters"]["malformed"], 0, "{filtered}");
    assert!(filtered["counters"]["accepted"].as_u64() > Some(2_000), "{filtered}");
    assert!(status(&fleet, host).is_empty(), "the filter outlives its receiver");
}

#[test]
fn the_ports_of_an_exclusive_group_are_shut() {
    skip_without_lab!();
    let fleet = fleet(1);
    let (_receiver, _) = receiver(&fleet, &["--filter", "xdp", "--exclusive"]);
    fleet.lab.await_all_joined(fleet.channel.group).unwrap();
    send(fleet.lab.sender(), fleet.channel.port + 1, b"of another program", 5);
    let at_work = await_count(&fleet, &fleet.lab.receivers()[0], "exclusive_port", 5);
    assert_eq!(at_work["channels"][0]["exclusive"], true, "{at_work}");
}

#[test]
fn a_killed_receiver_leaves_no_program_behind() {
    skip_without_lab!();
    let fleet = fleet(1);
    let host = &fleet.lab.receivers()[0];
    let (receiver, filter) = receiver(&fleet, &XDP);
    assert_eq!(status(&fleet, host)[0]["program_id"], filter["program_id"]);
    drop(receiver);
    let start = Instant::now();
    // The kernel frees a killed process's files a moment later.
    while !status(&fleet, host).is_empty() {
        assert!(start.elapsed() < SOON);
    }
    let link = run(host.command("ip").args(["link", "show", INTERFACE])).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn somebody_elses_program_stays_and_is_named() {
    skip_without_lab!();
    let mut fleet = fleet(1);
    fleet.lab.set_losses(fleet.channel.port, &[Loss::new(1, 0)]).unwrap();
    let release = fleet.release(1_000_000, 1).unwrap();
    let refused = fleet.receiver(0).args(ONCE).args(XDP).spawn().unwrap().finish(SOON).unwrap();
    assert_eq!(refused.code(), Some(ENVIRONMENT), "{}", refused.stderr);
    assert!(refused.stderr.contains("named 'lose'") && refused.stderr.contains("auto"), "{}", refused.stderr);
    let (receiver, filter) = receiver(&fleet, &[]);
    assert_eq!(filter["filter"], "socket", "{filter}");
    assert!(filter["why"].as_str().unwrap().contains("named 'lose'"), "{filter}");
    let received = deliver(&fleet, &release, vec![receiver]);
    assert_delivered(&fleet, &release, &received[0]);
    let seen = fleet.lab.losses()[0].counters().unwrap().seen;
    assert!(seen > 700, "the program that was there has seen {seen} packets only");
}

#[test]
fn a_device_without_native_mode_is_refused_and_told_why() {
    skip_without_lab!();
    let fleet = fleet(1);
    let host = &fleet.lab.receivers()[0];
    host.ip(&["link add d0 type bridge", "addr add 10.78.0.1/24 dev d0", "link set d0 up"]).unwrap();
    let on_bridge = |filter: &str| {
        let args = ["--interface", "d0", "--filter", filter];
        let mut command = host.command(&fleet.binaries.recv);
        command.arg("receive").args(fleet.channel.options()).args(args).args([
            "--once",
            "--timeout",
            "200ms",
            "--json",
        ]);
        command.args(["--product", "p", "--hardware", "h", "--trust"]).arg(&fleet.key.public);
        command.arg("--state").arg(fleet.device(0).state);
        Process::spawn("the receiver", command).unwrap().finish(SOON).unwrap()
    };
    let refused = on_bridge("xdp");
    assert_eq!(refused.code(), Some(ENVIRONMENT), "{}", refused.stderr);
    assert!(refused.stderr.contains("generic mode is refused"), "{}", refused.stderr);
    let fell_back = on_bridge("auto");
    let filter = fell_back.event("filter").unwrap();
    assert_eq!(filter["filter"], "socket", "{filter}");
    assert!(filter["why"].as_str().unwrap().contains("no native XDP"), "{filter}");
}

/// One more receiver on the host of the first, with a state folder of its own.
fn another(fleet: &Fleet, channel: [&str; 6]) -> Process {
    let mut command = fleet.lab.receivers()[0].command(&fleet.binaries.recv);
    command.arg("receive").args(channel).args(["--interface", INTERFACE, "--json"]).args(XDP);
    command.args(["--product", &fleet.product, "--hardware", &fleet.hardware]).arg("--trust").arg(&fleet.key.public);
    command.arg("--state").arg(fleet.scratch.join("another.state"));
    Process::spawn("another receiver", command).unwrap()
}

/// Two receivers on one host: the second finds the first one's filter, is let in, and goes on when the first has ended.
#[test]
fn a_second_receiver_takes_a_place_in_the_filter() {
    skip_without_lab!();
    let fleet = fleet(1);
    let release = fleet.release(1_000_000, 1).unwrap();
    let host = &fleet.lab.receivers()[0];
    let mut first = another(&fleet, ["--source", "10.77.0.9", "--group", "232.1.1.1", "--port", "5000"]);
    let own = first.wait_event("filter", SOON).unwrap();
    assert_eq!(own["owner_pid"], Value::Null, "{own}");
    let (mut second, place) = receiver(&fleet, &XDP);
    assert_eq!(place["program_id"], own["program_id"], "{place}");
    let at_work = status(&fleet, host);
    assert_eq!(at_work[0]["channels"].as_array().unwrap().len(), 2, "{at_work:?}");
    assert_eq!(at_work[0]["pid"], place["owner_pid"], "{at_work:?}");
    drop(first);
    second.wait_event("filter_gone", SOON).unwrap();
    let received = deliver(&fleet, &release, vec![second]);
    assert_delivered(&fleet, &release, &received[0]);
}

/// Killed guests say nothing: their place ends with its lease, and the group is open again.
#[test]
fn a_killed_guest_loses_its_place() {
    skip_without_lab!();
    let fleet = fleet(1);
    let host = &fleet.lab.receivers()[0];
    let (_owner, _) = receiver(&fleet, &XDP);
    let mut guest = another(&fleet, ["--source", "10.77.0.1", "--group", "232.1.1.9", "--port", "5000"]);
    guest.wait_event("filter", SOON).unwrap();
    assert_eq!(status(&fleet, host)[0]["channels"].as_array().unwrap().len(), 2);
    drop(guest);
    let start = Instant::now();
    while status(&fleet, host)[0]["channels"].as_array().unwrap().len() > 1 {
        assert!(start.elapsed() < SOON, "its lease is 5 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn two_capabilities_are_enough_and_are_given_up() {
    skip_without_lab!();
    let fleet = fleet(1);
    let release = fleet.release(1_000_000, 1).unwrap();
    let host = &fleet.lab.receivers()[0];
    let folder = fleet.scratch.join("ordinary");
    fs::create_dir(&folder).unwrap();
    run(Command::new("chown").args(["65534:65534".as_ref(), folder.as_os_str()])).unwrap();
    let key = folder.join("release.pub");
    fs::copy(&fleet.key.public, &key).unwrap();
    run(Command::new("chmod").args(["0755".as_ref(), fleet.scratch.path().as_os_str()])).unwrap();
    run(Command::new("chmod").args(["0644".as_ref(), key.as_os_str()])).unwrap();
    let as_nobody = |capabilities: &str| {
        let mut command = host.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]).arg(&fleet.binaries.recv);
        command.arg("receive").args(fleet.channel.options()).args(["--interface", INTERFACE, "--json"]);
        command.args(["--product", &fleet.product, "--hardware", &fleet.hardware]).args(ONCE).arg("--trust").arg(&key);
        command.arg("--out").arg(folder.join("image")).arg("--state").arg(folder.join("state"));
        command
    };
    // Without them the receiver says what it lacks, and goes on.
    let mut without = Process::spawn("the receiver", as_nobody("-all")).unwrap();
    let filter = without.wait_event("filter", SOON).unwrap();
    assert_eq!(filter["filter"], "socket", "{filter}");
    assert!(filter["why"].as_str().unwrap().contains("CAP_BPF"), "{filter}");
    drop(without);
    let mut receiver = Process::spawn("the receiver", as_nobody("-all,+bpf,+net_admin")).unwrap();
    let filter = receiver.wait_event("filter", SOON).unwrap();
    assert_eq!(filter["filter"], "xdp", "{filter}");
    let pid = status(&fleet, host)[0]["pid"].as_u64().unwrap();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let text = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let sets: Vec<u64> = text
            .lines()
            .filter_map(|line| line.strip_prefix("CapPrm:").or_else(|| line.strip_prefix("CapEff:")))
            .map(|bits| u64::from_str_radix(bits.trim(), 16).unwrap())
            .collect();
        assert_eq!(sets.len(), 2);
        assert!(sets.iter().all(|bits| bits & GIVEN_UP == 0), "{text}");
    }
    let received = deliver(&fleet, &release, vec![receiver]);
    assert_eq!(received[0].code(), Some(0), "{}", received[0].stderr);
    assert_eq!(image::sha256(&folder.join("image")).unwrap(), release.sha256);
    assert!(received[0].event("filtered").unwrap()["counters"]["accepted"].as_u64() > Some(700));
}

#[test]
fn without_a_filter_whatever_source_is_read() {
    skip_without_lab!();
    let fleet = fleet(1);
    let release = fleet.release(1_000_000, 1).unwrap();
    let elsewhere = ["--source", "10.77.0.9", "--group", "232.1.1.1", "--port", "5000", "--filter", "off", "--trust"];
    let receiver = fleet.bare_receiver(0).args(elsewhere).args([&fleet.key.public]).args(ONCE);
    let mut receiver = receiver.args(["--out".as_ref(), fleet.device(0).out.as_os_str()]).spawn().unwrap();
    assert_eq!(receiver.wait_event("filter", SOON).unwrap()["filter"], "off");
    let received = deliver(&fleet, &release, vec![receiver]);
    assert_delivered(&fleet, &release, &received[0]);
}
