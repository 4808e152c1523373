//! COUNT, and SUM and AVG of exact numbers, over any frame: the difference of two prefixes.
//!
//! Sums before each row are kept in 64 bits if no sum of any rows can leave them, else in 128; where even those could be
//! left, this way is not gone (`exact_sums` gives nothing, and the tree of states is used). The difference of two sums is
//! exact, so where a partition lies does not matter.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Decimal128Array, Int64Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;

use super::Values;
use super::finish::Finish;
use super::frame::Frames;
use super::numbers::{Exact, clear_uncounted, counts_before};

/// How many rows of each frame count.
pub(super) struct FrameCounts {
    pub(super) frames: Arc<Frames>,
    /// Rows that count before each row; `None` if all do.
    before: Option<Vec<u32>>,
}

impl FrameCounts {
    pub(super) fn new(frames: &Arc<Frames>, counted: Option<&BooleanBuffer>) -> Self {
        Self { frames: Arc::clone(frames), before: counted.map(counts_before) }
    }

    pub(super) fn of(&self, rows: Range<usize>) -> Vec<i64> {
        match &self.before {
            None => rows.map(|row| self.frames.get(row).len() as i64).collect(),
            Some(before) => rows
                .map(|row| {
                    let frame = self.frames.get(row);
                    i64::from(before[frame.end] - before[frame.start])
                })
                .collect(),
        }
    }

    /// NULL where no row counts.
    pub(super) fn nulls(counts: &[i64]) -> Option<NullBuffer> {
        let valid = BooleanBuffer::collect_bool(counts.len(), |i| counts[i] > 0);
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.before.as_ref().map_or(0, |before| size_of_val(before.as_slice()))
    }
}

impl Values for FrameCounts {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        Ok(Column::Array(Arc::new(Int64Array::from(self.of(rows)))))
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }
}

/// Sums before each row, and at the end the sum of all.
enum Sums {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

/// SUM or AVG of exact numbers.
pub(super) struct ExactSums {
    sums: Sums,
    counts: FrameCounts,
    finish: Finish,
}

/// The values of a sum or mean; `None` if a sum might leave 128 bits.
pub(super) fn exact_sums(
    values: Exact,
    counted: Option<&BooleanBuffer>,
    frames: &Arc<Frames>,
    finish: Finish,
) -> Option<ExactSums> {
    let sums = match values {
        Exact::Narrow(mut values) => {
            clear_uncounted(&mut values, counted);
            let largest = values.iter().fold(0, |largest, v| v.unsigned_abs().max(largest));
            match largest.checked_mul(values.len() as u64) {
                Some(bound) if bound <= i64::MAX as u64 => Sums::Narrow(prefixes(&values, |sum, v| sum + v)),
                _ => {
                    let values: Vec<i128> = values.into_iter().map(i128::from).collect();
                    Sums::Wide(prefixes(&values, |sum, v| sum + v))
                }
            }
        }
        Exact::Wide(mut values) => {
            clear_uncounted(&mut values, counted);
            let largest = values.iter().fold(0, |largest, v| v.unsigned_abs().max(largest));
            let bound = largest.checked_mul(values.len() as u128)?;
            if bound > i128::MAX as u128 {
                return None;
            }
            Sums::Wide(prefixes(&values, |sum, v| sum + v))
        }
    };
    Some(ExactSums { sums, counts: FrameCounts::new(frames, counted), finish })
}

fn prefixes<T: Copy + Default>(values: &[T], add: impl Fn(T, T) -> T) -> Vec<T> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let mut sum = T::default();
    sums.push(sum);
    sums.extend(values.iter().map(|value| {
        sum = add(sum, *value);
        sum
    }));
    sums
}

impl Values for ExactSums {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let counts = self.counts.of(rows.clone());
        let nulls = FrameCounts::nulls(&counts);
        let frames = &self.counts.frames;
        let sums: ArrayRef = match &self.sums {
            Sums::Narrow(sums) => {
                let sum = |frame: Range<usize>| sums[frame.end] - sums[frame.start];
                let values: Vec<i64> = rows.map(|row| sum(frames.get(row))).collect();
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            Sums::Wide(sums) => {
                let sum = |frame: Range<usize>| sums[frame.end] - sums[frame.start];
                let values: Vec<i128> = rows.map(|row| sum(frames.get(row))).collect();
                Arc::new(Decimal128Array::new(values.into(), nulls))
            }
        };
        self.finish.sums(sums, counts)
    }

    fn bytes(&self) -> usize {
        let sums = match &self.sums {
            Sums::Narrow(sums) => size_of_val(sums.as_slice()),
            Sums::Wide(sums) => size_of_val(sums.as_slice()),
        };
        sums + self.counts.bytes()
    }
}
