//! Hostile traffic against the real receiver: everything that a host can send which forges the source address.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fleetcast_protocol::announcement::Announcement;
use fleetcast_protocol::feedback::Deficits;
use fleetcast_protocol::keys::signing_key_from_random;
use fleetcast_protocol::manifest::{Manifest, SignedManifest, UnverifiedManifest};
use fleetcast_protocol::session::sender::{Outgoing, Poll, SenderConfig, SenderSession, SymbolWriter};
use fleetcast_protocol::session::{Profile, RepairShare, SymbolId};
use fleetcast_protocol::wire::{
    Extension, FecId, IdWidth, NoCodeOti, Packet, PacketHead, PayloadId, TOI_ANNOUNCEMENT, TOI_FDT, TOI_MANIFEST,
};
use fleetcast_tests::binaries::Binaries;
use fleetcast_tests::fleet::{Channel, Fleet};
use fleetcast_tests::image;
use fleetcast_tests::lab::SENDER_V4;
use fleetcast_tests::loss::mix;
use fleetcast_tests::release::Release;
use fleetcast_tests::skip_without_lab;
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);
const TSI: u32 = 0x0F1E_E7CA;
const FOREIGN_TSI: u32 = 0x0BAD_CAFE;
const IMAGE_BYTES: u64 = 6_000_000;
/// Packets between two naps, so that the flood and the stream share two cores.
const BURST: usize = 20;
const NAP: Duration = Duration::from_millis(1);

/// Sends packets from the sender's own address: nothing on the network tells them from the genuine ones.
struct Injector {
    socket: UdpSocket,
    sent: usize,
}

impl Injector {
    fn new(fleet: &Fleet) -> Self {
        let socket = fleet.lab.sender().enter(|| UdpSocket::bind((SENDER_V4, 0)).unwrap()).unwrap();
        socket.connect((fleet.channel.group, fleet.channel.port)).unwrap();
        Self { socket, sent: 0 }
    }

    fn send(&mut self, packet: &[u8]) {
        self.socket.send(packet).unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(BURST) {
            thread::sleep(NAP);
        }
    }

    fn send_all(&mut self, packets: &[Vec<u8>]) {
        packets.iter().for_each(|packet| self.send(packet));
    }
}

/// What the attacker knows: all that is on the network, and the image.
struct Knowledge {
    manifest: UnverifiedManifest,
    image: Vec<u8>,
}

impl Knowledge {
    fn new(release: &Release) -> Self {
        let manifest = SignedManifest::parse_unverified(&fs::read(&release.manifest).unwrap()).unwrap();
        Self { manifest, image: fs::read(&release.image).unwrap() }
    }

    fn blocks(&self) -> u8 {
        u8::try_from(self.manifest.manifest().partition.blocks()).unwrap()
    }

    fn k(&self, sbn: u8) -> u32 {
        self.manifest.manifest().partition.k(sbn).unwrap()
    }

    /// A genuine packet of the image.
    fn symbol(&self, tsi: u32, sbn: u8, esi: u32, close_object: bool) -> Vec<u8> {
        let range = self.manifest.manifest().partition.block(sbn).unwrap();
        let start = usize::try_from(range.offset).unwrap();
        let id = SymbolId { sbn, esi };
        let writer = writer(tsi, &self.manifest);
        let mut packet = vec![0; writer.packet_len(id)];
        writer.write_source(id, close_object, &self.image[start..start + range.len], &mut packet).unwrap();
        packet
    }

    /// The same with other content.
    fn forged_symbol(&self, sbn: u8, esi: u32) -> Vec<u8> {
        let mut packet = self.symbol(TSI, sbn, esi % self.k(sbn), false);
        *packet.last_mut().unwrap() ^= 0xFF;
        packet
    }

    /// FDT, manifest and announcement of a session that carries this manifest.
    fn control(&self, tsi: u32) -> Vec<Vec<u8>> {
        control(tsi, &self.manifest)
    }

    /// The manifest as somebody else signs it.
    fn signed_by_a_stranger(&self, serial: u64) -> UnverifiedManifest {
        let manifest = Manifest { sequence: 1000 + serial, ..self.manifest.manifest().clone() };
        let signed = SignedManifest::sign(&manifest, &signing_key_from_random(&[9; 32])).unwrap();
        SignedManifest::parse_unverified(signed.bytes()).unwrap()
    }
}

fn session(tsi: u32, manifest: &UnverifiedManifest) -> SenderSession {
    let config = SenderConfig {
        profile: Profile::Fleetcast,
        tsi,
        passes: Some(1),
        window_blocks: 8,
        repair: RepairShare::from_permyriad(500),
        rate_bps: 1_000_000_000,
        start_unix_s: 0,
    };
    SenderSession::new(&config, manifest).unwrap()
}

fn writer(tsi: u32, manifest: &UnverifiedManifest) -> SymbolWriter {
    session(tsi, manifest).writer()
}

fn control(tsi: u32, manifest: &UnverifiedManifest) -> Vec<Vec<u8>> {
    let mut session = session(tsi, manifest);
    let mut packets = Vec::new();
    while let Poll::Packet(Outgoing::Control(packet)) = session.poll(Duration::ZERO).unwrap() {
        packets.push(packet);
    }
    packets
}

fn object_packet(toi: u64, extensions: &[Extension], payload: &[u8], close: bool) -> Vec<u8> {
    let head = PacketHead {
        width: IdWidth::W32,
        tsi: TSI,
        toi,
        fec: FecId::NoCode,
        close_session: close,
        close_object: close,
        payload_id: PayloadId { sbn: 0, esi: 0 },
        extensions,
    };
    let mut packet = vec![0; head.len()];
    head.write(&mut packet).unwrap();
    packet.extend_from_slice(payload);
    packet
}

/// FDTs with an entity bomb, with a length of 256 TB, with parameters that contradict the image, and of garbage.
fn hostile_fdts() -> Vec<Vec<u8>> {
    let bomb = r#"<?xml version="1.0"?><!DOCTYPE f [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
        <FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="4294967295"><File TOI="2" Content-Location="&b;&b;&b;"/></FDT-Instance>"#;
    let lie = r#"<FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="0"><File TOI="2" Content-Location="/etc/passwd"
        Transfer-Length="18446744073709551615" FEC-OTI-FEC-Encoding-ID="6" FEC-OTI-Encoding-Symbol-Length="65535"
        FEC-OTI-Maximum-Source-Block-Length="4294967295" FEC-OTI-Scheme-Specific-Info="/////w=="/></FDT-Instance>"#;
    let nested = "<a>".repeat(400);
    let mut packets = Vec::new();
    for (instance_id, document) in (0..).zip([bomb, lie, &nested, "\0\u{1}garbage", ""]) {
        for transfer_length in [document.len() as u64, 1, (1 << 48) - 1] {
            let oti = NoCodeOti { transfer_length, symbol_size: 1280, max_block_len: 1 };
            let extensions = [Extension::Fdt { version: 2, instance_id }, Extension::FtiNoCode(oti)];
            packets.push(object_packet(TOI_FDT, &extensions, document.as_bytes(), false));
        }
    }
    packets
}

/// Announcements of the genuine session with every number at both its ends.
fn hostile_announcements(knowledge: &Knowledge) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (pass, window_blocks, repair, limits, pass_ended) in [
        (u32::MAX, u16::MAX, u32::MAX, u32::MAX, true),
        (u32::MAX - 1, 0, 0, 0, true),
        (0, 1, u32::MAX, 0, false),
        (7, 255, 1, u32::MAX, true),
    ] {
        let announcement = Announcement {
            counter: u64::MAX,
            manifest_digest: knowledge.manifest.digest(),
            pass,
            passes: Some(0),
            pass_ended,
            window_blocks,
            repair_symbols: (repair, repair / 2),
            group_size: Some(limits),
            rtt_ms: Some(limits),
            backoff_ms: Some(limits),
            feedback_port: Some(9),
            repair_urls: Vec::new(),
            round: Some(pass.max(1)),
            covered: Deficits::from_counts([limits; 255]),
        };
        let bytes = announcement.to_cbor().unwrap();
        let oti = NoCodeOti { transfer_length: bytes.len() as u64, symbol_size: 1280, max_block_len: 1 };
        packets.push(object_packet(TOI_ANNOUNCEMENT, &[Extension::FtiNoCode(oti)], &bytes, pass_ended));
    }
    packets
}

/// Every beginning of a packet of each kind.
fn truncated(knowledge: &Knowledge) -> Vec<Vec<u8>> {
    let mut whole = knowledge.control(TSI);
    whole.truncate(3);
    whole.push(knowledge.symbol(TSI, 0, 7, false));
    whole.iter().flat_map(|packet| (0..packet.len()).map(|len| packet[..len].to_vec())).collect()
}

/// Manifests of many packets, of which only the first ever comes, each under a TSI of its own.
fn beginnings_of_manifests() -> impl Iterator<Item = Vec<u8>> {
    (0..).map(|serial: u32| {
        let oti = NoCodeOti { transfer_length: 60_000, symbol_size: 1280, max_block_len: 47 };
        let mut packet = object_packet(TOI_MANIFEST, &[Extension::FtiNoCode(oti)], &[0xD2; 1280], false);
        // The TSI is behind the 4 bytes of flags and the 4 of congestion control information.
        packet[8..12].copy_from_slice(&(0x5000_0000 + serial).to_be_bytes());
        packet
    })
}

fn random_bytes(seed: u64) -> Vec<u8> {
    let len = usize::try_from(mix(seed) % 1473).unwrap();
    (0..len as u64).map(|n| mix(seed.wrapping_mul(1 << 20).wrapping_add(n)).to_le_bytes()[0]).collect()
}

fn count(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("{name} is not in {summary}"))
}

/// All of it while the genuine stream runs, from before its first packet to its last.
fn attack(injector: &mut Injector, knowledge: &Knowledge, over: &AtomicBool) {
    // Once each, so that the next pass can repair what they spoil.
    for sbn in 0..knowledge.blocks() {
        injector.send(&knowledge.forged_symbol(sbn, knowledge.k(sbn) - 1));
    }
    let strangers: Vec<_> = (0..200)
        .flat_map(|serial| control(0x4000_0000 + serial, &knowledge.signed_by_a_stranger(serial.into())))
        .collect();
    let replays: Vec<_> = (0..200).flat_map(|serial| knowledge.control(0x6000_0000 + serial)).collect();
    let fixed = [truncated(knowledge), hostile_fdts(), hostile_announcements(knowledge), strangers, replays].concat();
    let closing: Vec<_> = (0..3).map(|esi| knowledge.symbol(TSI, 0, esi, true)).collect();
    let tail = object_packet(TOI_ANNOUNCEMENT, &[], &[], true);
    for round in 0.. {
        injector.send_all(&fixed);
        injector.send_all(&closing);
        injector.send(&tail);
        for n in 0..2000 {
            let serial = round * 2000 + n;
            injector.send(&random_bytes(serial));
            // Genuine symbols again, out of order, of this session and of another.
            let sbn = u8::try_from(mix(serial) % u64::from(knowledge.blocks())).unwrap();
            let esi = u32::try_from(mix(serial + 1) % u64::from(knowledge.k(sbn))).unwrap();
            injector.send(&knowledge.symbol(if n % 2 == 0 { TSI } else { FOREIGN_TSI }, sbn, esi, false));
            if over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

#[test]
fn nothing_that_a_forger_sends_spoils_or_stops_an_upgrade() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let knowledge = Knowledge::new(&release);
    let mut receivers = [fleet.receiver(0).args(["--once", "--timeout", "15s"]).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let [mut receiver] = receivers;
    let mut injector = Injector::new(&fleet);
    let over = AtomicBool::new(false);
    let (finished, sender) = thread::scope(|scope| {
        // A flood of half manifests is under way when the genuine one comes.
        beginnings_of_manifests().take(500).for_each(|packet| injector.send(&packet));
        let args = ["--rate", "20M", "--passes", "forever", "--tsi", &TSI.to_string()].map(String::from);
        let sender = fleet.sender(&release).args(args).spawn().unwrap();
        let accepted = loop {
            let manifest = receiver.wait_event("manifest", SOON).unwrap();
            if manifest["accepted"] == true {
                break manifest;
            }
        };
        assert_eq!(accepted["sequence"], 1);
        scope.spawn(|| attack(&mut injector, &knowledge, &over));
        let finished = receiver.finish(SOON);
        over.store(true, Ordering::Relaxed);
        (finished.unwrap(), sender)
    });
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
    let summary = finished.event("summary").unwrap();
    for name in ["malformed", "foreign", "surplus", "refused", "control"] {
        assert!(count(summary, name) > 0, "{name}: {summary}");
    }
    // Found among the others, or its block was received anew.
    assert!(count(summary, "forged_symbols") + count(summary, "corrupt_blocks") > 0, "{summary}");
    let reasons = ["symbols", "surplus", "early", "foreign", "malformed", "control"];
    assert_eq!(reasons.map(|name| count(summary, name)).iter().sum::<u64>(), count(summary, "packets"), "{summary}");
    let peak_mib = count(summary, "peak_rss_bytes") >> 20;
    assert!(peak_mib < 64, "{peak_mib} MiB: {summary}");
    sender.signal(Signal::INT).unwrap();
    sender.finish(SOON).unwrap();
}

/// The genuine manifest, replayed under one TSI after the other, takes no place from the session that sends.
#[test]
fn a_flood_of_sessions_does_not_displace_the_one_that_sends() {
    skip_without_lab!();
    let fleet = Fleet::new(Binaries::beside_this_program().unwrap(), Channel::SSM_V4, 1).unwrap();
    let release = fleet.release(IMAGE_BYTES, 1).unwrap();
    let knowledge = Knowledge::new(&release);
    let mut receivers = [fleet.receiver(0).args(["--once", "--timeout", "15s"]).spawn().unwrap()];
    fleet.await_joined(&mut receivers).unwrap();
    let [mut receiver] = receivers;
    let args = ["--rate", "40M", "--passes", "1", "--tsi", &TSI.to_string()].map(String::from);
    let sender = fleet.sender(&release).args(args).spawn().unwrap();
    receiver.wait_event("manifest", SOON).unwrap();
    let mut injector = Injector::new(&fleet);
    let over = AtomicBool::new(false);
    let manifest_of = |tsi: u32| {
        knowledge
            .control(tsi)
            .into_iter()
            .find(|packet| Packet::parse(packet).unwrap().header.toi == TOI_MANIFEST)
            .unwrap()
    };
    let finished = thread::scope(|scope| {
        scope.spawn(|| {
            for tsi in 0x7000_0000.. {
                injector.send(&manifest_of(tsi));
                // Thousands a second. As fast as it can be, it would fill the socket's buffer of a receiver on the same cores.
                thread::sleep(Duration::from_micros(200));
                if over.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let finished = receiver.finish(SOON);
        over.store(true, Ordering::Relaxed);
        finished.unwrap()
    });
    // One pass with 5 % of repair is enough, as without the flood.
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert_eq!(image::sha256(&fleet.device(0).out).unwrap(), release.sha256);
    let summary = finished.event("summary").unwrap();
    assert!(count(summary, "control") > 100, "{summary}");
    assert_eq!(sender.finish(SOON).unwrap().code(), Some(0));
}
