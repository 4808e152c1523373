//! The best rows of a stream: a heap of keys, and the rows that were among the best when they came.
//!
//! Kept rows lie in stores, one for each batch that had any; a map finds a row of the heap. When more than twice as many
//! rows are kept as needed, the heap's rows are put together into one store. Amortized, a row is copied twice.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_kernels::gather::{compact, interleave, take_batch};
use flumen_kernels::sort::TopN;

use super::Collect;
use crate::charge::Charge;
use crate::contract::OperatorContext;
use crate::external_sort::{Order, Piece};

/// Rows more than needed that are kept without putting them together.
const SLACK_ROWS: usize = 8192;
/// Bytes of an entry of the map.
const LOCATION_BYTES: usize = 24;

pub(super) struct TopRows {
    order: Order,
    rows_max: usize,
    best: TopN,
    /// Number of the next batch.
    batches: u32,
    stores: Vec<Batch>,
    /// Rows of all stores.
    kept: usize,
    /// Where a row (batch, physical row) lies now (store, row).
    locations: HashMap<(u32, u32), (u32, u32)>,
    charge: Charge,
    /// Once all rows are there: those of the store that are still to be given.
    range: Range<usize>,
}

impl TopRows {
    pub(super) fn new(order: Order, rows_max: usize, context: &OperatorContext) -> Result<Self, Failure> {
        Ok(Self {
            best: TopN::new(&order.types, &order.keys, rows_max)?,
            order,
            rows_max,
            batches: 0,
            stores: Vec::new(),
            kept: 0,
            locations: HashMap::new(),
            charge: Charge::new(&context.memory),
            range: 0..0,
        })
    }

    /// Puts the best rows into one store, in order.
    fn consolidate(&mut self) -> Result<(), Failure> {
        let best = self.best.rows();
        let places: Vec<(u32, u32)> = best.iter().filter_map(|row| self.locations.get(row).copied()).collect();
        let store = compact(&interleave(&self.order.schema, &self.stores, &places)?)?;
        self.locations = best.into_iter().zip((0..).map(|row| (0, row))).collect();
        self.kept = store.num_rows();
        self.stores = vec![store];
        self.charge()
    }

    fn charge(&mut self) -> Result<(), Failure> {
        let stores: usize = self.stores.iter().map(Batch::memory_size).sum();
        self.charge.set(stores + self.best.memory_size() + self.locations.capacity() * LOCATION_BYTES)
    }
}

impl Collect for TopRows {
    fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        let columns: Vec<&Column> = batch.columns().iter().collect();
        let rows = self.best.offer(&columns, batch.physical_rows(), batch.selection())?;
        let number = self.batches;
        self.batches += 1;
        if rows.is_empty() {
            return Ok(());
        }
        let store = self.stores.len() as u32;
        self.locations.extend(rows.iter().zip(0..).map(|(row, place)| ((number, *row), (store, place))));
        self.stores.push(compact(&take_batch(batch, &rows)?.with_hashes(None))?);
        self.kept += rows.len();
        if self.kept > 2 * self.rows_max + SLACK_ROWS {
            return self.consolidate();
        }
        self.charge()
    }

    fn sort(&mut self, range: Range<usize>) -> Result<(), Failure> {
        self.consolidate()?;
        self.range = range.start.min(self.kept)..range.end.min(self.kept);
        Ok(())
    }

    fn next(&mut self, rows: usize) -> Result<Piece, Failure> {
        let from = self.range.start;
        let to = self.range.end.min(from + rows);
        if from == to {
            return Ok(Piece::End);
        }
        self.range.start = to;
        let piece = self.stores[0].slice(from, to - from);
        let columns = piece.columns().to_vec();
        Ok(Piece::Rows(piece.with_columns(Arc::clone(&self.order.schema), columns).with_flags(self.order.flags())))
    }

    fn revoke(&mut self) -> Result<usize, Failure> {
        Ok(0)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.stores = Vec::new();
        self.locations = HashMap::new();
        self.charge.set(0)
    }
}
