//! Building: which layout, and the counting sort.

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, ScalarBuffer};
use flumen_core::batch::Batch;

use super::ranks::Ranks;
use super::{Directory, EMPTY, JoinTable, Layout};
use crate::carrier::{Carrier, carrier};
use crate::compare::NullEquality;
use crate::error::KernelError;
use crate::gather::{flatten, materialize, take_batch};
use crate::hash::hash_batch;

/// Spans up to this are addressed directly, however few rows there are.
const PERFECT_SPAN: u64 = 1 << 20;
/// Spans up to so many times the rows too.
const PERFECT_SPAN_PER_ROW: u64 = 4;

/// Spans up to so many times the rows are addressed by rank: at most 16 bytes of words for each row.
const RANKED_SPAN_PER_ROW: u64 = 64;

/// How a table is built.
#[derive(Clone, Copy, Debug, Default)]
pub struct JoinTableOptions {
    /// NULL keys match each other.
    pub null_equals_null: bool,
    /// Never address directly; for tests and measurements.
    pub always_hash: bool,
    /// Address integers by rank also where an array would do; for tests and measurements.
    pub always_rank: bool,
}

impl JoinTable {
    /// The table over all rows of `batch` by `key_columns`.
    ///
    /// # Panics
    /// If there is no such column.
    ///
    /// # Errors
    /// [`KernelError::TooManyRows`], or [`KernelError::Column`] if gathering outgrows 32-bit offsets.
    pub fn build(batch: &Batch, key_columns: Vec<usize>, options: JoinTableOptions) -> Result<Self, KernelError> {
        let batch = materialize(batch)?;
        let rows = batch.num_rows();
        if rows >= u32::MAX as usize {
            return Err(KernelError::TooManyRows { rows, what: "one join table" });
        }
        let nulls = if options.null_equals_null { NullEquality::NullsEqual } else { NullEquality::NullsDiffer };
        let null_keys = key_nulls(&batch, &key_columns);
        let unmatchable = if options.null_equals_null { None } else { null_keys.as_ref() };
        let matchable_rows = rows - unmatchable.map_or(0, NullBuffer::null_count);
        let table = |layout, permutation: Option<Vec<u32>>, is_unique| {
            let batch = match permutation {
                Some(permutation) => take_batch(&batch, &ScalarBuffer::from(permutation))?,
                None => batch.clone(),
            };
            let key_columns = key_columns.clone();
            Ok(Self { batch, key_columns, nulls, layout, matchable_rows, is_unique })
        };
        // A NULL that matches has no place in a span of integers.
        let may_address = !options.always_hash && (unmatchable.is_some() || null_keys.is_none());
        if let ([key], true) = (&key_columns[..], may_address)
            && let Some(keys) = IntegerKeys::of(batch.column(*key).array())?
            && let Some((min, span)) = keys.span()
        {
            let index = |row: usize| keys.values[row].wrapping_sub(min) as u64;
            if !options.always_rank && span <= PERFECT_SPAN.max(rows as u64 * PERFECT_SPAN_PER_ROW) {
                if let Some(rows) = unique_rows(&keys, min, span) {
                    return table(Layout::Unique { min, rows }, None, Some(true));
                }
                let (starts, permutation) = counting_sort(rows, span as usize, unmatchable, |row| index(row) as usize);
                return table(Layout::Ranges { min, starts }, Some(permutation), Some(false));
            }
            if span <= rows as u64 * RANKED_SPAN_PER_ROW {
                let values = (0..rows).filter(|row| unmatchable.is_none_or(|n| n.is_valid(*row))).map(index);
                let ranks = Ranks::new(span, values);
                let (starts, permutation) =
                    counting_sort(rows, ranks.len(), unmatchable, |row| ranks.rank(index(row)) as usize);
                let is_unique = ranks.len() == matchable_rows;
                let layout = if is_unique {
                    Layout::RankedUnique { min, ranks }
                } else {
                    Layout::RankedRanges { min, ranks, starts }
                };
                return table(layout, Some(permutation), Some(is_unique));
            }
        }
        let hashes = hash_batch(&batch, &key_columns);
        let (directory, permutation) = hashed(&hashes, unmatchable);
        table(Layout::Hashed(directory), Some(permutation), None)
    }
}

/// Rows in which some key is NULL.
fn key_nulls(batch: &Batch, key_columns: &[usize]) -> Option<NullBuffer> {
    let nulls: Vec<_> = key_columns.iter().map(|key| batch.column(*key).array().logical_nulls()).collect();
    NullBuffer::union_many(nulls.iter().map(Option::as_ref)).filter(|n| n.null_count() > 0)
}

/// A key column as 64-bit integers; what is NULL or does not fit is marked.
pub(super) struct IntegerKeys<'a> {
    pub(super) values: Cow<'a, [i64]>,
    pub(super) nulls: Option<NullBuffer>,
    /// Some value is there but does not fit.
    has_misfits: bool,
}

impl<'a> IntegerKeys<'a> {
    /// `None` if the column has no integers.
    pub(super) fn of(array: &'a ArrayRef) -> Result<Option<Self>, KernelError> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0).cloned();
        let of = |values: Cow<'a, [i64]>| Ok(Some(Self { values, nulls: nulls.clone(), has_misfits: false }));
        fn widen<'a, T: Copy + Into<i64>>(values: &[T]) -> Cow<'a, [i64]> {
            values.iter().map(|v| (*v).into()).collect()
        }
        match carrier(array) {
            Carrier::I64(values) => of(Cow::Borrowed(values)),
            Carrier::I8(values) => of(widen(values)),
            Carrier::I16(values) => of(widen(values)),
            Carrier::I32(values) => of(widen(values)),
            Carrier::U8(values) => of(widen(values)),
            Carrier::U16(values) => of(widen(values)),
            Carrier::U32(values) => of(widen(values)),
            Carrier::U64(values) => Ok(Some(Self::checked(values, nulls.as_ref(), |v| i64::try_from(v).ok()))),
            Carrier::I128(values) => Ok(Some(Self::checked(values, nulls.as_ref(), |v| i64::try_from(v).ok()))),
            Carrier::Indexed(_) => {
                let flat = flatten(array)?;
                Ok(IntegerKeys::of(&flat)?.map(|keys| Self {
                    values: Cow::Owned(keys.values.into_owned()),
                    nulls: keys.nulls,
                    has_misfits: keys.has_misfits,
                }))
            }
            _ => Ok(None),
        }
    }

    fn checked<T: Copy>(values: &[T], nulls: Option<&NullBuffer>, fit: impl Fn(T) -> Option<i64>) -> Self {
        let mut valid = BooleanBufferBuilder::new(values.len());
        let mut has_misfits = false;
        let narrow = values
            .iter()
            .enumerate()
            .map(|(row, value)| {
                let present = nulls.is_none_or(|n| n.is_valid(row));
                let value = fit(*value);
                has_misfits |= present && value.is_none();
                valid.append(present && value.is_some());
                value.unwrap_or(0)
            })
            .collect();
        let nulls = Some(NullBuffer::new(valid.finish())).filter(|n| n.null_count() > 0);
        Self { values: Cow::Owned(narrow), nulls, has_misfits }
    }

    /// Least value and how many there are from it to the greatest; `None` without values or with misfits.
    pub(super) fn span(&self) -> Option<(i64, u64)> {
        if self.has_misfits {
            return None;
        }
        let (min, max) = match &self.nulls {
            None => self.values.iter().fold((i64::MAX, i64::MIN), |(min, max), v| (min.min(*v), max.max(*v))),
            Some(nulls) => nulls
                .valid_indices()
                .map(|row| self.values[row])
                .fold((i64::MAX, i64::MIN), |(min, max), v| (min.min(v), max.max(v))),
        };
        (min <= max).then(|| (min, max.wrapping_sub(min) as u64)).and_then(|(min, d)| Some((min, d.checked_add(1)?)))
    }
}

/// The row of each value of the span, if no two rows have the same.
fn unique_rows(keys: &IntegerKeys<'_>, min: i64, span: u64) -> Option<Vec<u32>> {
    let mut rows = vec![EMPTY; span as usize];
    let mut place = |row: usize| {
        let slot = &mut rows[keys.values[row].wrapping_sub(min) as usize];
        let is_free = *slot == EMPTY;
        *slot = row as u32;
        is_free
    };
    let is_unique = match &keys.nulls {
        None => (0..keys.values.len()).all(&mut place),
        Some(nulls) => nulls.valid_indices().all(&mut place),
    };
    is_unique.then_some(rows)
}

/// Starts of `buckets + 1` ranges and the rows in bucket order, stable; the rows left out come last.
fn counting_sort(
    rows: usize,
    buckets: usize,
    left_out: Option<&NullBuffer>,
    bucket: impl Fn(usize) -> usize,
) -> (Vec<u32>, Vec<u32>) {
    let is_in = |row: usize| left_out.is_none_or(|n| n.is_valid(row));
    let mut starts = vec![0u32; buckets + 1];
    (0..rows).filter(|row| is_in(*row)).for_each(|row| starts[bucket(row)] += 1);
    let mut next = 0;
    for start in &mut starts {
        next += std::mem::replace(start, next);
    }
    let mut permutation = vec![0; rows];
    let mut tail = next as usize;
    for row in 0..rows {
        let place = if is_in(row) {
            let start = &mut starts[bucket(row)];
            *start += 1;
            *start as usize - 1
        } else {
            tail += 1;
            tail - 1
        };
        permutation[place] = row as u32;
    }
    // Every start has moved to its range's end, which is the next one's start.
    starts.copy_within(0..buckets, 1);
    starts[0] = 0;
    (starts, permutation)
}

/// Two of the tag's sixteen bits. They come from the middle of the hash: the low bits choose the bucket, and the top
/// ones are alike for all rows of a subtask.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u64 {
    1 << (hash >> 40 & 15) | 1 << (hash >> 44 & 15)
}

fn hashed(hashes: &[u64], left_out: Option<&NullBuffer>) -> (Directory, Vec<u32>) {
    let rows = hashes.len();
    let buckets = rows.next_power_of_two();
    let mask = buckets as u64 - 1;
    let (starts, permutation) = counting_sort(rows, buckets, left_out, |row| (hashes[row] & mask) as usize);
    let mut words: Vec<u64> = starts.iter().map(|start| u64::from(*start) << 16).collect();
    for (row, hash) in hashes.iter().enumerate() {
        if left_out.is_none_or(|n| n.is_valid(row)) {
            words[(hash & mask) as usize] |= tag(*hash);
        }
    }
    (Directory { words, mask }, permutation)
}
