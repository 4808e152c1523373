//! CAST and TRY_CAST between the simple types; those of nested values are in `nested_cast`.
//!
//! A conversion is a function from a row to a value or nothing; "nothing" is an error that names the value, or NULL for
//! TRY_CAST, and only for rows that count. Rules are PostgreSQL's: a fraction is rounded when it goes (floating-point to
//! integer half to even, decimals half up), out of range is an error, text is trimmed, timestamps without a zone are
//! local readings in the zone they are cast to. Integers and decimals to decimals within 18 digits are plain 64-bit
//! loops. Conversions that are not here are Arrow's.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_cast::display::{ArrayFormatter, FormatOptions, array_value_to_string};
use arrow_cast::{CastOptions, can_cast_types};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::types::{DECIMAL64_PRECISION_MAX, LogicalType};

use super::calendar::{DAY_SECONDS, SECOND_NANOS, Zone};
use super::comparison::as_views;
use super::datetime::rescale_ticks;
use super::decimal::{self, POWERS};
use super::nested_cast;
use super::parse;
use crate::expr::column::{Fixed, Native, Operand, Rows, expand, fixed};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// The kernel for a conversion.
///
/// # Errors
/// If there is none.
pub(crate) fn bind(from: &LogicalType, to: &LogicalType, safe: bool) -> Result<Bound, ExprError> {
    if from.is_nested() || to.is_nested() {
        return nested_cast::bind(from, to, safe);
    }
    let unsupported = || ExprError::UnsupportedCast { from: from.clone(), to: to.clone() };
    let simple = |t: &LogicalType| *t != LogicalType::Null;
    let number = |t: &LogicalType| t.is_float() || decimal::digits(t).is_some();
    let supported = match (from, to) {
        (LogicalType::Utf8, to) => simple(to),
        (from, LogicalType::Utf8) => simple(from),
        (LogicalType::Boolean, to) => number(to),
        (from, LogicalType::Boolean) => number(from),
        (from, to) if number(from) && number(to) => true,
        (LogicalType::Date, LogicalType::Timestamp { .. }) => true,
        (LogicalType::Timestamp { .. }, to) => {
            matches!(to, LogicalType::Timestamp { .. } | LogicalType::Date | LogicalType::Time(_))
        }
        (LogicalType::Time(_), LogicalType::Time(_)) | (LogicalType::Duration(_), LogicalType::Duration(_)) => true,
        (from, to) => can_cast_types(&from.arrow_type(), &to.arrow_type()) && !(number(from) || number(to)),
    };
    if !supported {
        return Err(unsupported());
    }
    let zone = |t: &LogicalType| match t {
        LogicalType::Timestamp { zone, .. } => Zone::new(zone.as_deref()),
        _ => Zone::new(None),
    };
    let (from_zone, to_zone) = (zone(from).ok_or_else(unsupported)?, zone(to).ok_or_else(unsupported)?);
    // Whether every value converts: integers into wider ones, dates into coarse timestamps, anything into text.
    let sure = match (from, to) {
        (LogicalType::Boolean, _) | (_, LogicalType::Boolean | LogicalType::Float64) => *from != LogicalType::Utf8,
        (LogicalType::Binary, LogicalType::Utf8) => false,
        (_, LogicalType::Utf8) => true,
        (LogicalType::Utf8, LogicalType::Binary) => true,
        (LogicalType::Decimal { precision: p1, scale: s1 }, LogicalType::Decimal { precision: p2, scale: s2 }) => {
            s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1)
        }
        (from, LogicalType::Decimal { precision, scale }) if from.is_integer() => {
            let (digits, _) = decimal::digits(from).unwrap_or((u8::MAX, 0));
            *scale >= 0 && i16::from(*precision) - i16::from(*scale) >= i16::from(digits)
        }
        (LogicalType::Int8, LogicalType::Int16 | LogicalType::Int32 | LogicalType::Int64)
        | (LogicalType::Int16, LogicalType::Int32 | LogicalType::Int64)
        | (LogicalType::Int32, LogicalType::Int64) => true,
        (LogicalType::UInt8 | LogicalType::UInt16 | LogicalType::UInt32, LogicalType::Int64) => true,
        _ => false,
    };
    let is_text = *from == LogicalType::Utf8 || *to == LogicalType::Utf8;
    let traits =
        Traits { fallible: !sure && !safe, dense: is_text, cost: if is_text { 300 } else { 10 }, ..Traits::PLAIN };
    Ok(Bound::new(Cast { from: from.clone(), to: to.clone(), from_zone, to_zone, safe }, traits))
}

struct Cast {
    from: LogicalType,
    to: LogicalType,
    from_zone: Zone,
    to_zone: Zone,
    safe: bool,
}

impl Kernel for Cast {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = match (&self.from, &args[0]) {
            (LogicalType::Utf8, column) => expand(&as_views(column, &DataType::Utf8View)?, rows.len)?,
            (_, column) => expand(column, rows.len)?,
        };
        let converted = match (&self.from, &self.to) {
            (LogicalType::Utf8, _) => self.read_text(&array, rows)?,
            (_, LogicalType::Utf8) => self.to_text(&array, rows)?,
            (_, LogicalType::Boolean) => self.to_boolean(&array)?,
            (LogicalType::Boolean, _) => self.read_boolean(&array),
            (_, LogicalType::Decimal { precision, scale }) => self.to_decimal(&array, *precision, *scale, rows)?,
            (from, to) if decimal::digits(from).is_some() && to.is_float() => self.to_float(&array)?,
            (from, to) if (from.is_float() || decimal::digits(from).is_some()) && to.is_integer() => {
                self.to_integer(&array, rows)?
            }
            (LogicalType::Float32, LogicalType::Float64) => {
                let Some(Fixed::F32(values)) = fixed(&array) else { return Err(self.carrier(&array)) };
                f64::array(&DataType::Float64, values.iter().map(|v| f64::from(*v)).collect(), array.nulls().cloned())
            }
            (LogicalType::Float64, LogicalType::Float32) => {
                let Some(Fixed::F64(values)) = fixed(&array) else { return Err(self.carrier(&array)) };
                #[expect(clippy::cast_possible_truncation, reason = "REAL was asked for")]
                let narrow = |i: usize| Some(values[i] as f32).filter(|v| v.is_finite() || !values[i].is_finite());
                self.convert(&array, rows, narrow)?
            }
            (
                LogicalType::Timestamp { .. } | LogicalType::Date | LogicalType::Time(_) | LogicalType::Duration(_),
                _,
            ) => self.moments(&array, rows)?,
            _ => self.by_arrow(&array, rows)?,
        };
        Ok(Column::Array(converted))
    }
}

impl Cast {
    fn carrier(&self, array: &ArrayRef) -> ExprError {
        ExprError::Carrier { operation: "cast", found: array.data_type().clone() }
    }

    fn bad(&self, array: &ArrayRef, row: usize) -> ExprError {
        let value = array_value_to_string(array, row).unwrap_or_default();
        ExprError::BadCast { value, from: self.from.clone(), to: self.to.clone() }
    }

    /// Converts the valid rows one by one into an array of the target's canonical type.
    fn convert<T: Native>(
        &self,
        array: &ArrayRef,
        rows: Rows<'_>,
        one: impl Fn(usize) -> Option<T>,
    ) -> Result<ArrayRef, ExprError> {
        let (values, nulls) = self.convert_values(array, rows, one)?;
        Ok(T::array(&self.to.arrow_type(), values, nulls))
    }

    fn convert_values<T: Default>(
        &self,
        array: &ArrayRef,
        rows: Rows<'_>,
        one: impl Fn(usize) -> Option<T>,
    ) -> Result<(Vec<T>, Option<NullBuffer>), ExprError> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0).cloned();
        let mut wrong = false;
        let mut or_default = |value: Option<T>| {
            wrong |= value.is_none();
            value.unwrap_or_default()
        };
        let values: Vec<T> = match &nulls {
            None => (0..rows.len).map(|i| or_default(one(i))).collect(),
            Some(nulls) => {
                (0..rows.len).map(|i| if nulls.is_valid(i) { or_default(one(i)) } else { T::default() }).collect()
            }
        };
        if !wrong {
            return Ok((values, nulls));
        }
        let converts = |i: usize| nulls.as_ref().is_none_or(|n| n.is_valid(i)) && one(i).is_some();
        if self.safe {
            let valid = BooleanBuffer::collect_bool(rows.len, converts);
            return Ok((values, Some(NullBuffer::new(valid))));
        }
        rows.try_each(nulls.as_ref(), |i| if one(i).is_some() { Ok(()) } else { Err(self.bad(array, i)) })?;
        Ok((values, nulls))
    }

    fn to_integer(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        match self.to {
            LogicalType::Int8 => self.to_integer_of::<i8>(array, rows),
            LogicalType::Int16 => self.to_integer_of::<i16>(array, rows),
            LogicalType::Int32 => self.to_integer_of::<i32>(array, rows),
            LogicalType::Int64 => self.to_integer_of::<i64>(array, rows),
            LogicalType::UInt8 => self.to_integer_of::<u8>(array, rows),
            LogicalType::UInt16 => self.to_integer_of::<u16>(array, rows),
            LogicalType::UInt32 => self.to_integer_of::<u32>(array, rows),
            _ => self.to_integer_of::<u64>(array, rows),
        }
    }

    fn to_integer_of<T>(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError>
    where
        T: Native + TryFrom<i128>,
    {
        let scale = match self.from {
            LogicalType::Decimal { scale, .. } => scale,
            _ => 0,
        };
        macro_rules! whole {
            ($values:ident) => {
                if scale == 0 {
                    self.convert(array, rows, |i| T::try_from(i128::from($values[i])).ok())
                } else {
                    let one = |i: usize| decimal::rescale(i128::from($values[i]), scale, 0);
                    self.convert(array, rows, |i| T::try_from(one(i)?).ok())
                }
            };
        }
        // Half to even; beyond 128 bits nothing fits anyway, and NaN does not either.
        #[expect(clippy::cast_possible_truncation, reason = "within 128 bits after the check")]
        let round = |v: f64| {
            let rounded = v.round_ties_even();
            (rounded.abs() < 1e30).then_some(rounded as i128).and_then(|v| T::try_from(v).ok())
        };
        match fixed(array) {
            Some(Fixed::I8(values)) => whole!(values),
            Some(Fixed::I16(values)) => whole!(values),
            Some(Fixed::I32(values)) => whole!(values),
            Some(Fixed::I64(values)) => whole!(values),
            Some(Fixed::I128(values)) => whole!(values),
            Some(Fixed::U8(values)) => whole!(values),
            Some(Fixed::U16(values)) => whole!(values),
            Some(Fixed::U32(values)) => whole!(values),
            Some(Fixed::U64(values)) => whole!(values),
            Some(Fixed::F32(values)) => self.convert(array, rows, |i| round(f64::from(values[i]))),
            Some(Fixed::F64(values)) => self.convert(array, rows, |i| round(values[i])),
            None => Err(self.carrier(array)),
        }
    }

    fn to_decimal(&self, array: &ArrayRef, precision: u8, scale: i8, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        let pack = |(values, nulls)| decimal::pack(values, nulls, precision, scale);
        match fixed(array) {
            Some(Fixed::F32(values)) => {
                let one = |i: usize| parse::decimal(&format!("{:e}", values[i]), precision, scale);
                return self.convert_values(array, rows, one).map(pack);
            }
            Some(Fixed::F64(values)) => {
                let one = |i: usize| parse::decimal(&format!("{:e}", values[i]), precision, scale);
                return self.convert_values(array, rows, one).map(pack);
            }
            _ => {}
        }
        let (digits, from) = decimal::digits(&self.from).ok_or_else(|| self.carrier(array))?;
        let column = Column::Array(Arc::clone(array));
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let values = decimal::unscaled(&column, &mut small, &mut large).ok_or_else(|| self.carrier(array))?;
        let shift = i32::from(scale) - i32::from(from);
        let power = usize::try_from(shift).ok().and_then(|s| POWERS.get(s).copied());
        if let (decimal::Unscaled::Small(Operand::Slice(values)), Some(power)) = (values, power) {
            let allowed = decimal::limit(precision.min(DECIMAL64_PRECISION_MAX));
            let fits = |bound: i128| bound.checked_mul(power).is_some_and(|b| b <= allowed);
            if fits(decimal::limit(digits)) || fits(decimal::largest(Operand::Slice(values))) {
                let power = i64::try_from(power).expect("a power that fits is below the limit, or all values are zero");
                let scaled =
                    if power == 1 { values.to_vec() } else { values.iter().map(|v| v.wrapping_mul(power)).collect() };
                return Ok(i64::array(&decimal::small_type(precision, scale), scaled, array.nulls().cloned()));
            }
        }
        let limit = decimal::limit(precision);
        let one = |i: usize| decimal::rescale(values.get(i), from, scale).filter(|v| (-limit..=limit).contains(v));
        self.convert_values(array, rows, one).map(pack)
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a float was asked for")]
    fn to_float(&self, array: &ArrayRef) -> Result<ArrayRef, ExprError> {
        let (_, scale) = decimal::digits(&self.from).ok_or_else(|| self.carrier(array))?;
        let column = Column::Array(Arc::clone(array));
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let values = decimal::unscaled(&column, &mut small, &mut large).ok_or_else(|| self.carrier(array))?;
        // A quotient of two exact numbers is the nearest float; beyond 2^53 the text's reading is.
        let exact = |v: i128| v.unsigned_abs() <= 1 << 53 && (0..=22).contains(&scale);
        let power = POWERS.get(usize::from(scale.unsigned_abs())).map_or(1.0, |p| *p as f64);
        let one = |v: i128| {
            if scale == 0 {
                v as f64
            } else if exact(v) {
                v as f64 / power
            } else {
                decimal::text(v, scale).parse().unwrap_or(f64::NAN)
            }
        };
        let nulls = array.nulls().cloned();
        let values = (0..array.len()).map(|i| values.get(i));
        Ok(if self.to == LogicalType::Float32 {
            let narrow = |v: i128| if scale == 0 { v as f32 } else { one(v) as f32 };
            f32::array(&DataType::Float32, values.map(narrow).collect(), nulls)
        } else {
            f64::array(&DataType::Float64, values.map(one).collect(), nulls)
        })
    }

    fn to_boolean(&self, array: &ArrayRef) -> Result<ArrayRef, ExprError> {
        macro_rules! nonzero {
            ($values:ident, $zero:expr) => {
                BooleanBuffer::collect_bool($values.len(), |i| $values[i] != $zero)
            };
        }
        let bits = match fixed(array) {
            Some(Fixed::I8(values)) => nonzero!(values, 0),
            Some(Fixed::I16(values)) => nonzero!(values, 0),
            Some(Fixed::I32(values)) => nonzero!(values, 0),
            Some(Fixed::I64(values)) => nonzero!(values, 0),
            Some(Fixed::I128(values)) => nonzero!(values, 0),
            Some(Fixed::U8(values)) => nonzero!(values, 0),
            Some(Fixed::U16(values)) => nonzero!(values, 0),
            Some(Fixed::U32(values)) => nonzero!(values, 0),
            Some(Fixed::U64(values)) => nonzero!(values, 0),
            Some(Fixed::F32(values)) => nonzero!(values, 0.0),
            Some(Fixed::F64(values)) => nonzero!(values, 0.0),
            None => return Err(self.carrier(array)),
        };
        Ok(Arc::new(BooleanArray::new(bits, array.nulls().cloned())))
    }

    fn read_boolean(&self, array: &ArrayRef) -> ArrayRef {
        let bits = array.as_boolean().values().clone();
        let nulls = array.nulls().cloned();
        let arrow = self.to.arrow_type();
        macro_rules! ones {
            ($native:ty) => {
                <$native>::array(&arrow, bits.iter().map(|b| <$native>::from(b)).collect(), nulls)
            };
        }
        match &self.to {
            LogicalType::Int8 => ones!(i8),
            LogicalType::Int16 => ones!(i16),
            LogicalType::Int32 => ones!(i32),
            LogicalType::Int64 => ones!(i64),
            LogicalType::UInt8 => ones!(u8),
            LogicalType::UInt16 => ones!(u16),
            LogicalType::UInt32 => ones!(u32),
            LogicalType::UInt64 => ones!(u64),
            LogicalType::Float32 => ones!(f32),
            LogicalType::Decimal { precision, scale } => {
                let one = decimal::rescale(1, 0, *scale).unwrap_or(0);
                decimal::pack(bits.iter().map(|b| if b { one } else { 0 }).collect(), nulls, *precision, *scale)
            }
            _ => ones!(f64),
        }
    }

    fn read_text(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        let texts = array.as_string_view();
        let text = |i: usize| texts.value(i);
        macro_rules! number {
            ($native:ty) => {
                self.convert::<$native>(array, rows, |i| text(i).trim().parse().ok())
            };
        }
        match &self.to {
            LogicalType::Boolean => {
                let (values, nulls) = self.convert_values(array, rows, |i| parse::boolean(text(i)))?;
                Ok(Arc::new(BooleanArray::new(values.into(), nulls)))
            }
            LogicalType::Int8 => number!(i8),
            LogicalType::Int16 => number!(i16),
            LogicalType::Int32 => number!(i32),
            LogicalType::Int64 => number!(i64),
            LogicalType::UInt8 => number!(u8),
            LogicalType::UInt16 => number!(u16),
            LogicalType::UInt32 => number!(u32),
            LogicalType::UInt64 => number!(u64),
            LogicalType::Float32 => number!(f32),
            LogicalType::Float64 => number!(f64),
            LogicalType::Decimal { precision, scale } => {
                let (values, nulls) =
                    self.convert_values(array, rows, |i| parse::decimal(text(i), *precision, *scale))?;
                Ok(decimal::pack(values, nulls, *precision, *scale))
            }
            LogicalType::Date => self.convert(array, rows, |i| {
                // A timestamp's date counts as one, as in PostgreSQL.
                let nanos = parse::timestamp(text(i), &self.to_zone, false)?;
                i32::try_from(nanos.div_euclid(i128::from(DAY_SECONDS) * i128::from(SECOND_NANOS))).ok()
            }),
            LogicalType::Time(resolution) => {
                let nanos = SECOND_NANOS / resolution.ticks_per_second();
                let one = |i: usize| Some(parse::time(text(i))? / nanos);
                if matches!(self.to.arrow_type(), DataType::Time32(_)) {
                    self.convert::<i32>(array, rows, |i| i32::try_from(one(i)?).ok())
                } else {
                    self.convert::<i64>(array, rows, one)
                }
            }
            LogicalType::Timestamp { resolution, zone } => {
                let per_tick = i128::from(SECOND_NANOS / resolution.ticks_per_second());
                self.convert(array, rows, |i| {
                    let nanos = parse::timestamp(text(i), &self.to_zone, zone.is_some())?;
                    let up = i128::from(nanos.rem_euclid(per_tick) * 2 >= per_tick && per_tick > 1);
                    i64::try_from(nanos.div_euclid(per_tick) + up).ok()
                })
            }
            _ => self.by_arrow(array, rows),
        }
    }

    fn to_text(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        if self.from == LogicalType::Binary {
            return self.by_arrow(array, rows);
        }
        let scale = match self.from {
            LogicalType::Decimal { scale, .. } => Some(scale),
            _ => None,
        };
        let options = FormatOptions::new()
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
        let formatter = ArrayFormatter::try_new(array, &options).map_err(ExprError::arrow("cast to text"))?;
        let column = Column::Array(Arc::clone(array));
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let unscaled = scale.and_then(|_| decimal::unscaled(&column, &mut small, &mut large));
        let mut builder = StringViewBuilder::with_capacity(rows.len);
        for row in 0..rows.len {
            let text = if array.is_null(row) {
                String::new()
            } else {
                match (fixed(array), &unscaled, scale) {
                    (_, Some(values), Some(scale)) => decimal::text(values.get(row), scale),
                    (Some(Fixed::F64(values)), ..) => {
                        let value = values[row];
                        parse::float_text(value, &format!("{value:e}"), format!("{value}"), 15)
                    }
                    (Some(Fixed::F32(values)), ..) => {
                        let value = values[row];
                        parse::float_text(value.into(), &format!("{value:e}"), format!("{value}"), 6)
                    }
                    _ => formatter.value(row).to_string(),
                }
            };
            builder.try_append_value(&text).map_err(ExprError::arrow("cast to text"))?;
        }
        let (views, buffers, _) = builder.finish().into_parts();
        let array = StringViewArray::try_new(views, buffers, array.nulls().cloned());
        Ok(Arc::new(array.map_err(ExprError::arrow("cast to text"))?))
    }

    /// Dates, timestamps, times and durations into each other.
    fn moments(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        let value = |i: usize| -> Option<i64> {
            match fixed(array)? {
                Fixed::I32(values) => Some(values[i].into()),
                Fixed::I64(values) => Some(values[i]),
                _ => None,
            }
        };
        match (&self.from, &self.to) {
            (LogicalType::Date, LogicalType::Timestamp { resolution, .. }) => self.convert(array, rows, |i| {
                let midnight = value(i)?.checked_mul(DAY_SECONDS)?;
                self.to_zone.to_utc(midnight).checked_mul(resolution.ticks_per_second())
            }),
            (
                LogicalType::Timestamp { resolution, zone: from_zone },
                LogicalType::Timestamp { resolution: to, zone: to_zone },
            ) => self.convert(array, rows, |i| {
                let per_second = resolution.ticks_per_second();
                let ticks = value(i)?;
                let seconds = ticks.div_euclid(per_second);
                let moved = match (from_zone.is_some(), to_zone.is_some()) {
                    (false, true) if !self.to_zone.is_utc() => self.to_zone.to_utc(seconds) - seconds,
                    (true, false) if !self.from_zone.is_utc() => self.from_zone.offset_at(seconds),
                    _ => 0,
                };
                rescale_ticks(ticks.checked_add(moved.checked_mul(per_second)?)?, *resolution, *to)
            }),
            (LogicalType::Timestamp { resolution, .. }, to) => {
                let per_second = resolution.ticks_per_second();
                let local = |i: usize| -> Option<i64> {
                    let ticks = value(i)?;
                    ticks.checked_add(self.from_zone.offset_at(ticks.div_euclid(per_second)) * per_second)
                };
                let day = DAY_SECONDS * per_second;
                match to {
                    LogicalType::Date => self.convert(array, rows, |i| i32::try_from(local(i)?.div_euclid(day)).ok()),
                    LogicalType::Time(to) => {
                        let one = |i: usize| rescale_ticks(local(i)?.rem_euclid(day), *resolution, *to);
                        self.times(array, rows, one)
                    }
                    _ => self.by_arrow(array, rows),
                }
            }
            (LogicalType::Time(from), LogicalType::Time(to)) => {
                self.times(array, rows, |i| rescale_ticks(value(i)?, *from, *to))
            }
            (LogicalType::Duration(from), LogicalType::Duration(to)) => {
                self.convert(array, rows, |i| rescale_ticks(value(i)?, *from, *to))
            }
            _ => self.by_arrow(array, rows),
        }
    }

    fn times(
        &self,
        array: &ArrayRef,
        rows: Rows<'_>,
        one: impl Fn(usize) -> Option<i64>,
    ) -> Result<ArrayRef, ExprError> {
        if matches!(self.to.arrow_type(), DataType::Time32(_)) {
            self.convert::<i32>(array, rows, |i| i32::try_from(one(i)?).ok())
        } else {
            self.convert::<i64>(array, rows, one)
        }
    }

    /// Arrow's conversion; values that become NULL there did not convert.
    fn by_arrow(&self, array: &ArrayRef, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
        let options = CastOptions { safe: true, format_options: FormatOptions::default() };
        let out =
            arrow_cast::cast_with_options(array, &self.to.arrow_type(), &options).map_err(ExprError::arrow("cast"))?;
        if !self.safe && out.null_count() > array.null_count() {
            rows.try_each(array.nulls(), |i| if out.is_null(i) { Err(self.bad(array, i)) } else { Ok(()) })?;
        }
        Ok(out)
    }
}
