//! A join whose build side memory does not hold: both sides by radix partition, on disk, joined one after the other.
//!
//! 1. As soon as build rows may not be held any more (or the arbiter asks for them, even for a table that is being
//!    probed), all of them go to partition files by the hash of their key, and all later rows of both sides follow. What
//!    the probe rows so far have come to stays: which build rows of a full join have had a partner, and what is left of
//!    counts, is written with the build rows.
//! 2. When the probe side has ended, the partitions are joined one after the other ([`super::partition`]), each as if it
//!    were the whole: rows that match are in the same one.
//! 3. A partition whose build rows do not fit is divided again by the next bits of the hash; one that no bits divide (a
//!    key with too many rows) is joined piece by piece of its build side.

use std::sync::Arc;

use arrow_array::{BooleanArray, Int64Array};
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;
use flumen_core::spec::relational::JoinKind;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_core::waiting::Waker;
use flumen_kernels::join_table::{JoinTable, JoinTableOptions};

use super::partition::{Partition, PartitionJoin, Progress, Sink};
use super::probe::Probe;
use crate::contract::{OperatorContext, Output};
use crate::spill::{LEVELS, SpillPartitions, SpillReader, SpillSpace, SpilledRows};

/// Rows of a table that are written at a time.
const TABLE_PIECE_ROWS: usize = 8192;

/// How the build rows are written.
pub(super) struct BuildLayout {
    pub(super) schema: SchemaRef,
    pub(super) keys: Vec<usize>,
    pub(super) options: JoinTableOptions,
    /// Behind all others: whether the row has had a partner.
    pub(super) matched: Option<usize>,
}

impl BuildLayout {
    pub(super) fn new(rows: &SchemaRef, keys: &[usize], options: JoinTableOptions, with_matched: bool) -> Self {
        let mut schema = Schema::clone(rows);
        let matched = with_matched.then_some(schema.fields.len());
        if with_matched {
            schema.fields.push(Field::new("matched", LogicalType::Boolean, false));
        }
        Self { schema: Arc::new(schema), keys: keys.to_vec(), options, matched }
    }

    /// Build rows that no probe row has met.
    fn fresh(&self, rows: &Batch) -> Batch {
        self.with_matched(rows, Column::Constant(Arc::new(BooleanArray::from(vec![false]))))
    }

    fn with_matched(&self, rows: &Batch, matched: Column) -> Batch {
        let mut columns = rows.columns().to_vec();
        columns.extend(self.matched.map(|_| matched));
        rows.with_columns(Arc::clone(&self.schema), columns)
    }

    /// The rows of a table with what probing has made of them.
    fn of_table(&self, table: &JoinTable, probe: &Probe) -> Batch {
        let matched = BooleanArray::new(probe.build_matched.to_values(), None);
        let mut rows = match self.matched {
            Some(_) => self.with_matched(table.batch(), Column::Array(Arc::new(matched))),
            None => table.batch().clone(),
        };
        if let Some(count) = probe.spec.count {
            let mut columns = rows.columns().to_vec();
            columns[count] = Column::Array(Arc::new(Int64Array::from(probe.left_over.clone())));
            rows = rows.with_columns(Arc::clone(&self.schema), columns);
        }
        rows
    }
}

/// See the module.
pub(super) struct SpilledJoin {
    space: SpillSpace,
    memory: Arc<dyn MemoryMeter>,
    waker: Waker,
    layout: BuildLayout,
    probe_schema: SchemaRef,
    probe_keys: Vec<usize>,
    stage: Stage,
    /// Still to be joined, the next one last.
    waiting: Vec<Partition>,
}

enum Stage {
    /// Build rows come.
    Building(SpillPartitions),
    /// Probe rows come.
    Probing {
        build: Vec<SpilledRows>,
        probe: SpillPartitions,
    },
    /// Both sides are on disk; the partitions wait.
    Between,
    /// A partition is divided.
    Dividing(Division),
    Joining(PartitionJoin),
}

impl SpilledJoin {
    pub(super) fn new(
        layout: BuildLayout,
        probe_schema: &SchemaRef,
        probe_keys: &[usize],
        context: &OperatorContext,
    ) -> Self {
        let build = SpillPartitions::new(&context.spill, &context.memory, &layout.schema, &layout.keys, 0);
        Self {
            space: context.spill.clone(),
            memory: Arc::clone(&context.memory),
            waker: context.waker.clone(),
            layout,
            probe_schema: Arc::clone(probe_schema),
            probe_keys: probe_keys.to_vec(),
            stage: Stage::Building(build),
            waiting: Vec::new(),
        }
    }

    /// Takes build rows.
    pub(super) fn push_build(&mut self, rows: &Batch) -> Result<(), Failure> {
        let rows = self.layout.fresh(rows);
        self.write_build(&rows)
    }

    fn write_build(&mut self, rows: &Batch) -> Result<(), Failure> {
        let Stage::Building(build) = &mut self.stage else { return Err(out_of_turn()) };
        build.push(rows)?;
        self.memory.set_revocable(build.held_bytes());
        Ok(())
    }

    /// Takes the rows of a table that is probed no further.
    pub(super) fn push_table(&mut self, table: &JoinTable, probe: &Probe) -> Result<(), Failure> {
        let rows = self.layout.of_table(table, probe);
        for from in (0..rows.num_rows()).step_by(TABLE_PIECE_ROWS) {
            self.write_build(&rows.slice(from, TABLE_PIECE_ROWS.min(rows.num_rows() - from)))?;
        }
        Ok(())
    }

    /// The build side has ended.
    pub(super) fn end_build(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Building(build) => {
                let build = build.finish()?;
                self.memory.set_revocable(0);
                let probe = SpillPartitions::new(&self.space, &self.memory, &self.probe_schema, &self.probe_keys, 0);
                self.stage = Stage::Probing { build, probe };
                Ok(())
            }
            _ => Err(out_of_turn()),
        }
    }

    /// Takes probe rows.
    pub(super) fn push_probe(&mut self, rows: &Batch) -> Result<(), Failure> {
        let Stage::Probing { probe, .. } = &mut self.stage else { return Err(out_of_turn()) };
        probe.push(rows)?;
        self.memory.set_revocable(probe.held_bytes());
        Ok(())
    }

    /// The probe side has ended: partitions are joined from now on.
    pub(super) fn end_probe(&mut self) -> Result<(), Failure> {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Probing { build, probe } => {
                let probe = probe.finish()?;
                self.memory.set_revocable(0);
                self.wait_for_turn(build, probe, 1);
                Ok(())
            }
            _ => Err(out_of_turn()),
        }
    }

    fn wait_for_turn(&mut self, build: Vec<SpilledRows>, probe: Vec<SpilledRows>, level: u32) {
        let partitions = build.into_iter().zip(probe).map(|(build, probe)| Partition { build, probe, level });
        self.waiting.extend(partitions.filter(|p| p.build.rows() + p.probe.rows() > 0).rev());
    }

    /// The next piece of the join.
    pub(super) fn next(&mut self, probe: &mut Probe, out: &mut Output) -> Result<Progress, Failure> {
        match &mut self.stage {
            Stage::Building(_) | Stage::Probing { .. } => return Err(out_of_turn()),
            Stage::Between => {
                let Some(partition) = self.waiting.pop() else { return Ok(Progress::Finished) };
                if has_output(&partition, probe.spec.kind) {
                    self.stage = Stage::Joining(PartitionJoin::new(partition, &self.memory, &self.waker));
                }
            }
            Stage::Dividing(division) => {
                if !division.step()? {
                    let Stage::Dividing(division) = std::mem::replace(&mut self.stage, Stage::Between) else {
                        return Err(out_of_turn());
                    };
                    let rows = division.partition.build.rows();
                    let mut level = division.partition.level + 1;
                    let (build, probes) = (division.build.finish()?, division.probe.finish()?);
                    // No bits divide one key.
                    if build.iter().any(|part| part.rows() == rows) {
                        level = LEVELS;
                    }
                    self.wait_for_turn(build, probes, level);
                }
            }
            Stage::Joining(joining) => match joining.next(&self.layout, probe, out)? {
                Progress::Finished => self.stage = Stage::Between,
                Progress::TooLarge => {
                    let Stage::Joining(joining) = std::mem::replace(&mut self.stage, Stage::Between) else {
                        return Err(out_of_turn());
                    };
                    let partition = joining.into_partition();
                    let level = partition.level;
                    let partitions = |schema: &SchemaRef, keys: &[usize]| {
                        SpillPartitions::new(&self.space, &self.memory, schema, keys, level)
                    };
                    self.stage = Stage::Dividing(Division {
                        build: partitions(&self.layout.schema, &self.layout.keys),
                        probe: partitions(&self.probe_schema, &self.probe_keys),
                        build_reader: partition.build.reader(),
                        probe_reader: partition.probe.reader(),
                        partition,
                    });
                }
                Progress::Blocked => return Ok(Progress::Blocked),
                Progress::More => {}
            },
        }
        Ok(Progress::More)
    }

    /// The arbiter asks: gives back what is not on disk, after the batch that is being probed has come to its end in
    /// `sink`.
    pub(super) fn revoke(&mut self, probe: &mut Probe, sink: &mut Sink<'_>) -> Result<usize, Failure> {
        let freed = match &mut self.stage {
            Stage::Building(rows) | Stage::Probing { probe: rows, .. } => rows.flush()?,
            Stage::Between => 0,
            Stage::Dividing(division) => division.build.flush()? + division.probe.flush()?,
            Stage::Joining(joining) => joining.revoke(probe, sink)?,
        };
        self.memory.set_revocable(0);
        Ok(freed)
    }
}

/// Whether anything can come of a partition.
fn has_output(partition: &Partition, kind: JoinKind) -> bool {
    let (build, probe) = (partition.build.rows() > 0, partition.probe.rows() > 0);
    match kind {
        JoinKind::Inner | JoinKind::LeftSemi | JoinKind::BuildSemi => build && probe,
        JoinKind::BuildAnti => build,
        JoinKind::Full => true,
        _ => probe,
    }
}

fn out_of_turn() -> Failure {
    Failure::bug("hash join: rows of a spilled join came out of turn")
}

/// A partition on its way to sixteen.
struct Division {
    partition: Partition,
    build: SpillPartitions,
    probe: SpillPartitions,
    build_reader: SpillReader,
    probe_reader: SpillReader,
}

impl Division {
    /// Moves a batch; answers whether there is more.
    fn step(&mut self) -> Result<bool, Failure> {
        if let Some(rows) = self.build_reader.next(&self.partition.build)? {
            self.build.push(&rows)?;
            return Ok(true);
        }
        if let Some(rows) = self.probe_reader.next(&self.partition.probe)? {
            self.probe.push(&rows)?;
            return Ok(true);
        }
        Ok(false)
    }
}
