//! Arithmetic of dates, timestamps, intervals and durations.
//!
//! An interval adds its months on the calendar (a day beyond the month's end becomes its last), then its days, then its
//! nanoseconds. Months and days are counted in the timestamp's zone, so a day across a change of clocks keeps the time.

use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_array::{ArrayRef, IntervalMonthDayNanoArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, IntervalUnit};
use flumen_core::batch::Column;
use flumen_core::types::{LogicalType, Resolution};
use std::sync::Arc;

use super::arithmetic::Arithmetic;
use super::calendar::{DAY_SECONDS, SECOND_NANOS, Zone, add_months};
use crate::expr::column::{Fixed, Native, Rows, expand, fixed, union_nulls};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// What a side is.
#[derive(Clone, Debug)]
enum Side {
    Date,
    Timestamp {
        ticks: i64,
        zone: Zone,
    },
    Interval,
    /// A span in ticks of a second.
    Duration {
        ticks: i64,
    },
    /// A number of days.
    Days,
}

impl Side {
    fn of(data_type: &LogicalType) -> Option<Self> {
        Some(match data_type {
            LogicalType::Date => Self::Date,
            LogicalType::Timestamp { resolution, zone } => {
                Self::Timestamp { ticks: resolution.ticks_per_second(), zone: Zone::new(zone.as_deref())? }
            }
            LogicalType::Interval => Self::Interval,
            LogicalType::Duration(resolution) => Self::Duration { ticks: resolution.ticks_per_second() },
            t if t.is_integer() => Self::Days,
            _ => return None,
        })
    }

    fn is_moment(&self) -> bool {
        matches!(self, Self::Date | Self::Timestamp { .. })
    }
}

/// The kernel for these sides and this result; `None` if there is none.
pub(crate) fn bind(
    op: Arithmetic,
    left_type: &LogicalType,
    right_type: &LogicalType,
    stated: &LogicalType,
) -> Option<Bound> {
    let (left, right) = (Side::of(left_type)?, Side::of(right_type)?);
    let out = Side::of(stated)?;
    let form = match (op, &left, &right, &out) {
        (
            Arithmetic::Add | Arithmetic::Subtract,
            Side::Duration { ticks: a },
            Side::Duration { ticks: b },
            Side::Duration { ticks: c },
        ) if a == b && b == c => Form::Spans,
        (Arithmetic::Add | Arithmetic::Subtract, Side::Interval, Side::Interval, Side::Interval) => Form::Intervals,
        (Arithmetic::Multiply, Side::Interval, Side::Days, Side::Interval)
        | (Arithmetic::Multiply, Side::Days, Side::Interval, Side::Interval) => Form::Times,
        (Arithmetic::Subtract, Side::Date, Side::Date, Side::Days | Side::Interval | Side::Duration { .. })
        | (
            Arithmetic::Subtract,
            Side::Timestamp { .. } | Side::Date,
            Side::Timestamp { .. } | Side::Date,
            Side::Interval | Side::Duration { .. },
        ) => Form::Difference,
        (Arithmetic::Add | Arithmetic::Subtract, Side::Date, Side::Days, Side::Date) => Form::Shift { swapped: false },
        (Arithmetic::Add, Side::Days, Side::Date, Side::Date) => Form::Shift { swapped: true },
        (
            Arithmetic::Add | Arithmetic::Subtract,
            Side::Date | Side::Timestamp { .. },
            Side::Interval | Side::Duration { .. },
            out,
        ) if shifts(left_type, stated) && out.is_moment() => Form::Shift { swapped: false },
        (Arithmetic::Add, Side::Interval | Side::Duration { .. }, Side::Date | Side::Timestamp { .. }, out)
            if shifts(right_type, stated) && out.is_moment() =>
        {
            Form::Shift { swapped: true }
        }
        _ => return None,
    };
    let kernel = Moments { op, form, left, right, out, result: stated.clone() };
    Some(Bound::new(kernel, Traits { cost: 80, ..Traits::FALLIBLE }))
}

/// A timestamp keeps its type; a date may become a timestamp without a zone.
fn shifts(moment: &LogicalType, result: &LogicalType) -> bool {
    moment == result || (*moment == LogicalType::Date && matches!(result, LogicalType::Timestamp { zone: None, .. }))
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Shift { swapped: bool },
    Difference,
    Spans,
    Intervals,
    Times,
}

struct Moments {
    op: Arithmetic,
    form: Form,
    left: Side,
    right: Side,
    out: Side,
    result: LogicalType,
}

/// A column's values as they are needed here.
enum Values {
    Numbers(Vec<i64>),
    Intervals(Vec<IntervalMonthDayNano>),
}

impl Values {
    fn of(column: &Column, rows: usize) -> Result<Self, ExprError> {
        let array = expand(column, rows)?;
        Ok(match fixed(&array) {
            Some(Fixed::I8(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::I16(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::I32(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::I64(values)) => Self::Numbers(values.to_vec()),
            Some(Fixed::U8(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::U16(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::U32(values)) => Self::Numbers(values.iter().map(|v| i64::from(*v)).collect()),
            Some(Fixed::U64(values)) => {
                Self::Numbers(values.iter().map(|v| i64::try_from(*v).unwrap_or(i64::MAX)).collect())
            }
            _ if matches!(array.data_type(), DataType::Interval(IntervalUnit::MonthDayNano)) => {
                Self::Intervals(array.as_primitive::<IntervalMonthDayNanoType>().values().to_vec())
            }
            _ => return Err(ExprError::Carrier { operation: "date arithmetic", found: array.data_type().clone() }),
        })
    }

    fn number(&self, row: usize) -> i64 {
        match self {
            Self::Numbers(values) => values[row],
            Self::Intervals(_) => 0,
        }
    }

    fn interval(&self, row: usize) -> IntervalMonthDayNano {
        match self {
            Self::Intervals(values) => values[row],
            Self::Numbers(_) => IntervalMonthDayNano::ZERO,
        }
    }
}

impl Kernel for Moments {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let nulls = union_nulls(args);
        let (left, right) = (Values::of(&args[0], rows.len)?, Values::of(&args[1], rows.len)?);
        let arrow = self.result.arrow_type();
        let overflow = |row: usize| {
            let show = |column: &Column| {
                let at = if column.as_constant().is_some() { 0 } else { row };
                arrow_cast::display::array_value_to_string(column.array(), at).unwrap_or_default()
            };
            self.op.overflow(show(&args[0]), show(&args[1]), &self.result)
        };
        let array: ArrayRef = match (self.form, &self.out) {
            (Form::Intervals | Form::Times, _) | (Form::Difference, Side::Interval) => {
                let mut out = vec![IntervalMonthDayNano::ZERO; rows.len];
                rows.try_each(nulls.as_ref(), |i| {
                    out[i] = self.interval(&left, &right, i).ok_or_else(|| overflow(i))?;
                    Ok::<_, ExprError>(())
                })?;
                Arc::new(IntervalMonthDayNanoArray::new(out.into(), nulls))
            }
            _ => {
                let mut out = vec![0i64; rows.len];
                let narrow = matches!(arrow, DataType::Int32 | DataType::Date32);
                rows.try_each(nulls.as_ref(), |i| {
                    let value = self.number(&left, &right, i).filter(|v| !narrow || i32::try_from(*v).is_ok());
                    out[i] = value.ok_or_else(|| overflow(i))?;
                    Ok::<_, ExprError>(())
                })?;
                if narrow {
                    #[expect(clippy::cast_possible_truncation, reason = "checked row by row above")]
                    i32::array(&arrow, out.into_iter().map(|v| v as i32).collect(), nulls)
                } else {
                    i64::array(&arrow, out, nulls)
                }
            }
        };
        Ok(Column::Array(array))
    }
}

impl Moments {
    fn interval(&self, left: &Values, right: &Values, row: usize) -> Option<IntervalMonthDayNano> {
        match self.form {
            Form::Intervals => {
                let (a, b) = (left.interval(row), right.interval(row));
                let sign = if self.op == Arithmetic::Subtract { -1 } else { 1 };
                Some(IntervalMonthDayNano::new(
                    a.months.checked_add(b.months.checked_mul(sign)?)?,
                    a.days.checked_add(b.days.checked_mul(sign)?)?,
                    a.nanoseconds.checked_add(b.nanoseconds.checked_mul(sign.into())?)?,
                ))
            }
            Form::Times => {
                let (interval, times) = match left {
                    Values::Intervals(_) => (left.interval(row), right.number(row)),
                    Values::Numbers(_) => (right.interval(row), left.number(row)),
                };
                let narrow = i32::try_from(times).ok();
                let part = |v: i32| if v == 0 { Some(0) } else { v.checked_mul(narrow?) };
                Some(IntervalMonthDayNano::new(
                    part(interval.months)?,
                    part(interval.days)?,
                    interval.nanoseconds.checked_mul(times)?,
                ))
            }
            _ => {
                // Days and the rest, as PostgreSQL subtracts timestamps.
                let nanos = self.difference_nanos(left, right, row)?;
                let day = i128::from(DAY_SECONDS) * i128::from(SECOND_NANOS);
                let days = i32::try_from(nanos / day).ok()?;
                Some(IntervalMonthDayNano::new(0, days, i64::try_from(nanos % day).ok()?))
            }
        }
    }

    fn difference_nanos(&self, left: &Values, right: &Values, row: usize) -> Option<i128> {
        let nanos = |side: &Side, value: i64| match side {
            Side::Timestamp { ticks, .. } => i128::from(value) * i128::from(SECOND_NANOS / ticks),
            _ => i128::from(value) * i128::from(DAY_SECONDS) * i128::from(SECOND_NANOS),
        };
        nanos(&self.left, left.number(row)).checked_sub(nanos(&self.right, right.number(row)))
    }

    fn number(&self, left: &Values, right: &Values, row: usize) -> Option<i64> {
        match (self.form, &self.out) {
            (Form::Difference, Side::Duration { ticks }) => {
                let nanos = self.difference_nanos(left, right, row)?;
                i64::try_from(nanos.div_euclid(i128::from(SECOND_NANOS / ticks))).ok()
            }
            (Form::Difference, _) => left.number(row).checked_sub(right.number(row)),
            (Form::Spans, _) if self.op == Arithmetic::Add => left.number(row).checked_add(right.number(row)),
            (Form::Spans, _) => left.number(row).checked_sub(right.number(row)),
            (Form::Shift { swapped }, _) => {
                let (moment, by, moment_side, by_side) = if swapped {
                    (right.number(row), left, &self.right, &self.left)
                } else {
                    (left.number(row), right, &self.left, &self.right)
                };
                self.shift(moment, moment_side, by, by_side, row)
            }
            _ => None,
        }
    }

    /// `moment` later (or earlier) by row `row` of `by`.
    fn shift(&self, moment: i64, moment_side: &Side, by: &Values, by_side: &Side, row: usize) -> Option<i64> {
        let sign = if self.op == Arithmetic::Subtract { -1i128 } else { 1 };
        let (months, days, nanos) = match by_side {
            Side::Interval => {
                let interval = by.interval(row);
                (i128::from(interval.months), i128::from(interval.days), i128::from(interval.nanoseconds))
            }
            Side::Duration { ticks } => (0, 0, i128::from(by.number(row)) * i128::from(SECOND_NANOS / ticks)),
            _ => (0, i128::from(by.number(row)), 0),
        };
        let (months, days, nanos) = (i64::try_from(months * sign).ok()?, days * sign, nanos * sign);
        let day_nanos = i128::from(DAY_SECONDS) * i128::from(SECOND_NANOS);
        // The local day, and nanoseconds since its midnight.
        let utc = Zone::new(None)?;
        let (day, time, zone) = match moment_side {
            Side::Timestamp { ticks, zone } => {
                let per_tick = i128::from(SECOND_NANOS / ticks);
                if months == 0 && days == 0 {
                    return i64::try_from(i128::from(moment) + nanos.div_euclid(per_tick)).ok();
                }
                let offset = zone.offset_at(moment.div_euclid(*ticks));
                let local = i128::from(moment) * per_tick + i128::from(offset) * i128::from(SECOND_NANOS);
                (i64::try_from(local.div_euclid(day_nanos)).ok()?, local.rem_euclid(day_nanos), zone)
            }
            _ => (moment, 0, &utc),
        };
        let day = i128::from(add_months(day, months)) + days;
        match &self.out {
            Side::Date => i64::try_from(day + (time + nanos).div_euclid(day_nanos)).ok(),
            Side::Timestamp { ticks, .. } => {
                let local = day.checked_mul(day_nanos)?.checked_add(time)?;
                let second = i128::from(SECOND_NANOS);
                let seconds = i64::try_from(local.div_euclid(second)).ok()?;
                let utc = i128::from(zone.to_utc(seconds)) * second + local.rem_euclid(second) + nanos;
                i64::try_from(utc.div_euclid(i128::from(SECOND_NANOS / ticks))).ok()
            }
            _ => None,
        }
    }
}

/// Ticks of one resolution as ticks of another, rounded to the nearest (half up); `None` beyond 64 bits.
pub(crate) fn rescale_ticks(ticks: i64, from: Resolution, to: Resolution) -> Option<i64> {
    let (from, to) = (from.ticks_per_second(), to.ticks_per_second());
    if to >= from {
        return ticks.checked_mul(to / from);
    }
    let divisor = from / to;
    Some(ticks.div_euclid(divisor) + i64::from(ticks.rem_euclid(divisor) * 2 >= divisor))
}
