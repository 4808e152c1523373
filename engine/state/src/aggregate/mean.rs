//! AVG: an exact or floating-point sum, and a count.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, NullBuffer};
use flumen_core::types::{DECIMAL_PRECISION_MAX, Field, LogicalType};

use super::active::Active;
use super::numbers::{double_array, doubles, exact, exact_array, integers, power_of_ten, scale_of};
use super::sum::{ExactSums, add_doubles, count_field};
use super::{Accumulator, AccumulatorContext, StateInput, UpdateInput};
use crate::error::{Result, StateError};
use crate::pages::SlotColumn;
use crate::values::{ColumnView, fixed_array};

enum Sums {
    Exact(ExactSums),
    Float(SlotColumn<f64>),
}

pub(super) struct Mean {
    sums: Sums,
    counts: SlotColumn<i64>,
    /// Digits after the point of the argument.
    scale: i8,
    return_type: LogicalType,
}

impl Mean {
    pub(super) fn new(arg: &LogicalType, return_type: LogicalType, context: &AccumulatorContext) -> Self {
        let sums = if arg.is_float() {
            Sums::Float(SlotColumn::new(Arc::clone(&context.pages)))
        } else {
            Sums::Exact(ExactSums::new(&context.pages))
        };
        Self { sums, counts: SlotColumn::new(Arc::clone(&context.pages)), scale: scale_of(arg), return_type }
    }

    fn sum_type(&self) -> LogicalType {
        match self.sums {
            Sums::Exact(_) => LogicalType::Decimal { precision: DECIMAL_PRECISION_MAX, scale: self.scale },
            Sums::Float(_) => LogicalType::Float64,
        }
    }

    fn nulls(&self, slots: &[u32]) -> Option<NullBuffer> {
        let valid = BooleanBuffer::collect_bool(slots.len(), |i| self.counts.get(slots[i]) != 0);
        Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
    }

    fn add(&mut self, active: &Active<'_>, view: &ColumnView<'_>, rows: usize, signs: Option<&[i64]>) -> Result<()> {
        match &mut self.sums {
            Sums::Exact(sums) => sums.add(active, &exact(view, rows, "the argument of avg")?, signs),
            Sums::Float(sums) => add_doubles(sums, active, &doubles(view, rows, 0, "the argument of avg")?, signs),
        }
    }
}

/// `sum / count` of numbers with `scale` digits after the point, with `scale_out` digits, rounded half away from zero.
/// `None` if it leaves 128 bits.
fn divide_exact(sum: i128, count: i64, scale: i8, scale_out: i8) -> Option<i128> {
    let count = i128::from(count);
    let shift = i32::from(scale_out) - i32::from(scale);
    let (quotient, remainder, divisor) = if shift >= 0 {
        let factor = power_of_ten(shift.unsigned_abs().min(38));
        let (whole, rest) = (sum / count, sum % count);
        // `rest` is below a 64-bit count; only absurd scales leave 128 bits here.
        let rest = rest.checked_mul(factor)?;
        (whole.checked_mul(factor)?.checked_add(rest / count)?, rest % count, count)
    } else {
        let divisor = count.checked_mul(power_of_ten(shift.unsigned_abs().min(38)))?;
        (sum / divisor, sum % divisor, divisor)
    };
    let up = remainder.unsigned_abs() >= divisor.unsigned_abs() - remainder.unsigned_abs();
    let negative = (remainder < 0) != (divisor < 0);
    quotient.checked_add(if !up {
        0
    } else if negative {
        -1
    } else {
        1
    })
}

impl Accumulator for Mean {
    fn state_fields(&self) -> Vec<Field> {
        vec![Field::new("sum", self.sum_type(), false), count_field()]
    }

    fn reserve(&mut self, slots: usize) -> Result<()> {
        match &mut self.sums {
            Sums::Exact(sums) => sums.reserve(slots)?,
            Sums::Float(sums) => sums.reserve(slots)?,
        }
        self.counts.reserve(slots)
    }

    fn update(&mut self, input: &UpdateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.args[0])?;
        let signs = Active::signs(input.row_kinds);
        let active = Active::of_update(input, &[&view])?;
        self.add(&active, &view, input.rows, signs.as_deref())?;
        match (&signs, active.single) {
            (None, Some(slot)) => {
                *self.counts.get_mut(slot)? += active.len() as i64;
                Ok(())
            }
            (None, None) => self.counts.update_each(&active.slots, |_, count| *count += 1),
            (Some(signs), _) => active.scatter(&mut self.counts, signs, |count, sign| *count += sign),
        }
    }

    fn merge(&mut self, input: &StateInput<'_>) -> Result<()> {
        let view = ColumnView::new(input.state[0])?;
        let active = Active::of_merge(input, Some(&view));
        self.add(&active, &view, input.rows, None)?;
        let counts = ColumnView::new(input.state[1])?;
        let counts = integers(&counts, input.rows, "the state of avg")?;
        active.scatter(&mut self.counts, &counts, |count, more| *count += more)
    }

    fn supports_retract(&self) -> bool {
        true
    }

    fn export_state(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let sums = match &self.sums {
            Sums::Exact(sums) => {
                exact_array("avg", &self.sum_type(), slots.iter().map(|slot| sums.get(*slot)).collect(), None)?
            }
            Sums::Float(sums) => {
                double_array(&LogicalType::Float64, slots.iter().map(|slot| sums.get(*slot)).collect(), None)
            }
        };
        let counts = slots.iter().map(|slot| self.counts.get(*slot)).collect();
        Ok(vec![sums, fixed_array(LogicalType::Int64.arrow_type(), counts, None)])
    }

    fn evaluate(&self, slots: &[u32]) -> Result<ArrayRef> {
        let nulls = self.nulls(slots);
        let doubles = |value: &dyn Fn(u32) -> f64| {
            let means = slots.iter().map(|slot| value(*slot) / self.counts.get(*slot) as f64).collect();
            double_array(&self.return_type, means, nulls.clone())
        };
        Ok(match (&self.sums, &self.return_type) {
            (Sums::Float(sums), _) => doubles(&|slot| sums.get(slot)),
            (Sums::Exact(sums), LogicalType::Float32 | LogicalType::Float64) => {
                let divisor = 10f64.powi(i32::from(self.scale));
                doubles(&|slot| sums.get(slot) as f64 / divisor)
            }
            (Sums::Exact(sums), return_type) => {
                let scale_out = scale_of(return_type);
                let overflow = || StateError::Overflow { function: "avg".into(), data_type: return_type.to_string() };
                let means = slots.iter().map(|slot| match self.counts.get(*slot) {
                    0 => Ok(0),
                    count => divide_exact(sums.get(*slot), count, self.scale, scale_out).ok_or_else(overflow),
                });
                exact_array("avg", return_type, means.collect::<Result<_>>()?, nulls)?
            }
        })
    }

    fn reset(&mut self, slots: &[u32]) -> Result<()> {
        match &mut self.sums {
            Sums::Exact(sums) => sums.reset(slots)?,
            Sums::Float(sums) => sums.clear(slots)?,
        }
        self.counts.clear(slots)
    }

    fn freeze(&mut self) -> Box<dyn Accumulator> {
        let sums = match &mut self.sums {
            Sums::Exact(sums) => Sums::Exact(sums.freeze()),
            Sums::Float(sums) => Sums::Float(sums.freeze()),
        };
        let return_type = self.return_type.clone();
        Box::new(Self { sums, counts: self.counts.freeze(), scale: self.scale, return_type })
    }

    fn clear(&mut self) {
        match &mut self.sums {
            Sums::Exact(sums) => sums.clear(),
            Sums::Float(sums) => sums.release(),
        }
        self.counts.release();
    }

    fn memory_bytes(&self) -> usize {
        let sums = match &self.sums {
            Sums::Exact(sums) => sums.memory_bytes(),
            Sums::Float(sums) => sums.memory_bytes(),
        };
        sums + self.counts.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::divide_exact;

    #[test]
    fn means_round_half_away_from_zero() {
        for (sum, count, scale, scale_out, expected) in [
            (1, 2, 0, 0, Some(1)),
            (-1, 2, 0, 0, Some(-1)),
            (1, 3, 0, 6, Some(333_333)),
            (2, 3, 0, 6, Some(666_667)),
            (-2, 3, 2, 6, Some(-6_667)),
            (150, 1, 2, 0, Some(2)),
            (149, 1, 2, 0, Some(1)),
            (i128::MAX, 1, 0, 6, None),
            (10i128.pow(37), 10, 6, 6, Some(10i128.pow(36))),
        ] {
            assert_eq!(divide_exact(sum, count, scale, scale_out), expected, "{sum} / {count}");
        }
    }
}
