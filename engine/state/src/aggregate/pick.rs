//! FIRST_VALUE and LAST_VALUE in order of arrival, NULLs left out, of fixed-width types.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::types::{Field, LogicalType};

use super::active::{Active, refuse_retract};
use super::ordered::Code;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::ColumnView;

/// Which value is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Last,
}

impl Which {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first_value",
            Self::Last => "last_value",
        }
    }
}

pub(super) struct Pick<C: Code> {
    codes: SlotColumn<C>,
    has: SlotColumn<u8>,
    which: Which,
    data_type: LogicalType,
}

impl<C: Code> Pick<C> {
    pub(super) fn new(which: Which, data_type: LogicalType, context: &AccumulatorContext) -> Self {
        let pages = &context.pages;
        Self { codes: SlotColumn::new(Arc::clone(pages)), has: SlotColumn::new(Arc::clone(pages)), which, data_type }
    }

    fn take(&mut self, active: &Active<'_>, view: &ColumnView<'_>, rows: usize) -> Result<()> {
        let codes = C::encode(view, rows, &self.data_type, "the argument of first_value or last_value")?;
        if self.which == Which::Last {
            active.scatter(&mut self.codes, &codes, |kept, code| *kept = code)?;
            return self.has.update_each(&active.slots, |_, has| *has = 1);
        }
        for (i, &slot) in active.slots.iter().enumerate() {
            if self.has.get(slot) == 0 {
                self.codes.set(slot, codes[active.row(i)])?;
                self.has.set(slot, 1)?;
            }
        }
        Ok(())
    }
}

impl<C: Code> Accumulator for Pick<C> {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new(self.which.name(), self.data_type.clone(), true)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.codes.reserve(slots)?;
        self.has.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract(self.which.name(), input.row_kinds)?;
        let view = ColumnView::new(input.args[0])?;
        self.take(&Active::of_update(input, &[&view])?, &view, input.rows)
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        self.take(&Active::of_merge(input, Some(&view)), &view, input.rows)
    }

    fn supports_retract(&self) -> bool {
        false
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| self.has.get(slots[i]) != 0);
        let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        C::decode(self.which.name(), &self.data_type, slots.iter().map(|slot| self.codes.get(*slot)), nulls)
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.codes.clear(slots)?;
        self.has.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            codes: self.codes.freeze(),
            has: self.has.freeze(),
            which: self.which,
            data_type: self.data_type.clone(),
        })
    }

    fn clear(&mut self) {
        self.codes.release();
        self.has.release();
    }

    fn memory_bytes(&self) -> usize {
        self.codes.memory_bytes() + self.has.memory_bytes()
    }
}
