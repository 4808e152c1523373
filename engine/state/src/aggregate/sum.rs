//! SUM, and the sums that AVG shares.
//!
//! Exact sums (integers, decimals) live in 64 bits; what overflows moves to a 128-bit carry kept aside for the few slots
//! that ever need one. So a state is 8 bytes and an addition one instruction and an untaken branch, yet no sum is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use flumen_core::types::{Field, LogicalType};

use super::active::{Active, ActiveRows};
use super::numbers::{Exact, double_array, doubles, exact, exact_array, integers, scale_of};
use super::presence::Presence;
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::{PageSource, SlotColumn};
use crate::values::ColumnView;

/// Exact sums by slot.
pub(super) struct ExactSums {
    low: SlotColumn<i64>,
    /// What did not fit; to be added.
    carry: BTreeMap<u32, i128>,
}

impl ExactSums {
    pub(super) fn new(pages: &Arc<dyn PageSource>) -> Self {
        Self { low: SlotColumn::new(Arc::clone(pages)), carry: BTreeMap::new() }
    }

    pub(super) fn reserve(&mut self, slots: usize) -> Result<()> {
        self.low.reserve(slots)
    }

    /// Adds the values of the rows that count, times their signs.
    pub(super) fn add(&mut self, active: &Active<'_>, values: &Exact<'_>, signs: Option<&[i64]>) -> Result<()> {
        if let (Some(slot), false) = (active.single, active.slots.is_empty()) {
            let sum = match (values, &active.rows, signs) {
                (Exact::Narrow(values), ActiveRows::All(n), None) => sum_narrow(&values[..*n]),
                _ => (0..active.len())
                    .map(|i| active.row(i))
                    .map(|row| values.get(row) * signs.map_or(1, |s| i128::from(s[row])))
                    .sum(),
            };
            return self.add_wide(slot, sum);
        }
        match (values, signs) {
            (Exact::Narrow(values), None) => {
                let carry = &mut self.carry;
                let slots = &active.slots;
                let mut add = |i: usize, low: &mut i64, value: i64| match low.checked_add(value) {
                    Some(sum) => *low = sum,
                    None => {
                        *carry.entry(slots[i]).or_default() += i128::from(*low) + i128::from(value);
                        *low = 0;
                    }
                };
                match &active.rows {
                    ActiveRows::All(n) => {
                        let values = &values[..*n];
                        self.low.update_each(slots, |i, low| add(i, low, values[i]))
                    }
                    ActiveRows::List(rows) => {
                        self.low.update_each(slots, |i, low| add(i, low, values[rows[i] as usize]))
                    }
                }
            }
            _ => {
                for (i, &slot) in active.slots.iter().enumerate() {
                    let row = active.row(i);
                    self.add_wide(slot, values.get(row) * signs.map_or(1, |s| i128::from(s[row])))?;
                }
                Ok(())
            }
        }
    }

    fn add_wide(&mut self, slot: u32, value: i128) -> Result<()> {
        let low = self.low.get_mut(slot)?;
        let sum = i128::from(*low).wrapping_add(value);
        match i64::try_from(sum) {
            Ok(sum) => *low = sum,
            Err(_) => {
                *low = 0;
                let carry = self.carry.entry(slot).or_default();
                // Beyond 128 bits is beyond every type a sum can have; the largest value makes the result refused.
                *carry = carry.saturating_add(sum);
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> i128 {
        let low = i128::from(self.low.get(slot));
        if self.carry.is_empty() { low } else { low.saturating_add(self.carry.get(&slot).copied().unwrap_or(0)) }
    }

    pub(super) fn reset(&mut self, slots: &[u32]) -> Result<()> {
        for slot in slots {
            self.carry.remove(slot);
        }
        self.low.clear(slots)
    }

    pub(super) fn freeze(&mut self) -> Self {
        Self { low: self.low.freeze(), carry: self.carry.clone() }
    }

    pub(super) fn clear(&mut self) {
        self.low.release();
        self.carry.clear();
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // An entry of the carry, with its share of a tree node.
        self.low.memory_bytes() + self.carry.len() * 48
    }
}

/// The exact sum of a batch's values: halves are summed apart, which needs no overflow check and vectorizes.
fn sum_narrow(values: &[i64]) -> i128 {
    values
        .chunks(1 << 20)
        .map(|chunk| {
            let (mut low, mut high) = (0u64, 0i64);
            for value in chunk {
                low += *value as u64 & 0xffff_ffff;
                high += value >> 32;
            }
            (i128::from(high) << 32) + i128::from(low)
        })
        .sum()
}

/// SUM of integers and decimals.
pub(super) struct ExactSum {
    sums: ExactSums,
    presence: Presence,
    return_type: LogicalType,
    retracting: bool,
}

impl ExactSum {
    pub(super) fn new(return_type: LogicalType, context: &AccumulatorContext) -> Self {
        Self {
            sums: ExactSums::new(&context.pages),
            presence: Presence::new(context.retracting, &context.pages),
            return_type,
            retracting: context.retracting,
        }
    }

    fn values(&self, slots: &[u32], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let sums = slots.iter().map(|slot| self.sums.get(*slot)).collect();
        exact_array("sum", &self.return_type, sums, nulls)
    }
}

/// The count column that states carry where rows may be taken back.
pub(super) fn count_field() -> Field {
    Field::new("count", LogicalType::Int64, false)
}

impl Accumulator for ExactSum {
    fn state_fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::new("sum", self.return_type.clone(), true)];
        fields.extend(self.retracting.then(count_field));
        fields
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.sums.reserve(slots)?;
        self.presence.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.args[0])?;
        let signs = Active::signs(input.row_kinds);
        let active = Active::of_update(input, &[&view])?;
        let values = exact(&view, input.rows, "the argument of sum")?;
        self.sums.add(&active, &values, signs.as_deref())?;
        self.presence.mark(&active, signs.as_deref())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        let active = Active::of_merge(input, Some(&view));
        let values = exact(&view, input.rows, "the state of sum")?;
        self.sums.add(&active, &values, None)?;
        merge_presence(&mut self.presence, &active, input, 1)
    }

    fn supports_retract(&self) -> bool {
        self.retracting
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![self.values(slots, state_nulls(&self.presence, self.retracting, slots))?];
        columns.extend(export_counts(&self.presence, slots));
        Ok(columns)
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        self.values(slots, self.presence.nulls(slots))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.sums.reset(slots)?;
        self.presence.reset(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            sums: self.sums.freeze(),
            presence: self.presence.freeze(),
            return_type: self.return_type.clone(),
            retracting: self.retracting,
        })
    }

    fn clear(&mut self) {
        self.sums.clear();
        self.presence.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.sums.memory_bytes() + self.presence.memory_bytes()
    }
}

/// NULLs of an exported sum. Where counts go along it has none: a part whose additions and removals balance still has a
/// sum, if what it took back was added elsewhere.
fn state_nulls(presence: &Presence, retracting: bool, slots: &[u32]) -> Option<NullBuffer> {
    if retracting { None } else { presence.nulls(slots) }
}

/// Takes in the presence of merged states; counts, if kept, are state column `column`.
pub(super) fn merge_presence(
    presence: &mut Presence,
    active: &Active<'_>,
    input: &StateInput<'_>,
    column: usize,
) -> Result<()> {
    match input.state.get(column) {
        Some(counts) => {
            let view = ColumnView::new(counts)?;
            presence.merge(active, Some(&integers(&view, input.rows, "the count of a state")?))
        }
        None => presence.merge(active, None),
    }
}

pub(super) fn export_counts(presence: &Presence, slots: &[u32]) -> Option<ArrayRef> {
    let counts = presence.counts(slots)?;
    Some(crate::values::fixed_array(LogicalType::Int64.arrow_type(), counts, None))
}

/// SUM of floating-point numbers, and of anything as DOUBLE.
pub(super) struct FloatSum {
    sums: SlotColumn<f64>,
    presence: Presence,
    arg_scale: i8,
    return_type: LogicalType,
    retracting: bool,
}

impl FloatSum {
    pub(super) fn new(arg: &LogicalType, return_type: LogicalType, context: &AccumulatorContext) -> Self {
        Self {
            sums: SlotColumn::new(Arc::clone(&context.pages)),
            presence: Presence::new(context.retracting, &context.pages),
            arg_scale: scale_of(arg),
            return_type,
            retracting: context.retracting,
        }
    }
}

/// Adds doubles, times their signs.
pub(super) fn add_doubles(
    sums: &mut SlotColumn<f64>,
    active: &Active<'_>,
    values: &[f64],
    signs: Option<&[i64]>,
) -> Result<()> {
    match signs {
        None => active.scatter(sums, values, |sum, value| *sum += value),
        Some(signs) => {
            let signed: Vec<f64> = values.iter().zip(signs).map(|(v, s)| v * *s as f64).collect();
            active.scatter(sums, &signed, |sum, value| *sum += value)
        }
    }
}

impl Accumulator for FloatSum {
    fn state_fields(&self) -> Vec<Field> {
        let mut fields = vec![Field::new("sum", LogicalType::Float64, true)];
        fields.extend(self.retracting.then(count_field));
        fields
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.sums.reserve(slots)?;
        self.presence.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.args[0])?;
        let signs = Active::signs(input.row_kinds);
        let active = Active::of_update(input, &[&view])?;
        let values = doubles(&view, input.rows, self.arg_scale, "the argument of sum")?;
        add_doubles(&mut self.sums, &active, &values, signs.as_deref())?;
        self.presence.mark(&active, signs.as_deref())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        let active = Active::of_merge(input, Some(&view));
        add_doubles(&mut self.sums, &active, &doubles(&view, input.rows, 0, "the state of sum")?, None)?;
        merge_presence(&mut self.presence, &active, input, 1)
    }

    fn supports_retract(&self) -> bool {
        self.retracting
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = slots.iter().map(|slot| self.sums.get(*slot)).collect();
        let nulls = state_nulls(&self.presence, self.retracting, slots);
        let mut columns = vec![double_array(&LogicalType::Float64, sums, nulls)];
        columns.extend(export_counts(&self.presence, slots));
        Ok(columns)
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let sums = slots.iter().map(|slot| self.sums.get(*slot)).collect();
        Ok(double_array(&self.return_type, sums, self.presence.nulls(slots)))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.sums.clear(slots)?;
        self.presence.reset(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            sums: self.sums.freeze(),
            presence: self.presence.freeze(),
            arg_scale: self.arg_scale,
            return_type: self.return_type.clone(),
            retracting: self.retracting,
        })
    }

    fn clear(&mut self) {
        self.sums.release();
        self.presence.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.sums.memory_bytes() + self.presence.memory_bytes()
    }
}
