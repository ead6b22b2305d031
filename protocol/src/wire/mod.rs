//! The bytes of a packet: LCT (RFC 5651), ALC (RFC 5775) and the FEC payload ids of the two schemes that are used.
//!
//! ```text
//! UDP payload:  LCT header | LCT header extensions | FEC payload id | encoding symbol
//!               12..  bytes   whole 32-bit words      4 bytes          <= T bytes
//! ```
//!
//! [`PacketHead`] writes what comes before the symbol, [`Packet`] reads a whole datagram. Neither copies the symbol.

use thiserror::Error;

pub mod extension;
pub mod lct;
pub mod oti;
pub mod packet;
pub mod payload_id;

pub use extension::{Extension, Extensions};
pub use lct::{IdWidth, LctHeader};
pub use oti::{NoCodeOti, Oti, RaptorQOti};
pub use packet::{Packet, PacketHead};
pub use payload_id::PayloadId;

/// TOI of the file delivery table (RFC 6726 §3.3 reserves 0).
pub const TOI_FDT: u64 = 0;
/// TOI of the signed manifest.
pub const TOI_MANIFEST: u64 = 1;
/// TOI of the image.
pub const TOI_IMAGE: u64 = 2;
/// TOI of the announcement.
pub const TOI_ANNOUNCEMENT: u64 = 3;

/// FEC Encoding ID: how the symbols of a packet were made. FLUTE carries it as the LCT codepoint (RFC 6726 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FecId {
    /// Compact No-Code (RFC 5445): source symbols only.
    NoCode = 0,
    /// RaptorQ (RFC 6330).
    RaptorQ = 6,
}

impl FecId {
    /// The scheme of an LCT codepoint, if it is one of ours.
    pub fn from_codepoint(codepoint: u8) -> Option<Self> {
        match codepoint {
            0 => Some(Self::NoCode),
            6 => Some(Self::RaptorQ),
            _ => None,
        }
    }

    /// The LCT codepoint, equal to the FEC Encoding ID.
    pub fn codepoint(self) -> u8 {
        match self {
            Self::NoCode => 0,
            Self::RaptorQ => 6,
        }
    }
}

/// Why bytes are no packet, or why a packet cannot be written. Lengths are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The datagram ends inside a field.
    #[error(
        "the packet has {len} bytes where {needed} are needed; something on the path cuts datagrams, or it is not ALC"
    )]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        len: usize,
    },
    /// The LCT version is not 1.
    #[error("LCT version {0} instead of 1; check that only an ALC sender uses this group and port")]
    LctVersion(u8),
    /// HDR_LEN is smaller than the fields that the flags announce.
    #[error("the LCT header claims {header_len} bytes, but its fields take {needed}; the sender is broken")]
    HeaderLength {
        /// HDR_LEN in bytes.
        header_len: usize,
        /// Length of the fixed fields, CCI, TSI and TOI.
        needed: usize,
    },
    /// The TOI has more than 64 significant bits.
    #[error("the TOI needs more than 64 bits; let the sender use smaller object ids")]
    ToiTooLarge,
    /// A header extension is empty, longer than the header, or of the wrong length for its type.
    #[error("header extension {het} has a length of {len} bytes, which cannot be; the sender is broken")]
    ExtensionLength {
        /// Header extension type.
        het: u8,
        /// Length claimed, with the type byte.
        len: usize,
    },
    /// EXT_FDT of a FLUTE version that is neither 1 nor 2.
    #[error("FLUTE version {0} is not known; let the sender use version 2")]
    FluteVersion(u8),
    /// The codepoint is no FEC scheme of ours.
    #[error("FEC encoding id {0} is not supported; let the sender use 6 (RaptorQ) or 0 (no-code)")]
    UnknownFec(u8),
    /// The packet is a header alone (RFC 5775 §4.1): it has no FEC payload id.
    #[error("the packet carries no symbol; count it and go on")]
    DataLess,
    /// A field of the FEC object transmission information is outside its range.
    #[error(
        "{field} = {value} is not valid FEC object transmission information (RFC 6330 §3.3, RFC 5445); check the sender's FEC parameters"
    )]
    Oti {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The scheme-specific information is not base64 of 4 bytes.
    #[error("FEC-OTI-Scheme-Specific-Info is not base64 of 4 bytes (Z, N, Al); check the sender's FDT")]
    SchemeSpecificInfo,
    /// SBN or ESI does not fit the FEC payload id.
    #[error("SBN {sbn}, ESI {esi} does not fit the payload id of {fec:?}; use larger symbols or fewer repair symbols")]
    PayloadId {
        /// The scheme.
        fec: FecId,
        /// Source block number.
        sbn: u32,
        /// Encoding symbol id.
        esi: u32,
    },
    /// TSI or TOI does not fit the chosen width, or an FDT instance id its 20 bits.
    #[error("{field} {value} does not fit {bits} bits; choose a smaller id or wider fields")]
    IdTooLarge {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Bits available.
        bits: u8,
    },
    /// An EXT_FTI of one scheme on a packet of another: a receiver would misread it.
    #[error("the packet's codepoint is {fec:?}, but its EXT_FTI is of another scheme; give both the same")]
    FtiScheme {
        /// Scheme of the packet.
        fec: FecId,
    },
    /// More extensions than HDR_LEN (255 words) can express.
    #[error("the header would have {0} bytes, more than the 1,020 that LCT allows; use fewer extensions")]
    HeaderTooLong(usize),
    /// The caller's buffer is too small for the head.
    #[error("the head of the packet takes {needed} bytes, the buffer has {len}; give PacketHead::len() bytes")]
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        len: usize,
    },
}

/// The first `N` bytes of `bytes` at `at`, or how many there would have to be.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], WireError> {
    let truncated = WireError::Truncated { needed: at.saturating_add(N), len: bytes.len() };
    bytes.get(at..).and_then(<[u8]>::first_chunk::<N>).copied().ok_or(truncated)
}

/// A big-endian number of up to 8 significant bytes; `None` when more are significant.
fn be_uint(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0u64, |value, &byte| Some(value.checked_mul(256)? | u64::from(byte)))
}

/// Writes fields one after another into the caller's buffer.
struct Cursor<'a> {
    left: &'a mut [u8],
}

impl<'a> Cursor<'a> {
    fn new(out: &'a mut [u8]) -> Self {
        Self { left: out }
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), WireError> {
        let len = self.left.len();
        let target = self.left.split_off_mut(..N).ok_or(WireError::BufferTooSmall { needed: N, len })?;
        target.copy_from_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codepoints_are_the_registered_ids() {
        assert_eq!(FecId::from_codepoint(0), Some(FecId::NoCode));
        assert_eq!(FecId::from_codepoint(6), Some(FecId::RaptorQ));
        for codepoint in 0..=255u8 {
            if let Some(fec) = FecId::from_codepoint(codepoint) {
                assert_eq!(fec.codepoint(), codepoint);
            }
        }
        assert_eq!((0..=255).filter_map(FecId::from_codepoint).count(), 2);
    }

    #[test]
    fn reads_big_endian_numbers_of_any_width() {
        assert_eq!(be_uint(&[]), Some(0));
        assert_eq!(be_uint(&[1, 2]), Some(0x0102));
        assert_eq!(be_uint(&[0; 14]), Some(0));
        assert_eq!(be_uint(&[0, 0, 255, 255, 255, 255, 255, 255, 255, 255]), Some(u64::MAX));
        assert_eq!(be_uint(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
