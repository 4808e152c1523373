//! Aggregates by key over tumbling windows of event time.
//!
//! A window is open from its first row until the watermark reaches `window_end - 1`; then its groups come out, windows
//! in order, groups in the order in which they were found. A row whose window has been passed by the watermark *as it
//! stood before the batch* is late: it is dropped and counted (`numLateRecordsDropped`). Watermarks stand between
//! batches, and the watermark assigner cuts batches where it matters, so results do not depend on batch size.
//!
//! Every open window has a table of its own: the hash, and so the key group, is that of the group-by keys alone, as the
//! exchange before has it; a window that is done is dropped as a whole.
//!
//! Phases: `Local` gives keys, `window_end` and states; it drops nothing as late (its watermark may be ahead of the
//! consumer's), gives out a window no later than the watermark that closes it, and everything before a barrier. `Global`
//! takes that; its time column is `window_end`.
//!
//! State: `windows`, keyed by the group-by columns: keys, `window_end` (milliseconds), states. `watermark`, in every
//! subtask: lateness is judged after a restore as before it, by the smallest of all subtasks (as in Flink's window
//! aggregate).
//!
//! Cost: splitting by window (nothing if a batch lies in one), then as grouping.

mod rows;
mod split;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_core::batch::{Batch, Column, Selection};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::spec::relational::AggregatePhase;
use flumen_core::spec::streaming::TumblingAggregateSpec;
use flumen_core::spec::{OperatorPayload, OperatorSpec, StateKind};
use flumen_core::time::{EventTime, Watermark};
use flumen_core::types::{Schema, SchemaRef};
use flumen_memory::ConsumerKind;
use flumen_state::{Groups, KeyedPart, KeyedTable, ListPart, OperatorSnapshot, RestoredState, SlotCursor};

use crate::aggregation::{Aggregation, AggregationSpec};
use crate::contract::{Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::event_time::{EventTimes, time_value};
use crate::registry::OperatorRegistry;
use rows::{WindowRows, state_schema};
use split::{Split, WindowSplit, Windowing};

const NAME: &str = "tumbling aggregate";
const STATE: &str = "windows";
const WATERMARK_STATE: &str = "watermark";
/// Groups that the local phase holds at most.
const LOCAL_GROUPS_MAX: usize = 1 << 16;
/// Tables of closed windows that are kept for the next ones.
const SPARE_TABLES: usize = 4;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        TumblingAggregateSpec::KIND
    }

    fn memory_consumer(&self, _: &OperatorSpec) -> Option<ConsumerKind> {
        Some(ConsumerKind::StateBackend)
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: TumblingAggregateSpec = spec.payload()?;
        let (input, output) = (input_schema(spec, 0, NAME)?, output_schema(spec, NAME)?);
        check_columns([payload.time_column], input, NAME)?;
        if payload.size_ms <= 0 {
            let problem = format!("windows of {} ms", payload.size_ms);
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        let keys = payload.group_by.len();
        let aggregation = Aggregation::new(
            &AggregationSpec {
                operator: NAME,
                group_by: &payload.group_by,
                aggregates: &payload.aggregates,
                phase: payload.phase,
                continuous: false,
                input,
                first_state: keys + 1,
            },
            context,
        )?;
        let window_columns = if payload.phase == AggregatePhase::Local { 1 } else { 2 };
        let table = aggregation.table()?;
        let values = match payload.phase {
            AggregatePhase::Local => table.state_schema().fields.len() - keys,
            _ => payload.aggregates.len(),
        };
        if output.fields.len() != keys + window_columns + values {
            let problem =
                format!("the output has {} columns instead of {}", output.fields.len(), keys + window_columns + values);
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        for field in &output.fields[keys..keys + window_columns] {
            time_value(0, field, NAME)?;
        }
        let windowing = match payload.phase {
            AggregatePhase::Global => Windowing::ByEnd,
            _ => Windowing::Tumbling { size_ms: payload.size_ms, offset_ms: payload.offset_ms },
        };
        let mut grouped = Schema::clone(output);
        grouped.event_time = None;
        grouped.fields.drain(keys..keys + window_columns);
        Ok(Box::new(TumblingAggregate {
            windowing,
            time_column: payload.time_column,
            size_ms: payload.size_ms,
            output: Arc::clone(output),
            grouped: Arc::new(grouped),
            states: state_schema(&table.state_schema(), keys),
            batch_rows: context.batch_rows,
            max_parallelism: context.task.max_parallelism,
            watermark: EventTime::MIN,
            windows: BTreeMap::new(),
            spare: vec![table],
            firing: VecDeque::new(),
            groups: Groups::default(),
            split: WindowSplit::default(),
            late_rows: 0,
            aggregation,
        }))
    }
}

struct TumblingAggregate {
    aggregation: Aggregation,
    windowing: Windowing,
    time_column: usize,
    size_ms: i64,
    output: SchemaRef,
    /// The output without the window's columns.
    grouped: SchemaRef,
    /// Rows of a snapshot.
    states: SchemaRef,
    batch_rows: usize,
    max_parallelism: u32,
    watermark: EventTime,
    /// Open windows by their end.
    windows: BTreeMap<i64, KeyedTable>,
    spare: Vec<KeyedTable>,
    /// Closed windows on their way out.
    firing: VecDeque<Firing>,
    groups: Groups,
    split: WindowSplit,
    late_rows: u64,
}

struct Firing {
    end: i64,
    table: KeyedTable,
    cursor: SlotCursor,
}

impl TumblingAggregate {
    fn is_local(&self) -> bool {
        self.aggregation.phase == AggregatePhase::Local
    }

    /// Whether the watermark has passed the window.
    fn is_closed(&self, end: i64) -> bool {
        end.saturating_sub(1) <= self.watermark.0
    }

    fn take_in(&mut self, end: i64, batch: &Batch, selection: Option<&Selection>) -> Result<(), Failure> {
        if !self.is_local() && self.is_closed(end) {
            self.late_rows += selection.map_or(batch.physical_rows(), |s| s.len()) as u64;
            return Ok(());
        }
        let table = open_window(&mut self.windows, &mut self.spare, &self.aggregation, end)?;
        self.aggregation.group(table, batch, selection, &mut self.groups)?;
        self.aggregation.accumulate(table, batch, selection, &self.groups)?;
        Ok(())
    }

    /// Begins to give out all windows that end at `end` or before.
    fn close_until(&mut self, end: i64) {
        while let Some(window) = self.windows.first_entry()
            && *window.key() <= end
        {
            let (end, table) = window.remove_entry();
            self.firing.push_back(Firing { end, table, cursor: SlotCursor::default() });
        }
    }

    /// Gives the next batch of closed windows.
    fn emit(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let is_local = self.is_local();
        while let Some(firing) = self.firing.front_mut() {
            let table = &firing.table;
            let next = match is_local {
                true => table.next_states(&mut firing.cursor, &self.grouped, self.batch_rows)?,
                false => table.next_results(&mut firing.cursor, &self.grouped, self.batch_rows)?,
            };
            if let Some(batch) = next {
                let end = firing.end;
                out.emit(self.with_window(&batch, end)?);
                return Ok(Step::HasMoreOutput);
            }
            if let Some(Firing { mut table, .. }) = self.firing.pop_front() {
                table.clear()?;
                if self.spare.len() < SPARE_TABLES {
                    self.spare.push(table);
                }
            }
        }
        Ok(Step::Done)
    }

    /// Puts the window's columns behind the keys.
    fn with_window(&self, batch: &Batch, end: i64) -> Result<Batch, Failure> {
        let keys = self.aggregation.group_by.len();
        let start = end.saturating_sub(self.size_ms);
        let times: &[i64] = if self.is_local() { &[end] } else { &[start, end] };
        let mut columns = batch.columns()[..keys].to_vec();
        for (index, time) in times.iter().enumerate() {
            columns.push(Column::Constant(time_value(*time, &self.output.fields[keys + index], NAME)?));
        }
        columns.extend_from_slice(&batch.columns()[keys..]);
        let rows = batch.physical_rows();
        Ok(Batch::new(Arc::clone(&self.output), columns, rows).with_hashes(batch.hashes().cloned()))
    }

    fn restore_batch(&mut self, batch: &Batch) -> Result<(), Failure> {
        let keys = self.aggregation.group_by.len();
        if batch.schema().fields.len() != self.states.fields.len() {
            let problem = format!("{} columns instead of {}", batch.schema().fields.len(), self.states.fields.len());
            return Err(OperatorError::State { name: STATE, problem }.into());
        }
        let times = EventTimes::of(batch, keys, NAME)?;
        let mut columns = batch.columns().to_vec();
        columns.remove(keys);
        let mut schema = Schema::clone(&self.states);
        schema.fields.remove(keys);
        let grouped = Batch::new(Arc::new(schema), columns, batch.physical_rows());
        let mut restore = |end: i64, selection: Option<Selection>| -> Result<(), Failure> {
            let table = open_window(&mut self.windows, &mut self.spare, &self.aggregation, end)?;
            Ok(table.restore_batch(&grouped.clone().with_selection(selection), &mut self.groups)?)
        };
        match self.split.split(Windowing::ByEnd, &times.millis(), batch.selection()) {
            Split::One(end) => restore(end, batch.selection().cloned())?,
            Split::Many => {
                for index in 0..self.split.len() {
                    let (end, rows) = self.split.take_part(index);
                    restore(end, Some(rows.into()))?;
                }
            }
        }
        Ok(())
    }
}

/// The table of a window, which is opened if it was not.
fn open_window<'a>(
    windows: &'a mut BTreeMap<i64, KeyedTable>,
    spare: &mut Vec<KeyedTable>,
    aggregation: &Aggregation,
    end: i64,
) -> Result<&'a mut KeyedTable, Failure> {
    Ok(match windows.entry(end) {
        std::collections::btree_map::Entry::Occupied(window) => window.into_mut(),
        std::collections::btree_map::Entry::Vacant(window) => window.insert(match spare.pop() {
            Some(table) => table,
            None => aggregation.table()?,
        }),
    })
}

impl Operator for TumblingAggregate {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        self.aggregation.check_kinds(&batch)?;
        let times = EventTimes::of(&batch, self.time_column, NAME)?;
        match self.split.split(self.windowing, &times.millis(), batch.selection()) {
            Split::One(end) => self.take_in(end, &batch, batch.selection())?,
            Split::Many => {
                for index in 0..self.split.len() {
                    let (end, rows) = self.split.take_part(index);
                    let selection = Selection::from(rows);
                    self.take_in(end, &batch, Some(&selection))?;
                    // The vector comes back, since nobody else has kept it.
                    let rows = selection.into_inner().into_vec().unwrap_or_default();
                    self.split.give_back(index, rows);
                }
            }
        }
        if self.is_local() {
            let groups: usize = self.windows.values().map(KeyedTable::len).sum();
            // What is late here may still be in time at the consumer, but not for long.
            let until = if groups >= LOCAL_GROUPS_MAX { i64::MAX } else { self.watermark.0.saturating_add(1) };
            self.close_until(until);
        }
        self.emit(out)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.emit(out)
    }

    fn watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<Step, Failure> {
        self.watermark = self.watermark.max(watermark.0);
        self.close_until(self.watermark.0.saturating_add(1));
        self.emit(out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        self.close_until(i64::MAX);
        self.emit(out)
    }

    fn prepare_snapshot(&mut self, _checkpoint: CheckpointId, out: &mut Output) -> Result<Step, Failure> {
        if self.is_local() {
            self.close_until(i64::MAX);
        }
        self.emit(out)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.is_local() {
            return Ok(OperatorSnapshot::default());
        }
        let (max_parallelism, batch_rows) = (self.max_parallelism, self.batch_rows);
        let windows = self.windows.iter_mut().map(|(end, table)| (*end, table.snapshot(max_parallelism, batch_rows)));
        let rows = WindowRows::new(Arc::clone(&self.states), self.aggregation.group_by.len(), windows.collect());
        let part = KeyedPart { name: STATE.into(), rows: Box::new(rows) };
        let entries = vec![self.watermark.0.to_le_bytes().to_vec()];
        let list = ListPart { name: WATERMARK_STATE.into(), kind: StateKind::OperatorUnion, entries };
        Ok(OperatorSnapshot { keyed: vec![part], lists: vec![list] })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        let mut least: Option<i64> = None;
        for entry in state.lists.remove(WATERMARK_STATE).unwrap_or_default() {
            let bytes = <[u8; 8]>::try_from(entry.as_slice()).map_err(|_| OperatorError::State {
                name: WATERMARK_STATE,
                problem: "an entry has not 8 bytes".into(),
            })?;
            let watermark = i64::from_le_bytes(bytes);
            least = Some(least.map_or(watermark, |least| least.min(watermark)));
        }
        // A drained job has seen the end of time; resumed with more input it starts anew.
        self.watermark = least.filter(|w| *w != i64::MAX).map_or(EventTime::MIN, EventTime);
        for mut rows in state.keyed.remove(STATE).unwrap_or_default() {
            while let Some((_, batch)) = rows.next()? {
                self.restore_batch(&batch)?;
            }
        }
        Ok(())
    }

    fn counters(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        visit("numLateRecordsDropped", self.late_rows);
    }
}
