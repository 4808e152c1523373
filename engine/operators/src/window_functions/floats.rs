//! SUM and AVG of floating-point numbers. Nothing is ever subtracted, since what was added would not be taken away
//! exactly (and an infinity never).
//!
//! A frame that begins with the partition is summed up as it grows, from left to right. A short one is added up for each
//! row. For longer ones a binary tree of sums is built over the partition, and a frame is put together from at most two
//! nodes of each level. A tree belongs to its partition, so that the last bits of a sum do not depend on which other
//! partitions are in the same subtask.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::Float64Array;
use arrow_buffer::BooleanBuffer;
use flumen_core::batch::Column;
use flumen_core::failure::Failure;

use super::Values;
use super::finish::Finish;
use super::frame::Frames;
use super::layout::Layout;
use super::numbers::clear_uncounted;
use super::prefix::FrameCounts;

/// Frames up to this are added up row by row.
const SHORT: usize = 32;

/// SUM or AVG of floating-point numbers.
pub(super) struct FloatSums {
    /// Of each row's frame.
    sums: Vec<f64>,
    counts: FrameCounts,
    finish: Finish,
}

impl FloatSums {
    pub(super) fn new(
        mut values: Vec<f64>,
        counted: Option<&BooleanBuffer>,
        frames: &Arc<Frames>,
        layout: &Layout,
        finish: Finish,
    ) -> Self {
        clear_uncounted(&mut values, counted);
        let mut sums = Vec::with_capacity(values.len());
        let mut tree = Vec::new();
        for partition in layout.partitions_in(0..values.len()) {
            let rows = partition.whole;
            if rows.clone().all(|row| frames.start[row] as usize == rows.start) {
                let (mut sum, mut cursor) = (0.0, rows.start);
                for row in rows {
                    let end = frames.get(row).end;
                    sum = values[cursor..end.max(cursor)].iter().fold(sum, |sum, v| sum + v);
                    cursor = end.max(cursor);
                    sums.push(sum);
                }
                continue;
            }
            tree.clear();
            for row in rows.clone() {
                let frame = frames.get(row);
                if frame.len() <= SHORT {
                    sums.push(values[frame].iter().sum());
                    continue;
                }
                if tree.is_empty() {
                    build(&mut tree, &values[rows.clone()]);
                }
                sums.push(query(&tree, frame.start - rows.start..frame.end - rows.start));
            }
        }
        Self { sums, counts: FrameCounts::new(frames, counted), finish }
    }
}

/// Leaves behind the inner nodes: node `i` is the sum of nodes `2 * i` and `2 * i + 1`.
fn build(tree: &mut Vec<f64>, leaves: &[f64]) {
    tree.resize(leaves.len(), 0.0);
    tree.extend_from_slice(leaves);
    for node in (1..leaves.len()).rev() {
        tree[node] = tree[2 * node] + tree[2 * node + 1];
    }
}

fn query(tree: &[f64], leaves: Range<usize>) -> f64 {
    let count = tree.len() / 2;
    let (mut from, mut to) = (leaves.start + count, leaves.end + count);
    let (mut left, mut right) = (0.0, 0.0);
    while from < to {
        if from % 2 == 1 {
            left += tree[from];
            from += 1;
        }
        if to % 2 == 1 {
            to -= 1;
            right += tree[to];
        }
        (from, to) = (from / 2, to / 2);
    }
    left + right
}

impl Values for FloatSums {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let counts = self.counts.of(rows.clone());
        let nulls = FrameCounts::nulls(&counts);
        let sums = Float64Array::new(self.sums[rows].to_vec().into(), nulls);
        self.finish.sums(Arc::new(sums), counts)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.sums.as_slice()) + self.counts.bytes()
    }
}
