//! Sorting more rows than memory holds: what ORDER BY and window functions share.
//!
//! 1. Rows are collected compacted. The room that sorting them takes is charged as they come, so that a sort never
//!    finds out at the end that it has none.
//! 2. Where room is refused, or the arbiter asks, what was collected is sorted and written as a *run*.
//! 3. At the end, what was never spilled is sorted in memory and given out from there (and is written as a run if the
//!    arbiter asks for it even then). Else the runs are merged, as many at a time as there is room for a frame of each;
//!    if there are more, neighbours are merged to longer runs first, as many passes as it takes.
//!
//! The sort is stable: runs are in the order of the input, merged with their neighbours only, and the earlier run wins.
//! So the result is the same however much was spilled.

mod merge;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::ScalarBuffer;
use flumen_core::batch::{Batch, BatchFlags, Column};
use flumen_core::failure::Failure;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::{LogicalType, SchemaRef};
use flumen_kernels::gather::{compact, concat, take_batch};
use flumen_kernels::sort::sort_indices;

use crate::charge::Charge;
use crate::contract::OperatorContext;
use crate::spill::{FRAME_BYTES, SPILL_BYTES_MIN, SpillSpace, SpillWriter, SpilledRows};
use merge::Merging;

/// Bytes for each row while it is sorted: prefix, index, and the radix sort's copy of both.
const SORT_ROW_BYTES: usize = 2 * (size_of::<u128>() + size_of::<u32>());
/// Rows that are gathered at a time for a run.
const RUN_PIECE_ROWS: usize = 8192;

/// What is sorted by what.
pub(crate) struct Order {
    pub(crate) keys: Vec<SortKey>,
    pub(crate) types: Vec<LogicalType>,
    pub(crate) schema: SchemaRef,
}

impl Order {
    pub(crate) fn new(schema: &SchemaRef, keys: Vec<SortKey>) -> Self {
        let types = schema.fields.iter().map(|field| field.data_type.clone()).collect();
        Self { keys, types, schema: Arc::clone(schema) }
    }

    /// What is known of all rows that come out.
    pub(crate) fn flags(&self) -> BatchFlags {
        let first = self.keys.first().filter(|key| !key.descending && !key.nulls_first);
        BatchFlags { sorted_by: first.and_then(|key| u16::try_from(key.column).ok()), ..BatchFlags::default() }
    }
}

/// What asking for the next rows gives.
pub(crate) enum Piece {
    /// Rows.
    Rows(Batch),
    /// None yet, but there is progress: ask again.
    Working,
    /// There are no more.
    End,
}

/// All rows together, and their order.
pub(crate) struct SortedRows {
    pub(crate) rows: Batch,
    pub(crate) indices: ScalarBuffer<u32>,
}

/// See the module.
pub(crate) struct ExternalSort {
    order: Order,
    /// Rows that can come out at most.
    rows_max: Option<usize>,
    batches: Vec<Batch>,
    /// Rows and bytes of `batches`.
    rows: usize,
    bytes: usize,
    runs: Vec<SpilledRows>,
    space: SpillSpace,
    charge: Charge,
    stage: Stage,
}

enum Stage {
    Collecting,
    /// In memory; `range` is still to be given.
    Sorted {
        sorted: SortedRows,
        range: Range<usize>,
    },
    Merging(Merging),
    Done,
}

impl ExternalSort {
    pub(crate) fn new(order: Order, rows_max: Option<usize>, context: &OperatorContext) -> Self {
        Self {
            order,
            rows_max,
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            runs: Vec::new(),
            space: context.spill.clone(),
            charge: Charge::new(&context.memory),
            stage: Stage::Collecting,
        }
    }

    /// Takes a batch, without row kinds.
    ///
    /// # Errors
    /// If there is no memory even for this batch alone, or spilling fails.
    pub(crate) fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let batch = compact(batch)?.with_hashes(None);
        let (rows, bytes) = (batch.num_rows(), batch.memory_size());
        self.make_room(rows, bytes)?;
        self.rows += rows;
        self.bytes += bytes;
        self.batches.push(batch);
        if self.rows_max.is_some_and(|max| self.rows / 2 > max) {
            let sorted = self.sort_batches()?;
            let best = take_batch(&sorted.rows, &sorted.indices)?;
            drop(sorted);
            (self.rows, self.bytes) = (best.num_rows(), best.memory_size());
            self.batches.push(best);
            self.charge.set(sorting_bytes(self.rows, self.bytes))?;
        }
        self.charge.set_revocable(self.charge.bytes());
        Ok(())
    }

    /// Charges so many more rows, spilling what is held if that is refused.
    fn make_room(&mut self, rows: usize, bytes: usize) -> Result<(), Failure> {
        let with_held = sorting_bytes(self.rows + rows, self.bytes + bytes);
        if !self.charge.is_asked() && self.charge.set_spillable(with_held).is_ok() {
            return Ok(());
        }
        let is_little = self.charge.bytes() < SPILL_BYTES_MIN && !self.charge.is_asked();
        if is_little && self.charge.set(with_held).is_ok() {
            return Ok(());
        }
        self.spill_collected()?;
        // Without room for a batch there is no sort.
        let alone = sorting_bytes(rows, bytes);
        self.charge.set_spillable(alone).or_else(|_| self.charge.set(alone))
    }

    /// All collected rows as one batch, and their order. The room for it has been charged.
    fn sort_batches(&mut self) -> Result<SortedRows, Failure> {
        let batches = std::mem::take(&mut self.batches);
        let rows = concat(&self.order.schema, &batches)?;
        drop(batches);
        let columns: Vec<&Column> = rows.columns().iter().collect();
        let mut indices = match self.order.keys.as_slice() {
            [] => (0..rows.num_rows() as u32).collect(),
            keys => sort_indices(&columns, &self.order.types, rows.num_rows(), None, keys)?,
        };
        indices.truncate(self.rows_max.unwrap_or(usize::MAX));
        indices.shrink_to_fit();
        (self.rows, self.bytes) = (0, 0);
        Ok(SortedRows { rows, indices: indices.into() })
    }

    /// Writes what is collected as a run; answers the bytes given back.
    fn spill_collected(&mut self) -> Result<usize, Failure> {
        let held = self.charge.bytes();
        if !self.batches.is_empty() {
            let sorted = self.sort_batches()?;
            let all = 0..sorted.indices.len();
            let run = self.write_run(&sorted, all)?;
            self.runs.push(run);
        }
        self.charge.set(0)?;
        self.charge.set_revocable(0);
        Ok(held)
    }

    /// Writes rows of the order.
    fn write_run(&self, sorted: &SortedRows, range: Range<usize>) -> Result<SpilledRows, Failure> {
        let mut writer = SpillWriter::new(&self.space, &self.order.schema);
        // Two frames at a time, so that little is held beside what is charged.
        let row_bytes = sorted.rows.memory_size() / sorted.rows.num_rows().max(1);
        let piece = (2 * FRAME_BYTES / row_bytes.max(1)).clamp(1, RUN_PIECE_ROWS);
        for from in range.clone().step_by(piece) {
            let to = range.end.min(from + piece);
            writer.push(&take_batch(&sorted.rows, &sorted.indices.slice(from, to - from))?)?;
        }
        writer.finish()
    }

    /// All rows have come. Of those in order, `range` will be given.
    ///
    /// # Errors
    /// If spilling fails.
    pub(crate) fn finish(&mut self, range: Range<usize>) -> Result<(), Failure> {
        if !self.runs.is_empty() {
            self.spill_collected()?;
            self.stage = Stage::Merging(Merging::new(std::mem::take(&mut self.runs), range));
            return Ok(());
        }
        let sorted = self.sort_batches()?;
        self.charge.set(sorted.rows.memory_size() + size_of_val(sorted.indices.as_ref()))?;
        self.charge.set_revocable(self.charge.bytes());
        let rows = sorted.indices.len();
        self.stage = Stage::Sorted { range: range.start.min(rows)..range.end.min(rows), sorted };
        Ok(())
    }

    /// After [`Self::finish`]: all rows, if nothing was spilled.
    pub(crate) fn in_memory(&self) -> Option<&SortedRows> {
        match &self.stage {
            Stage::Sorted { sorted, .. } => Some(sorted),
            _ => None,
        }
    }

    /// The same, given away; they stay charged until [`Self::clear`].
    pub(crate) fn take_in_memory(&mut self) -> Option<SortedRows> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Sorted { sorted, .. } => Some(sorted),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// Takes rows back that were taken and are in order now; they are written as the only run.
    ///
    /// # Errors
    /// If spilling fails.
    pub(crate) fn put_back(&mut self, rows: &Batch) -> Result<(), Failure> {
        let mut writer = SpillWriter::new(&self.space, &self.order.schema);
        for from in (0..rows.num_rows()).step_by(RUN_PIECE_ROWS) {
            writer.push(&rows.slice(from, RUN_PIECE_ROWS.min(rows.num_rows() - from)))?;
        }
        let range = 0..rows.num_rows();
        self.stage = Stage::Merging(Merging::new(vec![writer.finish()?], range));
        Ok(())
    }

    /// After [`Self::finish`]: the next rows in order, at most so many.
    ///
    /// # Errors
    /// If there is no room to merge two runs, or what was spilled cannot be read.
    pub(crate) fn next(&mut self, rows: usize) -> Result<Piece, Failure> {
        match &mut self.stage {
            Stage::Sorted { sorted, range } => {
                let from = range.start;
                let to = range.end.min(from + rows);
                if from == to {
                    return Ok(Piece::End);
                }
                range.start = to;
                let piece = take_batch(&sorted.rows, &sorted.indices.slice(from, to - from))?;
                Ok(Piece::Rows(self.given(piece)))
            }
            Stage::Merging(merging) => {
                let piece = merging.next(rows, &self.order, &self.space, &mut self.charge)?;
                Ok(match piece {
                    Piece::Rows(rows) => Piece::Rows(self.given(rows)),
                    other => other,
                })
            }
            Stage::Collecting | Stage::Done => Ok(Piece::End),
        }
    }

    fn given(&self, piece: Batch) -> Batch {
        piece.with_columns(Arc::clone(&self.order.schema), piece.columns().to_vec()).with_flags(self.order.flags())
    }

    /// Bytes that it holds, all of which could be spilled unless runs are being merged.
    pub(crate) fn held_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// The arbiter asks: spills what is in memory; answers the bytes given back.
    ///
    /// # Errors
    /// If spilling fails.
    pub(crate) fn revoke(&mut self) -> Result<usize, Failure> {
        if self.charge.is_asked() { self.spill() } else { Ok(0) }
    }

    /// Spills what is in memory; answers the bytes given back.
    ///
    /// # Errors
    /// If spilling fails.
    pub(crate) fn spill(&mut self) -> Result<usize, Failure> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Collecting => {
                self.stage = Stage::Collecting;
                self.spill_collected()
            }
            Stage::Sorted { sorted, range } => {
                let rows = range.len();
                let run = self.write_run(&sorted, range)?;
                drop(sorted);
                self.stage = Stage::Merging(Merging::new(vec![run], 0..rows));
                let held = self.charge.bytes();
                self.charge.set(0)?;
                self.charge.set_revocable(0);
                Ok(held)
            }
            stage => {
                self.stage = stage;
                Ok(0)
            }
        }
    }

    /// Gives everything back.
    ///
    /// # Errors
    /// Never, since less is asked for.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        self.stage = Stage::Done;
        self.batches = Vec::new();
        self.runs = Vec::new();
        (self.rows, self.bytes) = (0, 0);
        self.charge.set(0)?;
        self.charge.set_revocable(0);
        Ok(())
    }
}

/// Bytes that it takes to hold and sort rows: batches and their concatenation, and what sorting needs for each row.
fn sorting_bytes(rows: usize, bytes: usize) -> usize {
    2 * bytes + rows * SORT_ROW_BYTES
}
