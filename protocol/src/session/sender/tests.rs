#![allow(clippy::cast_possible_truncation)]

use super::*;
use crate::announcement::Announcement;
use crate::fdt::{Fdt, FdtOti};
use crate::keys::signing_key_from_random;
use crate::manifest::{ImageHashes, Manifest, SignedManifest};
use crate::object::ObjectAssembler;
use crate::partition::Partition;
use crate::wire::{FecId, Oti, Packet, TOI_ANNOUNCEMENT, TOI_FDT, TOI_IMAGE, TOI_MANIFEST};

fn manifest(image_len: u64, symbol_size: u16, blocks: u16) -> UnverifiedManifest {
    let partition = Partition::new(image_len, symbol_size, blocks).unwrap();
    let hashes = ImageHashes::compute(&partition, &vec![0; image_len as usize]).unwrap();
    let manifest = Manifest {
        name: "firmware.bin".into(),
        product: "p".into(),
        hardware: vec!["h".into()],
        version: "1".into(),
        sequence: 1,
        image_sha256: hashes.image_sha256,
        partition,
        block_sha256: hashes.block_sha256,
        not_before_unix_s: None,
        expires_unix_s: None,
    };
    let signed = SignedManifest::sign(&manifest, &signing_key_from_random(&[1; 32])).unwrap();
    SignedManifest::parse_unverified(signed.bytes()).unwrap()
}

fn config() -> SenderConfig {
    SenderConfig {
        profile: Profile::Fleetcast,
        tsi: 0x1234_5678,
        passes: Some(2),
        window_blocks: 3,
        repair: RepairShare::from_permyriad(500),
        rate_bps: 1_000_000,
        start_unix_s: 1_800_000_000,
    }
}

/// Runs a session to its end at 1 ms a packet; returns (time, packet).
fn run(session: &mut SenderSession) -> Vec<(Duration, Outgoing)> {
    let mut now = Duration::ZERO;
    let mut sent = Vec::new();
    loop {
        match session.poll(now).unwrap() {
            Poll::Packet(packet) => {
                sent.push((now, packet));
                now += Duration::from_millis(1);
            }
            Poll::Wait(until) | Poll::Listen(until) => {
                assert!(until > now);
                now = until;
            }
            Poll::Done => return sent,
        }
    }
}

fn toi_of(packet: &Outgoing) -> u64 {
    match packet {
        Outgoing::Symbol { .. } => TOI_IMAGE,
        Outgoing::Control(bytes) => Packet::parse(bytes).unwrap().header.toi,
    }
}

#[test]
fn sends_every_pass_in_the_schedule_s_order_and_closes_with_the_last_symbol() {
    let mut session = SenderSession::new(&config(), &manifest(10_000, 64, 4)).unwrap();
    let schedule = *session.schedule();
    let sent = run(&mut session);
    let symbols: Vec<_> = sent
        .iter()
        .filter_map(|(_, packet)| match packet {
            Outgoing::Symbol { id, close_object } => Some((*id, *close_object)),
            Outgoing::Control(_) => None,
        })
        .collect();
    let expected: Vec<_> = schedule.pass(0).chain(schedule.pass(1)).collect();
    assert_eq!(symbols.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
    let closing: Vec<_> = symbols.iter().map(|(_, close)| *close).collect();
    assert!(closing.last().unwrap() & !closing[..closing.len() - 1].contains(&true));
    // Nothing but control packets with flag A after it.
    let tail = sent.iter().rev().take_while(|(_, packet)| matches!(packet, Outgoing::Control(_)));
    let mut rounds = 0;
    for (_, packet) in tail {
        let Outgoing::Control(bytes) = packet else { unreachable!() };
        let packet = Packet::parse(bytes).unwrap();
        assert!(packet.header.close_session);
        rounds += u32::from(packet.header.toi == TOI_ANNOUNCEMENT);
    }
    assert_eq!(rounds, TAIL_ROUNDS);
}

#[test]
fn leads_in_with_spaced_rounds_and_repeats_control_within_its_share() {
    let config = SenderConfig { passes: Some(20), ..config() };
    let mut session = SenderSession::new(&config, &manifest(1_000_000, 1344, 4)).unwrap();
    let interval = session.control.interval();
    assert!(interval > Duration::from_secs(1), "at 1 Mbit/s a round a second would cost more than 1 %");
    let sent = run(&mut session);
    let first_symbol = sent.iter().position(|(_, packet)| toi_of(packet) == TOI_IMAGE).unwrap();
    let manifests = |packets: &[(Duration, Outgoing)]| -> Vec<Duration> {
        packets.iter().filter(|(_, packet)| toi_of(packet) == TOI_MANIFEST).map(|(at, _)| *at).collect()
    };
    let lead_in = manifests(&sent[..first_symbol]);
    assert_eq!(lead_in.len() as u32, LEAD_IN_ROUNDS);
    assert!(lead_in.windows(2).all(|pair| pair[1] - pair[0] >= ROUND_GAP));
    let data: Vec<_> = sent[first_symbol..].to_vec();
    let data_len = data.iter().rposition(|(_, packet)| toi_of(packet) == TOI_IMAGE).unwrap();
    let repeats = manifests(&data[..data_len]);
    let between: Vec<_> = repeats.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(!between.is_empty());
    assert!(between.iter().all(|&gap| gap >= interval && gap < interval + Duration::from_millis(50)), "{between:?}");
}

#[test]
fn control_packets_say_what_receivers_need() {
    let manifest = manifest(100_000, 1344, 4);
    let mut session = SenderSession::new(&config(), &manifest).unwrap();
    let sent = run(&mut session);
    let packets: Vec<&Vec<u8>> = sent
        .iter()
        .filter_map(|(_, packet)| match packet {
            Outgoing::Control(bytes) => Some(bytes),
            Outgoing::Symbol { .. } => None,
        })
        .collect();
    let mut manifests = ObjectAssembler::new(1 << 16);
    let mut fdts = ObjectAssembler::new(1 << 16);
    let (mut found_manifest, mut found_fdt, mut counters) = (None, None, Vec::new());
    for bytes in packets {
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!((packet.header.tsi, packet.fec()), (0x1234_5678, Some(FecId::NoCode)));
        let Some(Oti::NoCode(oti)) = packet.extensions.fti() else { panic!("no FTI") };
        let id = packet.payload_id().unwrap();
        match packet.header.toi {
            TOI_FDT => {
                let instance_id = packet.extensions.fdt();
                let object = fdts.push(instance_id, &oti, id, packet.payload);
                found_fdt = found_fdt.or(object.map(|bytes| (instance_id.unwrap(), Fdt::parse(&bytes).unwrap())));
            }
            TOI_MANIFEST => found_manifest = found_manifest.or(manifests.push(None, &oti, id, packet.payload)),
            TOI_ANNOUNCEMENT => {
                let announcement = Announcement::from_cbor(packet.payload).unwrap();
                assert_eq!(announcement.manifest_digest, manifest.digest());
                assert_eq!(announcement.window_blocks, 3);
                counters.push((announcement.counter, announcement.pass, announcement.pass_ended));
            }
            toi => panic!("TOI {toi}"),
        }
    }
    assert_eq!(found_manifest.unwrap(), manifest.bytes());
    let (instance_id, fdt) = found_fdt.unwrap();
    assert_eq!(u64::from(instance_id), (1_800_000_000 / 600) % (1 << 20));
    assert!(fdt.expires_ntp_s > (1_800_000_000 + 2_208_988_800) & 0xFFFF_FFFF && fdt.complete);
    assert_eq!(fdt.files[0].oti, Some(FdtOti::raptorq(&manifest.manifest().partition)));
    assert_eq!(fdt.files[0].content_location, "firmware.bin");
    assert_eq!((fdt.files[1].toi, fdt.files[1].content_location.as_str()), (TOI_MANIFEST, "firmware.bin.fcm"));
    assert!(counters.windows(2).all(|pair| pair[1].0 > pair[0].0));
    assert!(counters.iter().any(|&(_, pass, ended)| pass == 0 && ended));
    assert_eq!(counters.last().map(|&(_, pass, ended)| (pass, ended)), Some((1, true)));
}

#[test]
fn an_fdt_instance_id_never_has_two_contents() {
    let fdt_at = |start_unix_s| {
        let config = SenderConfig { start_unix_s, ..config() };
        let mut session = SenderSession::new(&config, &manifest(10_000, 64, 4)).unwrap();
        let Poll::Packet(Outgoing::Control(bytes)) = session.poll(Duration::ZERO).unwrap() else { panic!() };
        let packet = Packet::parse(&bytes).unwrap();
        (packet.extensions.fdt().unwrap(), packet.payload.to_vec())
    };
    let first = fdt_at(1_800_000_000);
    assert_eq!(first, fdt_at(1_800_000_599));
    let renewed = fdt_at(1_800_000_600);
    assert_eq!(renewed.0, first.0 + 1);
    assert_ne!(renewed.1, first.1);
}

#[test]
fn a_carousel_has_no_end() {
    let config = SenderConfig { passes: None, ..config() };
    let mut session = SenderSession::new(&config, &manifest(640, 64, 1)).unwrap();
    for ms in 0..1000 {
        assert_ne!(session.poll(Duration::from_millis(ms)).unwrap(), Poll::Done);
    }
    assert!(session.pass() > 10);
}

#[test]
fn peer_profiles_have_narrow_ids_and_small_windows() {
    let config = SenderConfig { profile: Profile::Flute, window_blocks: 8, ..config() };
    let session = SenderSession::new(&config, &manifest(100_000, 64, 10)).unwrap();
    assert_eq!(session.schedule().window_blocks(), 3);
    let writer = session.writer();
    let id = SymbolId { sbn: 1, esi: 2 };
    let mut packet = vec![0; writer.packet_len(id)];
    writer.write_source(id, false, &[7; 10_000], &mut packet).unwrap();
    let packet = Packet::parse(&packet).unwrap();
    assert_eq!((packet.header.tsi, packet.header.tsi_bits), (0x5678, 16));
}

#[test]
fn no_code_sends_the_last_symbol_unpadded_and_refuses_repair() {
    let manifest = manifest(1000, 64, 2);
    let no_code = SenderConfig { profile: Profile::NoCode, ..config() };
    assert_eq!(SenderSession::new(&no_code, &manifest).unwrap_err(), SenderError::RepairWithoutFec);
    let session = SenderSession::new(&SenderConfig { repair: RepairShare::NONE, ..no_code }, &manifest).unwrap();
    let writer = session.writer();
    let last = SymbolId { sbn: 1, esi: 7 };
    assert_eq!(writer.symbol_len(last), 1000 - 15 * 64);
    assert_eq!(writer.symbol_len(SymbolId { sbn: 1, esi: 6 }), 64);
    let mut packet = vec![0; writer.packet_len(last)];
    writer.write_source(last, true, &[9; 488], &mut packet).unwrap();
    let packet = Packet::parse(&packet).unwrap();
    assert_eq!((packet.payload, packet.fec(), packet.header.close_object), (&[9; 40][..], Some(FecId::NoCode), true));
}

#[test]
fn the_writer_pads_the_last_symbol_and_refuses_what_does_not_fit() {
    let writer = SenderSession::new(&config(), &manifest(1000, 64, 2)).unwrap().writer();
    let last = SymbolId { sbn: 1, esi: 7 };
    let mut packet = vec![0xFF; writer.packet_len(last)];
    writer.write_source(last, false, &[9; 488], &mut packet).unwrap();
    let payload = Packet::parse(&packet).unwrap().payload.to_vec();
    assert_eq!(payload, [vec![9; 40], vec![0; 24]].concat());
    let short = writer.write_head(last, false, &mut packet[1..]).unwrap_err();
    assert!(matches!(short, WriterError::Buffer { .. }));
    let missing = SymbolId { sbn: 2, esi: 0 };
    assert_eq!(writer.write_head(missing, false, &mut packet), Err(WriterError::NoSuchBlock(2)));
}

#[test]
fn repair_is_sized_by_what_is_reported_and_stays_fresh() {
    use crate::feedback::{Deficits, Feedback};
    let manifest = manifest(640_000, 64, 4);
    let config = SenderConfig { passes: Some(3), rate_bps: 1_000_000_000, ..config() };
    let asking = FeedbackConfig { port: 1, group_size: 10, rtt: Duration::from_millis(10), budget_permyriad: 5_000 };
    let session = SenderSession::new(&config, &manifest).unwrap().with_feedback(asking).unwrap();
    let mut session = session.with_sized_repair();
    let mut seen = std::collections::HashSet::new();
    let (mut now, mut planned) = (Duration::ZERO, Vec::new());
    loop {
        match session.poll(now).unwrap() {
            Poll::Packet(Outgoing::Symbol { id, .. }) if id.esi >= 2_500 => assert!(seen.insert((id.sbn, id.esi))),
            Poll::Packet(_) => now += Duration::from_micros(10),
            Poll::Wait(until) => now = until,
            Poll::Listen(until) => {
                planned.push((session.pass(), session.schedule().repair_symbols().0));
                now = until;
                // Nobody lacks much, but the losses are large: 10 %, then 4 %.
                let round = session.feedback_stats().unwrap().rounds as u32;
                let loss_ppm = Some([100_000, 40_000, 1_000_000][session.pass() as usize]);
                let digest_prefix = manifest.digest()[..8].try_into().unwrap();
                let deficits = Deficits::from_counts([1]);
                let report = Feedback { digest_prefix, tsi: 0x1234_5678, round, deficits, loss_ppm };
                session.on_feedback(now, "10.0.0.1:1".parse().unwrap(), &report.to_cbor());
            }
            Poll::Done => break,
        }
    }
    planned.dedup();
    // 5 % of 2,500 as configured; then what 10 % loss takes, 12.62 %, and no less afterwards.
    assert_eq!(planned, [(0, 125), (1, 316), (2, 316)]);
    assert!(session.schedule().repair_symbols().0 <= 1_250, "whatever is reported, 50 % at most");
}
