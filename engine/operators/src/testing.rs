//! A harness that drives operators as a task does: batches in any cut, watermarks, barriers, restore at another
//! parallelism. The answer may not depend on any of these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{ArrayRef, Int64Array, StringViewArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_core::batch::{Batch, Column, RowKind, Selection};
use flumen_core::element::StreamElement;
use flumen_core::failure::Failure;
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, JobId, JobVertexId, SubtaskIndex,
};
use flumen_core::key_group::{KeyGroup, KeyGroupRange, key_group_of, subtask_of};
use flumen_core::meter::{MemoryMeter, Unmetered};
use flumen_core::spec::{OperatorSpec, StateKind};
use flumen_core::time::{EventTime, Watermark};
use flumen_core::types::{Field, LogicalType, Resolution, Schema, SchemaRef};
use flumen_core::waiting::{InlineExecutor, NoTimers, Waker};
use flumen_io::SimulatedClock;
use flumen_kernels::expr::FunctionRegistry;
use flumen_state::{KeyedRows, OperatorSnapshot, RestoredState};

use crate::contract::{Operator, OperatorContext, Output, Step, TaskInfo};
use crate::registry::{OperatorRegistry, register_builtin};

pub(crate) const MAX_PARALLELISM: u32 = 128;
/// Cuts under which every answer must be the same.
pub(crate) const CUTS: [usize; 3] = [1, 7, 8192];

/// A meter with a limit.
pub(crate) struct Limited {
    limit: usize,
    pub(crate) held: AtomicUsize,
    pub(crate) peak: AtomicUsize,
}

impl Limited {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), peak: AtomicUsize::new(0) })
    }
}

impl MemoryMeter for Limited {
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure> {
        let held = self.held.load(Ordering::Relaxed);
        assert!(held >= from, "{from} bytes are given back of {held}");
        let wanted = held - from + to;
        if to > from && wanted > self.limit {
            return Err(Failure::user(format!("{wanted} bytes are more than {}; top consumer: this test", self.limit)));
        }
        self.held.store(wanted, Ordering::Relaxed);
        self.peak.fetch_max(wanted, Ordering::Relaxed);
        Ok(())
    }
}

/// A context of subtask `index` of `parallelism`.
pub(crate) fn context(
    index: u32,
    parallelism: u32,
    batch_rows: usize,
    memory: Arc<dyn MemoryMeter>,
) -> OperatorContext {
    OperatorContext {
        task: TaskInfo {
            attempt: ExecutionAttemptId {
                job: JobId(1),
                execution_vertex: ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(index) },
                attempt: AttemptNumber(0),
            },
            parallelism,
            max_parallelism: MAX_PARALLELISM,
            name: "test".into(),
        },
        uid: "operator".into(),
        key_groups: KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM),
        batch_rows,
        pages: Arc::new(flumen_state::MeteredPages::new(Arc::clone(&memory))),
        spill: crate::spill::testing::space(),
        memory,
        functions: Arc::new(FunctionRegistry::new()),
        blocking: Arc::new(InlineExecutor),
        waker: Waker::noop().clone(),
        clock: Arc::new(SimulatedClock::new()),
        timers: Arc::new(NoTimers),
        is_restored: false,
    }
}

/// One operator and what it gave.
pub(crate) struct Instance {
    pub(crate) operator: Box<dyn Operator>,
    pub(crate) given: Vec<StreamElement>,
    batch_rows: usize,
}

impl Instance {
    pub(crate) fn new(spec: &OperatorSpec, context: &OperatorContext) -> Result<Self, Failure> {
        let mut registry = OperatorRegistry::default();
        register_builtin(&mut registry);
        let batch_rows = context.batch_rows;
        Ok(Self { operator: registry.create(spec, context)?, given: Vec::new(), batch_rows })
    }

    /// A single subtask with enough memory.
    pub(crate) fn alone(spec: &OperatorSpec) -> Self {
        let mut instance = Self::new(spec, &context(0, 1, 8192, Arc::new(Unmetered))).unwrap();
        instance.operator.open().unwrap();
        instance
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut dyn Operator, &mut Output) -> Result<Step, Failure>,
    ) -> Result<(), Failure> {
        let mut out = Output::default();
        let mut step = call(self.operator.as_mut(), &mut out)?;
        loop {
            let element = out.take();
            if let Some(StreamElement::Batch(batch)) = &element {
                // Batches that narrow or pass an input may be as long as that.
                assert!(batch.num_rows() <= self.batch_rows.max(8192), "an output of {} rows", batch.num_rows());
            }
            self.given.extend(element);
            match step {
                Step::Done => return Ok(()),
                Step::HasMoreOutput => step = self.operator.resume(&mut out)?,
                Step::Blocked(reason) => panic!("blocked for {reason:?}"),
            }
        }
    }

    pub(crate) fn batch(&mut self, input: usize, batch: Batch) -> Result<(), Failure> {
        if batch.num_rows() == 0 || self.operator.is_satisfied() {
            return Ok(());
        }
        self.call(|operator, out| operator.process(input, batch, out))
    }

    pub(crate) fn watermark(&mut self, millis: i64) -> Result<(), Failure> {
        let watermark = Watermark(EventTime(millis));
        self.call(|operator, out| operator.watermark(watermark, out))?;
        self.given.extend(self.operator.output_watermark(watermark).map(StreamElement::Watermark));
        Ok(())
    }

    pub(crate) fn timer(&mut self, now: i64) {
        if self.operator.next_timer().is_some_and(|at| at.0 <= now) {
            self.call(|operator, out| operator.timer(EventTime(now), out)).unwrap();
        }
    }

    pub(crate) fn end_of_input(&mut self, input: usize) -> Result<(), Failure> {
        self.call(|operator, out| operator.end_of_input(input, out))
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.call(|operator, out| operator.finish(out))
    }

    pub(crate) fn snapshot(&mut self) -> Result<OperatorSnapshot, Failure> {
        self.call(|operator, out| operator.prepare_snapshot(CheckpointId(1), out))?;
        self.operator.snapshot(CheckpointId(1))
    }

    /// Everything that was given, as text: rows, `W <millis>`, and status.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.given.iter().flat_map(element_texts).collect()
    }
}

/// Something that happens to an operator.
#[derive(Clone)]
pub(crate) enum Event {
    Batch(usize, Batch),
    Watermark(i64),
    EndOfInput(usize),
}

/// How the same events are fed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    /// Rows of an input batch.
    pub(crate) cut: usize,
    /// Batches have further rows which a selection leaves out.
    pub(crate) selected: bool,
    /// Before the event of this index a snapshot is taken and restored with this parallelism.
    pub(crate) restore: Option<(usize, u32)>,
    /// Rows of an output batch.
    pub(crate) batch_rows: usize,
    pub(crate) parallelism: u32,
}

impl Feed {
    /// Ways to feed so many events; without keyed state only with a parallelism of 1.
    pub(crate) fn all(events: usize, restore: bool, parallelisms: &[u32]) -> Vec<Self> {
        let mut feeds = Vec::new();
        for cut in CUTS {
            for selected in [false, true] {
                let batch_rows = if selected { 3 } else { 8192 };
                let feed = Self { cut, selected, restore: None, batch_rows, parallelism: 1 };
                feeds.push(feed.clone());
                if restore {
                    for parallelism in parallelisms {
                        feeds.push(Self { restore: Some((events / 2, *parallelism)), ..feed.clone() });
                        feeds.push(Self { restore: Some((events / 2, 1)), parallelism: *parallelism, ..feed.clone() });
                    }
                }
            }
        }
        feeds
    }
}

/// Subtasks of one operator behind key exchanges.
pub(crate) struct Parallel {
    spec: OperatorSpec,
    /// Key columns of each input.
    keys: Vec<Vec<usize>>,
    instances: Vec<Instance>,
    given: Vec<StreamElement>,
    memory: Arc<dyn MemoryMeter>,
    feed: Feed,
}

impl Parallel {
    pub(crate) fn new(
        spec: &OperatorSpec,
        keys: &[Vec<usize>],
        feed: &Feed,
        memory: Arc<dyn MemoryMeter>,
    ) -> Result<Self, Failure> {
        let mut parallel = Self {
            spec: spec.clone(),
            keys: keys.to_vec(),
            instances: Vec::new(),
            given: Vec::new(),
            memory,
            feed: feed.clone(),
        };
        parallel.start(feed.parallelism, None)?;
        Ok(parallel)
    }

    fn start(&mut self, parallelism: u32, mut snapshots: Option<Vec<OperatorSnapshot>>) -> Result<(), Failure> {
        let mut keyed: BTreeMap<String, Vec<(KeyGroup, Batch)>> = BTreeMap::new();
        let mut lists: BTreeMap<String, (StateKind, Vec<Vec<u8>>)> = BTreeMap::new();
        for snapshot in snapshots.iter_mut().flatten() {
            for part in &mut snapshot.keyed {
                let rows = keyed.entry(part.name.clone()).or_default();
                let mut previous = None;
                while let Some((group, batch)) = part.rows.next()? {
                    assert!(previous <= Some(group), "key groups ascend");
                    assert_eq!(batch.schema(), &part.rows.schema());
                    previous = Some(group);
                    rows.push((group, batch));
                }
            }
            for part in &snapshot.lists {
                let list = lists.entry(part.name.clone()).or_insert((part.kind, Vec::new()));
                list.1.extend(part.entries.iter().cloned());
            }
        }
        self.instances.clear();
        for index in 0..parallelism {
            let mut context = context(index, parallelism, self.feed.batch_rows, Arc::clone(&self.memory));
            context.is_restored = snapshots.is_some();
            let mut instance = Instance::new(&self.spec, &context)?;
            if snapshots.is_some() {
                let mut state = RestoredState::default();
                for (name, rows) in &keyed {
                    let own: Vec<_> = rows.iter().filter(|(g, _)| context.key_groups.contains(*g)).cloned().collect();
                    let Some((_, first)) = rows.first() else { continue };
                    let schema = Arc::clone(first.schema());
                    let source: Box<dyn KeyedRows> = Box::new(Kept { schema, rows: own.into_iter() });
                    state.keyed.insert(name.clone(), vec![source]);
                }
                for (name, (kind, entries)) in &lists {
                    let own = entries
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| *kind == StateKind::OperatorUnion || *i as u32 % parallelism == index);
                    state.lists.insert(name.clone(), own.map(|(_, entry)| entry.clone()).collect());
                }
                instance.operator.restore(state)?;
            }
            instance.operator.open()?;
            self.instances.push(instance);
        }
        Ok(())
    }

    fn rescale(&mut self, parallelism: u32) -> Result<(), Failure> {
        let mut snapshots = Vec::new();
        for instance in &mut self.instances {
            snapshots.push(instance.snapshot()?);
        }
        self.collect();
        self.start(parallelism, Some(snapshots))
    }

    fn collect(&mut self) {
        for instance in &mut self.instances {
            self.given.append(&mut instance.given);
        }
    }

    fn push(&mut self, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Batch(input, batch) => {
                for offset in (0..batch.num_rows()).step_by(self.feed.cut) {
                    let piece = batch.slice(offset, self.feed.cut.min(batch.num_rows() - offset));
                    let piece = if self.feed.selected { with_decoys(&piece) } else { piece };
                    self.route(*input, &piece)?;
                }
            }
            Event::Watermark(millis) => self.instances.iter_mut().try_for_each(|i| i.watermark(*millis))?,
            Event::EndOfInput(input) => self.instances.iter_mut().try_for_each(|i| i.end_of_input(*input))?,
        }
        self.collect();
        Ok(())
    }

    fn route(&mut self, input: usize, batch: &Batch) -> Result<(), Failure> {
        let parallelism = self.instances.len() as u32;
        if parallelism == 1 {
            return self.instances[0].batch(input, batch.clone());
        }
        let hashes = flumen_kernels::hash::hash_batch(batch, &self.keys[input]);
        for (index, instance) in self.instances.iter_mut().enumerate() {
            let rows: Selection = rows_of(batch)
                .filter(|row| {
                    let group = key_group_of(hashes[*row as usize], MAX_PARALLELISM);
                    subtask_of(group, parallelism, MAX_PARALLELISM) == index as u32
                })
                .collect();
            let mine = batch.clone().with_selection(Some(rows));
            instance.batch(input, flumen_kernels::hash::with_key_hashes(mine, &self.keys[input]))?;
        }
        Ok(())
    }

    pub(crate) fn run(mut self, events: &[Event]) -> Result<Vec<StreamElement>, Failure> {
        for (index, event) in events.iter().enumerate() {
            if let Some((at, parallelism)) = self.feed.restore
                && at == index
            {
                self.rescale(parallelism)?;
            }
            self.push(event)?;
        }
        self.instances.iter_mut().try_for_each(Instance::finish)?;
        self.collect();
        Ok(std::mem::take(&mut self.given))
    }
}

/// Runs the events and gives all rows, as text, in order.
pub(crate) fn rows_given(spec: &OperatorSpec, keys: &[Vec<usize>], events: &[Event], feed: &Feed) -> Vec<String> {
    let parallel = Parallel::new(spec, keys, feed, Arc::new(Unmetered)).unwrap();
    let given = parallel.run(events).unwrap_or_else(|e| panic!("{feed:?}: {}", e.chain()));
    given.iter().filter(|e| matches!(e, StreamElement::Batch(_))).flat_map(element_texts).collect()
}

/// Rows of a changelog that are left when all changes are applied, sorted.
pub(crate) fn applied(changes: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for change in changes {
        let (kind, row) = change.split_at(2);
        let count = counts.entry(row).or_default();
        *count += if kind == "+I" || kind == "+U" { 1 } else { -1 };
        assert!(*count >= 0, "{change} takes back a row that is not there");
    }
    counts.iter().flat_map(|(row, count)| std::iter::repeat_n(format!("+I{row}"), *count as usize)).collect()
}

struct Kept {
    schema: SchemaRef,
    rows: std::vec::IntoIter<(KeyGroup, Batch)>,
}

impl KeyedRows for Kept {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next(&mut self) -> Result<Option<(KeyGroup, Batch)>, Failure> {
        Ok(self.rows.next())
    }
}

/// Physical rows that count.
pub(crate) fn rows_of(batch: &Batch) -> impl Iterator<Item = u32> + use<> {
    let selection = batch.selection().cloned();
    let rows = batch.num_rows();
    (0..rows).map(move |i| selection.as_ref().map_or(i as u32, |s| s[i]))
}

/// The same rows between others that a selection leaves out.
fn with_decoys(batch: &Batch) -> Batch {
    let rows = rows_of(batch).flat_map(|row| [row, row]).collect();
    let doubled = flumen_kernels::gather::take_batch(batch, &rows).unwrap();
    let odd = (0..batch.num_rows() as u32).map(|i| 2 * i + 1).collect();
    doubled.with_selection(Some(odd))
}

pub(crate) fn element_texts(element: &StreamElement) -> Vec<String> {
    match element {
        StreamElement::Batch(batch) => batch_texts(batch),
        StreamElement::Watermark(watermark) => vec![format!("W {}", watermark.0.0)],
        other => vec![format!("{other:?}")],
    }
}

/// Rows as `+I a b c`.
pub(crate) fn batch_texts(batch: &Batch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<(ArrayFormatter<'_>, bool)> = batch
        .columns()
        .iter()
        .map(|c| (ArrayFormatter::try_new(c.array().as_ref(), &options).unwrap(), c.as_constant().is_some()))
        .collect();
    rows_of(batch)
        .map(|row| {
            let kind = batch.row_kinds().map_or(RowKind::Insert, |k| RowKind::from_i8(k[row as usize]).unwrap());
            let mut text = kind.symbol().to_owned();
            for (column, is_constant) in &columns {
                let row = if *is_constant { 0 } else { row as usize };
                text.push_str(&format!(" {}", column.value(row)));
            }
            text
        })
        .collect()
}

pub(crate) fn schema(fields: &[(&str, LogicalType)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect()))
}

pub(crate) fn millis() -> LogicalType {
    LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: None }
}

pub(crate) fn ints(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

pub(crate) fn texts(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values))
}

pub(crate) fn times(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(arrow_array::TimestampMillisecondArray::from_iter_values(values))
}

pub(crate) fn batch(schema: &SchemaRef, arrays: Vec<ArrayRef>) -> Batch {
    let rows = arrays.first().map_or(0, |a| a.len());
    Batch::new(Arc::clone(schema), arrays.into_iter().map(Column::Array).collect(), rows)
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// A small integer, sometimes NULL.
    pub(crate) fn nullable(&mut self, bound: u64) -> Option<i64> {
        let value = self.below(bound + 1);
        (value < bound).then_some(value as i64)
    }
}
