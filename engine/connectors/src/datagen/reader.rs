//! Reads lanes of row numbers in the order of row numbers, at a limited rate.
//!
//! The rate is that of the table times the reader's share of its lanes. What may have been returned by now follows from
//! the time since the reader began; a reader that fell behind (its consumer was slow) catches up for at most a second.
//! It returns rows when a fiftieth of a second's worth has become due, and asks to be woken then: it never spins.

use std::sync::Arc;
use std::time::Duration;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::source::{ReaderContext, ReaderStatus, SourceReader, SourceSplit};
use flumen_core::types::SchemaRef;
use flumen_io::MonotonicTime;

use super::field::FieldFunction;
use super::options::DatagenOptions;
use super::split::Lane;
use crate::error::Result;

/// Rows are returned in portions of at least this part of a second's.
const PORTIONS_PER_SECOND: u64 = 50;
const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Makes the rows of its lanes.
pub(super) struct DatagenReader {
    context: ReaderContext,
    schema: SchemaRef,
    fields: Vec<FieldFunction>,
    /// Row numbers end here.
    end: u64,
    rows_per_second: Option<u64>,
    rows_left: u64,
    lanes: Vec<Lane>,
    pace: Pace,
    /// When it will be woken. Asked for once: a reader is polled for many reasons, and each further timer would poll it
    /// again and ask for the next.
    alarm: Option<MonotonicTime>,
    is_last: bool,
    has_asked: bool,
}

/// What has been returned since when.
#[derive(Clone, Copy, Default)]
struct Pace {
    since: Option<MonotonicTime>,
    rows: u64,
}

impl DatagenReader {
    pub(super) fn new(
        options: &DatagenOptions,
        projection: &[usize],
        schema: SchemaRef,
        limit: Option<u64>,
        context: ReaderContext,
    ) -> Self {
        Self {
            context,
            schema,
            fields: projection.iter().map(|column| options.fields[*column].clone()).collect(),
            end: options.rows.unwrap_or(u64::MAX),
            rows_per_second: options.rows_per_second,
            rows_left: limit.unwrap_or(u64::MAX),
            lanes: Vec::new(),
            pace: Pace::default(),
            alarm: None,
            is_last: false,
            has_asked: false,
        }
    }

    /// Drops lanes that have ended.
    fn drop_ended(&mut self) {
        let end = self.end;
        self.lanes.retain(|lane| lane.next_row().is_some_and(|row| row < end));
    }

    /// Rows that may be returned now, or when some may be.
    fn due(&mut self) -> std::result::Result<u64, MonotonicTime> {
        let batch_rows = (self.context.batch_rows as u64).min(self.rows_left);
        let (Some(rate), Some(stride)) = (self.rows_per_second, self.lanes.first().map(|l| l.stride)) else {
            return Ok(batch_rows);
        };
        let now = self.context.clock.now();
        let since = *self.pace.since.get_or_insert(now);
        // Rows a second, times the stride, so that nothing is rounded away.
        let share = u128::from(rate) * self.lanes.len() as u128;
        let whole = NANOS_PER_SECOND * u128::from(stride);
        let allowed = |elapsed: Duration| u64::try_from(elapsed.as_nanos() * share / whole).unwrap_or(u64::MAX);
        let due = allowed(now.since(since)).saturating_sub(self.pace.rows);
        let second = allowed(Duration::from_secs(1)).max(1);
        if due > second {
            self.pace.rows += due - second;
        }
        let portion = (second / PORTIONS_PER_SECOND).clamp(1, batch_rows.max(1));
        if due >= portion {
            return Ok(due.min(second).min(batch_rows));
        }
        let nanos = (u128::from(self.pace.rows + portion) * whole).div_ceil(share);
        Err(since.after(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
    }

    /// The next row numbers in order, moving the lanes.
    fn take_rows(&mut self, count: u64) -> Vec<u64> {
        let mut rows = Vec::with_capacity(count as usize);
        while rows.len() < count as usize {
            let next = self
                .lanes
                .iter()
                .enumerate()
                .filter_map(|(index, lane)| lane.next_row().map(|row| (row, index)))
                .filter(|(row, _)| *row < self.end)
                .min();
            let Some((row, first)) = next else { break };
            // Lanes at the same round as the first, from it on, follow each other without further comparisons.
            let round = self.lanes[first].round;
            rows.push(row);
            self.lanes[first].round += 1;
            for lane in &mut self.lanes[first + 1..] {
                if rows.len() == count as usize || lane.round != round {
                    break;
                }
                match lane.next_row() {
                    Some(row) if row < self.end => rows.push(row),
                    _ => break,
                }
                lane.round += 1;
            }
        }
        rows
    }
}

impl SourceReader for DatagenReader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        self.drop_ended();
        if self.rows_left == 0 {
            return Ok(ReaderStatus::EndOfInput);
        }
        // Rows are made only when all lanes are here: one that came later would bring rows out of order. A restored
        // reader asks too, since the enumerator may hold lanes that nobody had asked for at the checkpoint.
        if !self.is_last {
            return Ok(match std::mem::replace(&mut self.has_asked, true) {
                false => ReaderStatus::NeedsSplit,
                true => ReaderStatus::Waiting,
            });
        }
        if self.lanes.is_empty() {
            return Ok(ReaderStatus::EndOfInput);
        }
        let count = match self.due() {
            Ok(count) => count,
            Err(at) => {
                let now = self.context.clock.now();
                if self.alarm.is_none_or(|alarm| alarm <= now || at < alarm) {
                    self.alarm = Some(at);
                    self.context.timers.wake_at(at, self.context.waker.clone());
                }
                return Ok(ReaderStatus::Waiting);
            }
        };
        let rows = self.take_rows(count);
        self.pace.rows += rows.len() as u64;
        self.rows_left -= rows.len() as u64;
        let columns = self.fields.iter().map(|field| Column::Array(field.column(&rows))).collect();
        Ok(ReaderStatus::Batch(Batch::new(Arc::clone(&self.schema), columns, rows.len())))
    }

    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure> {
        for split in &splits {
            self.lanes.push(Lane::decode(split)?);
        }
        self.lanes.sort_unstable_by_key(|lane| lane.lane);
        // The rate follows the number of lanes, so it is counted anew.
        self.pace = Pace::default();
        self.has_asked = false;
        Ok(())
    }

    fn no_more_splits(&mut self) {
        self.is_last = true;
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        Ok(self.lanes.iter().map(Lane::encode).collect::<Result<_>>()?)
    }
}
