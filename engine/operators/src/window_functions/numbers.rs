//! Columns of numbers as vectors of one width, and which rows of a column count.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, TimeUnit};
use flumen_core::batch::Column;
use flumen_core::failure::Failure;
use flumen_kernels::gather::flatten;

use super::NAME;
use crate::error::OperatorError;

/// Values that are exact numbers; behind a NULL anything.
pub(super) enum Exact {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

/// Integers, unscaled decimals, days and ticks of a flat array; `None` for other types.
pub(super) fn exact(array: &ArrayRef) -> Option<Exact> {
    macro_rules! values {
        ($variant:ident, $type:ty) => {
            Exact::$variant(array.as_primitive::<$type>().values().iter().map(|v| (*v).into()).collect())
        };
    }
    Some(match array.data_type() {
        DataType::Int8 => values!(Narrow, Int8Type),
        DataType::Int16 => values!(Narrow, Int16Type),
        DataType::Int32 => values!(Narrow, Int32Type),
        DataType::Int64 => values!(Narrow, Int64Type),
        DataType::UInt8 => values!(Narrow, UInt8Type),
        DataType::UInt16 => values!(Narrow, UInt16Type),
        DataType::UInt32 => values!(Narrow, UInt32Type),
        DataType::UInt64 => values!(Wide, UInt64Type),
        DataType::Decimal32(..) => values!(Narrow, Decimal32Type),
        DataType::Decimal64(..) => values!(Narrow, Decimal64Type),
        DataType::Decimal128(..) => values!(Wide, Decimal128Type),
        DataType::Date32 => values!(Narrow, Date32Type),
        DataType::Timestamp(TimeUnit::Second, _) => values!(Narrow, TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => values!(Narrow, TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values!(Narrow, TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values!(Narrow, TimestampNanosecondType),
        _ => return None,
    })
}

/// Floating-point numbers of a flat array; `None` for other types.
pub(super) fn doubles(array: &ArrayRef) -> Option<Vec<f64>> {
    match array.data_type() {
        DataType::Float32 => Some(array.as_primitive::<Float32Type>().values().iter().map(|v| f64::from(*v)).collect()),
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().values().to_vec()),
        _ => None,
    }
}

/// The rows that an aggregate counts: those whose arguments are not NULL and for which the filter is true; `None` if
/// that is all of them.
pub(super) fn counted(args: &[&Column], filter: Option<&Column>) -> Result<Option<BooleanBuffer>, Failure> {
    let mut all: Option<BooleanBuffer> = None;
    let mut narrow = |bits: BooleanBuffer| {
        all = Some(match all.take() {
            None => bits,
            Some(before) => &before & &bits,
        });
    };
    for arg in args {
        if let Some(nulls) = arg.array().logical_nulls().filter(|nulls| nulls.null_count() > 0) {
            narrow(nulls.into_inner());
        }
    }
    if let Some(filter) = filter {
        let array = flatten(filter.array())?;
        let Some(bits) = array.as_boolean_opt() else {
            let problem = format!("the filter of an aggregate is {} instead of BOOLEAN", array.data_type());
            return Err(OperatorError::Spec { operator: NAME, problem }.into());
        };
        narrow(match bits.nulls() {
            None => bits.values().clone(),
            Some(nulls) => bits.values() & nulls.inner(),
        });
    }
    Ok(all.filter(|bits| bits.count_set_bits() < bits.len()))
}

/// How many rows before each row count; one more than there are rows.
pub(super) fn counts_before(counted: &BooleanBuffer) -> Vec<u32> {
    let mut before = Vec::with_capacity(counted.len() + 1);
    let mut count = 0;
    before.push(count);
    before.extend(counted.iter().map(|counts| {
        count += u32::from(counts);
        count
    }));
    before
}

/// Makes zero what does not count.
pub(super) fn clear_uncounted<T: Default>(values: &mut [T], counted: Option<&BooleanBuffer>) {
    if let Some(counted) = counted {
        for (value, counts) in values.iter_mut().zip(counted) {
            if !counts {
                *value = T::default();
            }
        }
    }
}
