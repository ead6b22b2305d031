//! The FEC payload id: which encoding symbol of which source block a packet carries.

use super::{FecId, WireError};

/// SBN and ESI of the (first) encoding symbol in a packet.
///
/// On the wire 4 bytes: SBN 8 | ESI 24 for RaptorQ (RFC 6330 §3.2), SBN 16 | ESI 16 for Compact No-Code (RFC 5445 §3.2.1).
/// RaptorQ repair symbols carry the ESI (K and above), never the internal symbol id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadId {
    /// Source block number.
    pub sbn: u32,
    /// Encoding symbol id within the block.
    pub esi: u32,
}

impl PayloadId {
    /// Bytes on the wire, for both schemes.
    pub const LEN: usize = 4;

    /// The 4 bytes on the wire; [`WireError::PayloadId`] when SBN or ESI is too large for the scheme.
    pub fn encode(self, fec: FecId) -> Result<[u8; 4], WireError> {
        let esi_bits = esi_bits(fec);
        if self.sbn >> (32 - esi_bits) != 0 || self.esi >> esi_bits != 0 {
            return Err(WireError::PayloadId { fec, sbn: self.sbn, esi: self.esi });
        }
        Ok((self.sbn << esi_bits | self.esi).to_be_bytes())
    }

    /// Reads the 4 bytes; every value is legal.
    pub fn decode(fec: FecId, bytes: [u8; 4]) -> Self {
        let word = u32::from_be_bytes(bytes);
        let esi_bits = esi_bits(fec);
        Self { sbn: word >> esi_bits, esi: word & ((1 << esi_bits) - 1) }
    }
}

fn esi_bits(fec: FecId) -> u32 {
    match fec {
        FecId::NoCode => 16,
        FecId::RaptorQ => 24,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_bytes() {
        let id = PayloadId { sbn: 0x12, esi: 0x34_5678 };
        assert_eq!(id.encode(FecId::RaptorQ), Ok([0x12, 0x34, 0x56, 0x78]));
        assert!(id.encode(FecId::NoCode).is_err());
        let id = PayloadId { sbn: 0x1234, esi: 0x5678 };
        assert_eq!(id.encode(FecId::NoCode), Ok([0x12, 0x34, 0x56, 0x78]));
        assert!(id.encode(FecId::RaptorQ).is_err());
    }

    #[test]
    fn refuses_exactly_what_does_not_fit() {
        for (fec, sbn, esi) in [(FecId::RaptorQ, 255, (1 << 24) - 1), (FecId::NoCode, 65_535, 65_535)] {
            assert_eq!(PayloadId { sbn, esi }.encode(fec), Ok([0xff; 4]));
            assert!(PayloadId { sbn: sbn + 1, esi }.encode(fec).is_err());
            assert!(PayloadId { sbn, esi: esi + 1 }.encode(fec).is_err());
            assert!(PayloadId { sbn: u32::MAX, esi: u32::MAX }.encode(fec).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_word_roundtrips(bytes: [u8; 4], raptorq: bool) {
            let fec = if raptorq { FecId::RaptorQ } else { FecId::NoCode };
            prop_assert_eq!(PayloadId::decode(fec, bytes).encode(fec), Ok(bytes));
        }
    }
}
