//! The kernels, compiled for each instruction set, and the choice among them.

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
use super::scalar::Words;
use super::vector::{self, Vector};
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{Factors, Horner, Program, Rows, Source};

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Ssse3,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Gfni256,
    #[cfg(target_arch = "x86_64")]
    Gfni512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// Compiles every kernel for vector `$vector` with the features `$features`.
macro_rules! level {
    ($name:ident, $vector:ty $(, $features:literal)?) => {
        mod $name {
            use super::*;

            level!(@functions $vector, [$($features)?]
                run(program: &Program, source: &Source<'_>, slab: *mut u8, width: usize);
                run_transposed(program: &Program, slab: *mut u8, sources: &mut [u8], width: usize);
                sum_into(to: *mut u8, slab: *const u8, terms: &[u16], width: usize);
                horner(horner: &Horner, slab: *const u8, sums: *mut u8, width: usize);
                horner_transposed(horner: &Horner, slab: *mut u8, sums: *const u8, width: usize);
                multiply(to: *mut u8, factors: &Factors<'_>, from: &Rows<'_>);
                scale(to: &mut [u8], coefficient: u8);
                add_scaled(to: &mut [u8], coefficient: u8, from: &[u8]);
            );
        }
    };
    (@functions $vector:ty, $features:tt $($kernel:ident $arguments:tt;)*) => {
        $(level!(@function $vector, $features $kernel $arguments);)*
    };
    (@function $vector:ty, [$($features:literal)?] $kernel:ident ($($argument:ident: $type:ty),*)) => {
        /// # Safety
        /// That of the kernel of this name in [`vector`], whose instruction set is this module's.
        $(#[target_feature(enable = $features)])?
        pub(super) unsafe fn $kernel($($argument: $type),*) {
            // SAFETY: the caller vouches for it.
            unsafe { vector::$kernel::<$vector>($($argument),*) }
        }
    };
}

level!(scalar, Words);
#[cfg(target_arch = "x86_64")]
level!(ssse3, x86::Ssse3, "ssse3");
#[cfg(target_arch = "x86_64")]
level!(avx2, x86::Avx2, "avx2");
#[cfg(target_arch = "x86_64")]
level!(gfni256, x86::Gfni256, "avx2,gfni");
#[cfg(target_arch = "x86_64")]
level!(gfni512, x86::Gfni512, "avx512f,avx512bw,avx512vl,gfni");
#[cfg(target_arch = "aarch64")]
level!(neon, Neon, "neon");

/// A method of [`Level`] for each kernel.
macro_rules! dispatch {
    ($($kernel:ident ($($argument:ident: $type:ty),*);)*) => {
        $(
            /// # Safety
            /// That of the kernel of this name in [`vector`]; the level is available.
            #[inline]
            pub(super) unsafe fn $kernel(self, $($argument: $type),*) {
                // SAFETY: the caller vouches for it.
                unsafe {
                    match self {
                        Self::Scalar => scalar::$kernel($($argument),*),
                        #[cfg(target_arch = "x86_64")]
                        Self::Ssse3 => ssse3::$kernel($($argument),*),
                        #[cfg(target_arch = "x86_64")]
                        Self::Avx2 => avx2::$kernel($($argument),*),
                        #[cfg(target_arch = "x86_64")]
                        Self::Gfni256 => gfni256::$kernel($($argument),*),
                        #[cfg(target_arch = "x86_64")]
                        Self::Gfni512 => gfni512::$kernel($($argument),*),
                        #[cfg(target_arch = "aarch64")]
                        Self::Neon => neon::$kernel($($argument),*),
                    }
                }
            }
        )*
    };
}

impl Level {
    /// All that exist on this architecture, the fastest first.
    pub(super) const ALL: &'static [Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Gfni512,
        #[cfg(target_arch = "x86_64")]
        Self::Gfni256,
        #[cfg(target_arch = "x86_64")]
        Self::Avx2,
        #[cfg(target_arch = "x86_64")]
        Self::Ssse3,
        #[cfg(target_arch = "aarch64")]
        Self::Neon,
        Self::Scalar,
    ];

    /// Whether this CPU has it.
    pub(super) fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => is_x86_feature_detected!("ssse3"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("gfni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => "SSSE3",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => "AVX2 + GFNI",
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => "AVX-512 + GFNI",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
        }
    }

    pub(super) fn plan_in_products(self) -> usize {
        match self {
            Self::Scalar => 8,
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 20,
            #[cfg(target_arch = "x86_64")]
            Self::Gfni256 => 32,
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => 44,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => 16,
        }
    }

    pub(super) fn register_len(self) -> usize {
        match self {
            Self::Scalar => Words::BYTES,
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => x86::Ssse3::BYTES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Gfni256 => x86::Avx2::BYTES,
            #[cfg(target_arch = "x86_64")]
            Self::Gfni512 => x86::Gfni512::BYTES,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Neon::BYTES,
        }
    }

    dispatch! {
        run(program: &Program, source: &Source<'_>, slab: *mut u8, width: usize);
        run_transposed(program: &Program, slab: *mut u8, sources: &mut [u8], width: usize);
        sum_into(to: *mut u8, slab: *const u8, terms: &[u16], width: usize);
        horner(horner: &Horner, slab: *const u8, sums: *mut u8, width: usize);
        horner_transposed(horner: &Horner, slab: *mut u8, sums: *const u8, width: usize);
        multiply(to: *mut u8, factors: &Factors<'_>, from: &Rows<'_>);
        scale(to: &mut [u8], coefficient: u8);
        add_scaled(to: &mut [u8], coefficient: u8, from: &[u8]);
    }
}
