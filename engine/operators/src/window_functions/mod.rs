//! Window functions (`OVER`) over bounded input: values of each row and its neighbours.
//!
//! Rows are collected compacted and sorted by partition keys and order keys ([`crate::external_sort`]); an exchange by
//! the partition keys has brought each partition into one subtask. What a function sees of that are index
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
//! bounded queries: in the middle of its work it has no snapshot and says so.
//!
//! All rows are computed at once if they fit into memory, twice while they are sorted. Else the sorted rows are spilled
//! and computed a few partitions at a time ([`chunks`]). A partition that does not fit by itself is refused, and what has
//! been computed is spilled if the arbiter asks for its memory.

mod aggregate;
mod chunks;
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
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::SortKey;
use flumen_core::spec::window::{Count, Frame, Position, WindowCall, WindowFunction, WindowFunctionsSpec};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{LogicalType, SchemaRef};
use flumen_kernels::gather::{flatten, materialize, take_batch};
use flumen_memory::ConsumerKind;
use flumen_state::OperatorSnapshot;

use crate::charge::Charge;
use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::external_sort::{ExternalSort, Order};
use crate::registry::OperatorRegistry;
use crate::spill::{SpillReader, SpillWriter, SpilledRows};
use chunks::{Chunk, Chunks};
use frame::Frames;
use layout::Layout;
use ranking::{Ranking, RankingValues};
use value::{Pick, PickedValues};

const NAME: &str = "window functions";
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

    fn memory_consumer(&self, _: &OperatorSpec) -> Option<ConsumerKind> {
        Some(ConsumerKind::Operator)
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
            input: Arc::clone(input),
            output: Arc::clone(output),
            sort: ExternalSort::new(Order::new(input, sort_keys(&payload)), None, context),
            chunks: None,
            spec: payload,
            charge: Charge::new(&context.memory),
            context: context.clone(),
            has_rows: false,
            stage: Stage::Collecting,
        }))
    }
}

/// Partition keys, then order keys.
fn sort_keys(spec: &WindowFunctionsSpec) -> Vec<SortKey> {
    let by_partition = |column: &usize| SortKey { column: *column, descending: false, nulls_first: false };
    spec.partition_by.iter().map(by_partition).chain(spec.order_by.iter().cloned()).collect()
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
    sort: ExternalSort,
    /// Once it is known that the rows do not all fit.
    chunks: Option<Chunks>,
    has_rows: bool,
    /// What is computed.
    charge: Charge,
    stage: Stage,
}

enum Stage {
    Collecting,
    /// A chunk is read.
    Reading,
    /// Rows from `next` on are still to be given.
    Giving {
        rows: Arc<SortedRows>,
        values: Vec<Box<dyn Values>>,
        next: usize,
    },
    /// They were spilled with their values.
    GivingSpilled(SpilledRows, SpillReader),
    Done,
}

impl WindowFunctions {
    /// All rows have come: they are computed at once if there is room, else chunk by chunk.
    fn begin(&mut self) -> Result<(), Failure> {
        self.sort.finish(0..usize::MAX)?;
        let Some(in_memory) = self.sort.in_memory() else { return self.read_chunks() };
        let rows = in_memory.rows.num_rows();
        // Gathered beside the rows as they came, which are charged to the sort as yet.
        let needed = in_memory.rows.memory_size() + rows * WORK_ROW_BYTES;
        if self.charge.set_spillable(needed).is_err() {
            if !self.spec.partition_by.is_empty() {
                return self.read_chunks();
            }
            self.charge.set(needed)?;
        }
        let Some(sorted) = self.sort.take_in_memory() else { return self.read_chunks() };
        let in_order = sorted.indices.iter().enumerate().all(|(position, row)| position as u32 == *row);
        let batch = if in_order { sorted.rows } else { take_batch(&sorted.rows, &sorted.indices)? };
        self.sort.clear()?;
        let rows = self.sorted_rows(batch)?;
        match self.compute(&rows) {
            Ok(values) => {
                self.give(rows, values);
                Ok(())
            }
            Err(_) if !self.spec.partition_by.is_empty() => {
                // The calls need more than there is for all rows at once.
                let batch = rows.batch.clone();
                drop(rows);
                self.sort.put_back(&batch)?;
                drop(batch);
                self.charge.set(0)?;
                self.read_chunks()
            }
            Err(refused) => Err(refused),
        }
    }

    fn read_chunks(&mut self) -> Result<(), Failure> {
        self.sort.spill()?;
        let charge = Charge::new(&self.context.memory);
        self.chunks = Some(Chunks::new(&self.input, &self.spec.partition_by, self.spec.calls.len(), charge));
        self.stage = Stage::Reading;
        Ok(())
    }

    /// Bounds of partitions and groups among sorted rows.
    fn sorted_rows(&mut self, batch: Batch) -> Result<Arc<SortedRows>, Failure> {
        let types: Vec<LogicalType> = self.input.fields.iter().map(|field| field.data_type.clone()).collect();
        let partition: Vec<&Column> = self.spec.partition_by.iter().map(|column| batch.column(*column)).collect();
        let order: Vec<&Column> = self.spec.order_by.iter().map(|key| batch.column(key.column)).collect();
        let count = batch.num_rows();
        let layout = Layout::new(&partition, &order, count);
        self.charge.set(batch.memory_size() + layout.bytes())?;
        Ok(Arc::new(SortedRows { batch, count, types, order_by: self.spec.order_by.clone(), layout }))
    }

    fn give(&mut self, rows: Arc<SortedRows>, values: Vec<Box<dyn Values>>) {
        self.charge.set_revocable(self.charge.bytes());
        self.stage = Stage::Giving { rows, values, next: 0 };
    }

    /// The next rows of what is computed.
    fn piece(&mut self) -> Result<Option<Batch>, Failure> {
        let Stage::Giving { rows, values, next } = &mut self.stage else { return Ok(None) };
        if *next == rows.count {
            return Ok(None);
        }
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
        *next = to;
        Ok(Some(Batch::new(Arc::clone(&self.output), columns, to - from)))
    }

    /// What was computed has been given: goes on to the next chunk.
    fn end_chunk(&mut self) -> Result<(), Failure> {
        self.stage = if self.chunks.is_some() { Stage::Reading } else { Stage::Done };
        self.charge.set_revocable(0);
        self.charge.set(0)
    }

    fn read_chunk(&mut self) -> Result<(), Failure> {
        let Some(chunks) = &mut self.chunks else { return Ok(()) };
        match chunks.next(&mut self.sort)? {
            Chunk::Working => {}
            Chunk::Rows(batch) => {
                let batch = materialize(&batch)?;
                let rows = self.sorted_rows(batch)?;
                let values = self.compute(&rows)?;
                self.give(rows, values);
            }
            Chunk::End => {
                self.stage = Stage::Done;
                self.chunks = None;
                self.sort.clear()?;
            }
        }
        Ok(())
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
        self.has_rows = true;
        self.sort.push(&batch.with_row_kinds(None))?;
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        match &mut self.stage {
            Stage::Collecting | Stage::Done => return Ok(Step::Done),
            Stage::Reading => self.read_chunk()?,
            Stage::Giving { .. } => match self.piece()? {
                Some(batch) => out.emit(batch),
                None => self.end_chunk()?,
            },
            Stage::GivingSpilled(rows, reader) => match reader.next(rows)? {
                Some(batch) => out.emit(batch),
                None => self.end_chunk()?,
            },
        }
        Ok(if matches!(self.stage, Stage::Done) { Step::Done } else { Step::HasMoreOutput })
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if !self.has_rows {
            self.stage = Stage::Done;
            return Ok(Step::Done);
        }
        self.begin()?;
        self.resume(out)
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        if !self.charge.is_asked() {
            return Ok(0);
        }
        let freed = match &self.stage {
            Stage::Collecting => self.sort.spill()?,
            Stage::Giving { .. } => {
                let held = self.charge.bytes();
                let mut writer = SpillWriter::new(&self.context.spill, &self.output);
                while let Some(batch) = self.piece()? {
                    writer.push(&batch)?;
                }
                let rows = writer.finish()?;
                let reader = rows.reader();
                self.stage = Stage::GivingSpilled(rows, reader);
                self.charge.set(0)?;
                held
            }
            _ => 0,
        };
        self.charge.set_revocable(0);
        Ok(freed)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.has_rows && !matches!(self.stage, Stage::Done) {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        Ok(OperatorSnapshot::default())
    }
}
