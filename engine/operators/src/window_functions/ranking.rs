//! Functions of a row's place alone: they are written down from the bounds of partitions and groups, a batch at a time,
//! and hold nothing.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;

use super::{Numbers, SortedRows, Values};
use crate::error::OperatorError;

/// Which function.
pub(super) enum Ranking {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile(Numbers),
}

/// The values of a ranking function.
pub(super) struct RankingValues {
    pub(super) rows: Arc<SortedRows>,
    pub(super) ranking: Ranking,
}

impl RankingValues {
    /// `value(first row of the partition, first row and row behind of the group, rows of the partition)` for all rows of
    /// a group.
    fn by_group<T: Copy>(&self, rows: Range<usize>, value: impl Fn(usize, Range<usize>, usize) -> T) -> Vec<T> {
        let mut out = Vec::with_capacity(rows.len());
        for partition in self.rows.layout.partitions_in(rows) {
            for group in self.rows.layout.groups_in(&partition) {
                let value = value(partition.whole.start, group.whole.clone(), partition.whole.len());
                out.resize(out.len() + group.rows.len(), value);
            }
        }
        out
    }

    fn ntile(&self, rows: Range<usize>, buckets: &Numbers) -> Result<ArrayRef, Failure> {
        let mut out: Vec<Option<i64>> = Vec::with_capacity(rows.len());
        for partition in self.rows.layout.partitions_in(rows) {
            let count = partition.whole.len() as u64;
            for row in partition.rows.clone() {
                let Some(buckets) = buckets.get(row) else {
                    out.push(None);
                    continue;
                };
                if buckets < 1 {
                    let problem = format!("the number of buckets is {buckets}; it must be at least 1");
                    return Err(OperatorError::Argument { function: "ntile", problem }.into());
                }
                let (size, larger) = (count / buckets as u64, count % buckets as u64);
                let place = (row - partition.whole.start) as u64;
                let in_larger = larger * (size + 1);
                let bucket =
                    if place < in_larger { place / (size + 1) } else { larger + (place - in_larger) / size.max(1) };
                out.push(Some(bucket as i64 + 1));
            }
        }
        Ok(Arc::new(Int64Array::from(out)))
    }
}

impl Values for RankingValues {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let ints = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let floats = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
        Ok(Column::Array(match &self.ranking {
            Ranking::RowNumber => {
                let mut out = Vec::with_capacity(rows.len());
                for partition in self.rows.layout.partitions_in(rows) {
                    let first = partition.whole.start;
                    out.extend((partition.rows.start - first + 1..=partition.rows.end - first).map(|n| n as i64));
                }
                ints(out)
            }
            Ranking::Rank => ints(self.by_group(rows, |first, group, _| (group.start - first) as i64 + 1)),
            Ranking::DenseRank => {
                let mut out = Vec::with_capacity(rows.len());
                for partition in self.rows.layout.partitions_in(rows) {
                    let first = self.rows.layout.first_groups[partition.index] as usize;
                    for group in self.rows.layout.groups_in(&partition) {
                        out.resize(out.len() + group.rows.len(), (group.index - first) as i64 + 1);
                    }
                }
                ints(out)
            }
            Ranking::PercentRank => floats(self.by_group(rows, |first, group, count| {
                // The first row of the partition has no others to divide by.
                (group.start - first) as f64 / (count - 1).max(1) as f64
            })),
            Ranking::CumeDist => {
                floats(self.by_group(rows, |first, group, count| (group.end - first) as f64 / count as f64))
            }
            Ranking::Ntile(buckets) => self.ntile(rows, buckets)?,
        }))
    }

    fn bytes(&self) -> usize {
        0
    }
}
