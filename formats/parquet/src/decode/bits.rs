#![allow(unsafe_code)]
//! Bit-packed integers of 0 to 32 bits to `u32`.
//!
//! Values lie one after the other, least significant bit first, without gaps; value `i` begins at bit `i * width`. A run
//! is read from any value on. Values before the first multiple of eight and behind the last one are taken one by one; the
//! blocks between begin at a byte and are unpacked by the variant in use:
//!
//! * scalar: one unaligned load of eight bytes for each value, then shift and mask;
//! * AVX2: eight values of up to 25 bits by two loads of 16 bytes, one byte shuffle that puts the four bytes around each
//!   value into its lane, one shift by lane and one mask;
//! * AVX-512 VBMI: the same for sixteen values with one load and one permutation of 64 bytes.
//!
//! Cost model: `width / 8` bytes in, 4 out. Scalar 4 operations a value: 0.5 ns; AVX2 6 for eight values: 0.12 ns;
//! AVX-512 4 for sixteen: 0.06 ns. `benches/micro` (`parquet_decode`) holds the measurement against it.
//!
//! Unsafe code here: loads and stores of vectors in slices whose lengths were checked, and calls of functions compiled
//! for features that the CPU was seen to have. Source: apache/parquet-format Encodings.md, "RLE/Bit-Packing Hybrid".

use std::sync::OnceLock;

use flumen_kernels::simd::{SimdLevel, level};

/// Widest value that vector variants unpack: with up to seven bits before it, it lies within four bytes.
#[cfg(target_arch = "x86_64")]
const VECTOR_WIDTH_MAX: usize = 25;

/// Unpacks whole blocks of eight values from the front of the bytes; says how many values it has written, which may be
/// fewer than fit.
type Unpack = fn(&[u8], usize, &mut [u32]) -> usize;

/// The variant in use, chosen once.
fn unpack_blocks() -> Unpack {
    static CHOSEN: OnceLock<Unpack> = OnceLock::new();
    *CHOSEN.get_or_init(|| variants().last().expect("the scalar variant is always there").1)
}

/// The variants that this CPU has and `FLUMEN_SIMD` allows, slowest first.
fn variants() -> Vec<(&'static str, Unpack)> {
    let mut variants: Vec<(&'static str, Unpack)> = vec![("scalar", scalar)];
    #[cfg(target_arch = "x86_64")]
    {
        if level() >= SimdLevel::Avx2 {
            variants.push(("avx2", x86::avx2));
        }
        if level() >= SimdLevel::Avx512 && is_x86_feature_detected!("avx512vbmi") {
            variants.push(("avx512", x86::avx512));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (level(), SimdLevel::Scalar);
    variants
}

/// Value `index` of the packed values in `bytes`; bits behind the end are zero.
#[inline]
pub(crate) fn value_at(bytes: &[u8], width: usize, index: usize) -> u32 {
    let bit = index * width;
    let byte = bit / 8;
    let mask = ((1u64 << width) - 1) as u32;
    let word = match bytes.get(byte..byte + 8) {
        Some(word) => u64::from_le_bytes(word.try_into().expect("eight bytes were cut out")),
        None => {
            let mut word = [0; 8];
            let rest = bytes.get(byte..).unwrap_or_default();
            word[..rest.len()].copy_from_slice(rest);
            u64::from_le_bytes(word)
        }
    };
    (word >> (bit % 8)) as u32 & mask
}

/// Unpacks values `first..first + out.len()` of the packed values in `bytes`; bits behind the end are zero.
pub(crate) fn unpack(bytes: &[u8], width: usize, first: usize, out: &mut [u32]) {
    unpack_by(unpack_blocks(), bytes, width, first, out);
}

fn unpack_by(blocks: Unpack, bytes: &[u8], width: usize, first: usize, out: &mut [u32]) {
    if width == 0 {
        out.fill(0);
        return;
    }
    let head = (first.next_multiple_of(8) - first).min(out.len());
    for (i, value) in out[..head].iter_mut().enumerate() {
        *value = value_at(bytes, width, first + i);
    }
    let mut done = head;
    if out.len() - done >= 8 {
        // The first value of the blocks begins at a byte.
        done += blocks(&bytes[((first + done) * width / 8).min(bytes.len())..], width, &mut out[done..]);
    }
    for (i, value) in out.iter_mut().enumerate().skip(done) {
        *value = value_at(bytes, width, first + i);
    }
}

fn scalar(bytes: &[u8], width: usize, out: &mut [u32]) -> usize {
    let mask = ((1u64 << width) - 1) as u32;
    // The last value of a block begins in byte `7 * width / 8`; eight bytes are loaded from there.
    let room = 7 * width / 8 + 8;
    let mut done = 0;
    for (block, values) in out.chunks_exact_mut(8).enumerate() {
        let Some(bytes) = bytes.get(block * width..block * width + room) else { break };
        for (i, value) in values.iter_mut().enumerate() {
            let bit = i * width;
            let word: [u8; 8] = bytes[bit / 8..bit / 8 + 8].try_into().expect("eight bytes were cut out");
            *value = (u64::from_le_bytes(word) >> (bit % 8)) as u32 & mask;
        }
        done += 8;
    }
    done
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm_loadu_si128, _mm256_and_si256, _mm256_loadu_si256, _mm256_set_m128i, _mm256_set1_epi32,
        _mm256_shuffle_epi8, _mm256_srlv_epi32, _mm256_storeu_si256, _mm512_and_si512, _mm512_loadu_si512,
        _mm512_permutexvar_epi8, _mm512_set1_epi32, _mm512_srlv_epi32, _mm512_storeu_si512,
    };

    use super::{VECTOR_WIDTH_MAX, scalar};

    /// For a width: which bytes go where, and by how much each lane is shifted.
    #[derive(Clone, Copy)]
    struct Moves<const BYTES: usize, const LANES: usize> {
        bytes: [u8; BYTES],
        shifts: [u32; LANES],
    }

    /// The moves for values that begin at bit 0 (and, in the second half, at bit `4 * width % 8`) of what was loaded.
    const fn halves(width: usize) -> Moves<32, 8> {
        let mut moves = Moves { bytes: [0; 32], shifts: [0; 8] };
        let mut value = 0;
        while value < 8 {
            let bit = if value < 4 { value * width } else { 4 * width % 8 + (value - 4) * width };
            let mut byte = 0;
            while byte < 4 {
                moves.bytes[value * 4 + byte] = (bit / 8 + byte) as u8;
                byte += 1;
            }
            moves.shifts[value] = (bit % 8) as u32;
            value += 1;
        }
        moves
    }

    /// The moves for sixteen values that begin at bit 0 of 64 bytes.
    const fn whole(width: usize) -> Moves<64, 16> {
        let mut moves = Moves { bytes: [0; 64], shifts: [0; 16] };
        let mut value = 0;
        while value < 16 {
            let bit = value * width;
            let mut byte = 0;
            while byte < 4 {
                moves.bytes[value * 4 + byte] = (bit / 8 + byte) as u8;
                byte += 1;
            }
            moves.shifts[value] = (bit % 8) as u32;
            value += 1;
        }
        moves
    }

    static HALVES: [Moves<32, 8>; VECTOR_WIDTH_MAX + 1] = {
        let mut table = [Moves { bytes: [0; 32], shifts: [0; 8] }; VECTOR_WIDTH_MAX + 1];
        let mut width = 0;
        while width <= VECTOR_WIDTH_MAX {
            table[width] = halves(width);
            width += 1;
        }
        table
    };

    static WHOLE: [Moves<64, 16>; VECTOR_WIDTH_MAX + 1] = {
        let mut table = [Moves { bytes: [0; 64], shifts: [0; 16] }; VECTOR_WIDTH_MAX + 1];
        let mut width = 0;
        while width <= VECTOR_WIDTH_MAX {
            table[width] = whole(width);
            width += 1;
        }
        table
    };

    pub(super) fn avx2(bytes: &[u8], width: usize, out: &mut [u32]) -> usize {
        if width > VECTOR_WIDTH_MAX {
            return scalar(bytes, width, out);
        }
        // SAFETY: `variants` offers this function only where AVX2 was seen.
        unsafe { blocks_of_8(bytes, width, out) }
    }

    pub(super) fn avx512(bytes: &[u8], width: usize, out: &mut [u32]) -> usize {
        if width > VECTOR_WIDTH_MAX {
            return scalar(bytes, width, out);
        }
        // SAFETY: `variants` offers this function only where AVX-512 F, BW, VL and VBMI were seen.
        let done = unsafe { blocks_of_16(bytes, width, out) };
        // What is too close to the end of the bytes for loads of 64 bytes.
        done + avx2(&bytes[done * width / 8..], width, &mut out[done..])
    }

    #[target_feature(enable = "avx2")]
    fn blocks_of_8(bytes: &[u8], width: usize, out: &mut [u32]) -> usize {
        let moves = &HALVES[width];
        // SAFETY: the array has 32 bytes.
        let shuffle = unsafe { _mm256_loadu_si256(moves.bytes.as_ptr().cast::<__m256i>()) };
        // SAFETY: the array has 32 bytes.
        let shifts = unsafe { _mm256_loadu_si256(moves.shifts.as_ptr().cast::<__m256i>()) };
        let mask = _mm256_set1_epi32(((1u32 << width) - 1) as i32);
        let half = width / 2;
        let mut done = 0;
        for (block, values) in out.chunks_exact_mut(8).enumerate() {
            let Some(bytes) = bytes.get(block * width..block * width + half + 16) else { break };
            // SAFETY: `bytes` has 16 bytes and more.
            let low = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            // SAFETY: `bytes` has `half + 16` bytes.
            let high = unsafe { _mm_loadu_si128(bytes.as_ptr().add(half).cast()) };
            let lanes = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), shuffle);
            let lanes = _mm256_and_si256(_mm256_srlv_epi32(lanes, shifts), mask);
            // SAFETY: the block has eight values, 32 bytes.
            unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), lanes) };
            done += 8;
        }
        done
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    fn blocks_of_16(bytes: &[u8], width: usize, out: &mut [u32]) -> usize {
        let moves = &WHOLE[width];
        // SAFETY: the array has 64 bytes.
        let places = unsafe { _mm512_loadu_si512(moves.bytes.as_ptr().cast::<__m512i>()) };
        // SAFETY: the array has 64 bytes.
        let shifts = unsafe { _mm512_loadu_si512(moves.shifts.as_ptr().cast::<__m512i>()) };
        let mask = _mm512_set1_epi32(((1u32 << width) - 1) as i32);
        let mut done = 0;
        for (block, values) in out.chunks_exact_mut(16).enumerate() {
            let Some(bytes) = bytes.get(block * 2 * width..block * 2 * width + 64) else { break };
            // SAFETY: `bytes` has 64 bytes.
            let loaded = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
            let lanes = _mm512_srlv_epi32(_mm512_permutexvar_epi8(places, loaded), shifts);
            // SAFETY: the block has sixteen values, 64 bytes.
            unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), _mm512_and_si512(lanes, mask)) };
            done += 16;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs values the slow way.
    fn pack(values: &[u32], width: usize) -> Vec<u8> {
        let mut bytes = vec![0u8; (values.len() * width).div_ceil(8)];
        for (i, value) in values.iter().enumerate() {
            for bit in 0..width {
                bytes[(i * width + bit) / 8] |= ((value >> bit & 1) as u8) << ((i * width + bit) % 8);
            }
        }
        bytes
    }

    #[test]
    fn every_variant_unpacks_every_width_from_every_start() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 32) as u32
        };
        for width in 0..=32 {
            let mask = ((1u64 << width) - 1) as u32;
            let values: Vec<u32> = (0..200).map(|_| random() & mask).collect();
            let bytes = pack(&values, width);
            for (name, variant) in variants() {
                for first in [0, 1, 7, 8, 16, 63, 199, 200] {
                    for count in [0, 1, 7, 8, 9, 16, 33, 100, 200] {
                        let count = count.min(values.len() - first);
                        let mut out = vec![u32::MAX; count];
                        unpack_by(variant, &bytes, width, first, &mut out);
                        assert_eq!(out, values[first..first + count], "{name}, {width} bits, {first}+{count}");
                    }
                }
            }
            for (i, value) in values.iter().enumerate() {
                assert_eq!(value_at(&bytes, width, i), *value);
            }
        }
    }

    #[test]
    fn what_lies_behind_the_end_is_zero() {
        for (name, variant) in variants() {
            let mut out = [7; 40];
            unpack_by(variant, &[0xff; 3], 5, 0, &mut out);
            assert_eq!(out[..4], [31; 4], "{name}");
            assert_eq!(out[4], 15, "{name}");
            assert_eq!(out[5..], [0; 35], "{name}");
        }
    }
}
