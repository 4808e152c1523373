//! The word of a byte string: a folded multiply over 16 bytes, two lanes for long strings.
//!
//! Reads stay inside the string (a string may end where its buffer ends), in loads of 8 or 4 bytes.

use super::{BYTES, LENGTH};

#[inline(always)]
fn multiply_fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn load8(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[inline(always)]
fn load4(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")))
}

/// At most eight bytes, padded by zeros.
#[inline(always)]
fn load_padded(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    match len {
        8 => load8(bytes, 0),
        // The two loads overlap in bytes that both have at the same place.
        4..=7 => load4(bytes, 0) | load4(bytes, len - 4) << ((len - 4) * 8),
        0 => 0,
        _ => {
            let byte = |at: usize| u64::from(bytes[at]) << (at * 8);
            byte(0) | byte(len >> 1) | byte(len - 1)
        }
    }
}

/// The word of at most 16 bytes, given as two words padded by zeros.
#[inline(always)]
pub(super) fn short_word(low: u64, high: u64, len: usize) -> u64 {
    multiply_fold(low ^ BYTES[0], high ^ BYTES[1]) ^ (len as u64).wrapping_mul(LENGTH)
}

/// The word of a byte string.
#[inline(always)]
pub(super) fn word(bytes: &[u8]) -> u64 {
    match bytes.len() {
        len @ 0..=8 => short_word(load_padded(bytes), 0, len),
        // The last 8 bytes without those that the first load has had.
        len @ 9..=16 => short_word(load8(bytes, 0), load8(bytes, len - 8) >> ((16 - len) * 8), len),
        _ => long_word(bytes),
    }
}

fn long_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    let (mut x, mut y) = (BYTES[2], BYTES[3]);
    let mut rest = bytes;
    while rest.len() > 32 {
        x = multiply_fold(load8(rest, 0) ^ BYTES[0], load8(rest, 8) ^ x);
        y = multiply_fold(load8(rest, 16) ^ BYTES[1], load8(rest, 24) ^ y);
        rest = &rest[32..];
    }
    if rest.len() > 16 {
        x = multiply_fold(load8(rest, 0) ^ BYTES[0], load8(rest, 8) ^ x);
    }
    y = multiply_fold(load8(bytes, len - 16) ^ BYTES[1], load8(bytes, len - 8) ^ y);
    multiply_fold(x, y ^ BYTES[2]) ^ (len as u64).wrapping_mul(LENGTH)
}
