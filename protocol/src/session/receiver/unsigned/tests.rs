//! Which files are taken, which are refused and why, and what becomes of their symbols.

use super::*;
use crate::fdt::{FdtFile, FdtOti};
use crate::object::NoCodeObject;
use crate::partition::{Partition, PartitionError};
use crate::session::receiver::BlockOutcome;
use crate::wire::{Extension, FecId, IdWidth, NoCodeOti, PacketHead, PayloadId, RaptorQOti};

const SYMBOL_SIZE: u16 = 64;
const LEN: u64 = 640;

fn raptorq(blocks: u8) -> RaptorQOti {
    RaptorQOti { transfer_length: LEN, symbol_size: SYMBOL_SIZE, blocks, sub_blocks: 1, alignment: 4 }
}

fn with_oti(oti: FdtOti) -> FdtFile {
    FdtFile {
        toi: 7,
        content_location: "file:///some/firmware.bin".into(),
        content_length: Some(LEN),
        transfer_length: Some(LEN),
        content_type: None,
        content_encoding: None,
        content_md5: None,
        oti: Some(oti),
    }
}

/// A maximum source block length that contradicts Z, as some senders give it.
fn file() -> FdtFile {
    with_oti(FdtOti::RaptorQ { oti: raptorq(3), max_block_len: 1000 })
}

fn choose(files: Vec<FdtFile>) -> Result<UnsignedFile, UnsignedError> {
    UnsignedFile::choose(&Fdt { instance_id: 1, expires_ntp_s: 0, complete: false, files }, 5)
}

fn refusal(file: FdtFile) -> UnsignedError {
    choose(vec![file]).unwrap_err()
}

#[test]
fn partitions_by_z_and_not_by_the_maximum_block_length() {
    let file = choose(vec![file()]).unwrap();
    assert_eq!((file.tsi, file.toi), (5, 7));
    assert_eq!(file.partition, Partition::new(LEN, SYMBOL_SIZE, 3).unwrap());
}

#[test]
fn partitions_by_the_maximum_block_length_without_fec() {
    let oti = NoCodeOti { transfer_length: LEN, symbol_size: SYMBOL_SIZE, max_block_len: 4 };
    assert_eq!(choose(vec![with_oti(FdtOti::NoCode(oti))]).unwrap().partition.blocks(), 3);
    let oti = NoCodeOti { transfer_length: 64 * 256, max_block_len: 1, ..oti };
    let long = FdtFile { content_length: None, transfer_length: None, ..with_oti(FdtOti::NoCode(oti)) };
    assert!(matches!(
        refusal(long),
        UnsignedError::Partition { source: PartitionError::Blocks { blocks: 256, .. }, .. }
    ));
}

#[test]
fn says_what_cannot_be_received() {
    let coded = |oti| with_oti(FdtOti::RaptorQ { oti, max_block_len: 10 });
    assert_eq!(choose(vec![]), Err(UnsignedError::NoFile));
    assert_eq!(refusal(FdtFile { oti: None, ..file() }), UnsignedError::NoOti(7));
    assert_eq!(refusal(with_oti(FdtOti::Other(5))), UnsignedError::Scheme { toi: 7, id: 5 });
    let sub_blocks = RaptorQOti { sub_blocks: 2, ..raptorq(1) };
    assert_eq!(refusal(coded(sub_blocks)), UnsignedError::SubBlocks { toi: 7, sub_blocks: 2 });
    let misaligned = RaptorQOti { symbol_size: 68, alignment: 4, ..raptorq(1) };
    let source = PartitionError::SymbolSize(68);
    assert_eq!(refusal(coded(misaligned)), UnsignedError::Partition { toi: 7, source });
    let empty = RaptorQOti { transfer_length: 0, ..raptorq(1) };
    assert!(matches!(refusal(coded(empty)), UnsignedError::Partition { source: PartitionError::Empty, .. }));
    let too_many = coded(raptorq(11));
    assert!(matches!(refusal(too_many), UnsignedError::Partition { source: PartitionError::Blocks { .. }, .. }));
    let compressed = FdtFile { content_encoding: Some("gzip".into()), ..file() };
    assert!(matches!(refusal(compressed), UnsignedError::Compressed { toi: 7, .. }));
    let lengths = FdtFile { content_length: Some(1), ..file() };
    assert!(matches!(refusal(lengths), UnsignedError::Lengths { toi: 7, content: 1, transfer: LEN }));
}

#[test]
fn takes_the_longest_file_that_it_can() {
    let short = FdtFile { toi: 1, content_length: Some(64), transfer_length: Some(64), ..file() };
    let other = FdtFile { toi: 2, content_length: None, transfer_length: Some(9999), ..with_oti(FdtOti::Other(5)) };
    assert_eq!(choose(vec![short.clone(), file(), other.clone()]).unwrap().toi, 7);
    assert_eq!(choose(vec![other.clone(), other.clone()]), Err(UnsignedError::Scheme { toi: 2, id: 5 }));
    assert_eq!(choose(vec![other, short]).unwrap().toi, 1);
}

#[test]
fn a_file_name_is_never_a_path() {
    for (location, name) in [
        ("firmware.bin", Some("firmware.bin")),
        ("file:///a/firmware%20one.bin", Some("firmware one.bin")),
        ("http://host/a/b.bin?c=/d#e/f", Some("b.bin")),
        ("a\\b", Some("b")),
        ("/etc/passwd", Some("passwd")),
        ("%2e%2e%2Fetc%2fpasswd", Some("passwd")),
        ("a/..", None),
        ("..", None),
        (".", None),
        ("%2e%2e", None),
        (".profile", None),
        ("a/%2Eprofile", None),
        ("http://host/", None),
        ("", None),
        ("a%00b", None),
        ("a%0Ab", None),
        ("a%ff", None),
        ("a%2", None),
        ("a%zz", None),
    ] {
        let file = UnsignedFile { content_location: location.into(), ..choose(vec![file()]).unwrap() };
        assert_eq!(file.file_name().as_deref(), name, "{location}");
    }
    let long = UnsignedFile { content_location: "a".repeat(256), ..choose(vec![file()]).unwrap() };
    assert_eq!(long.file_name(), None);
}

#[test]
fn every_field_is_part_of_the_identity() {
    let base = choose(vec![file()]).unwrap();
    let others = [
        UnsignedFile { tsi: 6, ..base.clone() },
        UnsignedFile { toi: 6, ..base.clone() },
        UnsignedFile { content_location: "b".into(), ..base.clone() },
        UnsignedFile { partition: Partition::new(LEN, SYMBOL_SIZE, 2).unwrap(), ..base.clone() },
        UnsignedFile { content_md5: Some([0; 16]), ..base.clone() },
    ];
    assert!(others.iter().all(|other| other.digest() != base.digest()));
}

fn packet(tsi: u32, toi: u64, fec: FecId, id: PayloadId, extensions: &[Extension], payload: &[u8]) -> Vec<u8> {
    let (width, close_session, close_object) = (IdWidth::W16, false, false);
    let head = PacketHead { width, tsi, toi, fec, close_session, close_object, payload_id: id, extensions };
    let mut packet = vec![0; head.len()];
    head.write(&mut packet).unwrap();
    [packet, payload.to_vec()].concat()
}

/// One FDT instance of session `tsi`, not coded, in as many packets as it takes.
fn fdt(tsi: u32, instance_id: u32, file: FdtFile) -> Vec<Vec<u8>> {
    let fdt = Fdt { instance_id, expires_ntp_s: 1, complete: false, files: vec![file] };
    let object = NoCodeObject::new(TOI_FDT, fdt.to_xml().into_bytes(), 100).unwrap();
    let extensions = [Extension::Fdt { version: 2, instance_id }, Extension::FtiNoCode(object.oti())];
    object.symbols().map(|(id, symbol)| packet(tsi, TOI_FDT, FecId::NoCode, id, &extensions, symbol)).collect()
}

fn symbol(tsi: u32, sbn: u32, esi: u32) -> Vec<u8> {
    packet(tsi, 7, FecId::RaptorQ, PayloadId { sbn, esi }, &[], &[1; SYMBOL_SIZE as usize])
}

fn push_all(session: &mut ReceiverSession, now: Duration, packets: &[Vec<u8>]) {
    packets.iter().for_each(|packet| assert!(session.on_packet(now, packet).is_none()));
}

fn begun(session: &mut ReceiverSession) -> Arc<UnsignedFile> {
    match session.poll_action() {
        Some(Action::BeginUnsigned { file }) => file,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_is_done_when_it_decodes() {
    let mut session = ReceiverSession::unsigned(None);
    assert!(session.on_packet(Duration::ZERO, &symbol(5, 0, 0)).is_none());
    push_all(&mut session, Duration::ZERO, &fdt(5, 1, file()));
    assert_eq!(begun(&mut session).digest(), choose(vec![file()]).unwrap().digest());
    session.begin(Duration::ZERO, []);
    assert!(session.on_packet(Duration::ZERO, &symbol(6, 0, 0)).is_none(), "of another session");
    for range in Partition::new(LEN, SYMBOL_SIZE, 3).unwrap().iter() {
        for esi in 0..range.shape.k() {
            assert!(session.on_packet(Duration::ZERO, &symbol(5, u32::from(range.sbn), esi)).is_some());
        }
        let Some(Action::Check(check)) = session.poll_action() else { panic!("no check of {}", range.sbn) };
        assert_eq!((check.sha256, check.matches(b"anything")), (None, true));
        let outcome = BlockOutcome::Verified { decoded: false, forged_symbols: 0 };
        session.on_block(Duration::ZERO, check.generation, range.sbn, outcome);
    }
    assert!(matches!(session.poll_action(), Some(Action::Complete)));
    let stats = session.stats();
    assert_eq!((stats.early, stats.foreign, stats.symbols, stats.malformed), (1, 1, 10, 0));
}

#[test]
fn another_file_waits_until_this_one_is_done_or_stalls() {
    let mut session = ReceiverSession::unsigned(None);
    push_all(&mut session, Duration::ZERO, &fdt(5, 1, file()));
    begun(&mut session);
    session.begin(Duration::ZERO, []);
    let other = FdtFile { content_location: "other".into(), ..file() };
    push_all(&mut session, STALLED / 2, &fdt(6, 1, other.clone()));
    assert!(session.poll_action().is_none());
    // The same file in a new instance of its FDT changes nothing, however late.
    push_all(&mut session, STALLED, &fdt(5, 2, file()));
    assert!(session.poll_action().is_none());
    push_all(&mut session, STALLED, &fdt(6, 2, other));
    assert_eq!(begun(&mut session).tsi, 6);
}

#[test]
fn only_the_session_asked_for_is_heard() {
    let mut session = ReceiverSession::unsigned(Some(6));
    push_all(&mut session, Duration::ZERO, &fdt(5, 1, file()));
    assert!(session.poll_action().is_none() && session.stats().foreign > 0);
    push_all(&mut session, Duration::ZERO, &fdt(6, 1, file()));
    assert_eq!(begun(&mut session).tsi, 6);
}

#[test]
fn a_refusal_is_reported_once_and_a_better_fdt_taken() {
    let mut session = ReceiverSession::unsigned(None);
    let bad = FdtFile { oti: Some(FdtOti::Other(5)), ..file() };
    for _ in 0..3 {
        push_all(&mut session, Duration::ZERO, &fdt(5, 1, bad.clone()));
    }
    let Some(Action::Refused { reason }) = session.poll_action() else { panic!("it was not refused") };
    assert!(reason.to_string().contains("FEC Encoding ID 5"), "{reason}");
    assert!(session.poll_action().is_none() && session.stats().refused == 3);
    push_all(&mut session, Duration::ZERO, &fdt(5, 2, file()));
    begun(&mut session);
}

/// A header alone closes a session (RFC 5775 §4.1); its TOI is absent, which reads as 0.
#[test]
fn a_header_alone_is_harmless() {
    let mut session = ReceiverSession::unsigned(None);
    assert!(session.on_packet(Duration::ZERO, &[0x10, 0x82, 3, 0, 0, 0, 0, 0, 0, 0, 0, 5]).is_none());
    assert_eq!((session.stats().malformed, session.stats().control), (0, 1));
}
