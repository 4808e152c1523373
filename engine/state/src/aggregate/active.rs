//! Which rows of an update count, after filter and NULLs.

use std::borrow::Cow;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use flumen_core::batch::{Column, RowKind};

use super::{StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::pages::SlotColumn;
use crate::values::{ColumnView, Lanes};
use flumen_memory::Pod;

/// Physical rows in order.
pub(super) enum ActiveRows<'a> {
    /// The first so many.
    All(usize),
    List(Cow<'a, [u32]>),
}

/// The rows that count, with their slots.
pub(super) struct Active<'a> {
    pub(super) slots: Cow<'a, [u32]>,
    pub(super) rows: ActiveRows<'a>,
    /// The slot of all of them, if known.
    pub(super) single: Option<u32>,
    /// No selected row was left out.
    pub(super) complete: bool,
    pub(super) slot_count: usize,
}

impl<'a> Active<'a> {
    /// Rows of an update that pass the filter and whose `args` are not NULL.
    pub(super) fn of_update(input: &UpdateInput<'a>, args: &[&ColumnView<'_>]) -> Result<Self> {
        let filter = input.filter.map(true_rows).transpose()?;
        let keep =
            |row: usize| filter.as_ref().is_none_or(|f| f.is_true(row)) && args.iter().all(|view| !view.is_null(row));
        let all =
            filter.is_none() && args.iter().all(|view| view.nulls.is_none() && !matches!(view.lanes, Lanes::Null));
        let none = args.iter().any(|view| matches!(view.lanes, Lanes::Null));
        Ok(Self::filtered(input.slots, input.selection, input.single, input.slot_count, all, |row| !none && keep(row)))
    }

    /// Rows of a merge whose `state` column is not NULL.
    pub(super) fn of_merge(input: &StateInput<'a>, state: Option<&ColumnView<'_>>) -> Self {
        let none = state.is_some_and(|view| matches!(view.lanes, Lanes::Null));
        let all = !none && state.is_none_or(|view| view.nulls.is_none());
        let keep = |row: usize| !none && state.is_none_or(|view| !view.is_null(row));
        Self::filtered(input.slots, input.selection, None, input.slot_count, all, keep)
    }

    fn filtered(
        slots: &'a [u32],
        selection: Option<&'a [u32]>,
        single: Option<u32>,
        slot_count: usize,
        all: bool,
        keep: impl Fn(usize) -> bool,
    ) -> Self {
        if all {
            let rows = match selection {
                None => ActiveRows::All(slots.len()),
                Some(selection) => ActiveRows::List(Cow::Borrowed(selection)),
            };
            return Self { slots: Cow::Borrowed(slots), rows, single, complete: true, slot_count };
        }
        let (mut kept_slots, mut kept_rows) = (vec![0; slots.len()], vec![0; slots.len()]);
        let mut count = 0;
        for (i, slot) in slots.iter().enumerate() {
            let row = selection.map_or(i as u32, |s| s[i]);
            kept_slots[count] = *slot;
            kept_rows[count] = row;
            count += usize::from(keep(row as usize));
        }
        kept_slots.truncate(count);
        kept_rows.truncate(count);
        Self {
            complete: count == slots.len(),
            slots: Cow::Owned(kept_slots),
            rows: ActiveRows::List(Cow::Owned(kept_rows)),
            single,
            slot_count,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The physical row of the i-th.
    #[inline]
    pub(super) fn row(&self, i: usize) -> usize {
        match &self.rows {
            ActiveRows::All(_) => i,
            ActiveRows::List(rows) => rows[i] as usize,
        }
    }

    /// Calls `update(state, values[row])` for each row, compiled for each way of finding the row.
    ///
    /// # Errors
    /// If memory for a copy of a shared page is refused.
    #[inline]
    pub(super) fn scatter<T: Pod + Default, V: Copy>(
        &self,
        column: &mut SlotColumn<T>,
        values: &[V],
        mut update: impl FnMut(&mut T, V),
    ) -> Result<()> {
        if let (Some(slot), false) = (self.single, self.slots.is_empty()) {
            // One group: the state stays in a register.
            let state = column.get_mut(slot)?;
            let mut local = *state;
            match &self.rows {
                ActiveRows::All(n) => values[..*n].iter().for_each(|v| update(&mut local, *v)),
                ActiveRows::List(rows) => rows.iter().for_each(|row| update(&mut local, values[*row as usize])),
            }
            *state = local;
            return Ok(());
        }
        match &self.rows {
            ActiveRows::All(n) => {
                let values = &values[..*n];
                column.update_each(&self.slots, |i, state| update(state, values[i]))
            }
            ActiveRows::List(rows) => {
                column.update_each(&self.slots, |i, state| update(state, values[rows[i] as usize]))
            }
        }
    }

    /// Signs of the rows by physical row, if any row takes back.
    pub(super) fn signs(row_kinds: Option<&[i8]>) -> Option<Vec<i64>> {
        let takes_back = |kind: &i8| *kind == RowKind::UpdateBefore as i8 || *kind == RowKind::Delete as i8;
        let kinds = row_kinds?;
        kinds.iter().any(takes_back).then(|| kinds.iter().map(|k| if takes_back(k) { -1 } else { 1 }).collect())
    }
}

/// A filter column by physical row.
struct TrueRows {
    rows: Option<arrow_buffer::BooleanBuffer>,
    constant: bool,
}

impl TrueRows {
    #[inline]
    fn is_true(&self, row: usize) -> bool {
        self.rows.as_ref().map_or(self.constant, |rows| rows.value(row))
    }
}

fn true_rows(column: &Column) -> Result<TrueRows> {
    let array = column.array();
    let Some(values) = array.as_boolean_opt() else {
        return Err(StateError::ColumnType {
            what: "the filter of an aggregate".into(),
            found: array.data_type().to_string(),
            expected: "Boolean".into(),
        });
    };
    Ok(match column {
        Column::Constant(_) => TrueRows { rows: None, constant: values.is_valid(0) && values.value(0) },
        Column::Array(_) => {
            let rows = match values.nulls() {
                None => values.values().clone(),
                Some(nulls) => values.values() & nulls.inner(),
            };
            TrueRows { rows: Some(rows), constant: false }
        }
    })
}

/// Fails if rows are to be taken back by a function that cannot.
pub(super) fn refuse_retract(function: &str, row_kinds: Option<&[i8]>) -> Result<()> {
    if Active::signs(row_kinds).is_some() {
        return Err(StateError::UnsupportedAggregate {
            function: function.to_owned(),
            problem: "cannot take rows back yet; feed it an append-only input".into(),
        });
    }
    Ok(())
}
