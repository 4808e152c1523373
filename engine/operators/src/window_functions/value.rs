//! Functions that give the value of another row: `lag`, `lead`, `first_value`, `last_value`, `nth_value`.
//!
//! They find that row's index, a batch at a time, and gather. With IGNORE NULLS the rows that have a value are listed
//! once, with how many of them come before each row; finding the n-th is then a look into the list.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::types::Schema;
use flumen_kernels::gather::{interleave, take_column};

use super::frame::Frames;
use super::numbers::counts_before;
use super::{Numbers, SortedRows, Values};
use crate::error::OperatorError;

/// No row: outside of the partition or frame.
const OUTSIDE: u32 = u32::MAX;
/// The place itself is NULL. Rows are fewer than this.
const UNKNOWN: u32 = u32::MAX - 1;

/// Which row's value.
pub(super) enum Pick {
    /// So many rows before.
    Before(Numbers),
    /// So many rows after.
    After(Numbers),
    First(Arc<Frames>),
    Last(Arc<Frames>),
    Nth(Arc<Frames>, Numbers),
}

/// The values of other rows.
pub(super) struct PickedValues {
    rows: Arc<SortedRows>,
    column: usize,
    pick: Pick,
    default: Option<usize>,
    /// With IGNORE NULLS, if there are any.
    present: Option<Present>,
}

/// The rows that have a value.
struct Present {
    rows: Vec<u32>,
    /// How many of them come before each row, and at the end how many there are.
    before: Vec<u32>,
}

impl Present {
    fn new(counted: &BooleanBuffer) -> Self {
        Self { rows: counted.set_indices().map(|row| row as u32).collect(), before: counts_before(counted) }
    }

    /// The n-th of those within `rows`, counted from 0.
    #[inline]
    fn nth(&self, rows: Range<usize>, n: i64) -> u32 {
        let (first, behind) = (i64::from(self.before[rows.start]), i64::from(self.before[rows.end]));
        let at = first.saturating_add(n);
        if n >= 0 && at < behind { self.rows[at as usize] } else { OUTSIDE }
    }
}

impl PickedValues {
    pub(super) fn new(
        rows: &Arc<SortedRows>,
        column: usize,
        pick: Pick,
        default: Option<usize>,
        ignore_nulls: bool,
    ) -> Self {
        let nulls = rows.batch.column(column).array().logical_nulls().filter(|n| ignore_nulls && n.null_count() > 0);
        let present = nulls.map(|nulls| Present::new(nulls.inner()));
        Self { rows: Arc::clone(rows), column, pick, default, present }
    }

    /// The row `away` rows behind `row` (before it, if negative) among those of its partition.
    #[inline]
    fn shifted(&self, partition: &Range<usize>, row: usize, away: i64) -> u32 {
        match &self.present {
            None => {
                let at = (row as i64).saturating_add(away);
                if at >= partition.start as i64 && at < partition.end as i64 { at as u32 } else { OUTSIDE }
            }
            Some(_) if away == 0 => row as u32,
            Some(present) if away > 0 => present.nth(row + 1..partition.end, away - 1),
            Some(present) => {
                let before = i64::from(present.before[row] - present.before[partition.start]);
                present.nth(partition.start..row, before.saturating_add(away))
            }
        }
    }

    /// How many rows of a range count.
    #[inline]
    fn count(&self, range: &Range<usize>) -> i64 {
        match &self.present {
            None => range.len() as i64,
            Some(present) => i64::from(present.before[range.end] - present.before[range.start]),
        }
    }

    /// The n-th row of a row's frame, counted from 0, among those that count; from the end, if `backwards`.
    fn nth_of(&self, frames: &Frames, row: usize, n: i64, backwards: bool) -> u32 {
        if !frames.has_parts() {
            let frame = frames.get(row);
            return if backwards { self.last(frame) } else { self.nth(frame, n) };
        }
        let parts = frames.parts(row);
        let mut left = if backwards { parts.iter().map(|part| self.count(part)).sum::<i64>() - 1 - n } else { n };
        for part in parts {
            let count = self.count(&part);
            if left < count {
                return self.nth(part, left);
            }
            left -= count;
        }
        OUTSIDE
    }

    /// The n-th row of a range, counted from 0, among those that count.
    #[inline]
    fn nth(&self, frame: Range<usize>, n: i64) -> u32 {
        match &self.present {
            None if n >= 0 && n < frame.len() as i64 => (frame.start as i64 + n) as u32,
            None => OUTSIDE,
            Some(present) => present.nth(frame, n),
        }
    }

    #[inline]
    fn last(&self, frame: Range<usize>) -> u32 {
        let count = self.count(&frame);
        self.nth(frame, count - 1)
    }

    /// The row that each of `rows` takes its value from.
    fn picked(&self, rows: Range<usize>) -> Result<Vec<u32>, Failure> {
        let mut out = Vec::with_capacity(rows.len());
        match &self.pick {
            Pick::Before(offsets) | Pick::After(offsets) => {
                let sign = if matches!(self.pick, Pick::Before(_)) { -1 } else { 1 };
                for partition in self.rows.layout.partitions_in(rows) {
                    let whole = partition.whole.clone();
                    out.extend(partition.rows.map(|row| match offsets.get(row) {
                        Some(offset) => self.shifted(&whole, row, offset.saturating_mul(sign)),
                        None => UNKNOWN,
                    }));
                }
            }
            Pick::First(frames) => out.extend(rows.map(|row| self.nth_of(frames, row, 0, false))),
            Pick::Last(frames) => out.extend(rows.map(|row| self.nth_of(frames, row, 0, true))),
            Pick::Nth(frames, numbers) => {
                for row in rows {
                    out.push(match numbers.get(row) {
                        Some(n) if n >= 1 => self.nth_of(frames, row, n - 1, false),
                        Some(n) => {
                            let problem = format!("the number of the row is {n}; rows are counted from 1");
                            return Err(OperatorError::Argument { function: "nth_value", problem }.into());
                        }
                        None => UNKNOWN,
                    });
                }
            }
        }
        Ok(out)
    }
}

impl Values for PickedValues {
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure> {
        let first = rows.start;
        let picked = self.picked(rows)?;
        let column = self.rows.batch.column(self.column);
        let Some(default) = self.default else {
            let valid = BooleanBuffer::collect_bool(picked.len(), |i| picked[i] < UNKNOWN);
            let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
            return Ok(take_column(column, &UInt32Array::new(picked.into(), nulls))?);
        };
        // From the column, from the default of the row itself, or NULL.
        let field = self.rows.batch.schema().fields[self.column].clone();
        let (schema, data_type) = (Arc::new(Schema::new(vec![field])), column.array().data_type());
        let one = |column: &Column| Batch::new(Arc::clone(&schema), vec![column.clone()], column.array().len());
        let null = Column::Array(new_null_array(data_type, 1));
        let sources = [one(column), one(self.rows.batch.column(default)), one(&null)];
        let choose = |(i, row): (usize, &u32)| match *row {
            OUTSIDE => (1, (first + i) as u32),
            UNKNOWN => (2, 0),
            row => (0, row),
        };
        let chosen: Vec<(u32, u32)> = picked.iter().enumerate().map(choose).collect();
        Ok(interleave(&schema, &sources, &chosen)?.column(0).clone())
    }

    fn bytes(&self) -> usize {
        self.present.as_ref().map_or(0, |p| size_of::<u32>() * (p.rows.len() + p.before.len()))
    }
}
