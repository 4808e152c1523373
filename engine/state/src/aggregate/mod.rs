//! Aggregate functions over groups: columns of accumulators addressed by slot.
//!
//! An [`Accumulator`] keeps the state of one aggregate call for all groups of a table. A call per batch updates it with
//! rows and their slots; there is no call per row or group. Its state can be exported as columns and merged again, which
//! is what local and global phases, snapshots, spilling and rescaling all use.
//!
//! Semantics are PostgreSQL's where engines differ: an aggregate of no rows, or of NULLs only, is NULL (a count is 0);
//! SUM of integers is BIGINT and of BIGINT DECIMAL(38, 0); AVG of integers is DOUBLE and of DECIMAL(p, s)
//! DECIMAL(38, max(6, s)) rounded half up (away from zero); NaN is greater than all numbers; a result that does not fit
//! its type is an error. The return type that the planner gives wins over these rules where the function can serve it.
//!
//! A fresh state is all zero bytes in every function, so new groups need no initialization.

mod active;
#[cfg(test)]
mod argument_tests;
mod bits;
mod boolean;
mod bytes;
mod collect;
mod concat;
mod count;
mod extreme;
mod mean;
mod moments;
mod numbers;
mod ordered;
mod pick;
mod presence;
mod registry;
mod regression;
mod sum;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::batch::Column;
use flumen_core::types::{Field, LogicalType};

use crate::error::Result;
use crate::pages::PageSource;

pub use registry::{AggregateFunction, AggregateRegistry};

/// Rows to update an accumulator with.
#[derive(Clone, Copy)]
pub struct UpdateInput<'a> {
    /// The slot of each selected row, in order.
    pub slots: &'a [u32],
    /// Every selected row has this slot, if that is known.
    pub single: Option<u32>,
    /// Argument columns, as many as the call has.
    pub args: &'a [&'a Column],
    /// Physical rows of the batch.
    pub rows: usize,
    /// Which of them count; `None` means all.
    pub selection: Option<&'a [u32]>,
    /// BOOLEAN column: only rows for which it is true count.
    pub filter: Option<&'a Column>,
    /// Row kinds by physical row: `-U` and `-D` take back. `None` means all are insertions.
    pub row_kinds: Option<&'a [i8]>,
    /// Slots of the table. Every group that was created since the last update must have a row here.
    pub slot_count: usize,
}

/// Exported states to merge into an accumulator.
#[derive(Clone, Copy)]
pub struct StateInput<'a> {
    /// The slot of each selected row, in order.
    pub slots: &'a [u32],
    /// State columns, as [`Accumulator::state_fields`] says.
    pub state: &'a [&'a Column],
    /// Physical rows of the columns.
    pub rows: usize,
    /// Which of them count; `None` means all.
    pub selection: Option<&'a [u32]>,
    /// Slots of the table. Every group that was created since the last merge or update must have a row here.
    pub slot_count: usize,
}

/// The states of one aggregate call, by slot.
pub trait Accumulator: Send {
    /// Columns of an exported state.
    fn state_fields(&self) -> Vec<Field>;

    /// Makes memory for slots below `slots`.
    ///
    /// # Errors
    /// If it is refused.
    fn reserve(&mut self, slots: usize) -> Result<()>;

    /// Takes memory for the values of a batch that comes next, before any of its rows is taken in: `columns` are its
    /// arguments (or its states), of `rows` rows of which `selected` count. Only for accumulators whose memory grows with
    /// rows rather than with groups.
    ///
    /// # Errors
    /// If it is refused.
    fn make_room(&mut self, columns: &[&Column], rows: usize, selected: usize) -> Result<()> {
        let _ = (columns, rows, selected);
        Ok(())
    }

    /// Takes in rows; memory for their slots is there.
    ///
    /// # Errors
    /// If an argument has an unexpected type, the function cannot take back and is asked to, or memory is refused.
    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()>;

    /// Takes in exported states; memory for their slots is there.
    ///
    /// # Errors
    /// As [`Self::update`].
    fn merge(&mut self, input: &StateInput<'_>) -> Result<()>;

    /// Whether rows of kind `-U` and `-D` can be taken back.
    fn supports_retract(&self) -> bool;

    /// The states of these slots, one column for each of [`Self::state_fields`].
    ///
    /// # Errors
    /// If a state is outside of its type's range.
    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// The final values of these slots.
    ///
    /// # Errors
    /// If a value is outside of its type's range.
    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef>;

    /// Makes these states fresh again.
    ///
    /// # Errors
    /// If memory for a copy of a shared page is refused.
    fn reset(&mut self, slots: &[u32]) -> Result<()>;

    /// An accumulator over the same pages, as of now, for reading on another thread.
    fn freeze(&mut self) -> Box<dyn Accumulator>;

    /// Forgets all states and gives the memory back.
    fn clear(&mut self);

    /// Bytes of its pages.
    fn memory_bytes(&self) -> usize;
}

/// What an accumulator is made with.
#[derive(Clone)]
pub struct AccumulatorContext {
    /// Where its pages come from.
    pub pages: Arc<dyn PageSource>,
    /// Rows will be taken back, so what is needed for that has to be kept.
    pub retracting: bool,
}

/// Names types for messages.
pub(crate) fn type_list(types: &[LogicalType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
