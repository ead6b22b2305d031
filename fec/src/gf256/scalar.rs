//! Arithmetic without SIMD instructions of our choice: words of 64 bits, and tables.

use super::tables::{PRODUCTS, REDUCTION};
use super::vector::Vector;
use super::{Factors, Rows};

const WORDS: usize = 4;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// 32 bytes in four words, so that a compiler may use what registers it knows of.
#[derive(Clone, Copy)]
pub(super) struct Words([u64; WORDS]);

impl Vector for Words {
    const BYTES: usize = 8 * WORDS;
    const MANY: bool = false;
    type Factor = u8;
    type Prepared = Self;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; WORDS])
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 32 bytes; the read may be unaligned.
        Self(unsafe { from.cast::<[u64; WORDS]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 32 bytes; the write may be unaligned.
        unsafe { to.cast::<[u64; WORDS]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] ^ other.0[n]))
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        Self(self.0.map(double_bytes))
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        coefficient
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        self
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        let products = &PRODUCTS[usize::from(factor)];
        let multiplied = |word: u64| u64::from_ne_bytes(word.to_ne_bytes().map(|byte| products[usize::from(byte)]));
        Self(prepared.0.map(multiplied))
    }
}

/// Each of the 8 bytes times α = 2.
#[inline(always)]
pub(crate) fn double_bytes(word: u64) -> u64 {
    let overflow = (word & HIGH_BITS) >> 7;
    ((word & !HIGH_BITS) << 1) ^ (overflow * u64::from(REDUCTION))
}

/// Columns of a product that are computed together: their tables of multiples stay in a first-level cache.
const COLUMNS: usize = 256;

/// `to[i] += sum of factors[k][i] · from[k]`, by tables of whole rows.
///
/// For each row of `from` the 16 multiples of either nibble are rows of a table, made by doubling and adding; each product is
/// then two additions of rows, which a compiler turns into whatever vectors it has.
pub(super) fn multiply(to: &mut [u8], factors: &Factors<'_>, from: &Rows<'_>) {
    let mut multiples = Multiples { low: [[0; COLUMNS]; 16], high: [[0; COLUMNS]; 16] };
    for start in (0..from.width).step_by(COLUMNS) {
        let columns = start..from.width.min(start + COLUMNS);
        for k in 0..factors.columns {
            multiples.set(&from.row(k)[columns.clone()]);
            for (row, &coefficient) in to.chunks_exact_mut(from.width).zip(factors.column(k)) {
                if coefficient != 0 {
                    multiples.add_product(&mut row[columns.clone()], coefficient);
                }
            }
        }
    }
}

/// 0 to 15 times a row, and 0, 16, … 240 times it.
struct Multiples {
    low: [[u8; COLUMNS]; 16],
    high: [[u8; COLUMNS]; 16],
}

impl Multiples {
    /// Makes these the multiples of `row`, which has at most [`COLUMNS`] bytes.
    fn set(&mut self, row: &[u8]) {
        let len = row.len();
        self.low[1][..len].copy_from_slice(row);
        fill(&mut self.low, len);
        let (last, first) = (&self.low[8], &mut self.high[1]);
        double(&mut first[..len], &last[..len]);
        fill(&mut self.high, len);
    }

    /// Adds `coefficient` times the row to `to`.
    fn add_product(&self, to: &mut [u8], coefficient: u8) {
        let low = &self.low[usize::from(coefficient & 15)];
        let high = &self.high[usize::from(coefficient >> 4)];
        for ((to, low), high) in to.iter_mut().zip(low).zip(high) {
            *to ^= low ^ high;
        }
    }
}

/// Makes multiples 2 to 15 from the first.
fn fill(table: &mut [[u8; COLUMNS]; 16], len: usize) {
    for number in 2..16_usize {
        let (before, after) = table.split_at_mut(number);
        let row = &mut after[0][..len];
        if number.is_power_of_two() {
            double(row, &before[number / 2][..len]);
        } else {
            let low_bit = 1 << number.trailing_zeros();
            for ((to, one), other) in row.iter_mut().zip(&before[low_bit]).zip(&before[number - low_bit]) {
                *to = one ^ other;
            }
        }
    }
}

fn double(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = (from << 1) ^ if from & 0x80 != 0 { REDUCTION } else { 0 };
    }
}
