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
const FIELDS: [&str; 11] = [
    "rmt-lct.version",
    "rmt-lct.tsi",
    "rmt-lct.toi",
    "rmt-lct.codepoint",
    "rmt-fec.sbn",
    "rmt-fec.esi",
    "rmt-fec.fti.transfer_length",
    "rmt-lct.fdt_instance_id",
    "rmt-lct.flute_version",
    "alc.payload",
    "_ws.malformed",
];

/// A packet by the values of [`FIELDS`].
struct Row(Vec<String>);

impl Row {
    fn get(&self, field: &str) -> &str {
        let index = FIELDS.iter().position(|known| *known == field).unwrap();
        &self.0[index]
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

/// Sends a small image with some options, and gives all packets as tshark sees them.
fn sent(fleet: &Fleet, release: &Release, options: &[&str]) -> Vec<Row> {
    let capture = Capture::start(fleet.lab.wire(), fleet.channel.port, &fleet.scratch).unwrap();
    let sender = fleet.sender(release).args(["--rate", "50M"]).args(options).spawn().unwrap();
    let finished = sender.finish(SOON).unwrap();
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let rows: Vec<_> = capture.dissect(&FIELDS).unwrap().into_iter().map(Row).collect();
    assert_eq!(Some(rows.len() as u64), finished.event("summary").unwrap()["packets"].as_u64());
    rows
}

/// What holds for every profile: one TSI, LCT version 1, control objects repeated, an FDT of FLUTE 2, nothing malformed.
fn check_common(rows: &[Row]) {
    let distinct = |field| rows.iter().map(|row| row.get(field)).collect::<BTreeSet<_>>();
    assert_eq!(distinct("rmt-lct.version"), BTreeSet::from(["1"]));
    assert_eq!(distinct("rmt-lct.tsi").len(), 1);
    assert_eq!(distinct("_ws.malformed"), BTreeSet::from([""]));
    let fdts: Vec<_> = rows.iter().filter(|row| row.get("rmt-lct.toi") == "0").collect();
    assert!(!fdts.is_empty());
    for fdt in fdts {
        assert_eq!((fdt.get("rmt-lct.flute_version"), fdt.get("rmt-lct.codepoint")), ("2", "0"));
        assert!(!fdt.get("rmt-lct.fdt_instance_id").is_empty());
        assert!(fdt.get("rmt-fec.fti.transfer_length").parse::<u32>().unwrap() > 100);
    }
    assert!(rows.iter().any(|row| row.get("rmt-lct.toi") == "1"), "the manifest is sent");
}

/// The image's symbols with their payloads; each was sent once.
fn symbols(rows: &[Row], codepoint: &str) -> BTreeMap<(u32, u32), Vec<u8>> {
    let image: Vec<_> = rows.iter().filter(|row| row.get("rmt-lct.toi") == "2").collect();
    assert!(image.iter().all(|row| row.get("rmt-lct.codepoint") == codepoint));
    let symbols: BTreeMap<_, _> = image.iter().map(|row| (row.symbol(), row.payload())).collect();
    assert_eq!(symbols.len(), image.len(), "a symbol was sent twice in one pass");
    symbols
}

#[test]
fn wireshark_finds_every_raptorq_symbol_in_its_place() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 0).unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let rows = sent(&fleet, &release, &["--repair", "10%"]);
    check_common(&rows);
    let symbols = symbols(&rows, "6");
    let image = fs::read(&release.image).unwrap();
    let sizes: BTreeSet<_> = symbols.values().map(Vec::len).collect();
    let symbol_size = *sizes.first().unwrap();
    assert_eq!(sizes.len(), 1, "RFC 6330 pads the last symbol: {sizes:?}");
    // One block at this size: the source symbols are the image, in order, and the repair symbols follow without a gap.
    let source = image.len().div_ceil(symbol_size);
    let ids: Vec<_> = symbols.keys().copied().collect();
    let expected: Vec<_> = (0..u32::try_from(ids.len()).unwrap()).map(|esi| (0, esi)).collect();
    assert_eq!(ids, expected);
    assert!(symbols.len() >= source + source / 10, "{} symbols for {source}", symbols.len());
    let received: Vec<u8> = symbols.into_values().take(source).flatten().collect();
    assert!(received[..image.len()] == image);
}

#[test]
fn wireshark_finds_every_plain_symbol_in_its_place() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V6, 0).unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let rows = sent(&fleet, &release, &["--profile", "no-code"]);
    check_common(&rows);
    let received: Vec<u8> = symbols(&rows, "0").into_values().flatten().collect();
    let image = fs::read(&release.image).unwrap();
    assert!(received.len() < image.len() + 2_000);
    assert!(received[..image.len()] == image);
}
