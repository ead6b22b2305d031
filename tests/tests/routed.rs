//! Across two PIM routers (FRR) and a snooping switch, with the real programs. Needs root and Debian's frr.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::lab::INTERFACE;
use fleetcast_tests::namespace::Namespace;
use fleetcast_tests::process::{Finished, Process};
use fleetcast_tests::release::{HARDWARE, KeyPair, PRODUCT, Release};
use fleetcast_tests::routed::{RoutedLab, SENDER};
use fleetcast_tests::router::Router;
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::{image, root, skip_without_lab};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const IMAGE_BYTES: u64 = 3_000_000;
const PORT: u16 = 5_000;
/// More than the routers on the way.
const TTL: u32 = 8;
const STRANGE_PACKETS: u64 = 300;

struct Scene {
    lab: RoutedLab,
    binaries: Binaries,
    scratch: Scratch,
    release: Release,
    group: Ipv4Addr,
}

impl Scene {
    fn new(group: Ipv4Addr) -> Self {
        let (lab, scratch) = (RoutedLab::new().unwrap(), Scratch::new().unwrap());
        let binaries = Binaries::beside_this_program().unwrap();
        let key = KeyPair::generate(&binaries, scratch.path(), "release").unwrap();
        let file = scratch.join("firmware.bin");
        image::write_pseudo_random(&file, IMAGE_BYTES, 1).unwrap();
        let release = Release::seal(&binaries, file, &key, 1).unwrap();
        Self { lab, binaries, scratch, release, group }
    }

    fn out(&self, index: usize) -> PathBuf {
        self.scratch.join(format!("r{index}.bin"))
    }

    fn channel(&self) -> [String; 4] {
        ["--group".into(), self.group.to_string(), "--port".into(), PORT.to_string()]
    }

    fn receiver(&self, index: usize, args: &[&str]) -> Process {
        let mut command = self.lab.receivers()[index].command(&self.binaries.recv);
        command.arg("receive").args(self.channel()).args(["--interface", INTERFACE, "--json", "--once"]).args(args);
        command.args(["--timeout", "15s", "--product", PRODUCT, "--hardware", HARDWARE, "--trust"]);
        command.arg(&self.release.public_key).arg("--out").arg(self.out(index));
        command.arg("--state").arg(self.scratch.join(format!("r{index}.state")));
        let mut receiver = Process::spawn(format!("receiver {index}"), command).unwrap();
        receiver.wait_event("joined", SOON).unwrap();
        receiver
    }

    /// Sends the image, after a stranger has sent to the same group; how the receivers ended.
    fn deliver(&self, receivers: [Process; 2]) -> [Finished; 2] {
        self.lab.await_all_joined(self.group).unwrap();
        let bystander = self.lab.bystander().link(INTERFACE);
        let heard_before = bystander.counters().unwrap().rx_bytes;
        stray(self.lab.stranger(), self.group);
        let mut command = self.lab.sender().command(&self.binaries.send);
        command.arg("send").arg(&self.release.image).arg("--manifest").arg(&self.release.manifest);
        command.args(self.channel()).args(["--interface", INTERFACE, "--rate", "50M", "--repair", "5%", "--json"]);
        command.args(["--ttl", &TTL.to_string()]);
        let sent = Process::spawn("the sender", command).unwrap().finish(SOON).unwrap();
        assert_eq!(sent.code(), Some(0), "{}", sent.stderr);
        let finished = receivers.map(|receiver| receiver.finish(SOON).unwrap());
        for (index, received) in finished.iter().enumerate() {
            assert_eq!(received.code(), Some(0), "{index}: {}", received.stderr);
            assert_eq!(image::sha256(&self.out(index)).unwrap(), self.release.sha256, "{index}");
        }
        // Queries and the neighbours' reports reach every port.
        let heard = bystander.counters().unwrap().rx_bytes - heard_before;
        assert!(heard < 20_000, "a host that never joined was sent {heard} bytes");
        finished
    }
}

/// Datagrams of nobody's, to the group.
fn stray(from: &Namespace, group: Ipv4Addr) {
    let before = from.link(INTERFACE).counters().unwrap().tx_packets;
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_multicast_ttl_v4(TTL).unwrap();
        for _ in 0..STRANGE_PACKETS {
            socket.send_to(b"not ALC", (group, PORT)).unwrap();
            // Slow enough that routers keep up with registering the source.
            std::thread::sleep(Duration::from_millis(1));
        }
    })
    .unwrap();
    assert!(from.link(INTERFACE).counters().unwrap().tx_packets - before >= STRANGE_PACKETS);
}

fn count(finished: &Finished, field: &str) -> u64 {
    finished.event("summary").unwrap()[field].as_u64().unwrap()
}

macro_rules! skip_without_routers {
    () => {
        skip_without_lab!();
        if let Err(why) = Router::check() {
            root::skip(&why);
            return;
        }
    };
}

#[test]
fn a_source_specific_channel_crosses_routers_and_nobody_else_s_packets_do() {
    skip_without_routers!();
    let scene = Scene::new(Ipv4Addr::new(232, 1, 1, 1));
    let source = SENDER.to_string();
    let args = ["--source", &source, "--filter", "xdp"];
    let finished = scene.deliver([scene.receiver(0, &args), scene.receiver(1, &args)]);
    for received in &finished {
        let filtered: &Value = received.event("filtered").unwrap();
        assert_eq!(filtered["counters"]["wrong_source"], 0, "{filtered}");
        assert_eq!(count(received, "malformed"), 0);
    }
}

/// By way of the rendezvous point. Whoever takes any source hears the stranger too, and is not bothered by it.
#[test]
fn an_any_source_group_crosses_routers_by_the_rendezvous_point() {
    skip_without_routers!();
    let scene = Scene::new(Ipv4Addr::new(239, 1, 2, 3));
    for received in scene.deliver([scene.receiver(0, &[]), scene.receiver(1, &[])]) {
        assert!(count(&received, "malformed") > STRANGE_PACKETS / 2, "{:?}", received.event("summary"));
    }
}
