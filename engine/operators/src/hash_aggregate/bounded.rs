//! Phases single and global over bounded input: groups are kept until it ends.
//!
//! A table that memory does not hold is written out by partition ([`super::spill`]).

use std::sync::Arc;

use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::meter::MemoryMeter;
use flumen_core::types::SchemaRef;
use flumen_state::{
    Groups, KeyInput, KeyedPart, KeyedTable, OperatorSnapshot, PageSource, RestoredState, SlotCursor, StateError,
};

use super::spill::{Spill, Spilled};
use super::{NAME, STATE};
use crate::aggregation::Aggregation;
use crate::contract::{Operator, OperatorContext, Output, Step};
use crate::error::OperatorError;
use crate::spill::SPILL_BYTES_MIN;

/// See the module.
pub(super) struct BoundedAggregate {
    aggregation: Aggregation,
    table: KeyedTable,
    groups: Groups,
    output: SchemaRef,
    batch_rows: usize,
    max_parallelism: u32,
    /// Keys of groups that exist even without rows.
    totals: Vec<Vec<Column>>,
    memory: Arc<dyn MemoryMeter>,
    pages: Arc<dyn PageSource>,
    spill: Spill,
    /// Groups when the arbiter was last told what could be spilled.
    told: usize,
    stage: Stage,
}

enum Stage {
    Collecting,
    /// The states and rows of a partition are read.
    Merging,
    /// Groups of the table come out.
    Giving(SlotCursor),
    /// Results that were written out come out.
    GivingSpilled,
    Done,
}

/// What groups are made from.
#[derive(Clone, Copy)]
enum Rows<'a> {
    Input(&'a Batch),
    States(&'a Batch),
}

impl Rows<'_> {
    fn halves(&self) -> Option<(Batch, Batch)> {
        let (Self::Input(batch) | Self::States(batch)) = self;
        let rows = batch.num_rows();
        (rows > 1).then(|| (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2)))
    }
}

impl BoundedAggregate {
    pub(super) fn new(
        aggregation: Aggregation,
        table: KeyedTable,
        totals: Vec<Vec<Column>>,
        input: &SchemaRef,
        output: &SchemaRef,
        context: &OperatorContext,
    ) -> Self {
        Self {
            spill: Spill::new(&table, input, &aggregation.group_by, context),
            aggregation,
            table,
            groups: Groups::default(),
            output: Arc::clone(output),
            batch_rows: context.batch_rows,
            max_parallelism: context.task.max_parallelism,
            totals,
            memory: Arc::clone(&context.memory),
            pages: Arc::clone(&context.pages),
            told: 0,
            stage: Stage::Collecting,
        }
    }

    /// Takes in rows, writing the table out as often as it takes.
    fn take_in(&mut self, rows: Rows<'_>) -> Result<(), Failure> {
        if self.memory.revocation_requested() > 0 {
            self.write_out(self.table.slot_count())?;
        }
        if let Rows::Input(batch) = rows
            && self.spill.push_rows(batch)?
        {
            self.memory.set_revocable(self.spill.held_bytes());
            return Ok(());
        }
        let before = self.table.slot_count();
        match self.group_all(rows, before) {
            Ok(()) => self.accumulate(rows)?,
            Err(StateError::Memory { .. }) if self.can_write_out() && before > 0 => {
                // Groups from there on were begun for these rows and hold none.
                self.write_out(before)?;
                return self.take_in(rows);
            }
            Err(error) => {
                let halves = rows.halves().filter(|_| matches!(error, StateError::Memory { .. }));
                let Some((first, second)) = halves.filter(|_| self.can_write_out()) else { return Err(error.into()) };
                // Even these rows alone have too many groups.
                self.table.clear()?;
                for half in [first, second] {
                    self.take_in(match rows {
                        Rows::Input(_) => Rows::Input(&half),
                        Rows::States(_) => Rows::States(&half),
                    })?;
                }
            }
        }
        self.tell();
        Ok(())
    }

    /// Finds the groups. What could be spilled instead leaves room to others; a table that is too small to be worth it
    /// takes what there is.
    fn group_all(&mut self, rows: Rows<'_>, before: usize) -> Result<(), StateError> {
        self.pages.set_spillable(self.can_write_out());
        let mut grouped = self.group(rows);
        self.pages.set_spillable(false);
        let is_refused = matches!(grouped, Err(StateError::Memory { .. }));
        if is_refused && (before == 0 || self.table.memory_bytes() < SPILL_BYTES_MIN) {
            self.table.set_expected_groups(0);
            grouped = self.group(rows);
        }
        grouped
    }

    fn group(&mut self, rows: Rows<'_>) -> Result<(), StateError> {
        match rows {
            Rows::Input(batch) => self.aggregation.group(&mut self.table, batch, batch.selection(), &mut self.groups),
            Rows::States(batch) => self.spill.group(&mut self.table, batch, &mut self.groups),
        }
    }

    fn accumulate(&mut self, rows: Rows<'_>) -> Result<(), StateError> {
        match rows {
            Rows::Input(batch) => self.aggregation.accumulate(&mut self.table, batch, batch.selection(), &self.groups),
            Rows::States(batch) => self.spill.merge(&mut self.table, batch, &self.groups),
        }
    }

    /// One group cannot be divided.
    fn can_write_out(&self) -> bool {
        !self.aggregation.group_by.is_empty() && self.spill.can_divide()
    }

    fn write_out(&mut self, groups: usize) -> Result<usize, Failure> {
        let held = self.table.memory_bytes() + self.spill.flush_rows()?;
        if groups > 0 {
            self.spill.write_out(&mut self.table, groups)?;
            self.table.set_expected_groups(0);
        }
        self.told = 0;
        self.memory.set_revocable(0);
        Ok(held)
    }

    /// Tells the arbiter what could be spilled, if that has changed by much.
    fn tell(&mut self) {
        let groups = self.table.slot_count();
        if groups > self.told + self.told / 8 && self.can_write_out() {
            self.told = groups;
            self.memory.set_revocable(self.table.memory_bytes());
        }
    }

    /// The groups of the table are complete, unless some of them are written out.
    fn complete(&mut self) -> Result<(), Failure> {
        if self.spill.is_partial() {
            self.write_out(self.table.slot_count())?;
            self.spill.divide()?;
            return self.next_partition();
        }
        self.stage = Stage::Giving(SlotCursor::default());
        if !self.aggregation.group_by.is_empty() {
            self.memory.set_revocable(self.table.memory_bytes());
        }
        Ok(())
    }

    fn next_partition(&mut self) -> Result<(), Failure> {
        self.table.clear()?;
        self.told = 0;
        self.memory.set_revocable(0);
        self.stage = if self.spill.next_partition() { Stage::Merging } else { Stage::Done };
        Ok(())
    }
}

impl Operator for BoundedAggregate {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut Output) -> Result<Step, Failure> {
        self.aggregation.check_kinds(&batch)?;
        self.take_in(Rows::Input(&batch))?;
        Ok(Step::Done)
    }

    fn resume(&mut self, out: &mut Output) -> Result<Step, Failure> {
        match &mut self.stage {
            Stage::Collecting | Stage::Done => return Ok(Step::Done),
            Stage::Merging => match self.spill.read()? {
                Some(Spilled::States(states)) => self.take_in(Rows::States(&states))?,
                Some(Spilled::Rows(rows)) => self.take_in(Rows::Input(&rows))?,
                None => self.complete()?,
            },
            Stage::Giving(cursor) => match self.table.next_results(cursor, &self.output, self.batch_rows)? {
                Some(batch) => out.emit(batch),
                None => self.next_partition()?,
            },
            Stage::GivingSpilled => match self.spill.read_results(&self.output)? {
                Some(batch) => out.emit(batch),
                None => self.next_partition()?,
            },
        }
        Ok(if matches!(self.stage, Stage::Done) { Step::Done } else { Step::HasMoreOutput })
    }

    fn finish(&mut self, out: &mut Output) -> Result<Step, Failure> {
        if self.aggregation.group_by.is_empty() {
            self.table.ensure_single_group()?;
        }
        for key in std::mem::take(&mut self.totals) {
            let columns: Vec<&Column> = key.iter().collect();
            let input = KeyInput { columns: &columns, rows: 1, selection: None, hashes: None };
            self.table.group(input, &mut self.groups)?;
        }
        self.complete()?;
        self.resume(out)
    }

    fn revoke_memory(&mut self, _bytes: usize) -> Result<usize, Failure> {
        if self.memory.revocation_requested() == 0 {
            return Ok(0);
        }
        let (held, can_write_out) = (self.table.memory_bytes(), self.can_write_out());
        match &mut self.stage {
            Stage::Collecting | Stage::Merging if can_write_out => self.write_out(self.table.slot_count()),
            Stage::Giving(cursor) => {
                self.spill.write_results(&mut self.table, cursor, &self.output, self.batch_rows)?;
                self.stage = Stage::GivingSpilled;
                self.memory.set_revocable(0);
                Ok(held)
            }
            _ => {
                self.memory.set_revocable(0);
                Ok(0)
            }
        }
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<OperatorSnapshot, Failure> {
        if self.spill.is_used() {
            return Err(OperatorError::NoSnapshot { operator: NAME }.into());
        }
        let rows = self.table.snapshot(self.max_parallelism, self.batch_rows);
        let part = KeyedPart { name: STATE.into(), rows: Box::new(rows) };
        Ok(OperatorSnapshot { keyed: vec![part], lists: Vec::new() })
    }

    fn restore(&mut self, mut state: RestoredState) -> Result<(), Failure> {
        Ok(self.table.restore(state.keyed.remove(STATE).unwrap_or_default())?)
    }
}
