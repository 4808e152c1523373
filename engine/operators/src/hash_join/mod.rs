//! Hash join: the build side (input 0) is read to its end, then the probe side (input 1) streams through.
//!
//! Build rows are kept compacted, only with the columns that are needed later; at the end of the build side they become
//! one [`JoinTable`]. Probing gives bounded pieces: a cursor stands in the batch, so a key with a million partners costs
//! time, not memory.
//!
//! | kind | comes out |
//! |---|---|
//! | inner | pairs that match and pass the filter |
//! | left | the same, and probe rows without such a pair with NULLs for the build columns |
//! | left semi | probe rows with such a pair, once |
//! | left anti | probe rows without such a pair (NOT EXISTS: a NULL key has none) |
//! | left mark | all probe rows, and whether they have such a pair |
//! | build semi | build rows with such a pair, once, when the probe side has ended |
//! | build anti | build rows without such a pair, then |
//! | full | as left, and when the probe side has ended build rows without such a pair with NULLs for the probe columns |
//!
//! Without a filter, semi, anti and mark joins only narrow the selection of the probe batch or add a column to it. Probe
//! rows may be changes: their kinds go with them (not where build rows remember what they have met). The build side must be append-only. With an empty
//! build side an inner, semi or build anti join is satisfied at once, and the probe side need not be read.
//!
//! Two variants of these kinds:
//!
//! * *Null-aware anti* (NOT IN) with a NULL among the build keys gives nothing, and is satisfied at once; else probe rows
//!   with a NULL key are left out unless the build side is empty. Each subtask must see the whole build side to know.
//! * *Counted* semi and anti joins (INTERSECT ALL, EXCEPT ALL): a build row stands for as many rows as its count says, and
//!   each is used up by one probe row.
//!
//! A build side that memory does not hold is spilled by radix partition, with the probe rows that follow ([`spill`]);
//! then rows come out partition by partition.
//!
//! Runtime filters, one of each key that a scan asks about, are published once the build side is complete (not for left,
//! anti, mark and full joins, which need probe rows without a partner; a spilled build side has no table to ask and says
//! that it knows nothing, since somebody may be waiting).
//!
//! It is an operator of bounded queries: in the middle of its work it has no snapshot and says so.
//!
//! Cost: see `flumen_kernels::join_table`, and a gather for each output column.

mod partition;
mod probe;
mod spill;
#[cfg(test)]
mod spill_tests;
#[cfg(test)]
mod tests;
mod unmatched;

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::element::StreamElement;
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::source::RuntimeFilter;
use flumen_core::spec::relational::{HashJoinSpec, JoinKind};
use flumen_core::spec::{OperatorPayload, OperatorSpec};
use flumen_core::types::{Schema, SchemaRef};
use flumen_kernels::gather::{compact, concat};
use flumen_kernels::join_table::{JoinTable, JoinTableOptions};
use flumen_memory::ConsumerKind;
use flumen_state::OperatorSnapshot;

use crate::charge::Charge;
use crate::contract::{BlockedReason, InputSelection, Operator, OperatorContext, OperatorFactory, Output, Step};
use crate::error::{OperatorError, check_columns, input_schema, output_schema};
use crate::registry::OperatorRegistry;
use crate::spill::{SPILL_BYTES_MIN, SpillReader, SpillWriter, SpilledRows};
use partition::Progress;
use probe::{PairFilter, Probe, ProbeSpec, Source};
use spill::{BuildLayout, SpilledJoin};

const NAME: &str = "hash join";
const BUILD: usize = 0;
const PROBE: usize = 1;
/// Bytes of directory for a build row, at most.
const DIRECTORY_ROW_BYTES: usize = 16;

/// Adds the factory.
pub fn register(registry: &mut OperatorRegistry) {
    registry.register(Arc::new(Factory));
}

struct Factory;

impl OperatorFactory for Factory {
    fn kind(&self) -> &'static str {
        HashJoinSpec::KIND
    }

    fn memory_consumer(&self, _: &OperatorSpec) -> Option<ConsumerKind> {
        Some(ConsumerKind::Operator)
    }

    fn create(&self, spec: &OperatorSpec, context: &OperatorContext) -> Result<Box<dyn Operator>, Failure> {
        let payload: HashJoinSpec = spec.payload()?;
        let (build, probe) = (input_schema(spec, BUILD, NAME)?, input_schema(spec, PROBE, NAME)?);
        let output = output_schema(spec, NAME)?;
        check_columns(payload.build_keys.iter().copied(), build, NAME)?;
        check_columns(payload.probe_keys.iter().copied(), probe, NAME)?;
        if payload.build_keys.len() != payload.probe_keys.len() {
            let problem = format!("{} build keys, {} probe keys", payload.build_keys.len(), payload.probe_keys.len());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        check_variant(&payload)?;
        let gives_pairs = gives_pairs(payload.kind);
        let probe_columns = probe.fields.len();
        let gives_build = gives_pairs || payload.kind.gives_build();
        let visible = match payload.kind {
            JoinKind::LeftMark => 0..probe_columns + 1,
            kind if kind.gives_build() => probe_columns..probe_columns + build.fields.len(),
            _ if gives_pairs => 0..probe_columns + build.fields.len(),
            _ => 0..probe_columns,
        };
        let projection = payload.projection.clone().unwrap_or_else(|| visible.clone().collect());
        let is_fitting = projection.len() == output.fields.len() && projection.iter().all(|c| visible.contains(c));
        if !is_fitting {
            let problem = format!("columns {projection:?} of {visible:?} for an output of {}", output.fields.len());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        }
        let filter_columns = payload.filter.as_ref().map(|filter| filter.columns()).unwrap_or_default();

        // The build columns that are needed once a row is in the table.
        let mut kept: Vec<usize> = payload.build_keys.clone();
        let given = projection.iter().filter(|_| gives_build);
        kept.extend(given.chain(&filter_columns).filter_map(|column| column.checked_sub(probe_columns)));
        kept.extend(payload.build_count);
        kept.sort_unstable();
        kept.dedup();
        check_columns(kept.iter().copied(), build, NAME)?;
        let position = |column: usize| kept.binary_search(&column).expect("collected above");
        let source = |column: usize| match column.checked_sub(probe_columns) {
            None => Source::Probe(column),
            Some(column) => Source::Build(position(column)),
        };
        let output_source = |column: usize| match payload.kind {
            JoinKind::LeftMark if column == probe_columns => Source::Mark,
            _ => source(column),
        };
        let filter = match &payload.filter {
            None => None,
            Some(filter) => {
                let fields = [probe, build].iter().flat_map(|s| &s.fields).cloned().collect();
                let sources = filter_columns.iter().map(|column| source(*column)).collect();
                Some(PairFilter::compile(filter, &Schema::new(fields), sources, context)?)
            }
        };
        Ok(Box::new(HashJoin {
            kind: payload.kind,
            build_keys: payload.build_keys.iter().map(|key| position(*key)).collect(),
            options: JoinTableOptions { null_equals_null: payload.null_equals_null, ..JoinTableOptions::default() },
            kept: kept.clone(),
            build_schema: Arc::new(Schema::new(kept.iter().map(|c| build.fields[*c].clone()).collect())),
            rows: Vec::new(),
            charge: Charge::new(&context.memory),
            build_has_ended: false,
            table: None,
            spilled: None,
            finished: None,
            probe_schema: Arc::clone(probe),
            context: context.clone(),
            probe: Probe::new(
                ProbeSpec {
                    kind: payload.kind,
                    sources: projection.into_iter().map(output_source).collect(),
                    null_aware: payload.null_aware,
                    count: payload.build_count.map(position),
                    keys: payload.probe_keys,
                    filter,
                },
                Arc::clone(output),
                context.batch_rows,
            ),
            filters: if needs_partner(payload.kind) { payload.runtime_filters } else { Vec::new() },
            published: Vec::new(),
            unmatched: None,
            has_ended: false,
        }))
    }
}

/// Whether pairs come out, with the columns of both sides.
fn gives_pairs(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Full)
}

/// Whether probe rows without a partner come to nothing.
fn needs_partner(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Inner | JoinKind::LeftSemi) || kind.gives_build()
}

/// The variants exist of some kinds only.
fn check_variant(payload: &HashJoinSpec) -> Result<(), Failure> {
    let is_plain = payload.filter.is_none();
    let fits_null_aware =
        payload.kind == JoinKind::LeftAnti && payload.probe_keys.len() == 1 && !payload.null_equals_null && is_plain;
    let fits_count = matches!(payload.kind, JoinKind::LeftSemi | JoinKind::LeftAnti) && is_plain;
    let problem = if payload.null_aware && !fits_null_aware {
        "null-aware, which only an anti join on one key without a filter can be"
    } else if payload.build_count.is_some() && (!fits_count || payload.null_aware) {
        "counted, which only a semi or anti join without a filter can be"
    } else {
        return Ok(());
    };
    let problem = format!("a join of kind {:?} that is {problem}", payload.kind);
    Err(OperatorError::Spec { operator: NAME, problem }.into())
}

struct HashJoin {
    kind: JoinKind,
    /// Columns of the build side that are kept, ascending.
    kept: Vec<usize>,
    build_schema: SchemaRef,
    /// Among the kept columns.
    build_keys: Vec<usize>,
    options: JoinTableOptions,
    /// Build rows until the build side has ended.
    rows: Vec<Batch>,
    charge: Charge,
    build_has_ended: bool,
    /// Once the build side has ended, unless it is spilled.
    table: Option<JoinTable>,
    spilled: Option<SpilledJoin>,
    /// What had to come to its end before a table could be given up: it comes out before anything else.
    finished: Option<(SpilledRows, SpillReader)>,
    probe_schema: SchemaRef,
    context: OperatorContext,
    probe: Probe,
    /// Runtime filters that are to be published: id and key.
    filters: Vec<(u32, usize)>,
    published: Vec<(u32, RuntimeFilter)>,
    /// When build rows come out and both sides have been read: the one to look at next.
    unmatched: Option<usize>,
    /// Both sides have been read.
    has_ended: bool,
}

impl HashJoin {
    fn take_build_rows(&mut self, batch: &Batch) -> Result<(), Failure> {
        if batch.flags().has_deletes {
            return Err(OperatorError::Retraction { operator: "the build side of a hash join" }.into());
        }
        let columns: Vec<Column> = self.kept.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = batch.with_columns(Arc::clone(&self.build_schema), columns).with_row_kinds(None);
        let rows = compact(&rows)?;
        let facts = &mut self.probe.facts;
        facts.is_empty = false;
        facts.has_null_key |=
            self.probe.spec.null_aware && self.build_keys.iter().any(|key| !rows.column(*key).has_no_nulls());
        if let Some(spilled) = &mut self.spilled {
            return spilled.push_build(&rows);
        }
        let bytes = self.charge.bytes() + rows.memory_size();
        let is_little = bytes < SPILL_BYTES_MIN;
        let has_room = !self.charge.is_asked()
            && (self.charge.set_spillable(bytes).is_ok() || (is_little && self.charge.set(bytes).is_ok()));
        if has_room {
            self.rows.push(rows);
            self.charge.set_revocable(bytes);
            return Ok(());
        }
        self.spill_rows()?.push_build(&rows)
    }

    /// Writes the build rows so far; those to come follow them.
    fn spill_rows(&mut self) -> Result<&mut SpilledJoin, Failure> {
        self.charge.set_revocable(0);
        let mut spilled = self.spilled_join();
        for rows in std::mem::take(&mut self.rows) {
            spilled.push_build(&rows)?;
            self.charge.set(self.charge.bytes().saturating_sub(rows.memory_size()))?;
        }
        self.charge.set(0)?;
        Ok(self.spilled.insert(spilled))
    }

    fn spilled_join(&self) -> SpilledJoin {
        let with_matched = self.kind.marks_build();
        let layout = BuildLayout::new(&self.build_schema, &self.build_keys, self.options, with_matched);
        SpilledJoin::new(layout, &self.probe_schema, &self.probe.spec.keys, &self.context)
    }

    /// The build side has ended.
    fn build(&mut self) -> Result<(), Failure> {
        // Until there is a table to ask.
        self.published = self.filters.iter().map(|(id, _)| (*id, RuntimeFilter::unknown())).collect();
        if let Some(spilled) = &mut self.spilled {
            return spilled.end_build();
        }
        let rows: usize = self.rows.iter().map(Batch::num_rows).sum();
        // Each step has the rows twice: batches and their concatenation, then that and the table.
        let needed = self.charge.bytes() * 2 + rows * DIRECTORY_ROW_BYTES;
        let is_little = needed < SPILL_BYTES_MIN;
        let has_room = self.charge.set_spillable(needed).is_ok() || (is_little && self.charge.set(needed).is_ok());
        if !has_room {
            return self.spill_rows()?.end_build();
        }
        let all = match self.rows.as_slice() {
            [only] => only.clone(),
            batches => concat(&self.build_schema, batches)?,
        };
        self.rows = Vec::new();
        let table = JoinTable::build(&all, self.build_keys.clone(), self.options)?;
        drop(all);
        for (published, (_, key)) in self.published.iter_mut().zip(&self.filters) {
            published.1 = table.runtime_filter(*key)?;
        }
        self.probe.begin(&table)?;
        if self.charge.set(table.memory_size()).is_err() {
            // A directory over a wide span of keys.
            return self.spill_table(table);
        }
        self.charge.set_revocable(table.memory_size());
        self.table = Some(table);
        Ok(())
    }

    /// Writes the build rows of a table, and all probe rows to come.
    fn spill_table(&mut self, table: JoinTable) -> Result<(), Failure> {
        self.charge.set_revocable(0);
        let mut spilled = self.spilled_join();
        spilled.push_table(&table, &self.probe)?;
        drop(table);
        self.charge.set(0)?;
        spilled.end_build()?;
        self.spilled = Some(spilled);
        Ok(())
    }

    /// The next build rows by whether they have had a partner; the table goes when there are no more.
    fn continue_unmatched(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if let (Some(table), Some(from)) = (&self.table, self.unmatched) {
            self.unmatched = self.probe.emit_unmatched(table, from, out)?;
            if self.unmatched.is_some() {
                return Ok(Step::HasMoreOutput);
            }
            self.drop_table()?;
        }
        Ok(Step::Done)
    }

    fn drop_table(&mut self) -> Result<(), Failure> {
        self.table = None;
        self.rows = Vec::new();
        self.charge.set_revocable(0);
        self.charge.set(0)
    }

    /// Gives up the table in memory: what is under way comes to its end in a file, then its rows are spilled.
    fn give_up_table(&mut self, writer: &mut SpillWriter) -> Result<(), Failure> {
        let mut out = Output::default();
        if self.unmatched.is_some() {
            while self.continue_unmatched(&mut out)? == Step::HasMoreOutput {
                write_output(&mut out, writer)?;
            }
            return write_output(&mut out, writer);
        }
        while self.probe.is_under_way() {
            let _ = self.continue_probe(&mut out)?;
            write_output(&mut out, writer)?;
        }
        match self.table.take() {
            Some(table) => self.spill_table(table),
            None => Ok(()),
        }
    }

    /// The next of what came to its end in a file.
    fn give_finished(&mut self, out: &mut Output) -> Result<bool, Failure> {
        let Some((rows, reader)) = &mut self.finished else { return Ok(false) };
        match reader.next(rows)? {
            Some(batch) => out.emit(batch),
            None => self.finished = None,
        }
        Ok(true)
    }

    fn continue_probe(&mut self, out: &mut Output) -> Result<Step, Failure> {
        match &self.table {
            Some(table) => self.probe.next(table, out),
            None => Ok(Step::Done),
        }
    }
}

/// Takes what is in the slot to a file.
fn write_output(out: &mut Output, writer: &mut SpillWriter) -> Result<(), Failure> {
    match out.take() {
        Some(StreamElement::Batch(batch)) => writer.push(&batch),
        _ => Ok(()),
    }
}

impl Operator for HashJoin {
    fn is_satisfied(&self) -> bool {
        self.build_has_ended
            && !self.has_ended
            && ((needs_partner(self.kind) && self.probe.facts.is_empty) || self.probe.refuses_all())
    }

    fn input_selection(&self) -> InputSelection {
        InputSelection::Only(if self.build_has_ended { PROBE } else { BUILD })
    }

    fn process(&mut self, input: usize, batch: Batch, out: &mut Output) -> Result<Step, Failure> {
        if input == BUILD {
            self.take_build_rows(&batch)?;
            return Ok(Step::Done);
        }
        if batch.flags().has_deletes && !self.probe.takes_changes() {
            return Err(OperatorError::Retraction { operator: "the probe side of this hash join" }.into());
        }
        match (&self.table, &mut self.spilled) {
            (Some(table), _) => {
                self.probe.start(table, batch);
                self.continue_probe(out)
            }
            (None, Some(spilled)) => {
                spilled.push_probe(&batch)?;
                Ok(Step::Done)
            }
            (None, None) => Err(Failure::bug("hash join: probe rows came before the build side had ended")),
        }
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if self.give_finished(out)? {
            return Ok(Step::HasMoreOutput);
        }
        match (&mut self.spilled, self.unmatched) {
            (Some(spilled), _) if self.has_ended => match spilled.next(&mut self.probe, out)? {
                Progress::Finished => {
                    self.spilled = None;
                    Ok(Step::Done)
                }
                Progress::Blocked => Ok(Step::Blocked(BlockedReason::Memory)),
                Progress::More | Progress::TooLarge => Ok(Step::HasMoreOutput),
            },
            (_, Some(_)) => self.continue_unmatched(out),
            (_, None) => self.continue_probe(out),
        }
    }

    fn end_of_input(&mut self, input: usize, _out: &mut Output) -> Result<Step, Failure> {
        if input == BUILD {
            if !std::mem::replace(&mut self.build_has_ended, true) && !self.has_ended {
                self.build()?;
            }
        } else {
            self.has_ended = true;
            // Build rows may still come out, by what they have met.
            if !self.kind.marks_build() {
                self.drop_table()?;
            }
        }
        Ok(Step::Done)
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if let Some(spilled) = &mut self.spilled {
            spilled.end_probe()?;
            return self.resume(out);
        }
        self.unmatched = self.kind.marks_build().then_some(0);
        self.continue_unmatched(out)
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        if !self.charge.is_asked() {
            return Ok(0);
        }
        let held = self.charge.bytes();
        let mut writer = SpillWriter::new(&self.context.spill, &self.probe.output);
        let freed = if let Some(spilled) = &mut self.spilled {
            spilled.revoke(&mut self.probe, &mut |out| write_output(out, &mut writer))?
        } else if self.table.is_some() {
            self.give_up_table(&mut writer)?;
            held
        } else if !self.rows.is_empty() {
            self.spill_rows()?;
            held
        } else {
            0
        };
        self.charge.set_revocable(0);
        if writer.rows() > 0 {
            // What was finished earlier has all come out: nothing is under way before.
            let rows = writer.finish()?;
            let reader = rows.reader();
            self.finished = Some((rows, reader));
        }
        Ok(freed)
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        // Untouched, or done.
        if self.table.is_none() && self.rows.is_empty() && self.spilled.is_none() && self.finished.is_none() {
            Ok(OperatorSnapshot::default())
        } else {
            Err(OperatorError::NoSnapshot { operator: NAME }.into())
        }
    }

    fn take_runtime_filters(&mut self) -> Vec<(u32, RuntimeFilter)> {
        std::mem::take(&mut self.published)
    }
}
