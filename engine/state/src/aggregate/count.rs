//! COUNT(*) and COUNT(x, ...): rows, or rows whose arguments are all not NULL.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::types::{Field, LogicalType};

use super::active::Active;
use super::numbers::integers;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::{ColumnView, fixed_array};

pub(super) struct Count {
    counts: SlotColumn<i64>,
}

impl Count {
    pub(super) fn new(context: &AccumulatorContext) -> Self {
        Self { counts: SlotColumn::new(Arc::clone(&context.pages)) }
    }
}

impl Accumulator for Count {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new("count", LogicalType::Int64, false)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.counts.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let views = input.args.iter().map(|c| ColumnView::new(c)).collect::<Result<Vec<_>>>()?;
        let active = Active::of_update(input, &views.iter().collect::<Vec<_>>())?;
        match (Active::signs(input.row_kinds), active.single) {
            (None, Some(slot)) => {
                *self.counts.get_mut(slot)? += active.len() as i64;
                Ok(())
            }
            (None, None) => self.counts.update_each(&active.slots, |_, count| *count += 1),
            (Some(signs), _) => active.scatter(&mut self.counts, &signs, |count, sign| *count += sign),
        }
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        let counts = integers(&view, input.rows, "the state of count")?;
        Active::of_merge(input, Some(&view)).scatter(&mut self.counts, &counts, |count, more| *count += more)
    }

    fn supports_retract(&self) -> bool {
        true
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(slots)?])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let counts = slots.iter().map(|slot| self.counts.get(*slot)).collect();
        Ok(fixed_array(LogicalType::Int64.arrow_type(), counts, None))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.counts.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self { counts: self.counts.freeze() })
    }

    fn clear(&mut self) {
        self.counts.release();
    }

    fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes()
    }
}
