//! BOOL_AND (EVERY) and BOOL_OR: how many values were true, and how many false.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::types::{Field, LogicalType};

use super::active::Active;
use super::numbers::integers;
use super::ordered::Code;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::{ColumnView, fixed_array};

/// Which connective.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Connective {
    And,
    Or,
}

pub(super) struct BooleanFold {
    /// Counts of false and true values.
    counts: [SlotColumn<i64>; 2],
    connective: Connective,
}

impl BooleanFold {
    pub(super) fn new(connective: Connective, context: &AccumulatorContext) -> Self {
        let column = || SlotColumn::new(Arc::clone(&context.pages));
        Self { counts: [column(), column()], connective }
    }
}

impl Accumulator for BooleanFold {
    fn state_fields(&self) -> Vec<Field> {
        ["false", "true"].map(|name| Field::new(name, LogicalType::Int64, false)).into()
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.counts.iter_mut().try_for_each(|c| c.reserve(slots))
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.args[0])?;
        let active = Active::of_update(input, &[&view])?;
        let values = u64::encode(&view, input.rows, &LogicalType::Boolean, "the argument of bool_and or bool_or")?;
        let signs = Active::signs(input.row_kinds);
        for (truth, counts) in (0..).zip(&mut self.counts) {
            let weights: Vec<i64> = match &signs {
                None => values.iter().map(|v| i64::from(*v == truth)).collect(),
                Some(signs) => values.iter().zip(signs).map(|(v, s)| i64::from(*v == truth) * s).collect(),
            };
            active.scatter(counts, &weights, |count, weight| *count += weight)?;
        }
        Ok(())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        for (column, counts) in input.state.iter().zip(&mut self.counts) {
            let view = ColumnView::new(column)?;
            let more = integers(&view, input.rows, "the state of bool_and or bool_or")?;
            Active::of_merge(input, Some(&view)).scatter(counts, &more, |count, more| *count += more)?;
        }
        Ok(())
    }

    fn supports_retract(&self) -> bool {
        true
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |counts: &SlotColumn<i64>| {
            let counts = slots.iter().map(|slot| counts.get(*slot)).collect();
            fixed_array(LogicalType::Int64.arrow_type(), counts, None)
        };
        Ok(self.counts.iter().map(column).collect())
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let [falses, trues] = &self.counts;
        let has = |counts: &SlotColumn<i64>, i: usize| counts.get(slots[i]) > 0;
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| has(falses, i) || has(trues, i));
        let values = BooleanBuffer::collect_bool(slots.len(), |i| match self.connective {
            Connective::And => !has(falses, i),
            Connective::Or => has(trues, i),
        });
        Ok(Arc::new(BooleanArray::new(values, Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0))))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.counts.iter_mut().try_for_each(|c| c.clear(slots))
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        let [falses, trues] = &mut self.counts;
        Box::new(Self { counts: [falses.freeze(), trues.freeze()], connective: self.connective })
    }

    fn clear(&mut self) {
        self.counts.iter_mut().for_each(SlotColumn::release);
    }

    fn memory_bytes(&self) -> usize {
        self.counts.iter().map(SlotColumn::memory_bytes).sum()
    }
}
