//! Bounds of frames that are given as a difference of the order key (`RANGE ... PRECEDING`).
//!
//! Keys become 128-bit integers in the direction of the order: numbers as they are, decimals unscaled, floats by an
//! order-preserving code, dates and timestamps as nanoseconds. The place of `key - offset` or `key + offset` is found by
//! a cursor that only goes forward, since the sum grows with the key (a month later than a later day is not earlier). No
//! sum overflows: 64-bit keys leave room, 128-bit decimals saturate.
//!
//! Rows whose key is NULL lie at one end of the partition. No difference leads to them or away from them: their frame
//! begins and ends with themselves.

use arrow_array::Array;
use flumen_core::expr::{Literal, Value};
use flumen_core::failure::Failure;
use flumen_core::types::{LogicalType, Resolution};
use flumen_kernels::expr::add_months;
use flumen_kernels::gather::flatten;

use super::frame::End;
use super::numbers::{Exact, doubles, exact};
use super::{NAME, SortedRows};
use crate::error::OperatorError;

const DAY_NANOS: i128 = 86_400_000_000_000;

/// One end of each row's frame, `offset` away from its key.
pub(super) fn bounds(rows: &SortedRows, offset: &Literal, following: bool, end: End) -> Result<Vec<u32>, Failure> {
    let [key] = rows.order_by.as_slice() else {
        let problem = format!("a frame of RANGE with an offset needs one order key, there are {}", rows.order_by.len());
        return Err(OperatorError::Spec { operator: NAME, problem }.into());
    };
    let array = flatten(rows.batch.column(key.column).array())?;
    let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    // In a descending order what precedes is larger.
    let sign = if following != key.descending { 1 } else { -1 };
    let (mut keys, mut targets) = keys_and_targets(&array, &rows.types[key.column], offset, sign)?;
    if key.descending {
        keys.iter_mut().chain(&mut targets).for_each(|key| *key = key.saturating_neg());
    }
    let mut out = Vec::with_capacity(rows.count);
    for partition in rows.layout.partitions_in(0..rows.count) {
        // The partition's rows with a key, and before and behind them those without.
        let first = partition.whole.clone().find(|row| !is_null(*row)).unwrap_or(partition.whole.end);
        let behind = (first..partition.whole.end).find(|row| is_null(*row)).unwrap_or(partition.whole.end);
        let without_key = |from: usize, to: usize| if end == End::Start { from as u32 } else { to as u32 };
        out.resize(first, without_key(partition.whole.start, first));
        let mut cursor = first;
        for target in &targets[first..behind] {
            while cursor < behind && (keys[cursor] < *target || end == End::Behind && keys[cursor] == *target) {
                cursor += 1;
            }
            out.push(cursor as u32);
        }
        out.resize(partition.whole.end, without_key(behind, partition.whole.end));
    }
    Ok(out)
}

/// Keys as integers of their order, and `key + sign * offset`.
fn keys_and_targets(
    array: &arrow_array::ArrayRef,
    data_type: &LogicalType,
    offset: &Literal,
    sign: i8,
) -> Result<(Vec<i128>, Vec<i128>), Failure> {
    let unsupported = || {
        let problem = format!("RANGE cannot go {:?} from a key of type {data_type}", offset.value);
        Failure::from(OperatorError::Spec { operator: NAME, problem })
    };
    if let (true, Value::FloatBits(bits)) = (data_type.is_float(), &offset.value) {
        let by = f64::from_bits(*bits) * f64::from(sign);
        let values = doubles(array).ok_or_else(unsupported)?;
        let keys = values.iter().map(|value| float_code(*value)).collect();
        return Ok((keys, values.iter().map(|value| float_code(value + by)).collect()));
    }
    let keys: Vec<i128> = match exact(array).ok_or_else(unsupported)? {
        Exact::Narrow(values) => values.into_iter().map(i128::from).collect(),
        Exact::Wide(values) => values,
    };
    match (&offset.value, data_type) {
        (Value::Int(by), _) if data_type.is_integer() || matches!(data_type, LogicalType::Decimal { .. }) => {
            let by = by.saturating_mul(i128::from(sign));
            let targets = keys.iter().map(|key| key.saturating_add(by)).collect();
            Ok((keys, targets))
        }
        (Value::Interval { months, days, nanos }, LogicalType::Date | LogicalType::Timestamp { .. }) => {
            let tick = match data_type {
                LogicalType::Timestamp { resolution, .. } => tick_nanos(*resolution),
                _ => DAY_NANOS,
            };
            let sign = i64::from(sign);
            let (months, days) = (sign * i64::from(*months), sign * i64::from(*days));
            let nanos = i128::from(sign) * i128::from(*nanos);
            let keys: Vec<i128> = keys.into_iter().map(|key| key * tick).collect();
            let target = |key: &i128| {
                let day = add_months(key.div_euclid(DAY_NANOS) as i64, months) + days;
                i128::from(day) * DAY_NANOS + key.rem_euclid(DAY_NANOS) + nanos
            };
            let targets = keys.iter().map(target).collect();
            Ok((keys, targets))
        }
        _ => Err(unsupported()),
    }
}

fn tick_nanos(resolution: Resolution) -> i128 {
    match resolution {
        Resolution::Second => 1_000_000_000,
        Resolution::Millisecond => 1_000_000,
        Resolution::Microsecond => 1_000,
        Resolution::Nanosecond => 1,
    }
}

/// An integer of the same order; NaN above all, one zero.
fn float_code(value: f64) -> i128 {
    if value.is_nan() {
        return i128::from(i64::MAX);
    }
    let bits = (value + 0.0).to_bits() as i64;
    i128::from(if bits < 0 { bits ^ i64::MAX } else { bits })
}
