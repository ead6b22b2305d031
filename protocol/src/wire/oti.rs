//! FEC object transmission information (RFC 5052 §6): what a receiver must know of an object to place its symbols.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleetcast_fec::SYMBOL_ALIGNMENT;

use super::{FecId, PayloadId, WireError, array_at, be_uint};
use crate::partition::{MAX_IMAGE_LEN, Partition};

/// The transfer length of Compact No-Code has 48 bits.
pub const MAX_NO_CODE_LEN: u64 = (1 << 48) - 1;

/// The OTI of one of the two schemes, as EXT_FTI carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Oti {
    /// FEC Encoding ID 6.
    RaptorQ(RaptorQOti),
    /// FEC Encoding ID 0.
    NoCode(NoCodeOti),
}

impl Oti {
    /// The scheme.
    pub fn fec(&self) -> FecId {
        match self {
            Self::RaptorQ(_) => FecId::RaptorQ,
            Self::NoCode(_) => FecId::NoCode,
        }
    }
}

/// RaptorQ: F, T, Z, N and Al (RFC 6330 §3.3.2 and §3.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RaptorQOti {
    /// F: length of the object in bytes (40 bits on the wire, at most [`MAX_IMAGE_LEN`]).
    pub transfer_length: u64,
    /// T: bytes of a symbol, a multiple of `alignment`.
    pub symbol_size: u16,
    /// Z: number of source blocks, at least 1.
    pub blocks: u8,
    /// N: number of sub-blocks in a source block, at least 1.
    pub sub_blocks: u16,
    /// Al: symbol alignment in bytes, at least 1.
    pub alignment: u8,
}

impl RaptorQOti {
    /// Encoded: F 40 | reserved 8 | T 16 | Z 8 | N 16 | Al 8, in bits.
    pub const LEN: usize = 12;

    /// The 12 bytes of RFC 6330 §3.3; [`WireError::Oti`] when a field is outside its range.
    pub fn encode(&self) -> Result<[u8; Self::LEN], WireError> {
        self.check()?;
        let [_, _, _, f @ ..] = self.transfer_length.to_be_bytes();
        let mut out = [0; Self::LEN];
        out[..5].copy_from_slice(&f);
        out[6..8].copy_from_slice(&self.symbol_size.to_be_bytes());
        out[8..].copy_from_slice(&self.scheme_specific());
        Ok(out)
    }

    /// Reads the 12 bytes; [`WireError::Oti`] when a field is outside its range.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, WireError> {
        let transfer_length = be_uint(&bytes[..5]).unwrap_or(u64::MAX);
        let symbol_size = u16::from_be_bytes(array_at(bytes, 6)?);
        Self::with_scheme_specific(transfer_length, symbol_size, array_at(bytes, 8)?)
    }

    /// Z 8 | N 16 | Al 8: the scheme-specific 4 bytes (RFC 6330 §3.3.3).
    pub fn scheme_specific(&self) -> [u8; 4] {
        let [n_high, n_low] = self.sub_blocks.to_be_bytes();
        [self.blocks, n_high, n_low, self.alignment]
    }

    /// [`scheme_specific`](Self::scheme_specific) in base64: FEC-OTI-Scheme-Specific-Info of an FDT.
    pub fn scheme_specific_info(&self) -> String {
        STANDARD.encode(self.scheme_specific())
    }

    /// From the attributes of an FDT: F, T, and base64 of Z, N, Al.
    pub fn from_fdt(transfer_length: u64, symbol_size: u16, scheme_specific_info: &str) -> Result<Self, WireError> {
        // The length is bounded first: a hostile FDT must not make us decode kilobytes to throw them away.
        let bytes = (scheme_specific_info.len() <= 8)
            .then(|| STANDARD.decode(scheme_specific_info).ok())
            .flatten()
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .ok_or(WireError::SchemeSpecificInfo)?;
        Self::with_scheme_specific(transfer_length, symbol_size, bytes)
    }

    /// Kt: symbols of the whole object, 0 for an empty one.
    pub fn total_symbols(&self) -> u64 {
        self.transfer_length.div_ceil(u64::from(self.symbol_size.max(1)))
    }

    /// ceil(Kt / Z): symbols of the largest source block, 0 for an empty object.
    ///
    /// An FDT's FEC-OTI-Maximum-Source-Block-Length. May exceed what RaptorQ can code: [`Partition::new`] decides that.
    pub fn max_block_len(&self) -> u64 {
        self.total_symbols().div_ceil(u64::from(self.blocks.max(1)))
    }

    fn with_scheme_specific(transfer_length: u64, symbol_size: u16, bytes: [u8; 4]) -> Result<Self, WireError> {
        let [blocks, n_high, n_low, alignment] = bytes;
        let sub_blocks = u16::from_be_bytes([n_high, n_low]);
        let oti = Self { transfer_length, symbol_size, blocks, sub_blocks, alignment };
        oti.check().map(|()| oti)
    }

    /// The ranges of RFC 6330 §3.3: all positive, T a multiple of Al, F within erratum 5548's limit.
    fn check(&self) -> Result<(), WireError> {
        let invalid = |field, value| Err(WireError::Oti { field, value });
        if self.transfer_length > MAX_IMAGE_LEN {
            return invalid("transfer length", self.transfer_length);
        }
        if self.alignment == 0 {
            return invalid("symbol alignment", 0);
        }
        if self.symbol_size == 0 || !self.symbol_size.is_multiple_of(u16::from(self.alignment)) {
            return invalid("symbol size", u64::from(self.symbol_size));
        }
        if self.blocks == 0 {
            return invalid("number of source blocks", 0);
        }
        if self.sub_blocks == 0 {
            return invalid("number of sub-blocks", 0);
        }
        Ok(())
    }
}

impl From<&Partition> for RaptorQOti {
    fn from(partition: &Partition) -> Self {
        Self {
            transfer_length: partition.image_len(),
            symbol_size: partition.symbol_size(),
            blocks: u8::try_from(partition.blocks()).unwrap_or(u8::MAX),
            sub_blocks: 1,
            alignment: u8::try_from(SYMBOL_ALIGNMENT).unwrap_or(u8::MAX),
        }
    }
}

/// Compact No-Code: length, symbol size and maximum source block length (RFC 5445 §3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NoCodeOti {
    /// Length of the object in bytes (48 bits on the wire).
    pub transfer_length: u64,
    /// E: bytes of a symbol; only the object's last symbol is shorter.
    pub symbol_size: u16,
    /// B: symbols of a source block at most; RFC 5052 §9.1 partitions by it.
    pub max_block_len: u32,
}

impl NoCodeOti {
    /// Encoded: length 48 | reserved 16 | E 16 | B 32, in bits.
    pub const LEN: usize = 14;

    /// The 14 bytes of RFC 5445 §3.2.2; [`WireError::Oti`] when a field is outside its range.
    pub fn encode(&self) -> Result<[u8; Self::LEN], WireError> {
        self.check()?;
        let [_, _, length @ ..] = self.transfer_length.to_be_bytes();
        let mut out = [0; Self::LEN];
        out[..6].copy_from_slice(&length);
        out[8..10].copy_from_slice(&self.symbol_size.to_be_bytes());
        out[10..].copy_from_slice(&self.max_block_len.to_be_bytes());
        Ok(out)
    }

    /// Reads the 14 bytes; [`WireError::Oti`] when a field is outside its range. The reserved bits are ignored.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, WireError> {
        let oti = Self {
            transfer_length: be_uint(&bytes[..6]).unwrap_or(u64::MAX),
            symbol_size: u16::from_be_bytes(array_at(bytes, 8)?),
            max_block_len: u32::from_be_bytes(array_at(bytes, 10)?),
        };
        oti.check().map(|()| oti)
    }

    /// Symbols of the whole object, 0 for an empty one.
    pub fn total_symbols(&self) -> u64 {
        self.transfer_length.div_ceil(u64::from(self.symbol_size.max(1)))
    }

    /// Index among all symbols of the object of the symbol that `id` names, and how many symbols its block has from
    /// there on. `None` when the object has no such symbol.
    ///
    /// The partition of RFC 5052 §9.1: N = ceil(T/B) blocks, the first T − floor(T/N)·N of them one symbol longer.
    pub fn locate(&self, id: PayloadId) -> Option<SymbolPlace> {
        let symbols = self.total_symbols();
        let blocks = symbols.div_ceil(u64::from(self.max_block_len.max(1)));
        let (sbn, esi) = (u64::from(id.sbn), u64::from(id.esi));
        if sbn >= blocks {
            return None;
        }
        let small = symbols / blocks;
        let large_blocks = symbols % blocks;
        let block_len = if sbn < large_blocks { small + 1 } else { small };
        let index = sbn * small + sbn.min(large_blocks) + esi;
        (esi < block_len).then(|| SymbolPlace { index, left_in_block: block_len - esi })
    }

    /// Checks the ranges that make the other methods meaningful.
    pub fn check(&self) -> Result<(), WireError> {
        let invalid = |field, value| Err(WireError::Oti { field, value });
        if self.transfer_length > MAX_NO_CODE_LEN {
            return invalid("transfer length", self.transfer_length);
        }
        if self.symbol_size == 0 {
            return invalid("symbol size", 0);
        }
        if self.max_block_len == 0 {
            return invalid("maximum source block length", 0);
        }
        Ok(())
    }
}

/// The same blocks as RaptorQ's, if the partition was made by [`Partition::plan`].
impl From<&Partition> for NoCodeOti {
    fn from(partition: &Partition) -> Self {
        Self {
            transfer_length: partition.image_len(),
            symbol_size: partition.symbol_size(),
            max_block_len: partition.largest_k(),
        }
    }
}

/// Where a no-code symbol lies in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SymbolPlace {
    /// Index among all symbols of the object: byte offset = index · E.
    pub index: u64,
    /// Symbols from this one to the end of its block, at least 1.
    pub left_in_block: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RAPTORQ: RaptorQOti =
        RaptorQOti { transfer_length: 0x01_0203_0405, symbol_size: 1344, blocks: 174, sub_blocks: 1, alignment: 8 };

    #[test]
    fn known_bytes() {
        assert_eq!(RAPTORQ.encode(), Ok([1, 2, 3, 4, 5, 0, 0x05, 0x40, 174, 0, 1, 8]));
        assert_eq!(RAPTORQ.scheme_specific_info(), "rgABCA==");
        assert_eq!(RaptorQOti::from_fdt(RAPTORQ.transfer_length, 1344, "rgABCA=="), Ok(RAPTORQ));
        let no_code = NoCodeOti { transfer_length: 0x0102_0304_0506, symbol_size: 1344, max_block_len: 64 };
        assert_eq!(no_code.encode(), Ok([1, 2, 3, 4, 5, 6, 0, 0, 0x05, 0x40, 0, 0, 0, 64]));
    }

    #[test]
    fn takes_the_oti_of_a_partition() {
        let partition = Partition::plan(500_000_000, 1344, 2000).unwrap();
        let oti = RaptorQOti::from(&partition);
        assert_eq!((oti.transfer_length, oti.symbol_size, oti.blocks), (500_000_000, 1344, 187));
        assert_eq!((oti.sub_blocks, oti.alignment), (1, 8));
        assert_eq!(oti.max_block_len(), u64::from(partition.largest_k()));
        assert!(oti.encode().is_ok());
    }

    #[test]
    fn refuses_values_outside_their_ranges() {
        for bad in [
            RaptorQOti { transfer_length: MAX_IMAGE_LEN + 1, ..RAPTORQ },
            RaptorQOti { symbol_size: 0, ..RAPTORQ },
            RaptorQOti { symbol_size: 1341, ..RAPTORQ },
            RaptorQOti { blocks: 0, ..RAPTORQ },
            RaptorQOti { sub_blocks: 0, ..RAPTORQ },
            RaptorQOti { alignment: 0, ..RAPTORQ },
        ] {
            assert!(matches!(bad.encode(), Err(WireError::Oti { .. })), "{bad:?}");
            let bytes = bad.scheme_specific();
            let read = RaptorQOti::with_scheme_specific(bad.transfer_length, bad.symbol_size, bytes);
            assert!(matches!(read, Err(WireError::Oti { .. })), "{bad:?}");
        }
        assert!(RaptorQOti::decode(&[0xff; 12]).is_err());
        assert!(RaptorQOti::decode(&[0; 12]).is_err());
        assert!(NoCodeOti::decode(&[0; 14]).is_err());
        let no_code = NoCodeOti { transfer_length: 1, symbol_size: 1, max_block_len: 1 };
        assert!(NoCodeOti { symbol_size: 0, ..no_code }.encode().is_err());
        assert!(NoCodeOti { max_block_len: 0, ..no_code }.encode().is_err());
        assert!(NoCodeOti { transfer_length: 1 << 48, ..no_code }.encode().is_err());
    }

    #[test]
    fn refuses_scheme_specific_info_that_is_not_four_bytes() {
        for info in ["", "rgAB", "rgABCAA=", "rgABCA", "rgABCA==\n", "!!!!!!==", &"A".repeat(100_000)] {
            assert_eq!(RaptorQOti::from_fdt(1000, 8, info), Err(WireError::SchemeSpecificInfo), "{info:.20}");
        }
    }

    #[test]
    fn locates_symbols_of_unequal_blocks() {
        // 10 symbols, at most 4 a block: 3 blocks of 4, 3, 3.
        let oti = NoCodeOti { transfer_length: 95, symbol_size: 10, max_block_len: 4 };
        let index = |sbn, esi| oti.locate(PayloadId { sbn, esi }).map(|place| (place.index, place.left_in_block));
        assert_eq!(index(0, 3), Some((3, 1)));
        assert_eq!(index(0, 4), None);
        assert_eq!(index(1, 0), Some((4, 3)));
        assert_eq!(index(2, 2), Some((9, 1)));
        assert_eq!(index(2, 3), None);
        assert_eq!(index(3, 0), None);
        assert_eq!(NoCodeOti { transfer_length: 0, ..oti }.locate(PayloadId { sbn: 0, esi: 0 }), None);
    }

    proptest! {
        #[test]
        fn raptorq_roundtrips(f in 0..=MAX_IMAGE_LEN, t in 1u16..8191, z in 1u8.., n in 1u16.., al in 1u8..=8) {
            let oti = RaptorQOti { transfer_length: f, symbol_size: t * u16::from(al), blocks: z, sub_blocks: n, alignment: al };
            prop_assert_eq!(RaptorQOti::decode(&oti.encode().unwrap()), Ok(oti));
            prop_assert_eq!(RaptorQOti::from_fdt(f, oti.symbol_size, &oti.scheme_specific_info()), Ok(oti));
        }

        #[test]
        fn no_code_roundtrips(length in 0..=MAX_NO_CODE_LEN, e in 1u16.., b in 1u32..) {
            let oti = NoCodeOti { transfer_length: length, symbol_size: e, max_block_len: b };
            prop_assert_eq!(NoCodeOti::decode(&oti.encode().unwrap()), Ok(oti));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_but_for_reserved_bits(raptorq: [u8; 12], no_code: [u8; 14]) {
            if let Ok(oti) = RaptorQOti::decode(&raptorq) {
                let mut same = raptorq;
                same[5] = 0;
                prop_assert_eq!(oti.encode(), Ok(same));
            }
            if let Ok(oti) = NoCodeOti::decode(&no_code) {
                let mut same = no_code;
                same[6..8].fill(0);
                prop_assert_eq!(oti.encode(), Ok(same));
            }
        }

        #[test]
        fn no_code_blocks_tile_the_object(length in 1u64..5000, e in 1u16..100, b in 1u32..100) {
            let oti = NoCodeOti { transfer_length: length, symbol_size: e, max_block_len: b };
            let mut next = 0;
            for sbn in 0.. {
                let Some(first) = oti.locate(PayloadId { sbn, esi: 0 }) else { break };
                prop_assert_eq!(first.index, next);
                prop_assert!(first.left_in_block <= u64::from(b));
                next += first.left_in_block;
            }
            prop_assert_eq!(next, oti.total_symbols());
        }

        #[test]
        fn no_code_gives_the_blocks_of_a_partition(length in 1u64..50_000_000, t in 1u16..200, target in 1u32..4000) {
            if let Ok(partition) = Partition::plan(length, t * 8, target) {
                let oti = NoCodeOti::from(&partition);
                for block in partition.iter() {
                    let place = SymbolPlace { index: block.first_symbol, left_in_block: u64::from(block.shape.k()) };
                    prop_assert_eq!(oti.locate(PayloadId { sbn: u32::from(block.sbn), esi: 0 }), Some(place));
                }
                prop_assert_eq!(oti.locate(PayloadId { sbn: u32::from(partition.blocks()), esi: 0 }), None);
            }
        }

        #[test]
        fn locating_never_panics(length: u64, e: u16, b: u32, sbn: u32, esi: u32) {
            let oti = NoCodeOti { transfer_length: length, symbol_size: e, max_block_len: b };
            if let Some(place) = oti.locate(PayloadId { sbn, esi }) {
                prop_assert!(place.index < oti.total_symbols());
            }
        }
    }
}
