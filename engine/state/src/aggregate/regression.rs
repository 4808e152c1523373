//! CORR, COVAR_POP, COVAR_SAMP and REGR_...: count, means, and sums of products of differences of pairs.
//!
//! The first argument is the dependent variable y, the second the independent x, as SQL:2016 10.9 has it; pairs in which
//! one is NULL do not count. Source of updating and merging: see [`moments`](super::moments), for products as for squares.

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

/// What is computed of the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Regression {
    Correlation,
    /// Divided by `n`.
    Covariance,
    /// Divided by `n - 1`.
    SampleCovariance,
    Slope,
    Intercept,
    /// The square of the correlation; 1 where y is the same for all and x is not.
    Determination,
    Count,
    MeanX,
    MeanY,
    SquaresX,
    SquaresY,
    Products,
}

const COLUMNS: usize = 5;
const NAMES: [&str; COLUMNS] = ["mean_x", "mean_y", "squares_x", "squares_y", "products"];

/// The sums of a group, in the order of [`NAMES`].
type Sums = [f64; COLUMNS];

pub(super) struct Pairs {
    counts: SlotColumn<i64>,
    sums: [SlotColumn<f64>; COLUMNS],
    what: Regression,
    scales: [i8; 2],
}

impl Pairs {
    pub(super) fn new(what: Regression, y: &LogicalType, x: &LogicalType, context: &AccumulatorContext) -> Self {
        let column = || SlotColumn::new(Arc::clone(&context.pages));
        let sums = std::array::from_fn(|_| column());
        Self { counts: SlotColumn::new(Arc::clone(&context.pages)), sums, what, scales: [scale_of(y), scale_of(x)] }
    }

    fn get(&self, slot: u32) -> Sums {
        std::array::from_fn(|i| self.sums[i].get(slot))
    }

    fn set(&mut self, slot: u32, count: i64, sums: Sums) -> Result<()> {
        self.counts.set(slot, count)?;
        self.sums.iter_mut().zip(sums).try_for_each(|(column, sum)| column.set(slot, sum))
    }

    fn step(&mut self, slot: u32, x: f64, y: f64, sign: i64) -> Result<()> {
        let count = self.counts.get(slot) + sign;
        if count == 0 {
            return self.set(slot, 0, [0.0; COLUMNS]);
        }
        let [mean_x, mean_y, squares_x, squares_y, products] = self.get(slot);
        let (weight, n) = (sign as f64, count as f64);
        let (before_x, before_y) = (x - mean_x, y - mean_y);
        let (mean_x, mean_y) = (mean_x + weight * before_x / n, mean_y + weight * before_y / n);
        let (after_x, after_y) = (x - mean_x, y - mean_y);
        let sums = [
            mean_x,
            mean_y,
            squares_x + weight * before_x * after_x,
            squares_y + weight * before_y * after_y,
            products + weight * before_x * after_y,
        ];
        self.set(slot, count, sums)
    }

    fn merge_one(&mut self, slot: u32, count: i64, more: Sums) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let own = self.counts.get(slot);
        let total = own + count;
        if own == 0 || total == 0 {
            return self.set(slot, total, if total == 0 { [0.0; COLUMNS] } else { more });
        }
        let kept = self.get(slot);
        let weight = count as f64 / total as f64;
        let (x, y) = (more[0] - kept[0], more[1] - kept[1]);
        let shared = own as f64 * weight;
        let sums = [
            kept[0] + x * weight,
            kept[1] + y * weight,
            kept[2] + more[2] + x * x * shared,
            kept[3] + more[3] + y * y * shared,
            kept[4] + more[4] + x * y * shared,
        ];
        self.set(slot, total, sums)
    }

    /// The value of a group; NULL where it is not defined.
    fn value(&self, slot: u32) -> Option<f64> {
        let count = self.counts.get(slot);
        let n = count as f64;
        let [mean_x, mean_y, squares_x, squares_y, products] = self.get(slot);
        if count <= 0 {
            return None;
        }
        let slope = (squares_x != 0.0).then(|| products / squares_x);
        match self.what {
            Regression::Correlation => {
                // Rounding of the root may lead a hair beyond 1.
                let root = squares_x.sqrt() * squares_y.sqrt();
                (root != 0.0).then(|| (products / root).clamp(-1.0, 1.0))
            }
            Regression::Covariance => Some(products / n),
            Regression::SampleCovariance => (count > 1).then(|| products / (n - 1.0)),
            Regression::Slope => slope,
            Regression::Intercept => slope.map(|slope| mean_y - slope * mean_x),
            Regression::Determination if squares_y == 0.0 => slope.map(|_| 1.0),
            Regression::Determination => slope.map(|slope| slope * products / squares_y),
            Regression::Count => Some(n),
            Regression::MeanX => Some(mean_x),
            Regression::MeanY => Some(mean_y),
            Regression::SquaresX => Some(squares_x),
            Regression::SquaresY => Some(squares_y),
            Regression::Products => Some(products),
        }
    }
}

impl Accumulator for Pairs {
    fn state_fields(&self) -> Vec<Field> {
        let count = Field::new("count", LogicalType::Int64, false);
        let sums = NAMES.map(|name| Field::new(name, LogicalType::Float64, false));
        std::iter::once(count).chain(sums).collect()
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        self.counts.reserve(slots)?;
        self.sums.iter_mut().try_for_each(|column| column.reserve(slots))
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let (y, x) = (ColumnView::new(input.args[0])?, ColumnView::new(input.args[1])?);
        let active = Active::of_update(input, &[&y, &x])?;
        let signs = Active::signs(input.row_kinds);
        let what = "an argument of a regression";
        let ys = doubles(&y, input.rows, self.scales[0], what)?;
        let xs = doubles(&x, input.rows, self.scales[1], what)?;
        for (i, &slot) in active.slots.iter().enumerate() {
            let row = active.row(i);
            self.step(slot, xs[row], ys[row], signs.as_ref().map_or(1, |s| s[row]))?;
        }
        Ok(())
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let views = input.state.iter().map(|c| ColumnView::new(c)).collect::<Result<Vec<_>>>()?;
        let what = "the state of a regression";
        let counts = integers(&views[0], input.rows, what)?;
        let sums = views[1..].iter().map(|v| doubles(v, input.rows, 0, what)).collect::<Result<Vec<_>>>()?;
        let active = Active::of_merge(input, Some(&views[0]));
        for (i, &slot) in active.slots.iter().enumerate() {
            let row = active.row(i);
            self.merge_one(slot, counts[row], std::array::from_fn(|column| sums[column][row]))?;
        }
        Ok(())
    }

    fn supports_retract(&self) -> bool {
        true
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let counts = slots.iter().map(|slot| self.counts.get(*slot)).collect();
        let counts = fixed_array(LogicalType::Int64.arrow_type(), counts, None);
        let column = |values: &SlotColumn<f64>| {
            double_array(&LogicalType::Float64, slots.iter().map(|slot| values.get(*slot)).collect(), None)
        };
        Ok(std::iter::once(counts).chain(self.sums.iter().map(column)).collect())
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        if self.what == Regression::Count {
            let counts = slots.iter().map(|slot| self.counts.get(*slot)).collect();
            return Ok(fixed_array(LogicalType::Int64.arrow_type(), counts, None));
        }
        let values: Vec<Option<f64>> = slots.iter().map(|slot| self.value(*slot)).collect();
        let valid = BooleanBuffer::collect_bool(values.len(), |i| values[i].is_some());
        let nulls = Some(NullBuffer::new(valid)).filter(|n| n.null_count() > 0);
        let values = values.into_iter().map(Option::unwrap_or_default).collect();
        Ok(double_array(&LogicalType::Float64, values, nulls))
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        self.counts.clear(slots)?;
        self.sums.iter_mut().try_for_each(|column| column.clear(slots))
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self {
            counts: self.counts.freeze(),
            sums: self.sums.each_mut().map(SlotColumn::freeze),
            what: self.what,
            scales: self.scales,
        })
    }

    fn clear(&mut self) {
        self.counts.release();
        self.sums.iter_mut().for_each(SlotColumn::release);
    }

    fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes() + self.sums.iter().map(SlotColumn::memory_bytes).sum::<usize>()
    }
}
