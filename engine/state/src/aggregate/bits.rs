//! BIT_AND, BIT_OR and BIT_XOR of integers.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::types::{Field, LogicalType};

use super::active::{Active, refuse_retract};
use super::numbers::{exact, exact_array};
use super::presence::Presence;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::ColumnView;

/// Which operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BitOperator {
    And,
    Or,
    Xor,
}

impl BitOperator {
    fn name(self) -> &'static str {
        match self {
            Self::And => "bit_and",
            Self::Or => "bit_or",
            Self::Xor => "bit_xor",
        }
    }
}

/// Integers as 64 bits with their sign carried up; of AND the complement, so that a fresh state is neutral.
pub(super) struct BitFold {
    bits: SlotColumn<u64>,
    presence: Presence,
    operator: BitOperator,
    data_type: LogicalType,
}

impl BitFold {
    pub(super) fn new(operator: BitOperator, data_type: LogicalType, context: &AccumulatorContext) -> Self {
        let bits = SlotColumn::new(Arc::clone(&context.pages));
        Self { bits, presence: Presence::new(false, &context.pages), operator, data_type }
    }

    fn take(&mut self, active: &Active<'_>, view: &ColumnView<'_>, rows: usize) -> Result<()> {
        let values = exact(view, rows, "the argument of a bit aggregate")?;
        let flip = if self.operator == BitOperator::And { u64::MAX } else { 0 };
        // Of an unsigned 64-bit value the upper half of the wide form is zero, and cut off.
        let bits: Vec<u64> = (0..rows).map(|row| values.get(row) as u64 ^ flip).collect();
        match self.operator {
            BitOperator::Xor => active.scatter(&mut self.bits, &bits, |kept, more| *kept ^= more)?,
            _ => active.scatter(&mut self.bits, &bits, |kept, more| *kept |= more)?,
        }
        self.presence.mark(active, None)
    }
}

impl Accumulator for BitFold {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new(self.operator.name(), self.data_type.clone(), true)]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.bits.reserve(slots)?;
        self.presence.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        refuse_retract(self.operator.name(), input.row_kinds)?;
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
        let flip = if self.operator == BitOperator::And { u64::MAX } else { 0 };
        let unsigned = [LogicalType::UInt8, LogicalType::UInt16, LogicalType::UInt32, LogicalType::UInt64];
        let is_signed = !unsigned.contains(&self.data_type);
        let value = |slot: &u32| {
            let bits = self.bits.get(*slot) ^ flip;
            if is_signed { i128::from(bits as i64) } else { i128::from(bits) }
        };
        let values = slots.iter().map(value).collect();
        exact_array(self.operator.name(), &self.data_type, values, self.presence.nulls(slots))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.bits.clear(slots)?;
        self.presence.reset(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            bits: self.bits.freeze(),
            presence: self.presence.freeze(),
            operator: self.operator,
            data_type: self.data_type.clone(),
        })
    }

    fn clear(&mut self) {
        self.bits.release();
        self.presence.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.bits.memory_bytes() + self.presence.memory_bytes()
    }
}
