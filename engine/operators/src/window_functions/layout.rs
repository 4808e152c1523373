//! Where partitions and groups of peers begin among the sorted rows.
//!
//! Both are lists of first rows with the number of rows behind them, so that neighbours bound a range. A partition is
//! one or more whole groups.

use std::ops::Range;

use flumen_core::batch::Column;
use flumen_kernels::compare::{NullEquality, rows_equal};

/// Partitions and groups of peers of the sorted rows.
pub(super) struct Layout {
    /// First row of each partition, then the number of rows.
    pub(super) partitions: Vec<u32>,
    /// First row of each group of peers, then the number of rows.
    pub(super) groups: Vec<u32>,
    /// First group of each partition, then the number of groups.
    pub(super) first_groups: Vec<u32>,
}

/// A range of rows, or what some rows have of it.
pub(super) struct Run {
    /// Its position among all.
    pub(super) index: usize,
    /// All of its rows.
    pub(super) whole: Range<usize>,
    /// Those that were asked for.
    pub(super) rows: Range<usize>,
}

impl Layout {
    /// Partitions are rows with equal `partition` columns, groups those with equal `order` columns, too. The rows are
    /// sorted by both.
    pub(super) fn new(partition: &[&Column], order: &[&Column], rows: usize) -> Self {
        let partitions = starts(partition, rows);
        let groups = match order {
            [] => partitions.clone(),
            _ => starts(&[partition, order].concat(), rows),
        };
        let mut group = 0;
        let first_group = |start: &u32| {
            while groups[group] < *start {
                group += 1;
            }
            group as u32
        };
        Self { first_groups: partitions.iter().map(first_group).collect(), partitions, groups }
    }

    /// Partitions that have some of these rows.
    pub(super) fn partitions_in(&self, rows: Range<usize>) -> impl Iterator<Item = Run> + '_ {
        let first = containing(&self.partitions, rows.start);
        runs_from(&self.partitions, first, rows)
    }

    /// Groups that have some of the rows of a partition's part.
    pub(super) fn groups_in(&self, partition: &Run) -> impl Iterator<Item = Run> + '_ {
        let first = if partition.rows.start == partition.whole.start {
            self.first_groups[partition.index] as usize
        } else {
            containing(&self.groups, partition.rows.start)
        };
        runs_from(&self.groups, first, partition.rows.clone())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<u32>() * (self.partitions.len() + self.groups.len() + self.first_groups.len())
    }
}

/// The range that a row is in.
fn containing(starts: &[u32], row: usize) -> usize {
    starts.partition_point(|start| *start as usize <= row).saturating_sub(1)
}

fn runs_from(starts: &[u32], first: usize, rows: Range<usize>) -> impl Iterator<Item = Run> + '_ {
    let (mut index, mut from) = (first, rows.start);
    std::iter::from_fn(move || {
        if from >= rows.end {
            return None;
        }
        let whole = starts[index] as usize..starts[index + 1] as usize;
        let run = Run { index, rows: from..whole.end.min(rows.end), whole };
        (index, from) = (index + 1, run.rows.end);
        Some(run)
    })
}

/// First rows of the runs of equal rows, then the number of rows.
fn starts(columns: &[&Column], rows: usize) -> Vec<u32> {
    let mut starts = vec![0];
    if !columns.is_empty() && rows > 1 {
        let pairs = rows as u32 - 1;
        let (before, after): (Vec<u32>, Vec<u32>) = ((0..pairs).collect(), (1..=pairs).collect());
        let mut equal = Vec::new();
        rows_equal(columns, &before, columns, &after, NullEquality::NullsEqual, &mut equal);
        // A row begins a run unless it equals the one before.
        let mut next = 0;
        for pair in equal {
            starts.extend(next + 1..=pair);
            next = pair + 1;
        }
        starts.extend(next + 1..=pairs);
    }
    starts.push(rows as u32);
    starts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;

    use super::*;

    fn column(values: &[Option<i64>]) -> Column {
        Column::Array(Arc::new(Int64Array::from(values.to_vec())))
    }

    #[test]
    fn partitions_are_whole_groups() {
        let keys = column(&[Some(1), Some(1), Some(1), Some(2), None, None]);
        let order = column(&[Some(5), Some(5), Some(6), Some(6), None, None]);
        let layout = Layout::new(&[&keys], &[&order], 6);
        assert_eq!(layout.partitions, [0, 3, 4, 6]);
        assert_eq!(layout.groups, [0, 2, 3, 4, 6]);
        assert_eq!(layout.first_groups, [0, 2, 3, 4]);
        let parts: Vec<_> = layout.partitions_in(1..5).map(|r| (r.index, r.whole.clone(), r.rows.clone())).collect();
        assert_eq!(parts, [(0, 0..3, 1..3), (1, 3..4, 3..4), (2, 4..6, 4..5)]);
        let first = layout.partitions_in(1..5).next().unwrap();
        let groups: Vec<_> = layout.groups_in(&first).map(|r| (r.index, r.rows.clone())).collect();
        assert_eq!(groups, [(0, 1..2), (1, 2..3)]);
    }

    #[test]
    fn without_keys_all_rows_are_one_group() {
        let layout = Layout::new(&[], &[], 3);
        assert_eq!((layout.partitions, layout.groups, layout.first_groups), (vec![0, 3], vec![0, 3], vec![0, 1]));
    }
}
