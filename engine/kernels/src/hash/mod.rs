//! The frozen hash: portable, versioned, equal for equal logical values whatever their encoding or width.
//!
//! Key groups (top 32 bits), radix partitions (the bits below) and hash tables (the low bits) all read this one hash,
//! and checkpoints depend on it: a change is a new [`HASH_VERSION`] and a migration. Everything below is exact, over
//! 64-bit words with wrapping arithmetic, little-endian loads, and no dependence on the CPU.
//!
//! # Definition (version 1)
//!
//! Constants are the fractional parts of square roots of primes (2, 3, 5, ...), made odd where they multiply:
//! `SEED` = 2, `NULL` = 3, `WIDE` = 5|1, `BYTES_0..3` = 7, 11, 13, 17, `LENGTH` = 19, `STRUCT` = 23, `LIST` = 29.
//!
//! * `mix(x)`: `x ^= x >> 30; x *= 0xbf58476d1ce4e5b9; x ^= x >> 27; x *= 0x94d049bb133111eb; x ^= x >> 31`
//!   (Stafford's variant 13 of the murmur3 finalizer, bijective).
//! * `fold(a, b)`: the 128-bit product's low half xor its high half.
//! * **Row**: `h = SEED`; for each column `h = mix(h ^ word(value))`.
//! * **word** of a value:
//!   * NULL: `NULL`.
//!   * booleans 0 and 1, integers, unscaled decimals, dates, times, timestamps, durations: as a 128-bit integer
//!     `(lo, hi)`: `lo ^ (hi ^ sign(lo)) * WIDE`, where `sign(lo)` is all ones if the top bit of `lo` is set. So it is
//!     the value itself if that fits 64 bits.
//!   * floats: the bits of the `f64`, with `-0.0` as `0.0` and every NaN as `0x7ff8000000000000`.
//!   * intervals: as the 128-bit integer `lo` = nanoseconds, `hi` = `months << 32 | days` (both 32 bits).
//!   * byte strings of length `n`: `body ^ n * LENGTH`, where for `n <= 16`, with the string padded by zeros,
//!     `body = fold(bytes[0..8] ^ BYTES_0, bytes[8..16] ^ BYTES_1)`; longer ones by two lanes `x = BYTES_2`,
//!     `y = BYTES_3`, and `i = 0`: while `i + 32 < n`: `x = fold(bytes[i..i+8] ^ BYTES_0, bytes[i+8..i+16] ^ x)`,
//!     `y = fold(bytes[i+16..i+24] ^ BYTES_1, bytes[i+24..i+32] ^ y)`, `i += 32`; if `i + 16 < n` one more step of
//!     `x`; then a step of `y` over the last 16 bytes (which may overlap); `body = fold(x, y ^ BYTES_2)`.
//!   * structs: `h = STRUCT`, then as a row over the fields.
//!   * lists and maps (lists of key-value structs): `h = LIST ^ n`, then `h = mix(h ^ mix(LIST ^ word(item)))` for
//!     each item.
//!
//! It is not meant to withstand an adversary who chooses keys; table code bounds its probe lengths by comparing keys.
//!
//! # Cost
//!
//! Two vectorized multiplies per fixed-width value: 0.2 ns per row measured with AVX-512 (`benches/RESULTS.md`), 2.8 for a
//! string of 12 bytes. Dictionary values are hashed once each.

mod bytes;
mod fold;
#[cfg(test)]
mod tests;

use arrow_buffer::ScalarBuffer;
use flumen_core::batch::{Batch, Column, KeyHashes, Selection};
use std::sync::Arc;

/// Version of the hash; stored with every snapshot of keyed state.
pub const HASH_VERSION: u32 = 1;

pub(crate) const SEED: u64 = 0x6a09_e667_f3bc_c908;
pub(crate) const NULL: u64 = 0xbb67_ae85_84ca_a73b;
const WIDE: u64 = 0x3c6e_f372_fe94_f82b;
const BYTES: [u64; 4] = [0xa54f_f53a_5f1d_36f1, 0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f, 0x1f83_d9ab_fb41_bd6b];
const LENGTH: u64 = 0x5be0_cd19_137e_2179;
const STRUCT: u64 = 0xcbbb_9d5d_c105_9ed8;
const LIST: u64 = 0x629a_292a_367c_d507;

#[inline(always)]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes rows by key columns.
///
/// Returns one hash for each of `rows` physical rows; where `selection` leaves a row out, its hash may be anything.
/// Without columns every row has the same hash.
///
/// # Panics
/// If a column has fewer than `rows` rows, or a type that `LogicalType::from_arrow` does not take.
#[must_use]
pub fn hash_columns(columns: &[&Column], rows: usize, selection: Option<&Selection>) -> Vec<u64> {
    let mut hashes = Vec::new();
    hash_columns_into(columns, rows, selection, &mut hashes);
    hashes
}

/// As [`hash_columns`], into a vector whose allocation is used again.
///
/// # Panics
/// As [`hash_columns`].
pub fn hash_columns_into(columns: &[&Column], rows: usize, selection: Option<&Selection>, hashes: &mut Vec<u64>) {
    hashes.clear();
    // Leading constants need no loop: they change the seed.
    let leading = columns.iter().take_while(|c| matches!(c, Column::Constant(_))).count();
    let mut seed = [SEED];
    for column in &columns[..leading] {
        fold::fold_array(&mut seed, column.array(), None);
    }
    hashes.resize(rows, seed[0]);
    let selection = selection.map(|s| s.as_ref());
    for column in &columns[leading..] {
        match column {
            Column::Array(array) => {
                assert!(array.len() >= rows, "a key column has the batch's rows");
                fold::fold_array(hashes, array, selection);
            }
            Column::Constant(value) => fold::fold_constant(hashes, value),
        }
    }
}

/// The hashes of a batch's key columns: those that travel with it if they are of these columns, else computed now.
///
/// # Panics
/// If there is no such column, and as [`hash_columns`].
#[must_use]
pub fn hash_batch(batch: &Batch, key_columns: &[usize]) -> ScalarBuffer<u64> {
    if let Some(hashes) = batch.hashes_of(key_columns) {
        return hashes.clone();
    }
    let columns: Vec<_> = key_columns.iter().map(|index| batch.column(*index)).collect();
    hash_columns(&columns, batch.physical_rows(), batch.selection()).into()
}

/// The batch with the hashes of its key columns attached, computed unless they were there.
///
/// # Panics
/// As [`hash_batch`].
#[must_use]
pub fn with_key_hashes(batch: Batch, key_columns: &[usize]) -> Batch {
    if batch.hashes_of(key_columns).is_some() {
        return batch;
    }
    let values = hash_batch(&batch, key_columns);
    batch.with_hashes(Some(KeyHashes { columns: Arc::from(key_columns), values }))
}
