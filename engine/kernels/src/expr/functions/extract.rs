//! Parts of dates and times (`extract`, `date_part`) and truncation to a unit (`date_trunc`).
//!
//! The field is a literal. Timestamps with a zone are read in it. Seconds, milliseconds, microseconds and the epoch have
//! a fraction where the result's type has one.

use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::Argument;
use super::calendar::{DAY_SECONDS, SECOND_NANOS, Zone, civil_from_days, days_from_civil, iso_week, iso_weekday};
use super::decimal::{self, POWERS};
use crate::expr::column::{Fixed, Native, Rows, expand, fixed, is_constant_null, nulls_of};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// A field of a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Millennium,
    Century,
    Decade,
    Year,
    IsoYear,
    Quarter,
    Month,
    Week,
    Day,
    DayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Epoch,
}

const FIELDS: &[(&str, Field)] = &[
    ("millennium", Field::Millennium),
    ("century", Field::Century),
    ("decade", Field::Decade),
    ("year", Field::Year),
    ("isoyear", Field::IsoYear),
    ("quarter", Field::Quarter),
    ("month", Field::Month),
    ("week", Field::Week),
    ("day", Field::Day),
    ("doy", Field::DayOfYear),
    ("dow", Field::DayOfWeek),
    ("isodow", Field::IsoDayOfWeek),
    ("hour", Field::Hour),
    ("minute", Field::Minute),
    ("second", Field::Second),
    ("millisecond", Field::Millisecond),
    ("milliseconds", Field::Millisecond),
    ("microsecond", Field::Microsecond),
    ("microseconds", Field::Microsecond),
    ("nanosecond", Field::Nanosecond),
    ("nanoseconds", Field::Nanosecond),
    ("epoch", Field::Epoch),
];

/// The field that a literal names; `None` if it is no literal string.
fn field(function: &str, argument: Argument<'_>) -> Result<Option<Field>, ExprError> {
    let Some(column) = argument.constant.filter(|c| !is_constant_null(c)) else { return Ok(None) };
    let Some(text) = column.array().as_string_view_opt().map(|a| a.value(0).to_ascii_lowercase()) else {
        return Ok(None);
    };
    match FIELDS.iter().find(|(name, _)| *name == text) {
        Some((_, field)) => Ok(Some(*field)),
        None => {
            let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            let reason = format!("there is no field {text:?}; there are {}", known.join(", "));
            Err(ExprError::InvalidArgument { function: function.to_owned(), reason })
        }
    }
}

/// How numbers of the input are to be read.
#[derive(Clone, Debug)]
enum Source {
    Date,
    /// With ticks of a second.
    Timestamp(i64, Zone),
    Time(i64),
    Duration(i64),
    Interval,
}

impl Source {
    fn of(data_type: &LogicalType) -> Option<Self> {
        Some(match data_type {
            LogicalType::Date => Self::Date,
            LogicalType::Timestamp { resolution, zone } => {
                Self::Timestamp(resolution.ticks_per_second(), Zone::new(zone.as_deref())?)
            }
            LogicalType::Time(resolution) => Self::Time(resolution.ticks_per_second()),
            LogicalType::Duration(resolution) => Self::Duration(resolution.ticks_per_second()),
            LogicalType::Interval => Self::Interval,
            _ => return None,
        })
    }
}

/// The kernel of `extract`; `None` if the arguments do not fit.
pub(crate) fn bind_part(
    function: &str,
    name: Argument<'_>,
    value: &LogicalType,
    stated: &LogicalType,
) -> Result<Option<Bound>, ExprError> {
    let Some(field) = field(function, name)? else { return Ok(None) };
    let Some(source) = Source::of(value) else { return Ok(None) };
    let sub_day = matches!(
        field,
        Field::Hour | Field::Minute | Field::Second | Field::Millisecond | Field::Microsecond | Field::Nanosecond
    );
    let has = match source {
        Source::Time(_) => sub_day || field == Field::Epoch,
        Source::Interval | Source::Duration(_) => {
            sub_day || matches!(field, Field::Year | Field::Month | Field::Day | Field::Epoch)
        }
        Source::Date | Source::Timestamp(_, _) => true,
    };
    if !has {
        return Err(ExprError::InvalidArgument {
            function: function.to_owned(),
            reason: format!("a value of type {value} has no field {field:?}"),
        });
    }
    match stated {
        LogicalType::Int32 | LogicalType::Int64 | LogicalType::Float64 | LogicalType::Decimal { .. } => {}
        _ => {
            return Err(ExprError::ReturnType {
                function: function.to_owned(),
                computed: LogicalType::Int64,
                stated: stated.clone(),
            });
        }
    }
    // The years of all timestamps fit in any of these types; seconds since 1970 do not.
    let fallible = !matches!(stated, LogicalType::Int64 | LogicalType::Float64);
    let traits = Traits { fallible, cost: 40, ..Traits::PLAIN };
    Ok(Some(Bound::new(Part { field, source, result: stated.clone() }, traits)))
}

struct Part {
    field: Field,
    source: Source,
    result: LogicalType,
}

/// Whole part and billionths.
type Parts = (i64, i64);

impl Part {
    fn of_moment(&self, days: i64, nanos_of_day: i64, epoch: Parts) -> Parts {
        let year = || civil_from_days(days).0;
        let seconds = nanos_of_day / SECOND_NANOS;
        let fraction = nanos_of_day % SECOND_NANOS;
        // Centuries and millennia count from year 1, backwards before it.
        let count = |size: i64| {
            let year = year();
            if year > 0 { (year + size - 1) / size } else { (year - size) / size }
        };
        let whole = match self.field {
            Field::Millennium => count(1000),
            Field::Century => count(100),
            Field::Decade => year().div_euclid(10),
            Field::Year => year(),
            Field::IsoYear => iso_week(days).0,
            Field::Quarter => (civil_from_days(days).1 + 2) / 3,
            Field::Month => civil_from_days(days).1,
            Field::Week => iso_week(days).1,
            Field::Day => civil_from_days(days).2,
            Field::DayOfYear => days - days_from_civil(year(), 1, 1) + 1,
            Field::DayOfWeek => iso_weekday(days) % 7,
            Field::IsoDayOfWeek => iso_weekday(days),
            Field::Hour => seconds / 3600,
            Field::Minute => seconds / 60 % 60,
            Field::Second => return (seconds % 60, fraction),
            Field::Millisecond | Field::Microsecond | Field::Nanosecond => {
                return self.small_unit(seconds % 60, fraction);
            }
            Field::Epoch => return epoch,
        };
        (whole, 0)
    }

    fn small_unit(&self, seconds: i64, fraction: i64) -> Parts {
        let per_second = match self.field {
            Field::Millisecond => 1_000,
            Field::Microsecond => 1_000_000,
            _ => SECOND_NANOS,
        };
        let nanos = SECOND_NANOS / per_second;
        (seconds * per_second + fraction / nanos, fraction % nanos * per_second)
    }

    /// Fields of a span; hours are not wrapped at a day.
    fn of_span(&self, months: i64, days: i64, nanos: i64) -> Parts {
        let (seconds, fraction) = (nanos / SECOND_NANOS, nanos % SECOND_NANOS);
        match self.field {
            Field::Year => (months / 12, 0),
            Field::Month => (months % 12, 0),
            Field::Day => (days, 0),
            Field::Hour => (seconds / 3600, 0),
            Field::Minute => (seconds / 60 % 60, 0),
            Field::Second => (seconds % 60, fraction),
            // A year counts 365.25 days and a month 30 (PostgreSQL).
            Field::Epoch => {
                let days = (months / 12 * 1461 * DAY_SECONDS) / 4 + (months % 12 * 30 + days) * DAY_SECONDS;
                (days + seconds, fraction)
            }
            _ => self.small_unit(seconds % 60, fraction),
        }
    }

    fn of_number(&self, value: i64) -> Parts {
        match &self.source {
            Source::Date => self.of_moment(value, 0, (value * DAY_SECONDS, 0)),
            Source::Timestamp(ticks, zone) => {
                let (seconds, rest) = (value.div_euclid(*ticks), value.rem_euclid(*ticks));
                let nanos = rest * (SECOND_NANOS / ticks);
                let local = seconds.saturating_add(zone.offset_at(seconds));
                let of_day = local.rem_euclid(DAY_SECONDS) * SECOND_NANOS + nanos;
                self.of_moment(local.div_euclid(DAY_SECONDS), of_day, (seconds, nanos))
            }
            Source::Time(ticks) => {
                let (seconds, nanos) = (value.div_euclid(*ticks), value.rem_euclid(*ticks) * (SECOND_NANOS / ticks));
                self.of_moment(0, seconds * SECOND_NANOS + nanos, (seconds, nanos))
            }
            Source::Duration(ticks) => {
                let (seconds, rest) = (value / ticks, value % ticks);
                if self.field == Field::Epoch {
                    return (seconds, rest * (SECOND_NANOS / ticks));
                }
                let nanos = (seconds % DAY_SECONDS) * SECOND_NANOS + rest * (SECOND_NANOS / ticks);
                self.of_span(0, seconds / DAY_SECONDS, nanos)
            }
            Source::Interval => (0, 0),
        }
    }
}

impl Kernel for Part {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = expand(&args[1], rows.len)?;
        let nulls = nulls_of(&Column::Array(array.clone()));
        let parts: Vec<Parts> = match fixed(&array) {
            // Years and months of dates are what queries ask for most.
            Some(Fixed::I32(values)) if matches!(self.source, Source::Date) && self.field == Field::Year => {
                values.iter().map(|v| (civil_from_days(i64::from(*v)).0, 0)).collect()
            }
            Some(Fixed::I32(values)) => values.iter().map(|v| self.of_number(i64::from(*v))).collect(),
            Some(Fixed::I64(values)) => values.iter().map(|v| self.of_number(*v)).collect(),
            _ => match array.as_primitive_opt::<IntervalMonthDayNanoType>() {
                Some(values) => values
                    .values()
                    .iter()
                    .map(|v| self.of_span(v.months.into(), v.days.into(), v.nanoseconds))
                    .collect(),
                None => return Err(ExprError::Carrier { operation: "extract", found: array.data_type().clone() }),
            },
        };
        let overflow = |row: usize| ExprError::Overflow {
            operation: "extract",
            operands: arrow_cast::display::array_value_to_string(&array, row).unwrap_or_default(),
            data_type: self.result.clone(),
        };
        Ok(Column::Array(match &self.result {
            LogicalType::Int32 => {
                rows.try_each(nulls.as_ref(), |i| match i32::try_from(parts[i].0) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(overflow(i)),
                })?;
                #[expect(clippy::cast_possible_truncation, reason = "checked above")]
                i32::array(&DataType::Int32, parts.iter().map(|p| p.0 as i32).collect(), nulls)
            }
            LogicalType::Int64 => i64::array(&DataType::Int64, parts.iter().map(|p| p.0).collect(), nulls),
            LogicalType::Decimal { precision, scale } => {
                let scaled = |(whole, fraction): Parts| -> Option<i128> {
                    let billionths = i128::from(whole) * POWERS[9] + i128::from(fraction);
                    decimal::rescale(billionths, 9, *scale).filter(|v| v.abs() <= decimal::limit(*precision))
                };
                rows.try_each(nulls.as_ref(), |i| scaled(parts[i]).map(|_| ()).ok_or_else(|| overflow(i)))?;
                decimal::pack(parts.iter().map(|p| scaled(*p).unwrap_or(0)).collect(), nulls, *precision, *scale)
            }
            _ => {
                #[expect(clippy::cast_precision_loss, reason = "DOUBLE was asked for")]
                let number = |(whole, fraction): &Parts| *whole as f64 + *fraction as f64 / 1e9;
                f64::array(&DataType::Float64, parts.iter().map(number).collect(), nulls)
            }
        }))
    }
}

/// The kernel of `date_trunc`; `None` if the arguments do not fit. A date may become a timestamp without a zone.
pub(crate) fn bind_trunc(
    name: Argument<'_>,
    value: &LogicalType,
    stated: &LogicalType,
) -> Result<Option<Bound>, ExprError> {
    let Some(unit) = field("date_trunc", name)? else { return Ok(None) };
    if matches!(unit, Field::DayOfYear | Field::DayOfWeek | Field::IsoDayOfWeek | Field::Epoch | Field::IsoYear) {
        let reason = format!("cannot truncate to {unit:?}; use a unit such as 'day', 'week', 'month'");
        return Err(ExprError::InvalidArgument { function: "date_trunc".to_owned(), reason });
    }
    let agrees =
        value == stated || (*value == LogicalType::Date && matches!(stated, LogicalType::Timestamp { zone: None, .. }));
    if !agrees {
        return Err(ExprError::ReturnType {
            function: "date_trunc".to_owned(),
            computed: value.clone(),
            stated: stated.clone(),
        });
    }
    let Some(source @ (Source::Date | Source::Timestamp(_, _))) = Source::of(value) else { return Ok(None) };
    let traits = Traits { cost: 80, ..Traits::FALLIBLE };
    Ok(Some(Bound::new(Trunc { unit, source, result: stated.clone() }, traits)))
}

struct Trunc {
    unit: Field,
    source: Source,
    result: LogicalType,
}

impl Trunc {
    fn day(&self, days: i64) -> i64 {
        let (year, month, _) = civil_from_days(days);
        // The first year of the century or millennium that a year is in.
        let first = |size: i64| (year - 1).div_euclid(size) * size + 1;
        match self.unit {
            Field::Millennium => days_from_civil(first(1000), 1, 1),
            Field::Century => days_from_civil(first(100), 1, 1),
            Field::Decade => days_from_civil(year.div_euclid(10) * 10, 1, 1),
            Field::Year => days_from_civil(year, 1, 1),
            Field::Quarter => days_from_civil(year, (month - 1) / 3 * 3 + 1, 1),
            Field::Month => days_from_civil(year, month, 1),
            Field::Week => days - (iso_weekday(days) - 1),
            _ => days,
        }
    }

    /// Seconds that the unit divides a day into; `None` for units of a day or more.
    fn ticks(&self, ticks: i64, value: i64, zone: &Zone) -> Option<i64> {
        let size = match self.unit {
            Field::Hour => 3600 * ticks,
            Field::Minute => 60 * ticks,
            Field::Second => ticks,
            Field::Millisecond => (ticks / 1_000).max(1),
            Field::Microsecond => (ticks / 1_000_000).max(1),
            Field::Nanosecond => 1,
            _ => {
                let seconds = value.div_euclid(ticks);
                let local = seconds.checked_add(zone.offset_at(seconds))?;
                let midnight = self.day(local.div_euclid(DAY_SECONDS)) * DAY_SECONDS;
                return zone.to_utc(midnight).checked_mul(ticks);
            }
        };
        let offset = zone.offset_at(value.div_euclid(ticks)) * ticks;
        let local = value.checked_add(offset)?;
        local.checked_sub(local.rem_euclid(size))?.checked_sub(offset)
    }
}

impl Kernel for Trunc {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = expand(&args[1], rows.len)?;
        let nulls = nulls_of(&Column::Array(array.clone()));
        let one = |row: usize| -> Option<i64> {
            match (fixed(&array)?, &self.source, &self.result) {
                (Fixed::I64(values), Source::Timestamp(ticks, zone), _) => self.ticks(*ticks, values[row], zone),
                (Fixed::I32(values), _, LogicalType::Timestamp { resolution, .. }) => {
                    self.day(values[row].into()).checked_mul(DAY_SECONDS * resolution.ticks_per_second())
                }
                (Fixed::I32(values), _, _) => Some(self.day(values[row].into())),
                _ => None,
            }
        };
        let mut out = vec![0i64; rows.len];
        rows.try_each(nulls.as_ref(), |i| {
            out[i] = one(i).ok_or_else(|| ExprError::Overflow {
                operation: "date_trunc",
                operands: arrow_cast::display::array_value_to_string(&array, i).unwrap_or_default(),
                data_type: self.result.clone(),
            })?;
            Ok::<_, ExprError>(())
        })?;
        Ok(Column::Array(match self.result.arrow_type() {
            DataType::Date32 => {
                #[expect(clippy::cast_possible_truncation, reason = "the start of a unit is within a millennium")]
                let days = out.into_iter().map(|v| v as i32).collect();
                i32::array(&DataType::Date32, days, nulls)
            }
            timestamp => i64::array(&timestamp, out, nulls),
        }))
    }
}
