//! Vectors of x86-64: SSSE3, AVX2, and GFNI with AVX2 or AVX-512.

use super::tables::{AFFINE, NIBBLES, REDUCTION};
use super::vector::Vector;
use std::arch::x86_64::*;

/// 16 bytes; products by two table look-ups of nibbles.
#[derive(Clone, Copy)]
pub(super) struct Ssse3(__m128i);

/// 32 bytes; products by two table look-ups of nibbles.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256i);

/// 32 bytes; products by a bit matrix.
#[derive(Clone, Copy)]
pub(super) struct Gfni256(__m256i);

/// 64 bytes; products by a bit matrix.
#[derive(Clone, Copy)]
pub(super) struct Gfni512(__m512i);

// SAFETY of all that follows: the trait passes both conditions, instruction set and pointers, on to the caller.

impl Vector for Ssse3 {
    const BYTES: usize = 16;
    const MANY: bool = false;
    type Factor = (__m128i, __m128i);
    type Prepared = (__m128i, __m128i);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: above.
        Self(unsafe { _mm_setzero_si128() })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm_loadu_si128(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: above.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm_xor_si128(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: above.
        unsafe {
            let overflow = _mm_cmpgt_epi8(_mm_setzero_si128(), self.0);
            let reduction = _mm_and_si128(overflow, _mm_set1_epi8(REDUCTION.cast_signed()));
            Self(_mm_xor_si128(_mm_add_epi8(self.0, self.0), reduction))
        }
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        let nibbles = &NIBBLES[usize::from(coefficient)];
        // SAFETY: above; both tables have 16 bytes.
        unsafe { (_mm_loadu_si128(nibbles.low.as_ptr().cast()), _mm_loadu_si128(nibbles.high.as_ptr().cast())) }
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        // SAFETY: above.
        unsafe {
            let mask = _mm_set1_epi8(0x0F);
            (_mm_and_si128(self.0, mask), _mm_and_si128(_mm_srli_epi64::<4>(self.0), mask))
        }
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm_xor_si128(_mm_shuffle_epi8(factor.0, prepared.0), _mm_shuffle_epi8(factor.1, prepared.1)) })
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

impl Vector for Avx2 {
    const BYTES: usize = 32;
    const MANY: bool = false;
    type Factor = (__m256i, __m256i);
    type Prepared = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_setzero_si256() })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: above.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: above.
        unsafe {
            let overflow = _mm256_cmpgt_epi8(_mm256_setzero_si256(), self.0);
            let reduction = _mm256_and_si256(overflow, _mm256_set1_epi8(REDUCTION.cast_signed()));
            Self(_mm256_xor_si256(_mm256_add_epi8(self.0, self.0), reduction))
        }
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        let nibbles = &NIBBLES[usize::from(coefficient)];
        // SAFETY: above; both tables have 16 bytes.
        unsafe {
            (
                _mm256_broadcastsi128_si256(_mm_loadu_si128(nibbles.low.as_ptr().cast())),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(nibbles.high.as_ptr().cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        // SAFETY: above.
        unsafe {
            let mask = _mm256_set1_epi8(0x0F);
            (_mm256_and_si256(self.0, mask), _mm256_and_si256(_mm256_srli_epi64::<4>(self.0), mask))
        }
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        // SAFETY: above.
        Self(unsafe {
            _mm256_xor_si256(_mm256_shuffle_epi8(factor.0, prepared.0), _mm256_shuffle_epi8(factor.1, prepared.1))
        })
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

impl Vector for Gfni256 {
    const BYTES: usize = 32;
    const MANY: bool = false;
    type Factor = __m256i;
    type Prepared = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_setzero_si256() })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: above.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: above.
        unsafe { Self::multiply(self.prepare(), Self::factor(2)) }
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        // SAFETY: above.
        unsafe { _mm256_set1_epi64x(AFFINE[usize::from(coefficient)].cast_signed()) }
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        self.0
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm256_gf2p8affine_epi64_epi8::<0>(prepared, factor) })
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

impl Vector for Gfni512 {
    const BYTES: usize = 64;
    const MANY: bool = true;
    type Factor = __m512i;
    type Prepared = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: above.
        Self(unsafe { _mm512_setzero_si512() })
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: above.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const u8, len: usize) -> Self {
        // SAFETY: above; the mask leaves out what is at and after `len`.
        Self(unsafe { _mm512_maskz_loadu_epi8((1 << len) - 1, from.cast()) })
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut u8, len: usize) {
        // SAFETY: above; the mask leaves out what is at and after `len`.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), (1 << len) - 1, self.0) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn xor3(self, one: Self, other: Self) -> Self {
        // SAFETY: above; 0x96 is the truth table of a sum of three.
        Self(unsafe { _mm512_ternarylogic_epi64::<0x96>(self.0, one.0, other.0) })
    }
    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: above.
        unsafe { Self::multiply(self.prepare(), Self::factor(2)) }
    }
    #[inline(always)]
    unsafe fn factor(coefficient: u8) -> Self::Factor {
        // SAFETY: above.
        unsafe { _mm512_set1_epi64(AFFINE[usize::from(coefficient)].cast_signed()) }
    }
    #[inline(always)]
    unsafe fn prepare(self) -> Self::Prepared {
        self.0
    }
    #[inline(always)]
    unsafe fn multiply(prepared: Self::Prepared, factor: Self::Factor) -> Self {
        // SAFETY: above.
        Self(unsafe { _mm512_gf2p8affine_epi64_epi8::<0>(prepared, factor) })
    }
    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        // SAFETY: a prefetch of any address is harmless.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}
