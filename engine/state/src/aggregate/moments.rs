//! Variance and standard deviation: count, mean and sum of squared differences.
//!
//! A part whose removals are as many as its rows is taken as empty, whatever the values were: removals are aggregated
//! where their key lives, where that is true, and never in parts that are merged later.
//!
//! Source: B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics 4/3,
//! 1962; merging after T. F. Chan and others, "Updating Formulae and a Pairwise Algorithm", 1979.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::types::{Field, LogicalType};

use super::active::Active;
use super::numbers::{double_array, doubles, integers, scale_of};
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::Result;
use crate::pages::SlotColumn;
use crate::values::{ColumnView, fixed_array};

/// Which moment, and over what it is divided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Divide by `n - 1`; needs two values.
    pub(super) sample: bool,
    /// Take the square root.
    pub(super) root: bool,
}

pub(super) struct Moments {
    counts: SlotColumn<i64>,
    means: SlotColumn<f64>,
    squares: SlotColumn<f64>,
    moment: Moment,
    arg_scale: i8,
}

impl Moments {
    pub(super) fn new(moment: Moment, arg: &LogicalType, context: &AccumulatorContext) -> Self {
        let pages = &context.pages;
        Self {
            counts: SlotColumn::new(Arc::clone(pages)),
            means: SlotColumn::new(Arc::clone(pages)),
            squares: SlotColumn::new(Arc::clone(pages)),
            moment,
            arg_scale: scale_of(arg),
        }
    }

    fn step(&mut self, slot: u32, value: f64, sign: i64) -> Result<()> {
        let count = self.counts.get_mut(slot)?;
        *count += sign;
        let count = *count;
        if count == 0 {
            self.means.set(slot, 0.0)?;
            return self.squares.set(slot, 0.0);
        }
        let mean = self.means.get_mut(slot)?;
        let before = value - *mean;
        *mean += sign as f64 * before / count as f64;
        let after = value - *mean;
        *self.squares.get_mut(slot)? += sign as f64 * before * after;
        Ok(())
    }

    fn merge_one(&mut self, slot: u32, count: i64, mean: f64, squares: f64) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let own = self.counts.get(slot);
        let total = own + count;
        // Formulas divide by the total and multiply by either count, which makes NaN of zeros and infinities.
        if own == 0 || total == 0 {
            let (mean, squares) = if total == 0 { (0.0, 0.0) } else { (mean, squares) };
            self.means.set(slot, mean)?;
            self.squares.set(slot, squares)?;
            return self.counts.set(slot, total);
        }
        let difference = mean - self.means.get(slot);
        let weight = count as f64 / total as f64;
        *self.means.get_mut(slot)? += difference * weight;
        *self.squares.get_mut(slot)? += squares + difference * difference * own as f64 * weight;
        self.counts.set(slot, total)
    }
}

impl Accumulator for Moments {
    fn state_fields(&self) -> Vec<Field> {
        vec![
            Field::new("count", LogicalType::Int64, false),
            Field::new("mean", LogicalType::Float64, false),
            Field::new("squares", LogicalType::Float64, false),
        ]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.counts.reserve(slots)?;
        self.means.reserve(slots)?;
        self.squares.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.args[0])?;
        let active = Active::of_update(input, &[&view])?;
        let signs = Active::signs(input.row_kinds);
        let values = doubles(&view, input.rows, self.arg_scale, "the argument of a variance")?;
        for (i, &slot) in active.slots.iter().enumerate() {
            let row = active.row(i);
            self.step(slot, values[row], signs.as_ref().map_or(1, |s| s[row]))?;
        }
        Ok(())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let views = input.state.iter().map(|c| ColumnView::new(c)).collect::<Result<Vec<_>>>()?;
        let what = "the state of a variance";
        let counts = integers(&views[0], input.rows, what)?;
        let means = doubles(&views[1], input.rows, 0, what)?;
        let squares = doubles(&views[2], input.rows, 0, what)?;
        let active = Active::of_merge(input, Some(&views[0]));
        for (i, &slot) in active.slots.iter().enumerate() {
            let row = active.row(i);
            self.merge_one(slot, counts[row], means[row], squares[row])?;
        }
        Ok(())
    }

    fn supports_retract(&self) -> bool {
        true
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = slots.iter().map(|slot| self.counts.get(*slot)).collect();
        let column = |values: &SlotColumn<f64>| {
            double_array(&LogicalType::Float64, slots.iter().map(|slot| values.get(*slot)).collect(), None)
        };
        let counts = fixed_array(LogicalType::Int64.arrow_type(), counts, None);
        Ok(vec![counts, column(&self.means), column(&self.squares)])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let least = if self.moment.sample { 2 } else { 1 };
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| self.counts.get(slots[i]) >= least);
        let values = slots.iter().map(|slot| {
            let variance = self.squares.get(*slot) / (self.counts.get(*slot) - (least - 1)) as f64;
            // Taking rows back may leave a tiny negative rest of rounding.
            let variance = if variance < 0.0 { 0.0 } else { variance };
            if self.moment.root { variance.sqrt() } else { variance }
        });
        let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        Ok(double_array(&LogicalType::Float64, values.collect(), nulls))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.counts.clear(slots)?;
        self.means.clear(slots)?;
        self.squares.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            counts: self.counts.freeze(),
            means: self.means.freeze(),
            squares: self.squares.freeze(),
            moment: self.moment,
            arg_scale: self.arg_scale,
        })
    }

    fn clear(&mut self) {
        self.counts.release();
        self.means.release();
        self.squares.release();
    }

    fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes() + self.means.memory_bytes() + self.squares.memory_bytes()
    }
}
