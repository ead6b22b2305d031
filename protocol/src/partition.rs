//! The RFC 6330 §4.4.1.2 partition of an image into source blocks.
//!
//! The source block is the unit of everything (FEC, hash, interleave, resume, repair), so this is the one place that
//! turns an image length into byte ranges. Sub-blocking is never used (N = 1): a source block is one contiguous range.

use fleetcast_fec::{BlockShape, MAX_SOURCE_SYMBOLS, SYMBOL_ALIGNMENT};
use thiserror::Error;

/// Symbol size that, with a tag and IPv6, still fits PPPoE, VXLAN and AMT over a 1,500-byte path: 21 × 64 bytes.
pub const DEFAULT_SYMBOL_SIZE: u16 = 1344;
/// Source symbols per block aimed at: 2.7 MB at the default symbol size, decoded by a small router in a few MB.
pub const DEFAULT_BLOCK_SYMBOLS: u32 = 2000;
/// The SBN has 8 bits, and Z itself must fit the 8-bit field of the OTI (RFC 6330 §3.3.3).
pub const MAX_BLOCKS: u16 = 255;
/// F has 40 bits in the OTI, and RFC 6330 (erratum 5548) caps it a little lower.
pub const MAX_IMAGE_LEN: u64 = 942_574_504_275;

/// Why an image cannot be partitioned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartitionError {
    /// There is nothing to send.
    #[error("the image is empty; name a file with content")]
    Empty,
    /// T is zero or no multiple of Al = 8.
    #[error("symbol size {0} is not a positive multiple of 8 bytes; 1344 and 1408 are good choices")]
    SymbolSize(u16),
    /// Z is zero, above 255, or leaves a block without symbols.
    #[error("{blocks} source blocks do not fit {symbols} symbols (1 to 255 blocks, each with a symbol)")]
    Blocks {
        /// Z asked for.
        blocks: u16,
        /// Kt, the symbols of the image.
        symbols: u64,
    },
    /// A block would need more than K'_max symbols.
    #[error(
        "an image of {image_len} bytes needs source blocks of {symbols_per_block} symbols, more than {MAX_SOURCE_SYMBOLS}; \
         choose a larger symbol size or split the image"
    )]
    TooLarge {
        /// F in bytes.
        image_len: u64,
        /// ceil(Kt / Z) that would be needed.
        symbols_per_block: u64,
    },
}

/// How an image of `image_len` bytes lies in source blocks: the first ZL blocks have KL symbols, the others KS = KL − 1 (or all are equal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    image_len: u64,
    symbol_size: u16,
    blocks: u16,
    large_k: u32,
    small_k: u32,
    large_blocks: u16,
}

/// One source block as a range of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRange {
    /// Source block number.
    pub sbn: u8,
    /// K and T of the block.
    pub shape: BlockShape,
    /// Index of its first symbol among all symbols of the image.
    pub first_symbol: u64,
    /// Byte offset in the image.
    pub offset: u64,
    /// Bytes of the image in the block: K·T, less in the last block when its last symbol is padded.
    pub len: usize,
}

impl Partition {
    /// Partitions `image_len` bytes (F) into `blocks` (Z) source blocks of symbols of `symbol_size` (T) bytes.
    pub fn new(image_len: u64, symbol_size: u16, blocks: u16) -> Result<Self, PartitionError> {
        if symbol_size == 0 || !symbol_size.is_multiple_of(SYMBOL_ALIGNMENT) {
            return Err(PartitionError::SymbolSize(symbol_size));
        }
        if image_len == 0 {
            return Err(PartitionError::Empty);
        }
        let symbols = image_len.div_ceil(u64::from(symbol_size));
        if blocks == 0 || blocks > MAX_BLOCKS || u64::from(blocks) > symbols {
            return Err(PartitionError::Blocks { blocks, symbols });
        }
        let symbols_per_block = symbols.div_ceil(u64::from(blocks));
        let too_large = PartitionError::TooLarge { image_len, symbols_per_block };
        if image_len > MAX_IMAGE_LEN || symbols_per_block > u64::from(MAX_SOURCE_SYMBOLS) {
            return Err(too_large);
        }
        // RFC 6330 §4.4.1.2: (KL, KS, ZL, ZS) = Partition[Kt, Z].
        let large_k = u32::try_from(symbols_per_block).map_err(|_| too_large.clone())?;
        let small_k = u32::try_from(symbols / u64::from(blocks)).map_err(|_| too_large.clone())?;
        let large_blocks = u16::try_from(symbols - u64::from(small_k) * u64::from(blocks)).map_err(|_| too_large)?;
        Ok(Self { image_len, symbol_size, blocks, large_k, small_k, large_blocks })
    }

    /// Chooses Z so that blocks have about `block_symbols` symbols, more where 255 blocks do not suffice.
    ///
    /// Z is then normalised to ceil(Kt / ceil(Kt / Z)), so that RFC 5052's partition (which the no-code scheme derives
    /// from the maximum source block length) and RFC 6330's give the same blocks.
    pub fn plan(image_len: u64, symbol_size: u16, block_symbols: u32) -> Result<Self, PartitionError> {
        if symbol_size == 0 || !symbol_size.is_multiple_of(SYMBOL_ALIGNMENT) {
            return Err(PartitionError::SymbolSize(symbol_size));
        }
        let symbols = image_len.div_ceil(u64::from(symbol_size)).max(1);
        let wanted = symbols.div_ceil(u64::from(block_symbols.max(1))).min(u64::from(MAX_BLOCKS));
        let normalised = symbols.div_ceil(symbols.div_ceil(wanted));
        let blocks = u16::try_from(normalised).unwrap_or(MAX_BLOCKS);
        Self::new(image_len, symbol_size, blocks)
    }

    /// F: length of the image in bytes.
    pub fn image_len(&self) -> u64 {
        self.image_len
    }

    /// T: bytes of a symbol.
    pub fn symbol_size(&self) -> u16 {
        self.symbol_size
    }

    /// Z: number of source blocks, 1 to 255.
    pub fn blocks(&self) -> u16 {
        self.blocks
    }

    /// Kt: symbols of the whole image.
    pub fn total_symbols(&self) -> u64 {
        u64::from(self.large_k) * u64::from(self.large_blocks)
            + u64::from(self.small_k) * u64::from(self.blocks - self.large_blocks)
    }

    /// ceil(Kt / Z): K of the largest block, the FDT's maximum source block length.
    pub fn largest_k(&self) -> u32 {
        self.large_k
    }

    /// floor(Kt / Z): K of the smallest block.
    pub fn smallest_k(&self) -> u32 {
        self.small_k
    }

    /// ZL: how many blocks have the larger K; they come first. 0 when all blocks are equal.
    pub fn large_blocks(&self) -> u16 {
        self.large_blocks
    }

    /// K of block `sbn`, if there is such a block.
    pub fn k(&self, sbn: u8) -> Option<u32> {
        let sbn = u16::from(sbn);
        (sbn < self.blocks).then_some(if sbn < self.large_blocks { self.large_k } else { self.small_k })
    }

    /// The byte range of block `sbn`, if there is such a block.
    pub fn block(&self, sbn: u8) -> Option<BlockRange> {
        let k = self.k(sbn)?;
        let shape = BlockShape::new(k, self.symbol_size).ok()?;
        let before_large = u64::from(u16::from(sbn).min(self.large_blocks));
        let before_small = u64::from(sbn) - before_large;
        let first_symbol = before_large * u64::from(self.large_k) + before_small * u64::from(self.small_k);
        let offset = first_symbol * u64::from(self.symbol_size);
        let left = usize::try_from(self.image_len - offset).unwrap_or(usize::MAX);
        Some(BlockRange { sbn, shape, first_symbol, offset, len: shape.len().min(left) })
    }

    /// All blocks in order.
    pub fn iter(&self) -> impl Iterator<Item = BlockRange> + '_ {
        (0..=u8::MAX).map_while(|sbn| self.block(sbn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plans_the_design_s_example() {
        let p = Partition::plan(500_000_000, DEFAULT_SYMBOL_SIZE, DEFAULT_BLOCK_SYMBOLS).unwrap();
        assert_eq!(p.total_symbols(), 372_024);
        assert_eq!(p.blocks(), 187);
        assert_eq!(p.largest_k(), 1990);
    }

    #[test]
    fn refuses_what_the_standard_cannot_carry() {
        assert_eq!(Partition::plan(0, 1344, 2000), Err(PartitionError::Empty));
        assert_eq!(Partition::plan(1, 0, 2000), Err(PartitionError::SymbolSize(0)));
        assert_eq!(Partition::plan(1, 1341, 2000), Err(PartitionError::SymbolSize(1341)));
        assert!(matches!(Partition::plan(1 << 40, 1344, 2000), Err(PartitionError::TooLarge { .. })));
        assert!(matches!(Partition::plan(u64::MAX, 1344, 2000), Err(PartitionError::TooLarge { .. })));
        assert!(matches!(Partition::new(1344, 1344, 2), Err(PartitionError::Blocks { .. })));
        assert!(matches!(Partition::new(1 << 20, 1344, 256), Err(PartitionError::Blocks { .. })));
        let largest = 255 * u64::from(MAX_SOURCE_SYMBOLS) * 1344;
        assert_eq!(Partition::plan(largest, 1344, 2000).unwrap().largest_k(), MAX_SOURCE_SYMBOLS);
        assert!(matches!(Partition::plan(largest + 1, 1344, 2000), Err(PartitionError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn blocks_tile_the_image(len in 1u64..400_000_000, t in 1u16..200, target in 1u32..4000) {
            let p = match Partition::plan(len, t * 8, target) {
                Ok(p) => p,
                Err(PartitionError::TooLarge { symbols_per_block, .. }) => {
                    prop_assert!(symbols_per_block > u64::from(MAX_SOURCE_SYMBOLS));
                    return Ok(());
                }
                Err(e) => return Err(TestCaseError::fail(e.to_string())),
            };
            let (mut offset, mut symbol) = (0, 0);
            for block in p.iter() {
                prop_assert_eq!(block.offset, offset);
                prop_assert_eq!(block.first_symbol, symbol);
                prop_assert!(block.len > 0);
                offset += block.len as u64;
                symbol += u64::from(block.shape.k());
            }
            prop_assert_eq!(offset, len);
            prop_assert_eq!(symbol, p.total_symbols());
            prop_assert_eq!(p.iter().count(), usize::from(p.blocks()));
            prop_assert_eq!(p.block(u8::MAX).is_some(), p.blocks() > 255);
            // RFC 5052 §9.1 with B = ceil(Kt/Z) gives the same number of blocks.
            prop_assert_eq!(p.total_symbols().div_ceil(u64::from(p.largest_k())), u64::from(p.blocks()));
        }
    }
}
