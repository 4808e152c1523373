//! MIN and MAX over frames that move: a queue of candidates.
//!
//! Values become integers of the same order (`flumen_kernels::sort`'s prefixes where they decide, else the rank of each
//! value among all). The queue holds rows of the frame in which each is better than all behind it, so the first is the
//! answer; a new row drives out the worse ones at the end, a frame that moves on drops those at the front. Every row is
//! queued once.

use std::ops::Range;

use arrow_array::UInt32Array;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::LogicalType;
use flumen_kernels::compare::{NullEquality, rows_equal};
use flumen_kernels::gather::take_column;
use flumen_kernels::sort::{PrefixLayout, sort_indices};

use super::Values;
use super::frame::Frames;

const NO_ROW: u32 = u32::MAX;

/// MIN or MAX: the row that has it, for each row.
pub(super) struct Extremes {
    column: Column,
    best: Vec<u32>,
}

impl Extremes {
    pub(super) fn new(
        column: &Column,
        data_type: &LogicalType,
        maximum: bool,
        counted: Option<&BooleanBuffer>,
        frames: &Frames,
    ) -> Result<Self, Failure> {
        let rows = frames.start.len();
        let mut codes = codes(column, data_type, rows)?;
        if maximum {
            codes.iter_mut().for_each(|code| *code = !*code);
        }
        Ok(Self { column: column.clone(), best: smallest(&codes, counted, frames) })
    }
}

/// For each row the first row of its frame with the smallest code.
fn smallest(codes: &[u64], counted: Option<&BooleanBuffer>, frames: &Frames) -> Vec<u32> {
    let mut best = Vec::with_capacity(codes.len());
    // Candidates from `head` on; each with its code, so that comparing them stays in the queue.
    let mut queue: Vec<(u64, u32)> = Vec::new();
    let (mut head, mut cursor) = (0, 0);
    for row in 0..codes.len() {
        let (start, end) = (frames.start[row] as usize, frames.end[row] as usize);
        if cursor < start {
            // All candidates lie before the frame, and so do the rows that were not looked at.
            queue.clear();
            (head, cursor) = (0, start);
        }
        let next = end.max(cursor);
        for (candidate, &code) in (cursor..).zip(&codes[cursor..next]) {
            if counted.is_some_and(|counted| !counted.value(candidate)) {
                continue;
            }
            while queue.len() > head && queue[queue.len() - 1].0 > code {
                queue.pop();
            }
            queue.push((code, candidate as u32));
        }
        cursor = next;
        while head < queue.len() && (queue[head].1 as usize) < start {
            head += 1;
        }
        if head == queue.len() {
            queue.clear();
            head = 0;
        }
        best.push(queue.get(head).filter(|_| end > start).map_or(NO_ROW, |candidate| candidate.1));
    }
    best
}

/// Integers of the same order as the values; behind a NULL anything.
fn codes(column: &Column, data_type: &LogicalType, rows: usize) -> Result<Vec<u64>, Failure> {
    let (columns, types) = ([column], [data_type.clone()]);
    let keys = [SortKey { column: 0, descending: false, nulls_first: false }];
    if !matches!(data_type, LogicalType::Utf8 | LogicalType::Binary) {
        let prefixes = PrefixLayout::new(&types, &keys, |_| false)?.encode(&columns, rows)?;
        if prefixes.is_exact {
            // One key of at most 64 bits lies in the upper half.
            return Ok(prefixes.values.into_iter().map(|prefix| (prefix >> 64) as u64).collect());
        }
    }
    let sorted = sort_indices(&columns, &types, rows, None, &keys)?;
    let mut equal = Vec::new();
    let behind = sorted.get(1..).unwrap_or_default();
    rows_equal(&columns, &sorted[..behind.len()], &columns, behind, NullEquality::NullsEqual, &mut equal);
    let mut codes = vec![0; rows];
    let (mut equal, mut code) = (equal.into_iter().peekable(), 0);
    for (position, row) in behind.iter().enumerate() {
        if equal.next_if_eq(&(position as u32)).is_none() {
            code += 1;
        }
        codes[*row as usize] = code;
    }
    Ok(codes)
}

impl Values for Extremes {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let best = &self.best[rows];
        let valid = BooleanBuffer::collect_bool(best.len(), |i| best[i] != NO_ROW);
        let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
        Ok(take_column(&self.column, &UInt32Array::new(best.to_vec().into(), nulls))?)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.best.as_slice())
    }
}
