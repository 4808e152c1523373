//! ORDER BY over bounded input, and Top-N.
//!
//! *Sort*: rows are collected compacted, put together, their indices sorted, and gathered piece by piece; what memory
//! does not hold is spilled as sorted runs and merged ([`crate::external_sort`]). The sort is stable.
//!
//! *Top-N* (`fetch`): a heap of keys tells which rows of a batch are among the best so far ([`top_rows`]); only these
//! are kept, and they are put together again whenever more than twice as many are held as needed. They are never
//! spilled. For a very large `fetch` a heap costs more than sorting: then the collected rows are sorted and cut whenever
//! there are twice as many.
//!
//! The input must be append-only. It is an operator of bounded queries: in the middle of its work it has no snapshot and
//! says so.
//!
//! Cost: see `flumen_kernels::sort`, and a gather.

#[cfg(test)]
mod tests;
mod top_rows;

use std::ops::Range;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::SortSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_memory::ConsumerKind;
use flumen_state::OperatorSnapshot;

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema};
use crate::external_sort::{ExternalSort, Order, Piece};
use crate::registry::OperatorRegistry;
use top_rows::TopRows;

const NAME: &str = "sort";
/// Rows up to which a heap is kept.
const HEAP_ROWS_MAX: u64 = 1 << 14;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        SortSpec::KIND
    }

    fn memory_consumer(&self, _: &OperatorSpec) -> Option<ConsumerKind> {
        Some(ConsumerKind::Operator)
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: SortSpec = spec.payload()?;
        let schema = input_schema(spec, 0, NAME)?;
        check_columns(payload.keys.iter().map(|key| key.column), schema, NAME)?;
        let order = Order::new(schema, payload.keys);
        let needed = payload.fetch.map(|fetch| payload.offset.saturating_add(fetch));
        let rows: Box<dyn Collect> = match needed {
            Some(needed) if needed <= HEAP_ROWS_MAX && !order.keys.is_empty() => {
                Box::new(TopRows::new(order, needed as usize, context)?)
            }
            _ => Box::new(ExternalSort::new(order, needed.and_then(|n| usize::try_from(n).ok()), context)),
        };
        Ok(Box::new(Sort {
            rows,
            offset: usize::try_from(payload.offset).unwrap_or(usize::MAX),
            fetch: payload.fetch.map_or(usize::MAX, |fetch| usize::try_from(fetch).unwrap_or(usize::MAX)),
            batch_rows: context.batch_rows.max(1),
            stage: Stage::Collecting,
            has_rows: false,
        }))
    }
}

/// A way to collect rows and give them out in order. One virtual call for a batch.
trait Collect: Send {
    /// Takes a batch.
    fn push(&mut self, batch: &Batch) -> Result<(), Failure>;

    /// All rows are there; of those in order, `range` will be given.
    fn sort(&mut self, range: Range<usize>) -> Result<(), Failure>;

    /// The next of them.
    fn next(&mut self, rows: usize) -> Result<Piece, Failure>;

    /// The arbiter asks for memory; answers the bytes given back.
    fn revoke(&mut self) -> Result<usize, Failure>;

    /// Gives everything back.
    fn clear(&mut self) -> Result<(), Failure>;
}

impl Collect for ExternalSort {
    fn push(&mut self, batch: &Batch) -> Result<(), Failure> {
        self.push(batch)
    }

    fn sort(&mut self, range: Range<usize>) -> Result<(), Failure> {
        self.finish(range)
    }

    fn next(&mut self, rows: usize) -> Result<Piece, Failure> {
        self.next(rows)
    }

    fn revoke(&mut self) -> Result<usize, Failure> {
        self.revoke()
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.clear()
    }
}

struct Sort {
    rows: Box<dyn Collect>,
    offset: usize,
    fetch: usize,
    batch_rows: usize,
    stage: Stage,
    has_rows: bool,
}

enum Stage {
    Collecting,
    Giving,
    Done,
}

impl Operator for Sort {
    fn is_satisfied(&self) -> bool {
        self.fetch == 0
    }

    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        if batch.flags().has_deletes {
            return Err(OperatorError::Retraction { operator: NAME }.into());
        }
        self.has_rows = true;
        self.rows.push(&batch.with_row_kinds(None))?;
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if !matches!(self.stage, Stage::Giving) {
            return Ok(Step::Done);
        }
        match self.rows.next(self.batch_rows)? {
            Piece::Rows(rows) => out.emit(rows),
            Piece::Working => {}
            Piece::End => {
                self.stage = Stage::Done;
                self.rows.clear()?;
                return Ok(Step::Done);
            }
        }
        Ok(Step::HasMoreOutput)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.rows.sort(self.offset..self.offset.saturating_add(self.fetch))?;
        self.stage = Stage::Giving;
        self.resume(out)
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        self.rows.revoke()
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.has_rows && !matches!(self.stage, Stage::Done) {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        Ok(OperatorSnapshot::default())
    }
}
