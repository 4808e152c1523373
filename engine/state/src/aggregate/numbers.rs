//! Numeric arguments in one width, by physical row, and results back in the width of their type.

use std::borrow::Cow;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use flumen_core::types::{DECIMAL64_PRECISION_MAX, LogicalType};

use crate::error::{Result, StateError};
use crate::values::{ColumnView, Index, Lanes, fixed_array};

/// 10^18: what a 64-bit decimal stays below.
const DECIMAL64_BOUND: u64 = 1_000_000_000_000_000_000;

/// `10^exponent`, which must be at most 38.
pub(super) fn power_of_ten(exponent: u32) -> i128 {
    10i128.pow(exponent)
}

/// The lanes by physical row, each converted; behind a NULL anything.
fn by_row<T: Copy, V: Copy + Default>(
    view: &ColumnView<'_>,
    lanes: &[T],
    rows: usize,
    convert: impl Fn(T) -> V,
) -> Vec<V> {
    match &view.index {
        Index::Row => lanes[..rows].iter().map(|v| convert(*v)).collect(),
        Index::Constant(at) => vec![lanes.get(*at).copied().map_or_else(V::default, convert); rows],
        Index::Positions(positions) => positions[..rows]
            .iter()
            .map(|p| lanes.get(*p as usize).copied().map_or_else(V::default, &convert))
            .collect(),
    }
}

fn wrong(what: &str, view: &ColumnView<'_>, expected: &str) -> StateError {
    let found = match view.lanes {
        Lanes::Bool(_) => "Boolean",
        Lanes::Bytes(_) => "a string or binary type",
        Lanes::Interval(_) => "an interval",
        Lanes::F32(_) | Lanes::F64(_) => "a floating-point type",
        Lanes::I128(_) => "a 128-bit type",
        _ => "an integer type",
    };
    StateError::ColumnType { what: what.to_owned(), found: found.to_owned(), expected: expected.to_owned() }
}

/// Values as `i64`; not for `u64`, which need not fit, nor for 128 bits (see [`exact`]).
pub(super) fn integers<'a>(view: &ColumnView<'a>, rows: usize, what: &str) -> Result<Cow<'a, [i64]>> {
    Ok(match (&view.lanes, &view.index) {
        (Lanes::I64(lanes), Index::Row) => Cow::Borrowed(&lanes[..rows]),
        (Lanes::I64(lanes), _) => Cow::Owned(by_row(view, lanes, rows, |v| v)),
        (Lanes::I32(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::I16(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::I8(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::U32(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::U16(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::U8(lanes), _) => Cow::Owned(by_row(view, lanes, rows, i64::from)),
        (Lanes::Null, _) => Cow::Owned(vec![0; rows]),
        _ => return Err(wrong(what, view, "a signed integer")),
    })
}

/// Values that are exact numbers.
pub(super) enum Exact<'a> {
    Narrow(Cow<'a, [i64]>),
    Wide(Cow<'a, [i128]>),
}

impl Exact<'_> {
    #[inline]
    pub(super) fn get(&self, row: usize) -> i128 {
        match self {
            Self::Narrow(values) => i128::from(values[row]),
            Self::Wide(values) => values[row],
        }
    }
}

/// Integers and decimals in the narrowest width that holds their carrier.
pub(super) fn exact<'a>(view: &ColumnView<'a>, rows: usize, what: &str) -> Result<Exact<'a>> {
    Ok(match (&view.lanes, &view.index) {
        (Lanes::I128(lanes), Index::Row) => Exact::Wide(Cow::Borrowed(&lanes[..rows])),
        (Lanes::I128(lanes), _) => Exact::Wide(Cow::Owned(by_row(view, lanes, rows, |v| v))),
        (Lanes::U64(lanes), _) => Exact::Wide(Cow::Owned(by_row(view, lanes, rows, i128::from))),
        _ => Exact::Narrow(integers(view, rows, what)?),
    })
}

/// Numbers as `f64`; decimals (`scale` digits after the point) are divided.
pub(super) fn doubles<'a>(view: &ColumnView<'a>, rows: usize, scale: i8, what: &str) -> Result<Cow<'a, [f64]>> {
    Ok(match (&view.lanes, &view.index) {
        (Lanes::F64(lanes), Index::Row) => Cow::Borrowed(&lanes[..rows]),
        (Lanes::F64(lanes), _) => Cow::Owned(by_row(view, lanes, rows, |v| v)),
        (Lanes::F32(lanes), _) => Cow::Owned(by_row(view, lanes, rows, f64::from)),
        _ => {
            let divisor = 10f64.powi(i32::from(scale));
            Cow::Owned(match exact(view, rows, what)? {
                Exact::Narrow(values) => values.iter().map(|v| *v as f64 / divisor).collect(),
                Exact::Wide(values) => values.iter().map(|v| *v as f64 / divisor).collect(),
            })
        }
    })
}

/// An array of an exact type. Decimals of more than 18 digits get the narrow carrier if all values fit it.
///
/// # Errors
/// [`StateError::Overflow`] in the name of `function` for the first value outside of the type.
pub(super) fn exact_array(
    function: &str,
    data_type: &LogicalType,
    values: Vec<i128>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let overflow = || StateError::Overflow { function: function.to_owned(), data_type: data_type.to_string() };
    macro_rules! narrow {
        ($native:ty) => {{
            let valid = |i: usize| nulls.as_ref().is_none_or(|n| n.is_valid(i));
            let narrowed = values.iter().enumerate().map(|(i, v)| match <$native>::try_from(*v) {
                Ok(v) => Ok(v),
                Err(_) if !valid(i) => Ok(0),
                Err(_) => Err(overflow()),
            });
            let narrowed = narrowed.collect::<Result<Vec<$native>>>()?;
            Ok(fixed_array(data_type.arrow_type(), narrowed, nulls))
        }};
    }
    match data_type {
        LogicalType::Decimal { precision, scale } => {
            let bound = power_of_ten(u32::from(*precision)).unsigned_abs();
            let mut largest = 0;
            for (i, value) in values.iter().enumerate() {
                if nulls.as_ref().is_none_or(|n| n.is_valid(i)) {
                    largest = largest.max(value.unsigned_abs());
                }
            }
            if largest >= bound {
                return Err(overflow());
            }
            if largest < u128::from(DECIMAL64_BOUND) {
                let carrier = DataType::Decimal64((*precision).min(DECIMAL64_PRECISION_MAX), *scale);
                return Ok(fixed_array(carrier, values.iter().map(|v| *v as i64).collect(), nulls));
            }
            Ok(fixed_array(DataType::Decimal128(*precision, *scale), values, nulls))
        }
        LogicalType::Int8 => narrow!(i8),
        LogicalType::Int16 => narrow!(i16),
        LogicalType::Int32 => narrow!(i32),
        LogicalType::Int64 => narrow!(i64),
        LogicalType::UInt8 => narrow!(u8),
        LogicalType::UInt16 => narrow!(u16),
        LogicalType::UInt32 => narrow!(u32),
        LogicalType::UInt64 => narrow!(u64),
        other => Err(StateError::UnsupportedAggregate {
            function: function.to_owned(),
            problem: format!("cannot return {other}"),
        }),
    }
}

/// An array of a floating-point type.
pub(super) fn double_array(data_type: &LogicalType, values: Vec<f64>, nulls: Option<NullBuffer>) -> ArrayRef {
    match data_type {
        LogicalType::Float32 => {
            fixed_array(DataType::Float32, values.into_iter().map(|v| v as f32).collect::<Vec<f32>>(), nulls)
        }
        _ => fixed_array(DataType::Float64, values, nulls),
    }
}

/// Digits after the point of an exact type.
pub(super) fn scale_of(data_type: &LogicalType) -> i8 {
    match data_type {
        LogicalType::Decimal { scale, .. } => *scale,
        _ => 0,
    }
}
