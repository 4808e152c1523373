//! The net change of each key of a batch, as rows of a changelog.
//!
//! Values are evaluated before and after the batch, for its groups only, and compared column by column. A group is
//! visible while it has more rows than were taken back; a count below zero (a row was taken back before it came) is
//! kept, invisibly, until it is made up for.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use flumen_core::batch::{Batch, Column, RowKind};
use flumen_core::failure::Failure;
use flumen_core::types::SchemaRef;
use flumen_kernels::compare::{NullEquality, rows_equal};
use flumen_kernels::gather::interleave;
use flumen_state::{Groups, KeyedTable};

use crate::aggregation::Aggregation;
use crate::charge::Charge;
use crate::contract::{OperatorContext, Output, Step};

/// In the interleaving: values from before the batch, and from after it.
const OLD: u32 = 0;
const NEW: u32 = 1;

/// Turns the groups of a batch into changes.
pub(super) struct ChangeLog {
    output: SchemaRef,
    /// With an added row count.
    results: SchemaRef,
    keys: usize,
    visible_calls: usize,
    row_count: Option<usize>,
    /// The batch that touched a slot last.
    stamps: Vec<u32>,
    stamps_charge: Charge,
    stamp: u32,
    /// Groups of the batch: those that were there, then the new ones.
    slots: Vec<u32>,
    existing: usize,
    old: Option<Batch>,
    given: Option<(Batch, usize)>,
    batch_rows: usize,
}

impl ChangeLog {
    pub(super) fn new(aggregation: &Aggregation, output: &SchemaRef, context: &OperatorContext) -> Self {
        Self {
            output: Arc::clone(output),
            results: aggregation.result_schema(output),
            keys: aggregation.group_by.len(),
            visible_calls: aggregation.visible_calls(),
            row_count: aggregation.row_count(),
            stamps: Vec::new(),
            stamps_charge: Charge::new(&context.memory),
            stamp: 0,
            slots: Vec::new(),
            existing: 0,
            old: None,
            given: None,
            batch_rows: context.batch_rows,
        }
    }

    /// Notes the values of the batch's groups before it is taken in.
    pub(super) fn before(&mut self, table: &KeyedTable, groups: &Groups) -> Result<(), Failure> {
        self.next_stamp(table.slot_count())?;
        self.slots.clear();
        for slot in &groups.new_slots {
            self.stamps[*slot as usize] = self.stamp;
        }
        let own: &[u32] = match groups.single {
            Some(_) => &groups.slots[..1],
            None => &groups.slots,
        };
        for slot in own {
            let last = &mut self.stamps[*slot as usize];
            if *last != self.stamp {
                *last = self.stamp;
                self.slots.push(*slot);
            }
        }
        self.existing = self.slots.len();
        self.old = Some(table.results_of(&self.slots, &self.results)?);
        self.slots.extend_from_slice(&groups.new_slots);
        Ok(())
    }

    fn next_stamp(&mut self, slots: usize) -> Result<(), Failure> {
        if self.stamps.len() < slots {
            let wanted = slots.next_power_of_two();
            self.stamps_charge.set(wanted * size_of::<u32>())?;
            self.stamps.resize(wanted, 0);
        }
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.stamps.fill(0);
            self.stamp = 1;
        }
        Ok(())
    }

    /// Compares with the values after the batch, and removes groups without rows.
    pub(super) fn after(&mut self, table: &mut KeyedTable) -> Result<(), Failure> {
        let Some(old) = self.old.take() else { return Ok(()) };
        let new = table.results_of(&self.slots, &self.results)?;
        let unchanged = self.unchanged(&old, &new);
        let old_counts = self.row_count.map(|call| counts(&old, self.keys + call));
        let new_counts = self.row_count.map(|call| counts(&new, self.keys + call));
        let mut rows = Vec::new();
        let mut kinds: Vec<i8> = Vec::new();
        let mut removed = Vec::new();
        let mut unchanged = unchanged.into_iter().peekable();
        for at in 0..self.slots.len() {
            let index = at as u32;
            let count = new_counts.map_or(1, |counts| counts[at]);
            let was_visible = at < self.existing && old_counts.is_none_or(|counts| counts[at] > 0);
            let is_unchanged = unchanged.next_if_eq(&index).is_some();
            match (was_visible, count > 0) {
                (true, true) if is_unchanged => {}
                (true, true) => {
                    rows.extend([(OLD, index), (NEW, index)]);
                    kinds.extend([RowKind::UpdateBefore as i8, RowKind::UpdateAfter as i8]);
                }
                (true, false) => {
                    rows.push((OLD, index));
                    kinds.push(RowKind::Delete as i8);
                }
                (false, true) => {
                    rows.push((NEW, index));
                    kinds.push(RowKind::Insert as i8);
                }
                (false, false) => {}
            }
            // The one group of a query without keys stays.
            if count == 0 && self.keys > 0 {
                removed.push(self.slots[at]);
            }
        }
        if !rows.is_empty() {
            let all_new = kinds.iter().all(|kind| *kind == RowKind::Insert as i8);
            let changes = interleave(&self.output, &[self.visible(&old), self.visible(&new)], &rows)?;
            let changes = changes.with_row_kinds((!all_new).then(|| kinds.into()));
            self.given = Some((changes, 0));
        }
        if !removed.is_empty() {
            table.remove(&removed)?;
        }
        Ok(())
    }

    /// Positions of groups that were there whose values are the same, ascending.
    fn unchanged(&self, old: &Batch, new: &Batch) -> Vec<u32> {
        let values = |batch: &Batch| -> Vec<Column> { batch.columns()[self.keys..][..self.visible_calls].to_vec() };
        let (old, new) = (values(old), values(new));
        let rows: Vec<u32> = (0..self.existing as u32).collect();
        let mut matches = Vec::new();
        rows_equal(
            &old.iter().collect::<Vec<_>>(),
            &rows,
            &new.iter().collect::<Vec<_>>(),
            &rows,
            NullEquality::NullsEqual,
            &mut matches,
        );
        matches
    }

    /// Without an added row count.
    fn visible(&self, batch: &Batch) -> Batch {
        let columns = batch.columns()[..self.keys + self.visible_calls].to_vec();
        Batch::new(Arc::clone(&self.output), columns, batch.physical_rows())
    }

    /// Gives the next piece; the two halves of an update are never parted.
    pub(super) fn emit(&mut self, out: &mut Output) -> Result<Step, Failure> {
        let Some((batch, offset)) = &mut self.given else { return Ok(Step::Done) };
        let rows = batch.num_rows();
        let mut end = rows.min(*offset + self.batch_rows.max(2));
        let parts_update =
            end < rows && batch.row_kinds().is_some_and(|kinds| kinds[end - 1] == RowKind::UpdateBefore as i8);
        end -= usize::from(parts_update);
        let whole = *offset == 0 && end == rows;
        out.emit(if whole { batch.clone() } else { batch.slice(*offset, end - *offset) });
        *offset = end;
        if end == rows {
            self.given = None;
            return Ok(Step::Done);
        }
        Ok(Step::HasMoreOutput)
    }
}

fn counts(batch: &Batch, column: usize) -> &[i64] {
    batch.column(column).array().as_primitive::<Int64Type>().values()
}
