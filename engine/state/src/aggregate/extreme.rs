//! MIN and MAX of fixed-width types.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::types::{Field, LogicalType};

use super::active::{Active, refuse_retract};
use super::ordered::Code;
use super::presence::Presence;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::ColumnView;

/// Which end is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Min,
    Max,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

pub(super) struct Extreme<C: Code> {
    /// Codes of the largest values; of the complement for MIN.
    codes: SlotColumn<C>,
    presence: Presence,
    direction: Direction,
    data_type: LogicalType,
}

impl<C: Code> Extreme<C> {
    pub(super) fn new(direction: Direction, data_type: LogicalType, context: &AccumulatorContext) -> Self {
        Self {
            codes: SlotColumn::new(Arc::clone(&context.pages)),
            presence: Presence::new(false, &context.pages),
            direction,
            data_type,
        }
    }

    fn take(&mut self, active: &Active<'_>, view: &ColumnView<'_>, rows: usize) -> Result<()> {
        let mut codes = C::encode(view, rows, &self.data_type, "the argument of min or max")?;
        if self.direction == Direction::Min {
            codes.iter_mut().for_each(|code| *code = !*code);
        }
        active.scatter(&mut self.codes, &codes, |best, code| *best = (*best).max(code))?;
        self.presence.mark(active, None)
    }
}

impl<C: Code> Accumulator for Extreme<C> {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new(self.direction.name(), self.data_type.clone(), true)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.codes.reserve(slots)?;
        self.presence.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract(self.direction.name(), input.row_kinds)?;
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
        let nulls = self.presence.nulls(slots);
        let minimum = self.direction == Direction::Min;
        // Behind a NULL there is a fresh code, which may stand for no value of a wide decimal: zero does.
        let fresh = C::default();
        let code = |slot: &u32| match self.codes.get(*slot) {
            code if code == fresh && nulls.is_some() && !self.presence.has(*slot) => fresh,
            code if minimum => !code,
            code => code,
        };
        C::decode(self.direction.name(), &self.data_type, slots.iter().map(code), nulls.clone())
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.codes.clear(slots)?;
        self.presence.reset(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            codes: self.codes.freeze(),
            presence: self.presence.freeze(),
            direction: self.direction,
            data_type: self.data_type.clone(),
        })
    }

    fn clear(&mut self) {
        self.codes.release();
        self.presence.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.codes.memory_bytes() + self.presence.memory_bytes()
    }
}
