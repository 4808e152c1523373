//! ORDER BY over bounded input, and Top-N.
//!
//! *Sort*: rows are collected compacted, put together, their indices sorted, and gathered piece by piece. The sort is
//! stable.
//!
//! *Top-N* (`fetch`): a heap of keys tells which rows of a batch are among the best so far ([`top_rows`]); only these
//! are kept, and they are put together again whenever more than twice as many are held as needed. For a very large
//! `fetch` a heap costs more than sorting: then the collected rows are sorted and cut ([`all_rows`]) whenever there are
//! twice as many.
//!
//! The input must be append-only. It is an operator of bounded queries: in the middle of its work it has no snapshot and
//! says so. Rows are held in memory; if that is refused, the query fails.
//!
//! Cost: see `flumen_kernels::sort`, and a gather.

mod all_rows;
#[cfg(test)]
mod tests;
mod top_rows;

use std::sync::Arc;

use flumen_core::batch::{Batch, BatchFlags};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::{SortKey, SortSpec};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{LogicalType, SchemaRef};
use flumen_state::OperatorSnapshot;

use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema};
use crate::registry::OperatorRegistry;
use all_rows::AllRows;
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

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: SortSpec = spec.payload()?;
        let schema = input_schema(spec, 0, NAME)?;
        check_columns(payload.keys.iter().map(|key| key.column), schema, NAME)?;
        let types: Vec<LogicalType> = schema.fields.iter().map(|f| f.data_type.clone()).collect();
        let order = Order { keys: payload.keys, types, schema: Arc::clone(schema) };
        let needed = payload.fetch.map(|fetch| payload.offset.saturating_add(fetch));
        let rows: Box<dyn Collect> = match needed {
            Some(needed) if needed <= HEAP_ROWS_MAX && !order.keys.is_empty() => {
                Box::new(TopRows::new(order, needed as usize, context)?)
            }
            _ => Box::new(AllRows::new(order, needed.and_then(|n| usize::try_from(n).ok()), context)),
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

/// What is sorted by what.
struct Order {
    keys: Vec<SortKey>,
    types: Vec<LogicalType>,
    schema: SchemaRef,
}

impl Order {
    /// What is known of all rows that come out.
    fn flags(&self) -> BatchFlags {
        let first = self.keys.first().filter(|key| !key.descending && !key.nulls_first);
        BatchFlags { sorted_by: first.and_then(|key| u16::try_from(key.column).ok()), ..BatchFlags::default() }
    }
}

/// A way to collect rows and give them out in order. One virtual call for a batch.
trait Collect: Send {
    /// Takes a batch.
    fn push(&mut self, batch: &Batch) -> Result<(), Failure>;

    /// All rows are there; answers how many can be given.
    fn sort(&mut self) -> Result<usize, Failure>;

    /// Rows `from..to` of the result.
    fn piece(&self, from: usize, to: usize) -> Result<Batch, Failure>;

    /// Gives everything back.
    fn clear(&mut self) -> Result<(), Failure>;
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
    /// Rows `next..end` are still to be given.
    Giving {
        next: usize,
        end: usize,
    },
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
        let Stage::Giving { next, end } = &mut self.stage else { return Ok(Step::Done) };
        if next < end {
            let to = (*end).min(*next + self.batch_rows);
            out.emit(self.rows.piece(*next, to)?);
            *next = to;
            return Ok(Step::HasMoreOutput);
        }
        self.stage = Stage::Done;
        self.rows.clear()?;
        Ok(Step::Done)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let rows = self.rows.sort()?;
        let next = self.offset.min(rows);
        self.stage = Stage::Giving { next, end: next.saturating_add(self.fetch).min(rows) };
        self.resume(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.has_rows && !matches!(self.stage, Stage::Done) {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        Ok(OperatorSnapshot::default())
    }
}
