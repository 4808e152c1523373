//! Window functions (`OVER`) over bounded input: values of each row and its neighbours.
//!
//! Rows are collected compacted, put together at the end of the input, and sorted by partition keys and order keys; an
//! exchange by the partition keys has brought each partition into one subtask. What a function sees of that are index
//! vectors: where partitions and groups of peers begin ([`layout`]), and where each row's frame begins and ends
//! ([`frame`], [`range`]); calls with the same frame share them. Then the calls are computed one by one, each over all
//! rows, and the rows come out sorted, a batch at a time, with what has been computed. Where little is to be computed
//! ([`ranking`], [`value`]) or much to be kept, that is done for the batch that goes out.
//!
//! | function | how | cost of a row |
//! |---|---|---|
//! | ranks | written down from the bounds ([`ranking`]) | a store |
//! | `lag`, `first_value`, ... | an index, and a gather ([`value`]) | a gather |
//! | aggregates of whole partitions | as GROUP BY, one slot for each partition ([`whole`]) | an update |
//! | COUNT; SUM, AVG of exact numbers | difference of two prefix sums ([`prefix`]) | two reads, and the state's evaluation |
//! | SUM, AVG of floats | growing sums, short frames anew, else a tree of sums ([`floats`]) | up to `2 log2(frame)` additions |
//! | MIN, MAX | a queue of candidates ([`extreme`]) | amortized one push and one pop |
//! | other aggregates | a tree of states ([`tree`]) | up to `2 log2(frame)` merges |
//!
//! Rows of equal keys come out in the order in which they came in. The input must be append-only. It is an operator of
//! bounded queries: in the middle of its work it has no snapshot and says so. Rows are held in memory, twice while they
//! are sorted; if that is refused, the query fails.

mod aggregate;
mod extreme;
mod finish;
mod floats;
mod frame;
mod layout;
mod numbers;
mod prefix;
mod range;
mod ranking;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod whole;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array};
use arrow_buffer::ScalarBuffer;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::SortKey;
use flumen_core::spec::window::{Count, Frame, Position, WindowCall, WindowFunction, WindowFunctionsSpec};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{LogicalType, SchemaRef};
use flumen_kernels::gather::{compact, concat, flatten, take_batch};
use flumen_kernels::sort::sort_indices;
use flumen_state::OperatorSnapshot;

use crate::charge::Charge;
use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::registry::OperatorRegistry;
use frame::Frames;
use layout::Layout;
use ranking::{Ranking, RankingValues};
use value::{Pick, PickedValues};

const NAME: &str = "window functions";
/// Bytes for each row while it is sorted: prefix, index, and the radix sort's copy of both.
const SORT_ROW_BYTES: usize = 2 * (size_of::<u128>() + size_of::<u32>());
/// Bytes for each row while a call is computed, beside what it keeps: values in 128 bits, keys of a range and their
/// targets.
const WORK_ROW_BYTES: usize = 3 * size_of::<u128>();

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        WindowFunctionsSpec::KIND
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: WindowFunctionsSpec = spec.payload()?;
        let (input, output) = (input_schema(spec, 0, NAME)?, output_schema(spec, NAME)?);
        let order_columns = payload.order_by.iter().map(|key| key.column);
        check_columns(payload.partition_by.iter().copied().chain(order_columns), input, NAME)?;
        for call in &payload.calls {
            check_columns(columns_of(&call.function), input, NAME)?;
            if let WindowFunction::Aggregate { call, .. } = &call.function {
                finish::accumulator(call, context)?;
            }
        }
        let width = input.fields.len() + payload.calls.len();
        if payload.projection.len() != output.fields.len() || payload.projection.iter().any(|c| *c >= width) {
            let problem = format!("{:?} are not the columns of the output", payload.projection);
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        Ok(Box::new(WindowFunctions {
            spec: payload,
            input: Arc::clone(input),
            output: Arc::clone(output),
            charge: Charge::new(&context.memory),
            context: context.clone(),
            batches: Vec::new(),
            rows: 0,
            stage: Stage::Collecting,
        }))
    }
}

/// The input columns that a function reads.
fn columns_of(function: &WindowFunction) -> Vec<usize> {
    let counted = |count: &Count| match count {
        Count::Column(column) => Some(*column),
        Count::Constant(_) => None,
    };
    match function {
        WindowFunction::Ntile(buckets) => counted(buckets).into_iter().collect(),
        WindowFunction::Lag(shift) | WindowFunction::Lead(shift) => {
            [shift.column].into_iter().chain(counted(&shift.offset)).chain(shift.default).collect()
        }
        WindowFunction::Value { position: Position::Nth(number), column, .. } => {
            [*column].into_iter().chain(counted(number)).collect()
        }
        WindowFunction::Value { column, .. } => vec![*column],
        WindowFunction::Aggregate { call, .. } => call.args.iter().copied().chain(call.filter).collect(),
        _ => Vec::new(),
    }
}

/// All rows in the order of partitions and order keys.
struct SortedRows {
    /// Arrays only, without a selection.
    batch: Batch,
    count: usize,
    types: Vec<LogicalType>,
    order_by: Vec<SortKey>,
    layout: Layout,
}

/// The values of one call, given out in pieces. One virtual call for a batch.
trait Values: Send {
    /// Those of some sorted rows.
    fn piece(&mut self, rows: Range<usize>) -> Result<Column, Failure>;

    /// Bytes held beside the sorted rows and the frames.
    fn bytes(&self) -> usize;
}

/// A number that is the same for all rows, or a column's.
enum Numbers {
    Constant(Option<i64>),
    Column(Int64Array),
}

impl Numbers {
    fn new(count: &Count, rows: &SortedRows) -> Result<Self, Failure> {
        match count {
            Count::Constant(number) => Ok(Self::Constant(*number)),
            Count::Column(column) => {
                let array = flatten(rows.batch.column(*column).array())?;
                match array.as_primitive_opt::<Int64Type>() {
                    Some(numbers) => Ok(Self::Column(numbers.clone())),
                    None => {
                        let column = rows.batch.schema().fields[*column].name.clone();
                        let found = array.data_type().to_string();
                        Err(OperatorError::ColumnType { operator: NAME, column, found, expected: "BIGINT" }.into())
                    }
                }
            }
        }
    }

    #[inline]
    fn get(&self, row: usize) -> Option<i64> {
        match self {
            Self::Constant(number) => *number,
            Self::Column(numbers) => numbers.is_valid(row).then(|| numbers.value(row)),
        }
    }
}

/// Frames that were computed, so that calls share them.
#[derive(Default)]
struct KnownFrames {
    known: Vec<(Frame, Arc<Frames>)>,
}

impl KnownFrames {
    fn get(&mut self, rows: &SortedRows, frame: &Frame) -> Result<Arc<Frames>, Failure> {
        if let Some((_, frames)) = self.known.iter().find(|(known, _)| known == frame) {
            return Ok(Arc::clone(frames));
        }
        let frames = Arc::new(Frames::new(rows, frame)?);
        self.known.push((frame.clone(), Arc::clone(&frames)));
        Ok(frames)
    }

    fn bytes(&self) -> usize {
        self.known.iter().map(|(_, frames)| frames.bytes()).sum()
    }
}

struct WindowFunctions {
    spec: WindowFunctionsSpec,
    input: SchemaRef,
    output: SchemaRef,
    context: OperatorContext,
    batches: Vec<Batch>,
    rows: usize,
    charge: Charge,
    stage: Stage,
}

enum Stage {
    Collecting,
    /// Rows from `next` on are still to be given.
    Giving {
        rows: Arc<SortedRows>,
        values: Vec<Box<dyn Values>>,
        next: usize,
    },
    Done,
}

impl WindowFunctions {
    /// All rows, sorted.
    fn sort(&mut self) -> Result<SortedRows, Failure> {
        self.charge.set(self.charge.bytes() * 2 + self.rows * SORT_ROW_BYTES)?;
        let batches = std::mem::take(&mut self.batches);
        let all = concat(&self.input, &batches)?;
        drop(batches);
        let by_partition = |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
        let keys: Vec<SortKey> =
            self.spec.partition_by.iter().map(by_partition).chain(self.spec.order_by.iter().cloned()).collect();
        let types: Vec<LogicalType> = self.input.fields.iter().map(|field| field.data_type.clone()).collect();
        let columns: Vec<&Column> = all.columns().iter().collect();
        let order = if keys.is_empty() { Vec::new() } else { sort_indices(&columns, &types, self.rows, None, &keys)? };
        let batch = if order.iter().enumerate().all(|(position, row)| position as u32 == *row) {
            all
        } else {
            take_batch(&all, &ScalarBuffer::from(order))?
        };
        let partition: Vec<&Column> = self.spec.partition_by.iter().map(|column| batch.column(*column)).collect();
        let order: Vec<&Column> = self.spec.order_by.iter().map(|key| batch.column(key.column)).collect();
        let layout = Layout::new(&partition, &order, self.rows);
        self.charge.set(batch.memory_size() + layout.bytes())?;
        Ok(SortedRows { batch, count: self.rows, types, order_by: self.spec.order_by.clone(), layout })
    }

    /// All calls over the sorted rows.
    fn compute(&mut self, rows: &Arc<SortedRows>) -> Result<Vec<Box<dyn Values>>, Failure> {
        let mut frames = KnownFrames::default();
        let mut all: Vec<Box<dyn Values>> = Vec::with_capacity(self.spec.calls.len());
        let sorted_bytes = self.charge.bytes();
        for call in &self.spec.calls {
            let held = |all: &[Box<dyn Values>], frames: &KnownFrames| {
                sorted_bytes + frames.bytes() + all.iter().map(|values| values.bytes()).sum::<usize>()
            };
            self.charge.set(held(&all, &frames) + rows.count * WORK_ROW_BYTES)?;
            all.push(values_of(rows, call, &mut frames, &self.context)?);
            self.charge.set(held(&all, &frames))?;
        }
        Ok(all)
    }
}

/// The values of one call.
fn values_of(
    rows: &Arc<SortedRows>,
    call: &WindowCall,
    frames: &mut KnownFrames,
    context: &OperatorContext,
) -> Result<Box<dyn Values>, Failure> {
    let ranking = |ranking| Ok(Box::new(RankingValues { rows: Arc::clone(rows), ranking }) as Box<dyn Values>);
    let picked = |column, pick, default, ignore_nulls| {
        Ok(Box::new(PickedValues::new(rows, column, pick, default, ignore_nulls)) as Box<dyn Values>)
    };
    match &call.function {
        WindowFunction::RowNumber => ranking(Ranking::RowNumber),
        WindowFunction::Rank => ranking(Ranking::Rank),
        WindowFunction::DenseRank => ranking(Ranking::DenseRank),
        WindowFunction::PercentRank => ranking(Ranking::PercentRank),
        WindowFunction::CumeDist => ranking(Ranking::CumeDist),
        WindowFunction::Ntile(buckets) => ranking(Ranking::Ntile(Numbers::new(buckets, rows)?)),
        WindowFunction::Lag(shift) => {
            let pick = Pick::Before(Numbers::new(&shift.offset, rows)?);
            picked(shift.column, pick, shift.default, shift.ignore_nulls)
        }
        WindowFunction::Lead(shift) => {
            let pick = Pick::After(Numbers::new(&shift.offset, rows)?);
            picked(shift.column, pick, shift.default, shift.ignore_nulls)
        }
        WindowFunction::Value { position, column, ignore_nulls, frame } => {
            let frames = frames.get(rows, frame)?;
            let pick = match position {
                Position::First => Pick::First(frames),
                Position::Last => Pick::Last(frames),
                Position::Nth(number) => Pick::Nth(frames, Numbers::new(number, rows)?),
            };
            picked(*column, pick, None, *ignore_nulls)
        }
        WindowFunction::Aggregate { call, frame } => aggregate::values(rows, call, frame, frames, context),
        other => {
            let problem = format!("the function {other:?} is not known here");
            Err(OperatorError::Spec { operator: NAME, problem }.into())
        }
    }
}

impl Operator for WindowFunctions {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        if batch.flags().has_deletes {
            return Err(OperatorError::Retraction { operator: NAME }.into());
        }
        let batch = compact(&batch.with_row_kinds(None))?.with_hashes(None);
        self.charge.add(batch.memory_size())?;
        self.rows += batch.num_rows();
        self.batches.push(batch);
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Stage::Giving { rows, values, next } = &mut self.stage else { return Ok(Step::Done) };
        if *next < rows.count {
            let from = *next;
            let to = rows.count.min(from + self.context.batch_rows.max(1));
            let width = self.input.fields.len();
            let mut computed: Vec<Option<Column>> = values.iter().map(|_| None).collect();
            let mut columns = Vec::with_capacity(self.spec.projection.len());
            for column in &self.spec.projection {
                columns.push(match column.checked_sub(width) {
                    None => Column::Array(rows.batch.column(*column).array().slice(from, to - from)),
                    Some(call) => match &computed[call] {
                        Some(column) => column.clone(),
                        None => computed[call].insert(values[call].piece(from..to)?).clone(),
                    },
                });
            }
            out.emit(Batch::new(Arc::clone(&self.output), columns, to - from));
            *next = to;
            return Ok(Step::HasMoreOutput);
        }
        self.stage = Stage::Done;
        self.charge.set(0)?;
        Ok(Step::Done)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if self.rows == 0 {
            self.stage = Stage::Done;
            return Ok(Step::Done);
        }
        let rows = Arc::new(self.sort()?);
        let values = self.compute(&rows)?;
        self.stage = Stage::Giving { rows, values, next: 0 };
        self.resume(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.rows > 0 && !matches!(self.stage, Stage::Done) {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        Ok(OperatorSnapshot::default())
    }
}
