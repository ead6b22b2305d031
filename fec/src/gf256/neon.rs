//! The vector of aarch64: NEON.

use super::tables::{NIBBLES, REDUCTION};
use super::vector::Vector;
use std::arch::aarch64::*;

/// 16 bytes; products by two table look-ups of nibbles.
#[derive(Clone, Copy)]
pub(super) struct Neon(uint8x16_t);

// SAFETY of all that follows: the trait passes both conditions, instruction set and pointers, on to the caller.

impl Vector for Neon {
    const BYTES: usize = 16;
    const MANY: bool = true;
    type Factor = (uint8x16_t, uint8x16_t);
    type Prepared = (uint8x16_t, uint8x16_t);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: above.
        Self(unsafe { vdupq_n_u8(0) })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: above.
        Self(unsafe { vld1q_u8(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: above.
        unsafe { vst1q_u8(to, self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: above.
        Self(unsafe { veorq_u8(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: above.
        unsafe {
            let overflow = vreinterpretq_u8_s8(vshrq_n_s8::<7>(vreinterpretq_s8_u8(self.0)));
            let reduction = vandq_u8(overflow, vdupq_n_u8(REDUCTION));
            Self(veorq_u8(vshlq_n_u8::<1>(self.0), reduction))
        }
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        let nibbles = &NIBBLES[usize::from(coefficient)];
        // SAFETY: above; both tables have 16 bytes.
        unsafe { (vld1q_u8(nibbles.low.as_ptr()), vld1q_u8(nibbles.high.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        // SAFETY: above.
        unsafe { (vandq_u8(self.0, vdupq_n_u8(0x0F)), vshrq_n_u8::<4>(self.0)) }
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        // SAFETY: above.
        Self(unsafe { veorq_u8(vqtbl1q_u8(factor.0, prepared.0), vqtbl1q_u8(factor.1, prepared.1)) })
    }
}
