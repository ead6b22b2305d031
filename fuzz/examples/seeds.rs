//! Writes the seeds again, from real packets and objects: `scripts/fuzz --seeds`. They are the same on every machine.
//!
//! Crashes that were found lie beside them, as `seeds/TARGET/crash-…`, and stay.

use fleetcast_fuzz::{TARGETS, journal, manifest};
use fleetcast_protocol::announcement::Announcement;
use fleetcast_protocol::channel::Channel;
use fleetcast_protocol::feedback::{Deficits, Feedback};
use fleetcast_protocol::fleet::{DeviceReport, DeviceState};
use fleetcast_protocol::keys::{signing_key_to_pem, verifying_key_to_pem};
use fleetcast_protocol::sdp::SessionDescription;
use fleetcast_protocol::session::receiver::journal::{RECORD_LEN, forgotten_record, session_record, symbol_record};
use fleetcast_protocol::session::sender::SenderConfig;
use fleetcast_protocol::session::{Profile, RepairShare, SymbolId};
use fleetcast_protocol::simulation::{Release, Transmission, image, release_key, sender_config};
use fleetcast_protocol::wire::{Packet, TOI_FDT};
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds_of(target.name) {
            (target.run)(&bytes);
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

fn seeds_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let seeds = match target {
        "announcement" => announcements(),
        "coded_object" => coded_objects(),
        "content_range" => content_ranges(),
        "fdt" => fdts(),
        "fec_decode" => blocks(),
        "journal" => journals(),
        "keys" => keys(),
        "manifest" => manifests(),
        "object" => objects(),
        "packet" => packets(),
        "feedback" => feedback(),
        "report" => reports(),
        "sdp" => descriptions(),
        "session" => sessions(),
        other => panic!("no seeds are known for {other}"),
    };
    seeds.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// The packets of a session in each dialect.
fn sent(profile: Profile) -> Vec<Vec<u8>> {
    let release = Release::seal(image(700, 1), 64, 2, 1, &release_key());
    let repair = if profile == Profile::NoCode { RepairShare::NONE } else { RepairShare::from_permyriad(500) };
    let config = SenderConfig { profile, repair, ..sender_config(0x1234_5678, Some(1)) };
    Transmission::new(&config, &release, Duration::from_millis(1)).map(|(_, packet)| packet).collect()
}

fn packets() -> Seeds {
    let mut seeds = Vec::new();
    for (profile, names) in [
        (Profile::Fleetcast, ["fdt-32", "manifest-32", "image-32", "announcement-32"]),
        (Profile::NoCode, ["fdt-16", "manifest-16", "image-16", "announcement-16"]),
    ] {
        for (toi, name) in (TOI_FDT..).zip(names) {
            let of_toi = |packet: &Vec<u8>| Packet::parse(packet).is_ok_and(|packet| packet.header.toi == toi);
            seeds.extend(sent(profile).into_iter().find(of_toi).map(|packet| (name, packet)));
        }
    }
    // An FDT coded with RaptorQ, as the crate flute sends it, with EXT_FTI of that scheme.
    let mut coded = vec![0x10, 0x10, 8, 6, 0, 0, 0, 0, 0, 1, 0, 0, 192, 0x20, 0, 1];
    coded.extend([64, 4, 0, 0, 0, 3, 132, 0, 5, 120, 1, 0, 1, 4, 0, 0]);
    coded[2] = 8;
    coded.extend([0, 0, 0, 0]);
    coded.extend(b"<FDT");
    seeds.push(("fdt-coded", coded));
    seeds.push(("close-session", vec![0x10, 0xA2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]));
    seeds
}

/// The FDTs of our own sessions, and of another namespace with defaults and a private element.
fn fdts() -> Seeds {
    let own = |profile| {
        let packets = sent(profile);
        let is_fdt = |packet: &&Vec<u8>| Packet::parse(packet).is_ok_and(|packet| packet.header.toi == TOI_FDT);
        // An FDT spans several packets of these small symbols; they are repeated in order.
        let first = packets.iter().find(is_fdt).and_then(|packet| Packet::parse(packet).ok()?.extensions.fti());
        let Some(fleetcast_protocol::wire::Oti::NoCode(oti)) = first else { panic!("an FDT without EXT_FTI") };
        let count = usize::try_from(oti.total_symbols()).expect("a few");
        let payloads = packets.iter().filter(is_fdt).take(count);
        payloads.flat_map(|packet| Packet::parse(packet).expect("our own").payload.to_vec()).collect::<Vec<u8>>()
    };
    let other = br#"<?xml version="1.0"?><f:FDT-Instance xmlns:f="http://www.example.com/flute" Expires="331129600"
 FEC-OTI-FEC-Encoding-ID="6" FEC-OTI-Encoding-Symbol-Length="1400" Complete="1"><!-- one --><f:File TOI="5"
 Content-Location="file:///a&amp;b.bin" Content-Length="9000" Transfer-Length="8000" Content-Encoding="gzip"
 Content-Type="application/octet-stream" FEC-OTI-Scheme-Specific-Info="AQABBA=="><x/></f:File></f:FDT-Instance>"#;
    vec![("own", own(Profile::Fleetcast)), ("own-no-code", own(Profile::NoCode)), ("other", other.to_vec())]
}

fn announcements() -> Seeds {
    let least = Announcement {
        counter: 1,
        manifest_digest: [9; 32],
        pass: 0,
        passes: None,
        pass_ended: false,
        window_blocks: 8,
        repair_symbols: (100, 99),
        group_size: None,
        rtt_ms: None,
        backoff_ms: None,
        feedback_port: None,
        repair_urls: vec![],
        round: None,
        covered: Deficits::default(),
    };
    let most = Announcement {
        counter: u64::MAX,
        passes: Some(3),
        pass_ended: true,
        group_size: Some(10_000),
        rtt_ms: Some(600),
        backoff_ms: Some(5_000),
        feedback_port: Some(5_001),
        repair_urls: vec!["http://10.0.0.1/image".into(), "https://[2001:db8::1]:8443/image".into()],
        round: Some(7),
        covered: Deficits::from_counts([3, 0, 300]),
        ..least.clone()
    };
    [("least", least), ("most", most)].map(|(name, it)| (name, it.to_cbor().expect("legal"))).into()
}

fn manifests() -> Seeds {
    let seed = manifest::seed();
    let mut timed = seed.manifest().clone();
    (timed.not_before_unix_s, timed.expires_unix_s) = (Some(1_700_000_000), Some(1_900_000_000));
    vec![("signed", seed.bytes().to_vec()), ("content", seed.manifest().to_cbor()), ("content-timed", timed.to_cbor())]
}

/// The body of a journal, and of staging rows: see the target.
fn journals() -> Seeds {
    let id = |esi| SymbolId { sbn: 0, esi };
    let symbol = [7; journal::SYMBOL_SIZE];
    let records = [
        session_record(7),
        symbol_record(id(1), 1, &symbol, symbol.len()),
        symbol_record(id(30), 9, &symbol, symbol.len()),
        symbol_record(id(30), 8, &symbol, symbol.len()),
    ];
    let body = |records: &[[u8; RECORD_LEN]]| {
        let len = u8::try_from(records.len()).expect("a few");
        [&[len], records.as_flattened(), symbol.repeat(12).as_slice()].concat()
    };
    let forgotten = [records[1], forgotten_record(0), records[2]];
    let mut torn = body(&records);
    torn.truncate(30);
    vec![("symbols", body(&records)), ("forgotten", body(&forgotten)), ("torn", torn)]
}

fn keys() -> Seeds {
    let key = release_key();
    vec![
        ("private", signing_key_to_pem(&key).as_bytes().to_vec()),
        ("public", verifying_key_to_pem(&key.verifying_key()).into_bytes()),
        ("digest", "0a".repeat(32).into_bytes()),
    ]
}

/// Partial answers, of a known length and of an unknown one.
fn content_ranges() -> Seeds {
    let texts = [("known", "bytes 0-1343/50000000"), ("unknown", "bytes 7-7/*")];
    texts.map(|(name, text)| (name, text.as_bytes().to_vec())).into()
}

/// A device that is done, and one that failed.
fn feedback() -> Seeds {
    let feedback = |deficits, loss_ppm| Feedback { digest_prefix: [9; 8], tsi: 7, round: 2, deficits, loss_ppm };
    let many = Deficits::from_counts([300; 255]);
    vec![
        ("few", feedback(Deficits::from_counts([0, 31, 0, 1]), Some(10_000)).to_cbor()),
        ("many", feedback(many, None).to_cbor()),
    ]
}

fn reports() -> Seeds {
    let failed = DeviceState::Failed { reason: "no room".into() };
    let report = |state| DeviceReport {
        device: "router-17".parse().expect("an id"),
        manifest_digest: [7; 32],
        counter: 9,
        state,
        loss_ppm: Some(20_000),
        fetched_bytes: 1_344,
    };
    vec![("committed", report(DeviceState::Committed).to_cbor()), ("failed", report(failed).to_cbor())]
}

fn descriptions() -> Seeds {
    let describe = |source: Option<&str>, group: &str| {
        let address = |text: &str| text.parse().expect("an address");
        let channel = Channel::new(source.map(address), address(group), 5000).expect("a channel");
        let description = SessionDescription {
            channel,
            tsi: Some(7),
            name: "firmware".into(),
            ttl: Some(8),
            rate_kbit_s: Some(100_000),
            session_id: 1,
            session_version: 2,
        };
        description.to_sdp().into_bytes()
    };
    vec![
        ("ipv4", describe(Some("10.0.0.1"), "232.1.1.1")),
        ("ipv6", describe(Some("2001:db8::1"), "ff3e::8000:1")),
        ("any-source", describe(None, "239.1.1.1")),
    ]
}

/// Operations of the target `object`: see there.
fn objects() -> Seeds {
    let whole = [1, 0, 25, 0, 0, 10, 0, 3, 2, 0, 0, 10, 0, 1, 10, 0, 2, 5, 1].to_vec();
    let two = [whole.clone(), vec![2, 0, 25, 0, 0, 10, 0, 2, 2, 0, 0, 10, 1, 0, 10, 0, 1, 5, 0]].concat();
    vec![("whole", whole), ("two", two)]
}

/// Operations of the target `coded_object`: see there. Version, length, T, Z, N, then symbols: SBN, ESI, which length, byte.
fn coded_objects() -> Seeds {
    let symbol = |esi: u8| [0, 0, 0, 0, esi, 0, 1, 7];
    let one =
        [[1, 0, 100, 0, 0, 20, 1, 0, 4].as_slice(), (0..5).flat_map(symbol).collect::<Vec<u8>>().as_slice()].concat();
    let repair =
        [[1, 0, 100, 0, 0, 20, 1, 0, 6].as_slice(), (3..10).flat_map(symbol).collect::<Vec<u8>>().as_slice()].concat();
    vec![("source", one), ("repair", repair)]
}

/// Blocks of the target `fec_decode`: K − 1, T / 8 − 1, honest or forged, then the symbols.
fn blocks() -> Seeds {
    let honest = |k: u8, pattern: &[u8]| [&[k - 1, 1, 0], pattern.repeat(16).as_slice()].concat();
    vec![
        ("no-loss", honest(10, &[1])),
        ("some-loss", honest(20, &[1, 2, 3, 4, 5])),
        ("repair-only", honest(12, &[0, 0, 0, 1, 0, 4])),
        ("forged", [&[9, 1, 1, 1, 1, 3, 0, 1, 2, 4], [20, 0, 0, 0, 30, 0].repeat(4).as_slice()].concat()),
        ("forged-length", vec![9, 1, 1, 0, 0, 77, 1, 0]),
    ]
}

/// Operations of the target `session`: see there. Session n has its operations at 16 · n.
fn sessions() -> Seeds {
    let deliver = |session: u8, count: u8| [session << 4, count];
    let all = |session: u8| deliver(session, 255);
    let lossy = |session: u8| [deliver(session, 5), [session << 4 | 4, 1]].concat().repeat(40);
    let changed = |session: u8| -> Vec<u8> {
        let change = |n: u8| [deliver(session, 9).as_slice(), &[session << 4 | 6, 0, 20 + n, 0, 0, 30, n + 1]].concat();
        (0..20).flat_map(change).collect()
    };
    let mut lossy_with_slow_checks = lossy(0);
    lossy_with_slow_checks.insert(0, 40);
    let in_time = |operations: &[&[u8]]| [&[0], operations.concat().as_slice()].concat();
    vec![
        ("one-pass", in_time(&[&all(0)])),
        ("lossy", in_time(&[&lossy(0)])),
        ("slow-checks", lossy_with_slow_checks),
        ("sender-restart", in_time(&[&deliver(0, 60), &all(1)])),
        ("newer", in_time(&[&deliver(0, 70), &deliver(2, 60), &all(0), &all(2)])),
        ("no-code", in_time(&[&lossy(3), &lossy(3)])),
        ("forger", in_time(&[&deliver(0, 40), &deliver(4, 60), &deliver(5, 90), &all(0)])),
        (
            "receiver-restart",
            in_time(&[&deliver(0, 90), &[13, 0], &deliver(0, 60), &[14, 0, 9, 1, 0, 70, 2, 5], &all(1)]),
        ),
        ("power-failure", in_time(&[&lossy(0), &[13, 1], &deliver(1, 60), &[13, 9], &deliver(0, 40)])),
        ("changed", in_time(&[&changed(0)])),
        ("pauses", in_time(&[&[deliver(0, 3), [11, 30]].concat().repeat(60)])),
        ("cut", in_time(&[&deliver(0, 50), &[7, 0, 60, 0, 30, 8, 12, 16, 160, 4, 6], &all(0)])),
        (
            "fields",
            in_time(&[&deliver(0, 50), &[10, 0, 50, 4, 9, 10, 0, 51, 5, 255, 255, 255, 10, 0, 52, 2, 0, 0, 0, 9]]),
        ),
    ]
}
