//! LCT header extensions (RFC 5651 §5.2): EXT_FDT, EXT_FTI and EXT_TIME; all others are skipped.
//!
//! Types below 128 say their length in 32-bit words in the second byte; the others are one word. A packet is only
//! accepted when all its extensions are well formed ([`Extensions::parse`]), so reading them afterwards cannot fail.

use super::{Cursor, FecId, NoCodeOti, Oti, RaptorQOti, WireError, array_at};

/// HET of EXT_TIME (RFC 5651 §5.2.2).
const HET_TIME: u8 = 2;
/// HET of EXT_FTI (RFC 5775 §4.2).
const HET_FTI: u8 = 64;
/// HET of EXT_FDT (RFC 6726 §3.4.1).
const HET_FDT: u8 = 192;
/// The first HET of one-word extensions.
const HET_FIRST_FIXED: u8 = 128;

const FDT_LEN: usize = 4;
const FTI_LEN: usize = 16;
const TIME_LEN: usize = 8;
/// EXT_TIME's use flag "SCT-High": the sender's current time in seconds follows.
const USE_SCT_HIGH: u16 = 0x8000;

/// The FLUTE version of the EXT_FDT that we send (RFC 6726).
pub const FLUTE_VERSION: u8 = 2;
/// FDT instance ids have 20 bits.
pub const MAX_FDT_INSTANCE_ID: u32 = (1 << 20) - 1;

/// A header extension that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// EXT_FDT: the packet belongs to an FDT instance.
    Fdt {
        /// FLUTE version: 1 (RFC 3926) or 2 (RFC 6726).
        version: u8,
        /// FDT instance id, 20 bits.
        instance_id: u32,
    },
    /// EXT_FTI of a packet with FEC Encoding ID 6.
    FtiRaptorQ(RaptorQOti),
    /// EXT_FTI of a packet with FEC Encoding ID 0.
    FtiNoCode(NoCodeOti),
    /// EXT_TIME with the sender's current time: a hint, nothing may be decided by it.
    Time {
        /// SCT-High: seconds of the sender's clock since 1900 (NTP), modulo 2^32.
        sender_time_ntp_s: u32,
    },
}

impl Extension {
    /// Bytes on the wire, a multiple of 4.
    pub(super) fn encoded_len(&self) -> usize {
        match self {
            Self::Fdt { .. } => FDT_LEN,
            Self::FtiRaptorQ(_) | Self::FtiNoCode(_) => FTI_LEN,
            Self::Time { .. } => TIME_LEN,
        }
    }

    /// Writes the extension into a packet of scheme `fec`.
    pub(super) fn write(&self, fec: FecId, out: &mut Cursor<'_>) -> Result<(), WireError> {
        match *self {
            Self::Fdt { version, instance_id } => {
                check_flute_version(version)?;
                if instance_id > MAX_FDT_INSTANCE_ID {
                    let value = u64::from(instance_id);
                    return Err(WireError::IdTooLarge { field: "FDT instance id", value, bits: 20 });
                }
                let word = u32::from(HET_FDT) << 24 | u32::from(version) << 20 | instance_id;
                out.put(word.to_be_bytes())
            }
            Self::FtiRaptorQ(oti) => {
                put_fti_head(FecId::RaptorQ, fec, out)?;
                out.put(oti.encode()?)?;
                out.put([0, 0])
            }
            Self::FtiNoCode(oti) => {
                put_fti_head(FecId::NoCode, fec, out)?;
                out.put(oti.encode()?)
            }
            Self::Time { sender_time_ntp_s } => {
                let [use_high, use_low] = USE_SCT_HIGH.to_be_bytes();
                out.put([HET_TIME, 2, use_high, use_low])?;
                out.put(sender_time_ntp_s.to_be_bytes())
            }
        }
    }

    /// Interprets one extension (`bytes` is the whole of it); `None` when it is of no interest.
    fn read(bytes: &[u8], codepoint: u8) -> Result<Option<Self>, WireError> {
        let [het, ..] = array_at::<4>(bytes, 0)?;
        match het {
            HET_FDT => read_fdt(bytes).map(Some),
            HET_FTI => match FecId::from_codepoint(codepoint) {
                Some(fec) => read_fti(bytes, fec).map(Some),
                None => Ok(None),
            },
            HET_TIME => read_time(bytes),
            _ => Ok(None),
        }
    }
}

fn put_fti_head(oti: FecId, fec: FecId, out: &mut Cursor<'_>) -> Result<(), WireError> {
    if oti != fec {
        return Err(WireError::FtiScheme { fec });
    }
    out.put([HET_FTI, 4])
}

fn check_flute_version(version: u8) -> Result<(), WireError> {
    if version == 1 || version == FLUTE_VERSION { Ok(()) } else { Err(WireError::FluteVersion(version)) }
}

fn read_fdt(bytes: &[u8]) -> Result<Extension, WireError> {
    let word = u32::from_be_bytes(array_at(bytes, 0)?);
    let [_, second, ..] = word.to_be_bytes();
    let version = second >> 4;
    check_flute_version(version)?;
    Ok(Extension::Fdt { version, instance_id: word & MAX_FDT_INSTANCE_ID })
}

fn read_fti(bytes: &[u8], fec: FecId) -> Result<Extension, WireError> {
    if bytes.len() != FTI_LEN {
        return Err(WireError::ExtensionLength { het: HET_FTI, len: bytes.len() });
    }
    match fec {
        FecId::RaptorQ => RaptorQOti::decode(&array_at(bytes, 2)?).map(Extension::FtiRaptorQ),
        FecId::NoCode => NoCodeOti::decode(&array_at(bytes, 2)?).map(Extension::FtiNoCode),
    }
}

fn read_time(bytes: &[u8]) -> Result<Option<Extension>, WireError> {
    if u16::from_be_bytes(array_at(bytes, 2)?) & USE_SCT_HIGH == 0 {
        return Ok(None);
    }
    // SCT-High comes first; what follows (SCT-Low, ERT, SLC) is ignored.
    let time = array_at(bytes, 4).map_err(|_| WireError::ExtensionLength { het: HET_TIME, len: bytes.len() })?;
    Ok(Some(Extension::Time { sender_time_ntp_s: u32::from_be_bytes(time) }))
}

/// Splits the first extension off; `bytes` is not empty.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let [het, words, ..] = array_at::<4>(bytes, 0)?;
    let len = if het < HET_FIRST_FIXED { 4 * usize::from(words) } else { 4 };
    // Length 0 would never end.
    let split = if len == 0 { None } else { bytes.split_at_checked(len) };
    split.ok_or(WireError::ExtensionLength { het, len })
}

/// The extensions of a packet that are understood, in their order.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    bytes: &'a [u8],
    codepoint: u8,
}

impl<'a> Extensions<'a> {
    /// Checks all extensions in `bytes` (the LCT header after its TOI); `codepoint` tells which EXT_FTI it is.
    ///
    /// Takes at most 252 steps, as each extension has at least one word.
    pub fn parse(bytes: &'a [u8], codepoint: u8) -> Result<Self, WireError> {
        let mut left = bytes;
        while !left.is_empty() {
            let (extension, rest) = split(left)?;
            Extension::read(extension, codepoint)?;
            left = rest;
        }
        Ok(Self { bytes, codepoint })
    }

    /// FDT instance id of the first EXT_FDT.
    pub fn fdt(&self) -> Option<u32> {
        self.clone().find_map(|extension| match extension {
            Extension::Fdt { instance_id, .. } => Some(instance_id),
            _ => None,
        })
    }

    /// Object transmission information of the first EXT_FTI, if the packet is of one of our FEC schemes.
    pub fn fti(&self) -> Option<Oti> {
        self.clone().find_map(|extension| match extension {
            Extension::FtiRaptorQ(oti) => Some(Oti::RaptorQ(oti)),
            Extension::FtiNoCode(oti) => Some(Oti::NoCode(oti)),
            _ => None,
        })
    }
}

impl Iterator for Extensions<'_> {
    type Item = Extension;

    fn next(&mut self) -> Option<Extension> {
        while !self.bytes.is_empty() {
            let (extension, rest) = split(self.bytes).ok()?;
            self.bytes = rest;
            if let Ok(Some(extension)) = Extension::read(extension, self.codepoint) {
                return Some(extension);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RAPTORQ: RaptorQOti =
        RaptorQOti { transfer_length: 500_000_000, symbol_size: 1344, blocks: 187, sub_blocks: 1, alignment: 8 };
    const NO_CODE: NoCodeOti = NoCodeOti { transfer_length: 700, symbol_size: 1344, max_block_len: 1 };

    fn write(extension: Extension, fec: FecId) -> Result<Vec<u8>, WireError> {
        let mut out = vec![0; extension.encoded_len()];
        extension.write(fec, &mut Cursor::new(&mut out)).map(|()| out)
    }

    fn read(bytes: &[u8], codepoint: u8) -> Result<Vec<Extension>, WireError> {
        Extensions::parse(bytes, codepoint).map(Iterator::collect)
    }

    #[test]
    fn known_bytes() {
        let fdt = Extension::Fdt { version: 2, instance_id: 0x1_2345 };
        assert_eq!(write(fdt, FecId::NoCode).unwrap(), [192, 0x21, 0x23, 0x45]);
        // 64 | 4 | F(48) | 0(16) | E(16) | B(32)
        let expected = [64, 4, 0, 0, 0, 0, 0x02, 0xbc, 0, 0, 0x05, 0x40, 0, 0, 0, 1];
        assert_eq!(write(Extension::FtiNoCode(NO_CODE), FecId::NoCode).unwrap(), expected);
        // 64 | 4 | F(40) | 0(8) | T(16) | Z(8) | N(16) | Al(8) | 0(16)
        let expected = [64, 4, 0, 0x1d, 0xcd, 0x65, 0, 0, 0x05, 0x40, 187, 0, 1, 8, 0, 0];
        assert_eq!(write(Extension::FtiRaptorQ(RAPTORQ), FecId::RaptorQ).unwrap(), expected);
        let time = Extension::Time { sender_time_ntp_s: 0x0102_0304 };
        assert_eq!(write(time, FecId::NoCode).unwrap(), [2, 2, 0x80, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn skips_what_it_does_not_know() {
        let mut bytes = vec![0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]; // EXT_NOP
        bytes.extend([1, 5].iter().chain(&[0xee; 18])); // EXT_AUTH of RFC 6584, 5 words
        bytes.extend([127, 1, 0, 0]);
        bytes.extend([128, 0, 0, 0]); // fixed: its second byte is no length
        bytes.extend([193, 3, 0, 0]); // EXT_CENC
        bytes.extend(write(Extension::Fdt { version: 1, instance_id: 9 }, FecId::NoCode).unwrap());
        assert_eq!(read(&bytes, 0), Ok(vec![Extension::Fdt { version: 1, instance_id: 9 }]));
        // An EXT_FTI of a scheme that is not ours.
        assert_eq!(read(&[64, 1, 0, 0], 5), Ok(vec![]));
        // EXT_TIME without SCT-High.
        assert_eq!(read(&[2, 1, 0, 0], 0), Ok(vec![]));
        assert_eq!(read(&[2, 2, 0x20, 0, 0, 0, 0, 9], 0), Ok(vec![]));
    }

    #[test]
    fn finds_fdt_and_fti() {
        let mut bytes = write(Extension::Time { sender_time_ntp_s: 1 }, FecId::NoCode).unwrap();
        bytes.extend(write(Extension::FtiNoCode(NO_CODE), FecId::NoCode).unwrap());
        bytes.extend(write(Extension::Fdt { version: 2, instance_id: 7 }, FecId::NoCode).unwrap());
        let extensions = Extensions::parse(&bytes, 0).unwrap();
        assert_eq!(extensions.fdt(), Some(7));
        assert_eq!(extensions.fti(), Some(Oti::NoCode(NO_CODE)));
        assert_eq!(Extensions::parse(&[], 0).unwrap().fdt(), None);
        assert_eq!(Extensions::parse(&[], 0).unwrap().fti(), None);
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        for het in 0..128 {
            assert_eq!(read(&[het, 0, 0, 0], 0), Err(WireError::ExtensionLength { het, len: 0 }));
            assert_eq!(read(&[het, 2, 0, 0], 0), Err(WireError::ExtensionLength { het, len: 8 }));
        }
        assert!(matches!(read(&[192, 0x20, 0], 0), Err(WireError::Truncated { .. })));
        assert!(matches!(read(&[2, 1, 0x80, 0], 0), Err(WireError::ExtensionLength { het: 2, .. })));
        for words in [1u8, 3, 5] {
            let mut bytes = vec![1; 4 * usize::from(words)];
            bytes[..2].copy_from_slice(&[64, words]);
            let len = bytes.len();
            for codepoint in [0, 6] {
                assert_eq!(read(&bytes, codepoint), Err(WireError::ExtensionLength { het: 64, len }));
            }
        }
    }

    #[test]
    fn refuses_unknown_flute_versions_and_bad_oti() {
        assert_eq!(read(&[192, 0x30, 0, 1], 0), Err(WireError::FluteVersion(3)));
        assert_eq!(read(&[192, 0x00, 0, 1], 0), Err(WireError::FluteVersion(0)));
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&[64, 4]);
        assert!(matches!(read(&bytes, 0), Err(WireError::Oti { .. })));
        assert!(matches!(read(&bytes, 6), Err(WireError::Oti { .. })));
    }

    #[test]
    fn refuses_to_write_what_would_be_misread() {
        assert!(matches!(write(Extension::FtiNoCode(NO_CODE), FecId::RaptorQ), Err(WireError::FtiScheme { .. })));
        assert!(matches!(write(Extension::FtiRaptorQ(RAPTORQ), FecId::NoCode), Err(WireError::FtiScheme { .. })));
        let fdt = Extension::Fdt { version: 2, instance_id: 1 << 20 };
        assert!(matches!(write(fdt, FecId::NoCode), Err(WireError::IdTooLarge { .. })));
        let fdt = Extension::Fdt { version: 16, instance_id: 0 };
        assert_eq!(write(fdt, FecId::NoCode), Err(WireError::FluteVersion(16)));
    }

    proptest! {
        #[test]
        fn fdt_and_time_roundtrip(version in 1u8..=2, instance_id in 0..=MAX_FDT_INSTANCE_ID, time: u32) {
            for extension in [Extension::Fdt { version, instance_id }, Extension::Time { sender_time_ntp_s: time }] {
                prop_assert_eq!(read(&write(extension, FecId::RaptorQ).unwrap(), 6), Ok(vec![extension]));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1020), codepoint in 0u8..8) {
            if let Ok(found) = read(&bytes, codepoint) {
                prop_assert!(found.len() <= bytes.len() / 4);
            }
        }

        /// Bytes that look like extensions reach the readers more often than arbitrary ones.
        #[test]
        fn likely_extensions_never_panic(
            parts in proptest::collection::vec((prop_oneof![Just(0u8), Just(2), Just(64), Just(192), any::<u8>()], 0u8..6, any::<[u8; 14]>()), 0..8),
            codepoint in prop_oneof![Just(0u8), Just(6)],
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(het, words, rest)| [&[*het, *words], &rest[..]].concat()).collect();
            let _ = read(&bytes, codepoint);
        }
    }
}
