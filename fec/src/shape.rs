//! K and T of one source block, checked once.

use crate::{MAX_SOURCE_SYMBOLS, SYMBOL_ALIGNMENT};
use thiserror::Error;

/// Why K and T cannot describe a source block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// K is 0 or above K'_max.
    #[error(
        "a source block of {0} symbols is impossible (1 to {MAX_SOURCE_SYMBOLS}); change the number of blocks or the symbol size"
    )]
    Symbols(u32),
    /// T is 0 or no multiple of Al.
    #[error("symbol size {0} is not a positive multiple of {SYMBOL_ALIGNMENT} bytes; 1344 and 1408 are good choices")]
    SymbolSize(u16),
}

/// K and T of one source block (RFC 6330 §5.1.2), always within the limits of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockShape {
    /// 1..=K'_max, which fits 16 bits.
    k: u16,
    symbol_size: u16,
}

impl BlockShape {
    /// A block of `k` source symbols of `symbol_size` bytes: `k` in 1..=[`MAX_SOURCE_SYMBOLS`], `symbol_size` a
    /// positive multiple of [`SYMBOL_ALIGNMENT`].
    pub fn new(k: u32, symbol_size: u16) -> Result<Self, ShapeError> {
        let k = match u16::try_from(k) {
            Ok(small) if (1..=MAX_SOURCE_SYMBOLS).contains(&k) => small,
            _ => return Err(ShapeError::Symbols(k)),
        };
        if symbol_size == 0 || !symbol_size.is_multiple_of(SYMBOL_ALIGNMENT) {
            return Err(ShapeError::SymbolSize(symbol_size));
        }
        Ok(Self { k, symbol_size })
    }

    /// K: source symbols of the block.
    pub fn k(self) -> u32 {
        u32::from(self.k)
    }

    /// T: bytes of a symbol.
    pub fn symbol_size(self) -> usize {
        usize::from(self.symbol_size)
    }

    /// K·T: bytes of the block. It fits 32 bits, since 56,403 · 65,528 < 2^32.
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(self) -> usize {
        self.rows() * self.symbol_size()
    }

    /// K as an index type.
    pub(crate) fn rows(self) -> usize {
        usize::from(self.k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_k() {
        assert_eq!(BlockShape::new(0, 8), Err(ShapeError::Symbols(0)));
        assert_eq!(BlockShape::new(56_404, 8), Err(ShapeError::Symbols(56_404)));
        assert_eq!(BlockShape::new(1, 8).map(BlockShape::len), Ok(8));
        assert_eq!(BlockShape::new(56_403, 65_528).map(BlockShape::len), Ok(56_403 * 65_528));
    }

    #[test]
    fn limits_of_t() {
        for bad in [0, 1, 7, 9, 1343, 65_535] {
            assert_eq!(BlockShape::new(10, bad), Err(ShapeError::SymbolSize(bad)));
        }
        let shape = BlockShape::new(2000, 1344).expect("a legal shape");
        assert_eq!((shape.k(), shape.symbol_size(), shape.len()), (2000, 1344, 2_688_000));
    }
}
