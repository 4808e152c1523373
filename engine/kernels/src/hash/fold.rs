//! Folding a column into running hashes: one loop per carrier, with and without nulls and selection.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer};
use arrow_schema::DataType;

use super::{LIST, NULL, SEED, STRUCT, WIDE, bytes, mix};
use crate::carrier::{ByteRows, Carrier, Indexed, VIEW_INLINE_BYTES, Views, carrier};
use crate::simd::multiversion;

/// A fixed-width value's word.
pub(super) trait Word: Copy {
    fn word(self) -> u64;
}

#[inline(always)]
fn wide_word(lo: u64, hi: u64) -> u64 {
    let sign = ((lo as i64) >> 63) as u64;
    lo ^ (hi ^ sign).wrapping_mul(WIDE)
}

macro_rules! signed_words {
    ($($t:ty),*) => {$(impl Word for $t {
        #[inline(always)]
        fn word(self) -> u64 {
            i64::from(self) as u64
        }
    })*};
}
signed_words!(i8, i16, i32, i64, u8, u16, u32);

impl Word for u64 {
    #[inline(always)]
    fn word(self) -> u64 {
        wide_word(self, 0)
    }
}

impl Word for i128 {
    #[inline(always)]
    fn word(self) -> u64 {
        wide_word(self as u64, (self >> 64) as u64)
    }
}

impl Word for f64 {
    #[inline(always)]
    fn word(self) -> u64 {
        let bits = if self == 0.0 { 0 } else { self.to_bits() };
        if self.is_nan() { 0x7ff8_0000_0000_0000 } else { bits }
    }
}

impl Word for f32 {
    #[inline(always)]
    fn word(self) -> u64 {
        f64::from(self).word()
    }
}

fn interval_word(months: i32, days: i32, nanos: i64) -> u64 {
    wide_word(nanos as u64, u64::from(months as u32) << 32 | u64::from(days as u32))
}

impl Word for IntervalMonthDayNano {
    fn word(self) -> u64 {
        interval_word(self.months, self.days, self.nanoseconds)
    }
}

impl Word for IntervalDayTime {
    fn word(self) -> u64 {
        interval_word(0, self.days, i64::from(self.milliseconds) * 1_000_000)
    }
}

/// Below this share of selected rows (one in so many) a loop over the selection beats a vectorized one over all.
const SPARSE: usize = 6;

multiversion! {
    fn fold_dense<T: Word>(hashes: &mut [u64], values: &[T]) = fold_dense_body;
}

#[inline(always)]
pub(super) fn fold_dense_body<T: Word>(hashes: &mut [u64], values: &[T]) {
    for (hash, value) in hashes.iter_mut().zip(values) {
        *hash = mix(*hash ^ value.word());
    }
}

multiversion! {
    fn fold_dense_nullable<T: Word>(hashes: &mut [u64], values: &[T], valid: &BooleanBuffer) = fold_dense_nullable_body;
}

#[inline(always)]
pub(super) fn fold_dense_nullable_body<T: Word>(hashes: &mut [u64], values: &[T], valid: &BooleanBuffer) {
    let chunks = valid.bit_chunks();
    let words = chunks.iter().chain(std::iter::once(chunks.remainder_bits()));
    for ((hashes, values), valid) in hashes.chunks_mut(64).zip(values.chunks(64)).zip(words) {
        for (bit, (hash, value)) in hashes.iter_mut().zip(values).enumerate() {
            // All ones where the value is there, so that there is no branch.
            let mask = (valid >> bit & 1).wrapping_neg();
            *hash = mix(*hash ^ (value.word() & mask | NULL & !mask));
        }
    }
}

fn fold_values<T: Word>(hashes: &mut [u64], values: &[T], nulls: Option<&NullBuffer>, selection: Option<&[u32]>) {
    match (selection.filter(|s| s.len() * SPARSE < hashes.len()), nulls) {
        (None, None) => fold_dense(hashes, values),
        (None, Some(nulls)) => fold_dense_nullable(hashes, values, nulls.inner()),
        (selection, nulls) => fold_by(hashes, nulls, selection, |row| values[row].word()),
    }
}

/// The general loop, for words that do not vectorize.
#[inline(always)]
fn fold_by(hashes: &mut [u64], nulls: Option<&NullBuffer>, selection: Option<&[u32]>, word: impl Fn(usize) -> u64) {
    let step = |hash: &mut u64, word: u64| *hash = mix(*hash ^ word);
    match (selection, nulls) {
        (None, None) => hashes.iter_mut().enumerate().for_each(|(row, hash)| step(hash, word(row))),
        (None, Some(nulls)) => {
            for (row, hash) in hashes.iter_mut().enumerate() {
                step(hash, if nulls.is_valid(row) { word(row) } else { NULL });
            }
        }
        (Some(selection), None) => {
            for row in selection {
                let row = *row as usize;
                step(&mut hashes[row], word(row));
            }
        }
        (Some(selection), Some(nulls)) => {
            for row in selection {
                let row = *row as usize;
                step(&mut hashes[row], if nulls.is_valid(row) { word(row) } else { NULL });
            }
        }
    }
}

fn fold_bytes(hashes: &mut [u64], rows: &impl ByteRows, nulls: Option<&NullBuffer>, selection: Option<&[u32]>) {
    fold_by(hashes, nulls, selection, |row| bytes::word(rows.bytes(row)));
}

#[inline(always)]
fn view_word(views: &Views<'_>, view: u128) -> u64 {
    let len = view as u32;
    if len <= VIEW_INLINE_BYTES {
        // An inline view is already padded by zeros.
        bytes::short_word((view >> 32) as u64, (view >> 96) as u64, len as usize)
    } else {
        bytes::word(views.outside(view))
    }
}

/// Folds rows `0..hashes.len()` of an array into the hashes; with a selection at least those rows.
pub(super) fn fold_array(hashes: &mut [u64], array: &dyn Array, selection: Option<&[u32]>) {
    let nulls = array.nulls().filter(|n| n.null_count() > 0);
    match carrier(array) {
        Carrier::Null => fold_word(hashes, NULL),
        Carrier::Boolean(bits) => fold_by(hashes, nulls, selection, |row| u64::from(bits.value(row))),
        Carrier::I8(values) => fold_values(hashes, values, nulls, selection),
        Carrier::I16(values) => fold_values(hashes, values, nulls, selection),
        Carrier::I32(values) => fold_values(hashes, values, nulls, selection),
        Carrier::I64(values) => fold_values(hashes, values, nulls, selection),
        Carrier::I128(values) => fold_values(hashes, values, nulls, selection),
        Carrier::U8(values) => fold_values(hashes, values, nulls, selection),
        Carrier::U16(values) => fold_values(hashes, values, nulls, selection),
        Carrier::U32(values) => fold_values(hashes, values, nulls, selection),
        Carrier::U64(values) => fold_values(hashes, values, nulls, selection),
        Carrier::F32(values) => fold_values(hashes, values, nulls, selection),
        Carrier::F64(values) => fold_values(hashes, values, nulls, selection),
        Carrier::YearMonth(values) => {
            fold_by(hashes, nulls, selection, |row| interval_word(values[row], 0, 0));
        }
        Carrier::DayTime(values) => fold_values(hashes, values, nulls, selection),
        Carrier::MonthDayNano(values) => fold_values(hashes, values, nulls, selection),
        Carrier::Bytes(rows) => fold_bytes(hashes, &rows, nulls, selection),
        Carrier::LargeBytes(rows) => fold_bytes(hashes, &rows, nulls, selection),
        Carrier::FixedBytes(rows) => fold_bytes(hashes, &rows, nulls, selection),
        Carrier::Views(views) => {
            fold_by(hashes, nulls, selection, |row| view_word(&views, views.views[row]));
        }
        Carrier::Indexed(indexed) => fold_indexed(hashes, &indexed, selection),
        Carrier::Nested => {
            let words = nested_words(array, hashes.len());
            fold_by(hashes, nulls, selection, |row| words[row]);
        }
    }
}

/// A row's hash after one column from `SEED` is `mix(SEED ^ word)`; this turns it back into the word.
fn word_of_first_hash(hash: u64) -> u64 {
    let mut x = hash ^ (hash >> 31) ^ (hash >> 62);
    x = x.wrapping_mul(0x3196_42b2_d24d_8ec3);
    x ^= (x >> 27) ^ (x >> 54);
    x = x.wrapping_mul(0x96de_1b17_3f11_9089);
    (x ^ (x >> 30) ^ (x >> 60)) ^ SEED
}

/// The word of each row of an array.
fn words(array: &dyn Array) -> Vec<u64> {
    let mut words = vec![SEED; array.len()];
    fold_array(&mut words, array, None);
    words.iter_mut().for_each(|hash| *hash = word_of_first_hash(*hash));
    words
}

fn fold_indexed(hashes: &mut [u64], indexed: &Indexed<'_>, selection: Option<&[u32]>) {
    let positions = indexed.positions.as_ref();
    let nulls = indexed.nulls.filter(|n| n.null_count() > 0);
    let rows = selection.map_or(hashes.len(), <[u32]>::len);
    if indexed.values.len() <= rows {
        // Each value once.
        let words = words(indexed.values);
        return fold_by(hashes, nulls, selection, |row| words[positions[row] as usize]);
    }
    // More values than rows, as in the batches of a large dictionary page: only those that are there.
    let position = |row: usize| nulls.is_none_or(|n| n.is_valid(row)).then(|| positions[row]);
    let taken: UInt32Array = match selection {
        Some(selection) => selection.iter().map(|row| position(*row as usize)).collect(),
        None => (0..rows).map(position).collect(),
    };
    let taken = arrow_select::take::take(indexed.values, &taken, None).expect("positions lie within the values");
    let words = words(&taken);
    match selection {
        Some(selection) => {
            for (row, word) in selection.iter().zip(&words) {
                let hash = &mut hashes[*row as usize];
                *hash = mix(*hash ^ word);
            }
        }
        None => fold_by(hashes, None, None, |row| words[row]),
    }
}

fn fold_word(hashes: &mut [u64], word: u64) {
    hashes.iter_mut().for_each(|hash| *hash = mix(*hash ^ word));
}

/// Folds the only value of a one-row array into every hash.
pub(super) fn fold_constant(hashes: &mut [u64], value: &ArrayRef) {
    fold_word(hashes, words(value)[0]);
}

/// Words of the first `rows` rows of a struct, list or map; those of nulls may be anything.
fn nested_words(array: &dyn Array, rows: usize) -> Vec<u64> {
    match array.data_type() {
        DataType::Struct(_) => {
            let mut words = vec![STRUCT; rows];
            for field in array.as_struct().columns() {
                fold_array(&mut words, field, None);
            }
            words
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            list_words(list.values(), list.value_offsets(), rows)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            list_words(list.values(), list.value_offsets(), rows)
        }
        DataType::Map(..) => {
            let map = array.as_map();
            list_words(map.entries(), map.value_offsets(), rows)
        }
        DataType::FixedSizeList(..) => {
            let list = array.as_fixed_size_list();
            let offsets: Vec<i64> = (0..=rows).map(|row| row as i64 * i64::from(list.value_length())).collect();
            list_words(list.values(), &offsets, rows)
        }
        other => panic!("a key column of type {other} reached the hash; plans refuse types without a logical type"),
    }
}

fn list_words<O: ArrowNativeType>(items: &dyn Array, offsets: &[O], rows: usize) -> Vec<u64> {
    let (first, last) = (offsets[0].as_usize(), offsets[rows].as_usize());
    let mut item_hashes = vec![LIST; last - first];
    fold_array(&mut item_hashes, &items.slice(first, last - first), None);
    offsets
        .windows(2)
        .take(rows)
        .map(|range| {
            let items = &item_hashes[range[0].as_usize() - first..range[1].as_usize() - first];
            items.iter().fold(LIST ^ items.len() as u64, |hash, item| mix(hash ^ item))
        })
        .collect()
}
