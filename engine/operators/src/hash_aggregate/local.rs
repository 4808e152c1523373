//! The local phase: fewer rows for the exchange, as accumulator states.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::batch::{Batch, Column, KeyHashes};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::types::SchemaRef;
use flumen_kernels::gather::{index_array, take_column, take_values};
use flumen_state::aggregate::UpdateInput;
use flumen_state::{Accumulator, Groups, KeyedTable, OperatorSnapshot, PageSource, StateError};

use crate::aggregation::Aggregation;
use crate::contract::{Operator, OperatorContext, Output, Step};

/// Groups that are held at most; a table of so many stays near the cache.
pub(super) const GROUPS_MAX: usize = 1 << 16;
/// Rows per group below which grouping is not worth its cost.
const REDUCTION_MIN: usize = 2;
/// Rows that pass without a table before it is tried again.
const BYPASS_ROWS: usize = 32 * GROUPS_MAX;

/// Phase local.
pub(super) struct LocalAggregate {
    aggregation: Aggregation,
    table: KeyedTable,
    /// Continuous: nothing is held from batch to batch.
    continuous: bool,
    groups: Groups,
    output: SchemaRef,
    batch_rows: usize,
    /// Rows that were taken in since the table was empty.
    rows_held: usize,
    /// Rows that are still to pass without the table.
    bypass_left: usize,
    /// For rows that pass without the table: the slot of a row is its position.
    by_row: ByRow,
    flush: Option<Flush>,
    /// Rows that are still to pass, the next ones last.
    rest: Vec<Batch>,
    pages: Arc<dyn PageSource>,
}

/// The groups on their way out.
struct Flush {
    next: u32,
    /// Groups from here on were begun for `refused` and hold no rows.
    end: u32,
    /// The batch that memory was refused for.
    refused: Option<Batch>,
}

impl LocalAggregate {
    pub(super) fn new(
        aggregation: Aggregation,
        table: KeyedTable,
        continuous: bool,
        output: &SchemaRef,
        context: &OperatorContext,
    ) -> Result<Self, Failure> {
        let by_row = ByRow { accumulators: aggregation.accumulators()?, slots: Vec::new(), given: None };
        Ok(Self {
            aggregation,
            table,
            continuous,
            groups: Groups::default(),
            output: Arc::clone(output),
            batch_rows: context.batch_rows,
            rows_held: 0,
            bypass_left: 0,
            by_row,
            flush: None,
            rest: Vec::new(),
            pages: Arc::clone(&context.pages),
        })
    }

    fn start_flush(&mut self, end: usize, refused: Option<Batch>) {
        self.flush = Some(Flush { next: 0, end: end as u32, refused });
    }

    /// The next batch of states; when all are out, the table is empty and a refused batch is tried again.
    fn continue_flush(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Some(flush) = &mut self.flush else { return Ok(Step::Done) };
        if flush.next < flush.end {
            let to = flush.end.min(flush.next.saturating_add(self.batch_rows as u32));
            let slots: Vec<u32> = (flush.next..to).collect();
            out.emit(self.table.states_of(&slots, &self.output)?);
            flush.next = to;
            return Ok(Step::HasMoreOutput);
        }
        let refused = flush.refused.take();
        self.flush = None;
        self.table.clear()?;
        self.rows_held = 0;
        match refused {
            Some(batch) => self.take_in(batch, out),
            None => Ok(Step::Done),
        }
    }

    fn take_in(&mut self, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        let rows = batch.num_rows();
        if self.bypass_left > 0 {
            self.bypass_left = self.bypass_left.saturating_sub(rows);
            return self.pass(&batch, out);
        }
        let groups_before = self.table.slot_count();
        // Refused early, so that room is left for those who cannot give rows away.
        self.pages.set_spillable(true);
        let grouped = self.aggregation.group(&mut self.table, &batch, batch.selection(), &mut self.groups);
        self.pages.set_spillable(false);
        match grouped {
            Ok(()) => {}
            Err(StateError::Memory { .. }) if groups_before > 0 => {
                self.start_flush(groups_before, Some(batch));
                return self.continue_flush(out);
            }
            Err(StateError::Memory { .. }) => {
                // Even this batch alone has too many groups.
                self.table.clear()?;
                return self.pass(&batch, out);
            }
            Err(error) => return Err(error.into()),
        }
        self.aggregation.accumulate(&mut self.table, &batch, batch.selection(), &self.groups)?;
        self.rows_held += rows;
        let groups = self.table.slot_count();
        let is_full = groups >= GROUPS_MAX;
        if is_full && self.rows_held < groups * REDUCTION_MIN {
            self.bypass_left = BYPASS_ROWS;
        }
        if is_full || self.continuous {
            self.start_flush(groups, None);
            return self.continue_flush(out);
        }
        Ok(Step::Done)
    }

    /// Turns the rows into states one by one.
    fn pass(&mut self, batch: &Batch, out: &mut Output) -> Result<Step, Failure> {
        let rows = batch.num_rows();
        match self.by_row.reserve(rows) {
            Ok(()) => {}
            Err(StateError::Memory { .. }) if rows > 1 => {
                // Fewer rows at a time need fewer states.
                self.rest.push(batch.slice(rows / 2, rows - rows / 2));
                return self.pass(&batch.slice(0, rows / 2), out);
            }
            Err(error) => return Err(error.into()),
        }
        self.by_row.given = Some((self.by_row.states(&self.aggregation, batch, &self.output)?, 0));
        self.emit_passed(out)
    }

    fn emit_passed(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let step = self.by_row.emit(self.batch_rows, out)?;
        Ok(if self.rest.is_empty() { step } else { Step::HasMoreOutput })
    }
}

impl Operator for LocalAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.aggregation.check_kinds(&batch)?;
        self.take_in(batch, out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if self.by_row.given.is_some() {
            return self.emit_passed(out);
        }
        if let Some(batch) = self.rest.pop() {
            return self.pass(&batch, out);
        }
        self.continue_flush(out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.start_flush(self.table.slot_count(), None);
        self.continue_flush(out)
    }

    fn prepare_snapshot(&mut self, _checkpoint: CheckpointId, out: &mut Output) -> Result<Step, Failure> {
        self.start_flush(self.table.slot_count(), None);
        self.continue_flush(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        Ok(OperatorSnapshot::default())
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        // What is held has to go out as rows, which only a call with an output can do.
        Ok(0)
    }
}

/// States of single rows.
struct ByRow {
    accumulators: Vec<Box<dyn Accumulator>>,
    /// `0..`, as many as the largest batch had rows.
    slots: Vec<u32>,
    given: Option<(Batch, usize)>,
}

impl ByRow {
    /// Makes memory for the states of so many rows.
    fn reserve(&mut self, rows: usize) -> Result<(), StateError> {
        self.accumulators.iter_mut().try_for_each(|accumulator| accumulator.reserve(rows))
    }

    fn states(&mut self, aggregation: &Aggregation, batch: &Batch, output: &SchemaRef) -> Result<Batch, Failure> {
        let rows = batch.num_rows();
        self.slots.extend(self.slots.len() as u32..rows as u32);
        let slots = &self.slots[..rows];
        let selection = batch.selection();
        let mut columns: Vec<Column> = Vec::with_capacity(output.fields.len());
        for key in &aggregation.group_by {
            columns.push(match selection {
                None => batch.column(*key).clone(),
                Some(selection) => take_column(batch.column(*key), &index_array(selection, None))?,
            });
        }
        for (index, accumulator) in self.accumulators.iter_mut().enumerate() {
            let (args, filter) = aggregation.call_input(index, batch);
            accumulator.reserve(rows)?;
            accumulator.update(&UpdateInput {
                slots,
                single: None,
                args: &args,
                rows: batch.physical_rows(),
                selection: selection.map(|s| s.as_ref()),
                filter,
                row_kinds: batch.row_kinds().map(|k| k.as_ref()),
                slot_count: rows,
            })?;
            columns.extend(accumulator.export_state(slots)?.into_iter().map(|array: ArrayRef| Column::Array(array)));
            accumulator.reset(slots)?;
        }
        let hashes = batch.hashes_of(&aggregation.group_by).map(|hashes| {
            let values = selection.map_or_else(|| hashes.clone(), |selection| take_values(hashes, selection));
            KeyHashes { columns: (0..aggregation.group_by.len()).collect(), values }
        });
        Ok(Batch::new(Arc::clone(output), columns, rows).with_hashes(hashes))
    }

    fn emit(&mut self, batch_rows: usize, out: &mut Output) -> Result<Step, Failure> {
        let Some((batch, offset)) = &mut self.given else { return Ok(Step::Done) };
        let rows = batch.num_rows();
        let end = rows.min(*offset + batch_rows);
        let whole = *offset == 0 && end == rows;
        out.emit(if whole { batch.clone() } else { batch.slice(*offset, end - *offset) });
        *offset = end;
        if end < rows {
            return Ok(Step::HasMoreOutput);
        }
        self.given = None;
        Ok(Step::Done)
    }
}
