//! Our packets as Wireshark's dissectors of ALC, LCT, the FEC building block and FLUTE read them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::capture::Capture;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;

const SOON: Duration = Duration::from_secs(30);
const IMAGE_BYTES: u64 = 300_000;
const FIELDS: [&str; 17] = [
    "rmt-lct.version",
    "rmt-lct.tsi",
    "rmt-lct.tsi64",
    "rmt-lct.toi",
    "rmt-lct.toi64",
    "rmt-lct.codepoint",
    "rmt-lct.flags.close_session",
    "rmt-lct.flags.close_object",
    "rmt-fec.sbn",
    "rmt-fec.esi",
    "rmt-fec.fti.transfer_length",
    "rmt-fec.fti.max_source_block_length",
    "rmt-lct.fdt_instance_id",
    "rmt-lct.flute_version",
    "alc.payload",
    "_ws.malformed",
    "_ws.expert.severity",
];

/// A packet by the values of [`FIELDS`].
struct Row(Vec<String>);

impl Row {
    fn get(&self, field: &str) -> &str {
        let index = FIELDS.iter().position(|known| *known == field).unwrap();
        &self.0[index]
    }

    /// TSI or TOI; one of 16 bits is a field of its own to tshark.
    fn id(&self, name: &str) -> u64 {
        let (short, long) = (self.get(&format!("rmt-lct.{name}")), self.get(&format!("rmt-lct.{name}64")));
        assert!(short.is_empty() || long.is_empty());
        format!("{short}{long}").parse().unwrap()
    }

    fn is_set(&self, flag: &str) -> bool {
        matches!(self.get(flag), "1" | "True")
    }

    fn symbol(&self) -> (u32, u32) {
        let hex = |field| u32::from_str_radix(self.get(field).trim_start_matches("0x"), 16).unwrap();
        (self.get("rmt-fec.sbn").parse().unwrap(), hex("rmt-fec.esi"))
    }

    fn payload(&self) -> Vec<u8> {
        let hex = self.get("alc.payload").replace(':', "");
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }
}

/// The profiles, and a TSI for each as it goes on the wire.
const PROFILES: [(&str, u64); 3] = [("fleetcast", 0xdead_beef), ("flute", 0x1234), ("no-code", 0x4321)];

/// Sends a small image in every profile, and gives each one's packets as tshark sees them.
fn sent(fleet: &Fleet, release: &Release) -> [Vec<Row>; 3] {
    let capture = Capture::start(fleet.lab.wire(), fleet.channel.port, &fleet.scratch).unwrap();
    let mut packets = Vec::new();
    for (profile, tsi) in PROFILES {
        let options = ["--rate", "50M", "--profile", profile, "--tsi", &tsi.to_string()];
        let finished = fleet.sender(release).args(options).spawn().unwrap().finish(SOON).unwrap();
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        packets.push(finished.event("summary").unwrap()["packets"].as_u64());
    }
    let mut rows: Vec<_> = capture.dissect(&FIELDS).unwrap().into_iter().map(Row).collect();
    let sessions = PROFILES.map(|(_, tsi)| rows.extract_if(.., |row| row.id("tsi") == tsi).collect::<Vec<_>>());
    assert!(rows.is_empty(), "{} packets of no session", rows.len());
    assert_eq!(sessions.each_ref().map(|rows| Some(rows.len() as u64)).to_vec(), packets);
    sessions
}

/// What holds for every profile: ALC without a complaint, every kind of packet, and an FDT of FLUTE 2.
fn check_common(rows: &[Row]) {
    let distinct = |field| rows.iter().map(|row| row.get(field)).collect::<BTreeSet<_>>();
    assert_eq!(distinct("rmt-lct.version"), BTreeSet::from(["1"]));
    assert_eq!(distinct("_ws.malformed"), BTreeSet::from([""]));
    assert_eq!(distinct("_ws.expert.severity"), BTreeSet::from([""]));
    assert_eq!(rows.iter().map(|row| row.id("toi")).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1, 2, 3]));
    assert!(distinct("rmt-fec.esi").iter().all(|esi| !esi.is_empty()), "a packet without a payload id");
    let flagged = |flag| rows.iter().filter(|row| row.is_set(flag)).map(|row| row.id("toi")).collect::<Vec<_>>();
    assert_eq!(flagged("rmt-lct.flags.close_object"), [2], "flag B is on the image's last packet");
    let closing = flagged("rmt-lct.flags.close_session");
    assert!(closing.len() >= 9 && !closing.contains(&2), "flag A is on the last rounds: {closing:?}");
    for control in rows.iter().filter(|row| row.id("toi") != 2) {
        assert_eq!(control.get("rmt-lct.codepoint"), "0");
        let len: usize = control.get("rmt-fec.fti.transfer_length").parse().unwrap();
        let symbols: usize = control.get("rmt-fec.fti.max_source_block_length").parse().unwrap();
        assert!(len <= symbols * 1344 && len > (symbols - 1) * 256, "{len} bytes in {symbols} symbols");
        let is_fdt = control.id("toi") == 0;
        assert_eq!(control.get("rmt-lct.flute_version"), if is_fdt { "2" } else { "" });
        assert_eq!(control.get("rmt-lct.fdt_instance_id").is_empty(), !is_fdt);
    }
}

/// The image's symbols with their payloads; each was sent once.
fn symbols(rows: &[Row], codepoint: &str) -> BTreeMap<(u32, u32), Vec<u8>> {
    let image: Vec<_> = rows.iter().filter(|row| row.id("toi") == 2).collect();
    assert!(image.iter().all(|row| row.get("rmt-lct.codepoint") == codepoint));
    let symbols: BTreeMap<_, _> = image.iter().map(|row| (row.symbol(), row.payload())).collect();
    assert_eq!(symbols.len(), image.len(), "a symbol was sent twice in one pass");
    symbols
}

/// One block at this size: the source symbols are the image, in order, and the repair symbols follow without a gap.
fn check_raptorq(rows: &[Row], image: &[u8]) {
    let symbols = symbols(rows, "6");
    let sizes: BTreeSet<_> = symbols.values().map(Vec::len).collect();
    let symbol_size = *sizes.first().unwrap();
    assert_eq!(sizes.len(), 1, "RFC 6330 pads the last symbol: {sizes:?}");
    let source = image.len().div_ceil(symbol_size);
    let ids: Vec<_> = symbols.keys().copied().collect();
    let expected: Vec<_> = (0..u32::try_from(ids.len()).unwrap()).map(|esi| (0, esi)).collect();
    assert_eq!(ids, expected);
    assert!(symbols.len() >= source + source / 20, "{} symbols for {source}", symbols.len());
    let received: Vec<u8> = symbols.into_values().take(source).flatten().collect();
    assert!(received[..image.len()] == *image);
}

fn check_every_packet(channel: Channel) {
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), channel, 0).unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let image = fs::read(&release.image).unwrap();
    let sessions = sent(&fleet, &release);
    sessions.iter().for_each(|rows| check_common(rows));
    let [fleetcast, flute, no_code] = sessions;
    check_raptorq(&fleetcast, &image);
    check_raptorq(&flute, &image);
    // RFC 5445 does not pad: the symbols are the image, byte for byte.
    let received: Vec<u8> = symbols(&no_code, "0").into_values().flatten().collect();
    assert!(received == image);
}

#[test]
fn wireshark_reads_every_packet_over_ipv4() {
    skip_without_lab!();
    check_every_packet(Channel::SSM_V4);
}

#[test]
fn wireshark_reads_every_packet_over_ipv6() {
    skip_without_lab!();
    check_every_packet(Channel::SSM_V6);
}
