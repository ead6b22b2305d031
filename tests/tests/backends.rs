//! All backends put the same bytes on the wire: each sends the same session over a cable, and Wireshark reads what arrives.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use fleetcast_protocol::wire::{Packet, TOI_FDT};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::capture::Capture;
use fleetcast_tests::command::run;
use fleetcast_tests::image;
use fleetcast_tests::pair::{INTERFACE, Pair, SENDER};
use fleetcast_tests::process::Process;
use fleetcast_tests::release::{HARDWARE, KeyPair, PRODUCT};
use fleetcast_tests::scratch::Scratch;
use fleetcast_tests::skip_without_lab;

const BACKENDS: [&str; 3] = ["mmsg", "uring", "xdp"];
const PORT: u16 = 5_000;
const TTL: &str = "7";
const DSCP: &str = "10";
const GROUPS: [&str; 2] = ["232.1.1.1", "ff3e::8000:1"];
const VLAN_ID: u16 = 7;
const IMAGE_BYTES: u64 = 200_000;
const SOON: Duration = Duration::from_secs(20);

const FIELDS: [&str; 21] = [
    "eth.dst",
    "eth.src",
    "vlan.id",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.dsfield.dscp",
    "ip.flags.df",
    "ip.len",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "ipv6.tclass.dscp",
    "ipv6.plen",
    "udp.dstport",
    "udp.length",
    // What follows is looked at by itself.
    "ip.id",
    "ip.checksum.status",
    "udp.checksum.status",
    "udp.srcport",
    "udp.payload",
];
/// Fields that are the same whatever backend has sent.
const SAME: usize = 16;

/// A packet by the values of [`FIELDS`].
struct Row(Vec<String>);

impl Row {
    fn get(&self, field: &str) -> &str {
        &self.0[FIELDS.iter().position(|known| *known == field).unwrap()]
    }

    /// What must be the same from every backend. The FDT has the time in it: of its packets, the length.
    fn content(&self) -> (&[String], Result<Vec<u8>, usize>) {
        let hex = self.get("udp.payload").replace(':', "");
        let payload: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let is_fdt = Packet::parse(&payload).unwrap().header.toi == TOI_FDT;
        (&self.0[..SAME], if is_fdt { Err(payload.len()) } else { Ok(payload) })
    }
}

struct Release {
    scratch: Scratch,
    image: std::path::PathBuf,
}

fn seal(binaries: &Binaries, symbol_size: &str) -> Release {
    let scratch = Scratch::new().unwrap();
    let key = KeyPair::generate(binaries, scratch.path(), "release").unwrap();
    let image = scratch.join("firmware.bin");
    image::write_pseudo_random(&image, IMAGE_BYTES, 1).unwrap();
    let mut seal = Command::new(&binaries.send);
    seal.arg("seal").arg(&image).arg("--key").arg(&key.secret).args(["--product", PRODUCT, "--hardware", HARDWARE]);
    run(seal.args(["--version", "1", "--sequence", "1", "--symbol-size", symbol_size])).unwrap();
    Release { scratch, image }
}

/// Sends the session; returns how many packets that were, by the sender's word. A tag is written by the lab where the
/// kernel's stack sends, and by the sender itself where it writes frames.
fn send(pair: &Pair, binaries: &Binaries, release: &Release, group: &str, tagged: bool, backend: &str) -> u64 {
    let mut command = pair.sender().command(&binaries.send);
    command.arg("send").arg(&release.image).args(["--group", group, "--port", &PORT.to_string()]);
    command.args(["--interface", INTERFACE, "--backend", backend, "--tsi", "77", "--rate", "100M", "--json"]);
    command.args(["--ttl", TTL, "--dscp", DSCP, "--interleave", "2"]);
    if tagged && backend == "xdp" {
        command.args(["--vlan", &VLAN_ID.to_string()]);
    }
    let finished = Process::spawn(backend, command).unwrap().finish(SOON).unwrap();
    assert_eq!(finished.code(), Some(0), "{backend}: {}", finished.stderr);
    assert_eq!(finished.event("started").unwrap()["backend"], backend);
    finished.event("summary").unwrap()["packets"].as_u64().unwrap()
}

/// The packets of each sender by its port, in the order in which they sent.
type Senders = Vec<(String, Vec<Row>)>;

/// Senders by what they sent: whether it was IPv6, and whether it was tagged.
fn sort(rows: Vec<Vec<String>>) -> BTreeMap<(bool, bool), Senders> {
    let mut sessions: BTreeMap<_, Senders> = BTreeMap::new();
    for row in rows.into_iter().map(Row) {
        let shape = (row.get("ip.src").is_empty(), !row.get("vlan.id").is_empty());
        let senders = sessions.entry(shape).or_default();
        let port = row.get("udp.srcport").to_owned();
        match senders.iter_mut().find(|(known, _)| *known == port) {
            Some((_, rows)) => rows.push(row),
            None => senders.push((port, vec![row])),
        }
    }
    sessions
}

/// Every backend sends over IPv4 and IPv6, with and without a VLAN tag, at this MTU.
fn same_bytes(mtu: u32, symbol_size: &str) {
    let binaries = Binaries::beside_this_program().unwrap();
    let release = seal(&binaries, symbol_size);
    let mut pair = Pair::new(mtu, 1).unwrap();
    pair.finish_packets_before_the_cable().unwrap();
    let capture = Capture::start(pair.sink_link(), PORT, &release.scratch).unwrap();
    let mut sent = Vec::new();
    for group in GROUPS {
        for tagged in [false, true] {
            pair.tag_what_leaves(tagged.then_some(VLAN_ID)).unwrap();
            sent.push(BACKENDS.map(|backend| send(&pair, &binaries, &release, group, tagged, backend)));
        }
    }
    let sessions = sort(capture.dissect_verifying(&FIELDS).unwrap());
    let shapes: Vec<_> = sessions.keys().copied().collect();
    assert_eq!(shapes, [(false, false), (false, true), (true, false), (true, true)]);
    for (senders, sent) in sessions.values().zip(&sent) {
        let [mmsg, uring, xdp] = &senders[..] else { panic!("{} senders", senders.len()) };
        for ((name, (_, rows)), packets) in BACKENDS.iter().zip([mmsg, uring, xdp]).zip(sent) {
            assert_eq!(rows.len() as u64, *packets, "{name} at MTU {mtu}");
            for (index, (row, first)) in rows.iter().zip(&mmsg.1).enumerate() {
                assert_eq!(row.content(), first.content(), "{name}, packet {index} at MTU {mtu}");
            }
            rows.iter().for_each(check_headers);
        }
        check_ip_ids(&xdp.1);
    }
}

fn check_headers(row: &Row) {
    let (v4, v6) = SENDER;
    // 1 is "good"; a checksum that is missing is not.
    assert_eq!(row.get("udp.checksum.status"), "1");
    assert!(["", &VLAN_ID.to_string()].contains(&row.get("vlan.id")));
    if row.get("ip.src").is_empty() {
        assert_eq!(row.get("ipv6.src").parse(), Ok(v6));
        assert_eq!((row.get("ipv6.hlim"), row.get("ipv6.tclass.dscp")), (TTL, DSCP));
    } else {
        assert_eq!(row.get("ip.src").parse(), Ok(v4));
        assert_eq!((row.get("ip.ttl"), row.get("ip.dsfield.dscp")), (TTL, DSCP));
        // Nobody may fragment, so that any id is right (RFC 6864 §4.1).
        assert!(["1", "True"].contains(&row.get("ip.flags.df")));
        assert_eq!(row.get("ip.checksum.status"), "1");
    }
}

/// Ours count on.
fn check_ip_ids(rows: &[Row]) {
    let ids: Vec<u16> =
        rows.iter().filter_map(|row| u16::from_str_radix(row.get("ip.id").trim_start_matches("0x"), 16).ok()).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{ids:?}");
}

#[test]
fn all_backends_put_the_same_bytes_on_the_wire() {
    skip_without_lab!();
    same_bytes(1500, "1344");
}

#[test]
fn all_backends_put_the_same_bytes_on_the_wire_in_jumbo_frames() {
    skip_without_lab!();
    same_bytes(9000, "8800");
}
