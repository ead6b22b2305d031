//! The LCT header (RFC 5651 §5.1), without its extensions.
//!
//! ```text
//!  V(4)=1 C(2) PSI(2) | S(1) O(2) H(1) Res(2) A(1) B(1) | HDR_LEN(8) | codepoint(8)
//!  CCI (32·(C+1) bits) | TSI (32·S + 16·H bits) | TOI (32·O + 16·H bits)
//! ```

use super::{Cursor, WireError, array_at, be_uint};

const VERSION: u8 = 1;
const FLAG_CLOSE_SESSION: u8 = 0b10;
const FLAG_CLOSE_OBJECT: u8 = 0b01;

/// Width of TSI and TOI in the packets that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdWidth {
    /// 16 bits each (S=0 O=0 H=1): what 5G-MAG and GPAC receivers expect.
    W16,
    /// 32 bits each (S=1 O=1 H=0): the default.
    W32,
}

impl IdWidth {
    /// Bits of the TSI, and of the TOI.
    pub fn bits(self) -> u8 {
        match self {
            Self::W16 => 16,
            Self::W32 => 32,
        }
    }

    /// Length in bytes of a header of this width with CCI of 32 bits and no extensions.
    pub fn header_len(self) -> usize {
        match self {
            Self::W16 => 12,
            Self::W32 => 16,
        }
    }

    fn flags(self) -> u8 {
        match self {
            Self::W16 => 0b0001_0000,
            Self::W32 => 0b1010_0000,
        }
    }
}

/// What the LCT header of a packet says. Reading accepts every width that RFC 5651 allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LctHeader {
    /// Bits of the TSI field: 0, 16, 32 or 48.
    pub tsi_bits: u8,
    /// Bits of the TOI field: 0 to 112.
    pub toi_bits: u8,
    /// Transport session id; 0 when the header has none.
    pub tsi: u64,
    /// Transport object id; 0 when the header has none (a FLUTE packet always has one).
    pub toi: u64,
    /// Codepoint: in FLUTE the FEC Encoding ID.
    pub codepoint: u8,
    /// Flag A, a hint only.
    pub close_session: bool,
    /// Flag B, a hint only.
    pub close_object: bool,
    /// HDR_LEN in bytes: the header with its extensions.
    pub header_len: usize,
    /// Bytes before the first extension.
    pub fixed_len: usize,
}

impl LctHeader {
    /// Reads the header at the start of `bytes` and checks that `header_len` bytes are there.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let [first, flags, words, codepoint] = array_at(bytes, 0)?;
        if first >> 4 != VERSION {
            return Err(WireError::LctVersion(first >> 4));
        }
        let cci_len = 4 * (usize::from(first >> 2 & 0b11) + 1);
        let half = 2 * (flags >> 4 & 1);
        let tsi_len = 4 * (flags >> 7) + half;
        let toi_len = 4 * (flags >> 5 & 0b11) + half;
        let tsi_at = 4 + cci_len;
        let toi_at = tsi_at + usize::from(tsi_len);
        let fixed_len = toi_at + usize::from(toi_len);
        let header_len = 4 * usize::from(words);
        if header_len < fixed_len {
            return Err(WireError::HeaderLength { header_len, needed: fixed_len });
        }
        let header = bytes.get(..header_len).ok_or(WireError::Truncated { needed: header_len, len: bytes.len() })?;
        let id = |from, to| header.get(from..to).and_then(be_uint).ok_or(WireError::ToiTooLarge);
        Ok(Self {
            tsi_bits: 8 * tsi_len,
            toi_bits: 8 * toi_len,
            tsi: id(tsi_at, toi_at)?,
            toi: id(toi_at, fixed_len)?,
            codepoint,
            close_session: flags & FLAG_CLOSE_SESSION != 0,
            close_object: flags & FLAG_CLOSE_OBJECT != 0,
            header_len,
            fixed_len,
        })
    }

    /// The width, if it is one that we send.
    pub fn width(&self) -> Option<IdWidth> {
        match (self.tsi_bits, self.toi_bits) {
            (16, 16) => Some(IdWidth::W16),
            (32, 32) => Some(IdWidth::W32),
            _ => None,
        }
    }
}

/// The header fields that a sender chooses; CCI, PSI and reserved bits are 0.
pub(super) struct HeaderFields {
    pub width: IdWidth,
    pub tsi: u32,
    pub toi: u64,
    pub codepoint: u8,
    pub close_session: bool,
    pub close_object: bool,
}

impl HeaderFields {
    /// Writes the header; `words` is HDR_LEN, extensions included.
    pub fn write(&self, words: u8, out: &mut Cursor<'_>) -> Result<(), WireError> {
        let flags = self.width.flags()
            | if self.close_session { FLAG_CLOSE_SESSION } else { 0 }
            | if self.close_object { FLAG_CLOSE_OBJECT } else { 0 };
        out.put([VERSION << 4, flags, words, self.codepoint, 0, 0, 0, 0])?;
        let too_large = |field, value| WireError::IdTooLarge { field, value, bits: self.width.bits() };
        match self.width {
            IdWidth::W16 => {
                let tsi = u16::try_from(self.tsi).map_err(|_| too_large("TSI", u64::from(self.tsi)))?;
                let toi = u16::try_from(self.toi).map_err(|_| too_large("TOI", self.toi))?;
                out.put(tsi.to_be_bytes())?;
                out.put(toi.to_be_bytes())
            }
            IdWidth::W32 => {
                let toi = u32::try_from(self.toi).map_err(|_| too_large("TOI", self.toi))?;
                out.put(self.tsi.to_be_bytes())?;
                out.put(toi.to_be_bytes())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(width: IdWidth, tsi: u32, toi: u64) -> Vec<u8> {
        let fields = HeaderFields { width, tsi, toi, codepoint: 6, close_session: false, close_object: true };
        let mut out = vec![0; width.header_len()];
        let words = u8::try_from(out.len() / 4).unwrap();
        fields.write(words, &mut Cursor::new(&mut out)).unwrap();
        out
    }

    /// A header of any legal widths, its ids filled with `fill`.
    fn legal(c: u8, s: u8, o: u8, h: u8, extra_words: u8, fill: u8) -> Vec<u8> {
        let words = 1 + (c + 1) + s + o + h + extra_words;
        let mut bytes = vec![0x10 | c << 2, s << 7 | o << 5 | h << 4, words, 6];
        bytes.resize(4 * usize::from(words), fill);
        bytes
    }

    #[test]
    fn known_bytes() {
        assert_eq!(header(IdWidth::W16, 0x1234, 2), [0x10, 0x11, 3, 6, 0, 0, 0, 0, 0x12, 0x34, 0, 2]);
        assert_eq!(
            header(IdWidth::W32, 0x1234_5678, 2),
            [0x10, 0xa1, 4, 6, 0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 2]
        );
    }

    #[test]
    fn reads_every_legal_width() {
        for (c, s, o, h) in
            (0..4).flat_map(|c| (0..2).flat_map(move |s| (0..4).flat_map(move |o| (0..2).map(move |h| (c, s, o, h)))))
        {
            let mut bytes = legal(c, s, o, h, 2, 0);
            let read = LctHeader::parse(&bytes).unwrap();
            assert_eq!(read.tsi_bits, 32 * s + 16 * h);
            assert_eq!(read.toi_bits, 32 * o + 16 * h);
            assert_eq!(read.fixed_len, bytes.len() - 8);
            // The last bytes of the fields are the least significant of the ids.
            let cci_end = 4 + 4 * (usize::from(c) + 1);
            let tsi_end = cci_end + usize::from(read.tsi_bits) / 8;
            if read.tsi_bits > 0 {
                bytes[tsi_end - 1] = 0x5a;
            }
            if read.toi_bits > 0 {
                bytes[read.fixed_len - 1] = 0xa5;
            }
            let read = LctHeader::parse(&bytes).unwrap();
            assert_eq!(read.tsi, if read.tsi_bits > 0 { 0x5a } else { 0 });
            assert_eq!(read.toi, if read.toi_bits > 0 { 0xa5 } else { 0 });
        }
    }

    #[test]
    fn refuses_a_toi_of_more_than_64_significant_bits() {
        assert_eq!(LctHeader::parse(&legal(0, 1, 2, 0, 0, 0xff)).map(|h| h.toi), Ok(u64::MAX));
        for (o, h) in [(2, 1), (3, 0), (3, 1)] {
            assert_eq!(LctHeader::parse(&legal(0, 1, o, h, 0, 0xff)), Err(WireError::ToiTooLarge));
            let mut small = legal(0, 1, o, h, 0, 0);
            let at = small.len() - 8;
            small[at..].fill(0xff);
            assert_eq!(LctHeader::parse(&small).map(|h| h.toi), Ok(u64::MAX));
        }
    }

    #[test]
    fn refuses_other_versions_and_short_headers() {
        for version in [0u8, 2, 15] {
            let mut bytes = header(IdWidth::W32, 1, 2);
            bytes[0] = version << 4;
            assert_eq!(LctHeader::parse(&bytes), Err(WireError::LctVersion(version)));
        }
        for words in 0..4 {
            let mut bytes = header(IdWidth::W32, 1, 2);
            bytes[2] = words;
            let header_len = 4 * usize::from(words);
            assert_eq!(LctHeader::parse(&bytes), Err(WireError::HeaderLength { header_len, needed: 16 }));
        }
        let mut bytes = header(IdWidth::W32, 1, 2);
        bytes[2] = 5;
        assert_eq!(LctHeader::parse(&bytes), Err(WireError::Truncated { needed: 20, len: 16 }));
    }

    #[test]
    fn ignores_psi_and_reserved_bits() {
        let mut bytes = header(IdWidth::W32, 7, 2);
        let plain = LctHeader::parse(&bytes).unwrap();
        bytes[0] |= 0b0000_0011;
        bytes[1] |= 0b0000_1100;
        assert_eq!(LctHeader::parse(&bytes), Ok(plain));
    }

    #[test]
    fn refuses_ids_that_do_not_fit() {
        for (width, tsi, toi) in [(IdWidth::W16, 1 << 16, 0), (IdWidth::W16, 0, 1 << 16), (IdWidth::W32, 0, 1 << 32)] {
            let fields = HeaderFields { width, tsi, toi, codepoint: 0, close_session: false, close_object: false };
            let mut out = [0; 16];
            let written = fields.write(4, &mut Cursor::new(&mut out));
            assert!(matches!(written, Err(WireError::IdTooLarge { .. })), "{written:?}");
        }
    }

    proptest! {
        #[test]
        fn roundtrips(wide: bool, tsi: u32, toi: u32, codepoint: u8, close_session: bool, close_object: bool) {
            let (width, mask) = if wide { (IdWidth::W32, u32::MAX) } else { (IdWidth::W16, 0xffff) };
            let (tsi, toi) = (tsi & mask, u64::from(toi & mask));
            let fields = HeaderFields { width, tsi, toi, codepoint, close_session, close_object };
            let mut out = vec![0; width.header_len()];
            fields.write(u8::try_from(out.len() / 4).unwrap(), &mut Cursor::new(&mut out)).unwrap();
            let read = LctHeader::parse(&out).unwrap();
            prop_assert_eq!(read.width(), Some(width));
            prop_assert_eq!((read.tsi, read.toi, read.codepoint), (u64::from(tsi), toi, codepoint));
            prop_assert_eq!((read.close_session, read.close_object), (close_session, close_object));
            prop_assert_eq!((read.header_len, read.fixed_len), (out.len(), out.len()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = LctHeader::parse(&bytes) {
                prop_assert!(header.fixed_len <= header.header_len && header.header_len <= bytes.len());
            }
        }
    }
}
