#![allow(unsafe_code)]
//! Which instruction set kernels use, chosen once per process, and how a kernel is compiled for each.
//!
//! The build's baseline runs on any CPU of the architecture. A kernel that gains from wider vectors is written once as
//! an `#[inline(always)]` function in plain Rust and compiled three times by [`multiversion`]; a few kernels have a
//! hand-written AVX-512 form beside a scalar twin. `FLUMEN_SIMD=scalar|avx2|avx512` in the environment caps the choice, to measure
//! and to test; it never raises it above what the CPU has.
//!
//! Unsafe code here: calling a function that is compiled for features which the CPU was seen to have.

use std::sync::OnceLock;

/// Instruction sets, each including the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimdLevel {
    /// The baseline of the build.
    Scalar,
    /// AVX2 with BMI1, BMI2, LZCNT, POPCNT and FMA (x86-64-v3).
    Avx2,
    /// AVX-512 F, BW, CD, DQ, VL (x86-64-v4).
    Avx512,
}

/// The level in use.
#[inline]
#[must_use]
pub fn level() -> SimdLevel {
    static LEVEL: OnceLock<SimdLevel> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let cap = match std::env::var("FLUMEN_SIMD").as_deref() {
            Ok("scalar") => SimdLevel::Scalar,
            Ok("avx2") => SimdLevel::Avx2,
            _ => SimdLevel::Avx512,
        };
        detected().min(cap)
    })
}

/// The best level of this CPU.
#[must_use]
pub fn detected() -> SimdLevel {
    #[cfg(target_arch = "x86_64")]
    {
        let v3 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("fma");
        let v4 = v3
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        match (v3, v4) {
            (_, true) => SimdLevel::Avx512,
            (true, false) => SimdLevel::Avx2,
            (false, false) => SimdLevel::Scalar,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    SimdLevel::Scalar
}

/// Defines a function that calls `$body` (an `#[inline(always)]` function of the same signature) compiled for the
/// level in use.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($gen:ident : $bound:path),+>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path;) => {
        $(#[$meta])*
        #[inline]
        #[allow(unsafe_code)] // Only the two calls below, whose reason is this module's.
        $vis fn $name $(<$($gen: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,fma")]
                fn v3 $(<$($gen: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,fma,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")]
                fn v4 $(<$($gen: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                match $crate::simd::level() {
                    // SAFETY: `level` answers so only after it has seen every feature that `v4` is compiled for.
                    $crate::simd::SimdLevel::Avx512 => return unsafe { v4($($arg),*) },
                    // SAFETY: `level` answers so only after it has seen every feature that `v3` is compiled for.
                    $crate::simd::SimdLevel::Avx2 => return unsafe { v3($($arg),*) },
                    $crate::simd::SimdLevel::Scalar => {}
                }
            }
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
