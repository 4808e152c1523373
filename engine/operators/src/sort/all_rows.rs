//! Collects rows and sorts their indices; with a bound, cuts off what cannot come out.

use std::sync::Arc;

use arrow_buffer::ScalarBuffer;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_kernels::gather::{compact, concat, take_batch};
use flumen_kernels::sort::sort_indices;

use super::{Collect, Order};
use crate::charge::Charge;
use crate::contract::OperatorContext;

/// Bytes for each row while it is sorted: prefix, index, and the radix sort's copy of both.
const SORT_ROW_BYTES: usize = 2 * (size_of::<u128>() + size_of::<u32>());

pub(super) struct AllRows {
    order: Order,
    /// Rows that can come out at most.
    rows_max: Option<usize>,
    batches: Vec<Batch>,
    rows: usize,
    charge: Charge,
    /// Once all rows are there.
    sorted: Option<(Batch, ScalarBuffer<u32>)>,
}

impl AllRows {
    pub(super) fn new(order: Order, rows_max: Option<usize>, context: &OperatorContext) -> Self {
        let charge = Charge::new(&context.memory);
        Self { order, rows_max, batches: Vec::new(), rows: 0, charge, sorted: None }
    }

    /// All rows as one batch, and their order.
    fn sort_batches(&mut self) -> Result<(Batch, ScalarBuffer<u32>), Failure> {
        self.charge.set(self.charge.bytes() * 2 + self.rows * SORT_ROW_BYTES)?;
        let batches = std::mem::take(&mut self.batches);
        let all = concat(&self.order.schema, &batches)?;
        drop(batches);
        let columns: Vec<&Column> = all.columns().iter().collect();
        let mut indices = sort_indices(&columns, &self.order.types, all.num_rows(), None, &self.order.keys)?;
        indices.truncate(self.rows_max.unwrap_or(usize::MAX));
        indices.shrink_to_fit();
        self.charge.set(all.memory_size() + size_of_val(indices.as_slice()))?;
        Ok((all, indices.into()))
    }
}

impl Collect for AllRows {
    fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let batch = compact(batch)?.with_hashes(None);
        self.charge.add(batch.memory_size())?;
        self.rows += batch.num_rows();
        self.batches.push(batch);
        if self.rows_max.is_some_and(|max| self.rows / 2 > max) {
            let (all, indices) = self.sort_batches()?;
            let best = take_batch(&all, &indices)?;
            drop((all, indices));
            self.rows = best.num_rows();
            self.charge.set(best.memory_size())?;
            self.batches.push(best);
        }
        Ok(())
    }

    fn sort(&mut self) -> Result<usize, Failure> {
        let sorted = self.sort_batches()?;
        let rows = sorted.1.len();
        self.sorted = Some(sorted);
        Ok(rows)
    }

    fn piece(&self, from: usize, to: usize) -> Result<Batch, Failure> {
        let Some((all, indices)) = &self.sorted else { return Err(Failure::bug("sort: rows are given unsorted")) };
        let piece = take_batch(all, &indices.slice(from, to - from))?.with_flags(self.order.flags());
        Ok(piece.with_columns(Arc::clone(&self.order.schema), piece.columns().to_vec()).with_flags(piece.flags()))
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.sorted = None;
        self.batches = Vec::new();
        self.charge.set(0)
    }
}
