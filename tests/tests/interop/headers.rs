//! The crate `rmt-flute` reads the headers that we write, and we read those that it writes.

use fleetcast_protocol::partition::Partition;
use fleetcast_protocol::session::Profile;
use fleetcast_protocol::wire::{
    Extension, FecId, IdWidth, NoCodeOti, Packet, PacketHead, PayloadId, RaptorQOti, TOI_ANNOUNCEMENT, TOI_FDT,
    TOI_IMAGE, TOI_MANIFEST,
};
use proptest::prelude::*;
use rmt_flute::{
    ALC_HET_EXT_FTI, AlcPacket, ExtFdt, ExtTime, FLUTE_VERSION, HET_EXT_FDT, HET_EXT_TIME, LCT_VERSION, LctHeader,
    SourceBlockPartition,
};

use crate::content::Content;
use crate::stream::{Shape, Stream};

/// FEC Payload IDs of both schemes.
const PAYLOAD_ID_LEN: usize = 4;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A packet as `rmt-flute` reads it, having written the same bytes again.
fn decoded(bytes: &[u8]) -> AlcPacket<'_> {
    let packet = AlcPacket::parse(bytes, PAYLOAD_ID_LEN).unwrap();
    let mut again = vec![0; packet.serialized_len()];
    assert_eq!(packet.serialize_into(&mut again).unwrap(), bytes.len());
    assert_eq!(again, bytes);
    packet
}

/// What every packet of ours has: LCT version 1, no PSI, 32 bits of zero for CCI.
fn check_common(lct: &LctHeader<'_>, width: IdWidth) {
    assert_eq!((lct.version, lct.psi, lct.cci), (LCT_VERSION, 0, &[0; 4][..]));
    let id_len = usize::from(width.bits()) / 8;
    assert_eq!((lct.tsi.len(), lct.toi.len()), (id_len, id_len));
}

/// SBN and ESI by the scheme's split of the 32 bits (RFC 6330 §3.2, RFC 5445 §3.2.1).
fn payload_id(packet: &AlcPacket<'_>) -> (u64, u64) {
    let word = number(packet.fec_payload_id);
    if packet.lct.codepoint == 6 { (word >> 24, word & 0xFF_FFFF) } else { (word >> 16, word & 0xFFFF) }
}

/// The body of EXT_FTI by RFC 6330 §3.3 and RFC 5445 §3.2.2, written down a second time.
fn fti_body(extension: &Extension) -> Vec<u8> {
    let be = |value: u64, len: usize| value.to_be_bytes()[8 - len..].to_vec();
    match extension {
        Extension::FtiRaptorQ(oti) => [
            be(oti.transfer_length, 5),
            be(0, 1),
            be(oti.symbol_size.into(), 2),
            be(oti.blocks.into(), 1),
            be(oti.sub_blocks.into(), 2),
            be(oti.alignment.into(), 1),
            be(0, 2),
        ]
        .concat(),
        Extension::FtiNoCode(oti) => {
            [be(oti.transfer_length, 6), be(0, 2), be(oti.symbol_size.into(), 2), be(oti.max_block_len.into(), 4)]
                .concat()
        }
        other => panic!("{other:?} is no EXT_FTI"),
    }
}

fn check_extensions(lct: &LctHeader<'_>, expected: &[Extension]) {
    assert_eq!(lct.extensions.len(), expected.len());
    for (read, written) in lct.extensions.iter().zip(expected) {
        match (read.het, written) {
            (HET_EXT_FDT, &Extension::Fdt { version, instance_id }) => {
                assert_eq!(ExtFdt::parse(read.content).unwrap(), ExtFdt { version, instance_id });
            }
            (HET_EXT_TIME, &Extension::Time { sender_time_ntp_s }) => {
                let expected = ExtTime { sct_high: Some(sender_time_ntp_s), ..ExtTime::default() };
                assert_eq!(ExtTime::parse(read.content).unwrap(), expected);
            }
            (ALC_HET_EXT_FTI, fti) => {
                let body = fti_body(fti);
                // A word for type, length and the first two bytes, then whole words: nothing is cut or padded.
                assert_eq!((read.content, read.content.len()), (&body[..], 14));
            }
            other => panic!("{other:?}"),
        }
    }
}

prop_compose! {
    fn any_head()(
        wide: bool, raptorq: bool, tsi: u32, toi: u32, flags: [bool; 2], sbn: u16, esi in 0u32..1 << 24,
    ) -> PacketHead<'static> {
        let (width, mask) = if wide { (IdWidth::W32, u32::MAX) } else { (IdWidth::W16, 0xFFFF) };
        let (fec, sbn, esi) =
            if raptorq { (FecId::RaptorQ, sbn & 0xFF, esi) } else { (FecId::NoCode, sbn, esi & 0xFFFF) };
        PacketHead {
            width, tsi: tsi & mask, toi: u64::from(toi & mask), fec, close_session: flags[0], close_object: flags[1],
            payload_id: PayloadId { sbn: u32::from(sbn), esi }, extensions: &[],
        }
    }
}

prop_compose! {
    fn any_extensions()(
        used in 0usize..8, version in 1u8..=2, instance_id in 0u32..1 << 20, time: u32, transfer_length in 1u64..900_000_000_000,
        t in 1u16..8191, blocks in 1u8.., max_block_len in 1u32..,
    ) -> (Vec<Extension>, Vec<Extension>) {
        let raptorq = RaptorQOti { transfer_length, symbol_size: t * 8, blocks, sub_blocks: 1, alignment: 8 };
        let no_code = NoCodeOti { transfer_length, symbol_size: t, max_block_len };
        let with = |fti| {
            let all = [Extension::Fdt { version, instance_id }, fti, Extension::Time { sender_time_ntp_s: time }];
            all.into_iter().enumerate().filter(|(bit, _)| used >> bit & 1 == 1).map(|(_, one)| one).collect()
        };
        (with(Extension::FtiRaptorQ(raptorq)), with(Extension::FtiNoCode(no_code)))
    }
}

proptest! {
    #[test]
    fn rmt_flute_reads_any_header_of_ours(
        head in any_head(), extensions in any_extensions(), symbol in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let extensions = if head.fec == FecId::RaptorQ { extensions.0 } else { extensions.1 };
        let head = PacketHead { extensions: &extensions, ..head };
        let mut bytes = vec![0; head.len()];
        head.write(&mut bytes).unwrap();
        bytes.extend(&symbol);
        let read = decoded(&bytes);
        check_common(&read.lct, head.width);
        prop_assert_eq!((number(read.lct.tsi), number(read.lct.toi)), (u64::from(head.tsi), head.toi));
        prop_assert_eq!((read.lct.close_session, read.lct.close_object), (head.close_session, head.close_object));
        prop_assert_eq!(read.lct.codepoint, head.fec.codepoint());
        prop_assert_eq!(payload_id(&read), (u64::from(head.payload_id.sbn), u64::from(head.payload_id.esi)));
        check_extensions(&read.lct, &extensions);
        prop_assert_eq!(read.payload, &symbol[..]);
    }

    /// Every width of CCI, TSI and TOI, with extensions that we do not know.
    #[test]
    fn we_read_any_header_of_rmt_flute(
        c in 0usize..4, s in 0usize..2, o in 0usize..2, h in 0usize..2, id: [u8; 8], flags: [bool; 2], psi in 0u8..4,
        unknown in prop::collection::vec(any::<u8>(), 0..3), time: u32, symbol in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let private = unknown.iter().map(|byte| [*byte; 6]).collect::<Vec<_>>();
        let time_body = ExtTime { sct_high: Some(time), sct_low: Some(1), ..ExtTime::default() }.to_content();
        let mut extensions: Vec<_> = private.iter().map(|body| rmt_flute::HeaderExtension::new(7, &body[..])).collect();
        extensions.push(rmt_flute::HeaderExtension::new(HET_EXT_TIME, &time_body));
        let cci = vec![9; 4 * (c + 1)];
        let lct = LctHeader {
            version: LCT_VERSION, psi, close_session: flags[0], close_object: flags[1], codepoint: 6, cci: &cci,
            tsi: &id[..4 * s + 2 * h], toi: &id[..4 * o + 2 * h], extensions,
        };
        let packet = AlcPacket::new(lct, &[3, 0, 1, 2], &symbol);
        let mut bytes = vec![0; packet.serialized_len()];
        packet.serialize_into(&mut bytes).unwrap();
        let read = Packet::parse(&bytes).unwrap();
        prop_assert_eq!((read.header.tsi, read.header.toi), (number(packet.lct.tsi), number(packet.lct.toi)));
        prop_assert_eq!((read.header.close_session, read.header.close_object), (flags[0], flags[1]));
        prop_assert_eq!(read.payload_id(), Ok(PayloadId { sbn: 3, esi: 0x102 }));
        prop_assert_eq!(read.payload, &symbol[..]);
        prop_assert_eq!(read.extensions.collect::<Vec<_>>(), vec![Extension::Time { sender_time_ntp_s: time }]);
    }

    /// Receivers without FEC find the blocks from the FDT's maximum source block length (RFC 5052 §9.1).
    #[test]
    fn rmt_flute_partitions_as_we_do(len in 1u64..400_000_000, t in 1u16..200, target in 1u32..4000) {
        let Ok(ours) = Partition::plan(len, t * 8, target) else { return Ok(()) };
        let theirs = SourceBlockPartition::new(len, u32::from(t) * 8, ours.largest_k()).unwrap();
        let lengths: Vec<_> = (0..theirs.num_blocks).map(|block| theirs.block_len(block).unwrap()).collect();
        let expected: Vec<_> = ours.iter().map(|range| u64::from(range.shape.k())).collect();
        prop_assert_eq!(lengths, expected);
    }
}

/// How many packets of each object there were.
#[derive(Debug, Default)]
struct Counts {
    fdt: u32,
    manifest: u32,
    announcement: u32,
    source: u32,
    repair: u32,
    closing: u32,
}

fn check_packet(bytes: &[u8], shape: &Shape, partition: &Partition, counts: &mut Counts) {
    let read = decoded(bytes);
    check_common(&read.lct, shape.profile.id_width());
    assert_eq!(number(read.lct.tsi), u64::from(shape.profile.tsi(shape.tsi)));
    let types: Vec<_> = read.lct.extensions.iter().map(|extension| extension.het).collect();
    match number(read.lct.toi) {
        TOI_FDT => {
            counts.fdt += 1;
            assert_eq!((read.lct.codepoint, types), (0, vec![HET_EXT_FDT, ALC_HET_EXT_FTI, HET_EXT_TIME]));
            assert_eq!(ExtFdt::parse(read.lct.extensions[0].content).unwrap().version, FLUTE_VERSION);
        }
        toi @ (TOI_MANIFEST | TOI_ANNOUNCEMENT) => {
            *(if toi == TOI_MANIFEST { &mut counts.manifest } else { &mut counts.announcement }) += 1;
            assert_eq!((read.lct.codepoint, types), (0, vec![ALC_HET_EXT_FTI]));
        }
        TOI_IMAGE => {
            assert_eq!((read.lct.codepoint, types), (shape.profile.image_fec().codepoint(), vec![]));
            let (sbn, esi) = payload_id(&read);
            let k = u64::from(partition.k(u8::try_from(sbn).unwrap()).unwrap());
            *(if esi < k { &mut counts.source } else { &mut counts.repair }) += 1;
        }
        toi => panic!("TOI {toi}"),
    }
    counts.closing += u32::from(read.lct.close_session);
}

#[test]
fn rmt_flute_reads_every_packet_of_every_profile() {
    for profile in [Profile::Fleetcast, Profile::Flute, Profile::NoCode] {
        let shape = Shape { image_len: 400_000, block_symbols: 100, ..Shape::of(profile) };
        let mut stream = Stream::new(&shape, Content::new(1));
        let partition = stream.partition();
        let mut counts = Counts::default();
        while let Some(packet) = stream.next_packet() {
            check_packet(&packet, &shape, &partition, &mut counts);
        }
        assert_eq!(u64::from(counts.source), partition.total_symbols(), "{profile}: {counts:?}");
        assert_eq!(counts.repair > 0, profile != Profile::NoCode, "{profile}: {counts:?}");
        let least = counts.fdt.min(counts.manifest).min(counts.announcement);
        assert!(least >= 11 && counts.closing >= 9, "{profile}: {counts:?}");
    }
}
