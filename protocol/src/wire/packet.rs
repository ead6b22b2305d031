//! Whole ALC packets (RFC 5775 §4.1).

use super::lct::HeaderFields;
use super::{Cursor, Extension, Extensions, FecId, IdWidth, LctHeader, PayloadId, WireError, array_at};

/// HDR_LEN has 8 bits and counts 32-bit words.
const MAX_HEADER_LEN: usize = 255 * 4;

/// Everything of a packet before its symbol: LCT header, extensions, FEC payload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketHead<'e> {
    /// Width of TSI and TOI.
    pub width: IdWidth,
    /// Transport session id.
    pub tsi: u32,
    /// Transport object id.
    pub toi: u64,
    /// FEC scheme, sent as the codepoint.
    pub fec: FecId,
    /// Flag A.
    pub close_session: bool,
    /// Flag B.
    pub close_object: bool,
    /// Which symbol follows.
    pub payload_id: PayloadId,
    /// Header extensions, written in this order.
    pub extensions: &'e [Extension],
}

impl PacketHead<'_> {
    /// Bytes that [`write`](Self::write) takes.
    pub fn len(&self) -> usize {
        self.header_len() + PayloadId::LEN
    }

    /// Never: a head has at least 16 bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the head to the start of `out` and returns its length; the symbol goes right behind it.
    ///
    /// Fails when `out` is shorter than [`len`](Self::len) or a field does not fit; `out` is then unspecified.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let header_len = self.header_len();
        if header_len > MAX_HEADER_LEN {
            return Err(WireError::HeaderTooLong(header_len));
        }
        let words = u8::try_from(header_len / 4).map_err(|_| WireError::HeaderTooLong(header_len))?;
        let len = self.len();
        if out.len() < len {
            return Err(WireError::BufferTooSmall { needed: len, len: out.len() });
        }
        let mut out = Cursor::new(out);
        let header = HeaderFields {
            width: self.width,
            tsi: self.tsi,
            toi: self.toi,
            codepoint: self.fec.codepoint(),
            close_session: self.close_session,
            close_object: self.close_object,
        };
        header.write(words, &mut out)?;
        for extension in self.extensions {
            extension.write(self.fec, &mut out)?;
        }
        out.put(self.payload_id.encode(self.fec)?)?;
        Ok(len)
    }

    fn header_len(&self) -> usize {
        self.width.header_len() + self.extensions.iter().map(Extension::encoded_len).sum::<usize>()
    }
}

/// A packet that was read; the symbol stays in the caller's buffer.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// The LCT header.
    pub header: LctHeader,
    /// Its extensions, all well formed.
    pub extensions: Extensions<'a>,
    /// The FEC payload id; 0 in a packet without one. [`payload_id`](Self::payload_id) interprets it.
    pub payload_id_bytes: [u8; 4],
    /// The encoding symbol (or several in a row); empty in a packet without one.
    pub payload: &'a [u8],
    data_less: bool,
}

impl<'a> Packet<'a> {
    /// Reads a UDP payload. The codepoint may be of any scheme, so that the caller can count the unsupported ones.
    ///
    /// A header alone is a legal packet (RFC 5775 §4.1 uses it to close a session): its `payload` is empty and
    /// [`payload_id`](Self::payload_id) fails.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let header = LctHeader::parse(bytes)?;
        let truncated = WireError::Truncated { needed: header.header_len, len: bytes.len() };
        let (head, rest) = bytes.split_at_checked(header.header_len).ok_or(truncated)?;
        let extensions = Extensions::parse(head.get(header.fixed_len..).unwrap_or_default(), header.codepoint)?;
        if rest.is_empty() {
            return Ok(Self { header, extensions, payload_id_bytes: [0; 4], payload: &[], data_less: true });
        }
        let payload_id_bytes = array_at(bytes, header.header_len)?;
        let payload = rest.get(PayloadId::LEN..).unwrap_or_default();
        Ok(Self { header, extensions, payload_id_bytes, payload, data_less: false })
    }

    /// The FEC scheme, if it is one of ours.
    pub fn fec(&self) -> Option<FecId> {
        FecId::from_codepoint(self.header.codepoint)
    }

    /// Which symbol `payload` starts with.
    ///
    /// [`WireError::DataLess`] when the packet is a header alone, [`WireError::UnknownFec`] when its scheme is not ours.
    pub fn payload_id(&self) -> Result<PayloadId, WireError> {
        if self.data_less {
            return Err(WireError::DataLess);
        }
        let fec = self.fec().ok_or(WireError::UnknownFec(self.header.codepoint))?;
        Ok(PayloadId::decode(fec, self.payload_id_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NoCodeOti, Oti, RaptorQOti, TOI_FDT, TOI_IMAGE};
    use super::*;
    use proptest::prelude::*;

    const FDT_EXTENSIONS: [Extension; 3] = [
        Extension::Fdt { version: 2, instance_id: 5 },
        Extension::FtiNoCode(NoCodeOti { transfer_length: 700, symbol_size: 1344, max_block_len: 1 }),
        Extension::Time { sender_time_ntp_s: 0xe800_0001 },
    ];

    const IMAGE: PacketHead<'_> = PacketHead {
        width: IdWidth::W32,
        tsi: 0xdead_beef,
        toi: TOI_IMAGE,
        fec: FecId::RaptorQ,
        close_session: false,
        close_object: false,
        payload_id: PayloadId { sbn: 3, esi: 2001 },
        extensions: &[],
    };
    const FDT: PacketHead<'_> = PacketHead {
        width: IdWidth::W16,
        tsi: 0x1234,
        toi: TOI_FDT,
        fec: FecId::NoCode,
        close_session: true,
        close_object: true,
        payload_id: PayloadId { sbn: 0, esi: 0 },
        extensions: &FDT_EXTENSIONS,
    };

    fn packet(head: &PacketHead<'_>, symbol: &[u8]) -> Vec<u8> {
        let mut out = vec![0; head.len()];
        assert_eq!(head.write(&mut out), Ok(out.len()));
        out.extend_from_slice(symbol);
        out
    }

    #[test]
    fn known_bytes() {
        assert_eq!(
            packet(&IMAGE, &[7, 8]),
            [0x10, 0xa0, 4, 6, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 2, 3, 0, 0x07, 0xd1, 7, 8]
        );
        let mut expected = vec![0x10, 0x13, 10, 0, 0, 0, 0, 0, 0x12, 0x34, 0, 0];
        expected.extend([192, 0x20, 0, 5]);
        expected.extend([64, 4, 0, 0, 0, 0, 0x02, 0xbc, 0, 0, 0x05, 0x40, 0, 0, 0, 1]);
        expected.extend([2, 2, 0x80, 0, 0xe8, 0, 0, 1]);
        expected.extend([0, 0, 0, 0]);
        assert_eq!(packet(&FDT, &[]), expected);
    }

    #[test]
    fn reads_what_it_wrote() {
        let bytes = packet(&FDT, b"<xml>");
        let read = Packet::parse(&bytes).unwrap();
        assert_eq!(read.extensions.clone().collect::<Vec<_>>(), FDT_EXTENSIONS);
        assert_eq!(read.extensions.fdt(), Some(5));
        assert_eq!((read.header.tsi, read.header.toi, read.fec()), (0x1234, TOI_FDT, Some(FecId::NoCode)));
        assert!(read.header.close_session && read.header.close_object);
        assert_eq!(read.payload, b"<xml>");
        assert_eq!(read.payload_id(), Ok(PayloadId { sbn: 0, esi: 0 }));
    }

    #[test]
    fn shows_an_fdt_that_is_coded_with_raptorq() {
        let oti = RaptorQOti { transfer_length: 900, symbol_size: 1400, blocks: 1, sub_blocks: 1, alignment: 4 };
        let extensions = [Extension::Fdt { version: 2, instance_id: 1 }, Extension::FtiRaptorQ(oti)];
        let bytes = packet(&PacketHead { toi: TOI_FDT, extensions: &extensions, ..IMAGE }, &[0; 1400]);
        let read = Packet::parse(&bytes).unwrap();
        assert_eq!((read.header.toi, read.extensions.fdt(), read.fec()), (TOI_FDT, Some(1), Some(FecId::RaptorQ)));
        assert_eq!(read.extensions.fti(), Some(Oti::RaptorQ(oti)));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_symbol() {
        for head in [IMAGE, FDT] {
            let whole = packet(&head, &[9; 20]);
            let header_len = head.len() - PayloadId::LEN;
            for len in 0..whole.len() {
                match Packet::parse(&whole[..len]) {
                    Ok(read) if len == header_len => {
                        assert_eq!((read.payload_id(), read.payload.len()), (Err(WireError::DataLess), 0));
                    }
                    Ok(read) => {
                        assert!(len >= head.len(), "{len}");
                        assert_eq!(read.payload_id(), Ok(head.payload_id));
                        assert_eq!(read.payload.len(), len - head.len());
                    }
                    Err(e) => assert!(len < head.len() && matches!(e, WireError::Truncated { .. }), "{len} {e}"),
                }
            }
        }
    }

    #[test]
    fn lets_the_caller_see_other_schemes() {
        let mut bytes = packet(&IMAGE, &[1]);
        bytes[3] = 5;
        let read = Packet::parse(&bytes).unwrap();
        assert_eq!((read.fec(), read.payload_id()), (None, Err(WireError::UnknownFec(5))));
    }

    #[test]
    fn refuses_to_write_what_does_not_fit() {
        let mut out = [0; 1100];
        assert_eq!(IMAGE.write(&mut out[..19]), Err(WireError::BufferTooSmall { needed: 20, len: 19 }));
        let many = [Extension::Time { sender_time_ntp_s: 0 }; 126];
        assert_eq!(PacketHead { extensions: &many, ..IMAGE }.write(&mut out), Err(WireError::HeaderTooLong(1024)));
        assert_eq!(PacketHead { extensions: &many[1..], ..IMAGE }.write(&mut out), Ok(1020));
        let narrow = PacketHead { width: IdWidth::W16, ..IMAGE };
        assert!(matches!(narrow.write(&mut out), Err(WireError::IdTooLarge { field: "TSI", .. })));
        let block = PacketHead { payload_id: PayloadId { sbn: 256, esi: 0 }, ..IMAGE };
        assert!(matches!(block.write(&mut out), Err(WireError::PayloadId { .. })));
    }

    prop_compose! {
        fn any_oti()(f in 1u64..1 << 32, t in 1u16..1000, z in 1u8.., b in 1u32..) -> (RaptorQOti, NoCodeOti) {
            let raptorq = RaptorQOti { transfer_length: f, symbol_size: t * 8, blocks: z, sub_blocks: 1, alignment: 8 };
            (raptorq, NoCodeOti { transfer_length: f, symbol_size: t, max_block_len: b })
        }
    }

    proptest! {
        #[test]
        fn roundtrips(
            wide: bool, raptorq: bool, tsi: u32, toi: u32, id: [u8; 4], flags: [bool; 2], oti in any_oti(),
            instance_id in 0u32..1 << 20, time: u32, used in 0usize..4, symbol in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let (width, mask) = if wide { (IdWidth::W32, u32::MAX) } else { (IdWidth::W16, 0xffff) };
            let fec = if raptorq { FecId::RaptorQ } else { FecId::NoCode };
            let fti = if raptorq { Extension::FtiRaptorQ(oti.0) } else { Extension::FtiNoCode(oti.1) };
            let extensions = [Extension::Fdt { version: 2, instance_id }, fti, Extension::Time { sender_time_ntp_s: time }];
            let head = PacketHead {
                width, tsi: tsi & mask, toi: u64::from(toi & mask), fec, close_session: flags[0], close_object: flags[1],
                payload_id: PayloadId::decode(fec, id), extensions: &extensions[..used],
            };
            let bytes = packet(&head, &symbol);
            let read = Packet::parse(&bytes).unwrap();
            prop_assert_eq!((read.header.tsi, read.header.toi), (u64::from(head.tsi), head.toi));
            prop_assert_eq!(read.header.width(), Some(width));
            prop_assert_eq!((read.header.close_session, read.header.close_object), (flags[0], flags[1]));
            prop_assert_eq!(read.fec(), Some(fec));
            prop_assert_eq!(read.payload_id(), Ok(head.payload_id));
            prop_assert_eq!(read.extensions.collect::<Vec<_>>(), head.extensions);
            prop_assert_eq!(read.payload, &symbol[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Packet::parse(&bytes) {
                let _ = (read.fec(), read.payload_id(), read.extensions.fdt(), read.extensions.fti());
            }
        }

        /// A valid packet with one byte changed reaches further than arbitrary bytes.
        #[test]
        fn one_changed_byte_never_panics(fdt: bool, at in 0usize..64, value: u8) {
            let mut bytes = packet(if fdt { &FDT } else { &IMAGE }, &[0; 16]);
            let at = at % bytes.len();
            bytes[at] = value;
            if let Ok(read) = Packet::parse(&bytes) {
                let _ = (read.payload_id(), read.extensions.fdt(), read.extensions.fti(), read.extensions.count());
            }
        }
    }
}
