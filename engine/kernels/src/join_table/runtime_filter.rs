//! What a complete build side tells the scans of the probe side.

use arrow_array::{Array, ArrayRef};
use flumen_core::expr::{Literal, Value};
use flumen_core::source::RuntimeFilter;
use flumen_core::types::LogicalType;

use super::JoinTable;
use super::build::IntegerKeys;
use crate::carrier::{ByteRows, Carrier, carrier};
use crate::error::KernelError;
use crate::gather::flatten;

/// Longest span with a bitmap, in values, whatever the number of rows: a megabyte.
const BITMAP_SPAN: u64 = 1 << 23;
/// Longest span that has one if a row in [`BITMAP_ROW_VALUES`] values is there: 8 MiB.
const BITMAP_SPAN_MAX: u64 = 1 << 26;
const BITMAP_ROW_VALUES: u64 = 512;

impl JoinTable {
    /// Bounds of a key, and which values occur if they are integers of a small span. Rows with a NULL in another key
    /// count. Nothing is known if no row can match, or NULL matches NULL.
    ///
    /// # Errors
    /// [`KernelError::Column`] if a dictionary key cannot be flattened.
    pub fn runtime_filter(&self, key: usize) -> Result<RuntimeFilter, KernelError> {
        let allows_null = self.nulls == crate::compare::NullEquality::NullsEqual;
        if self.matchable_rows == 0 || allows_null {
            return Ok(RuntimeFilter::unknown());
        }
        let data_type = &self.batch.schema().fields[self.key_columns[key]].data_type;
        let array = flatten(self.key_column(key).array())?;
        let (min, max) = bounds(&array, data_type);
        let mut filter = RuntimeFilter { min, max, bitmap: None };
        if let Some(keys) = IntegerKeys::of(&array)?
            && let Some((min, span)) = keys.span()
            && span <= bitmap_span_max(keys.values.len())
        {
            let mut bitmap = vec![0u64; span.div_ceil(64) as usize];
            let is_valid = |row: &usize| keys.nulls.as_ref().is_none_or(|n| n.is_valid(*row));
            for row in (0..keys.values.len()).filter(is_valid) {
                let bit = keys.values[row].wrapping_sub(min) as u64;
                bitmap[bit as usize / 64] |= 1 << (bit % 64);
            }
            filter.bitmap = Some(bitmap.into());
        }
        Ok(filter)
    }
}

fn bitmap_span_max(rows: usize) -> u64 {
    (rows as u64).saturating_mul(BITMAP_ROW_VALUES).clamp(BITMAP_SPAN, BITMAP_SPAN_MAX)
}

/// Least and greatest value, or NULL where the type has no such bounds here.
fn bounds(array: &ArrayRef, data_type: &LogicalType) -> (Literal, Literal) {
    let literal = |value: Value| Literal { value, data_type: data_type.clone() };
    let unknown = || (Literal::null(data_type.clone()), Literal::null(data_type.clone()));
    let ints = |range: Option<(i128, i128)>| match range {
        Some((min, max)) => (literal(Value::Int(min)), literal(Value::Int(max))),
        None => unknown(),
    };
    match carrier(array) {
        Carrier::I8(values) => ints(range(array, values, i128::from)),
        Carrier::I16(values) => ints(range(array, values, i128::from)),
        Carrier::I32(values) => ints(range(array, values, i128::from)),
        Carrier::I64(values) => ints(range(array, values, i128::from)),
        Carrier::I128(values) => ints(range(array, values, |v| v)),
        Carrier::U8(values) => ints(range(array, values, i128::from)),
        Carrier::U16(values) => ints(range(array, values, i128::from)),
        Carrier::U32(values) => ints(range(array, values, i128::from)),
        Carrier::U64(values) => ints(range(array, values, i128::from)),
        Carrier::Bytes(rows) => byte_bounds(array, &rows, data_type).unwrap_or_else(unknown),
        Carrier::LargeBytes(rows) => byte_bounds(array, &rows, data_type).unwrap_or_else(unknown),
        Carrier::Views(rows) => byte_bounds(array, &rows, data_type).unwrap_or_else(unknown),
        Carrier::FixedBytes(rows) => byte_bounds(array, &rows, data_type).unwrap_or_else(unknown),
        // Floats would need NaN's place in every reader's statistics; the others have no order that readers keep.
        _ => unknown(),
    }
}

fn valid_rows(array: &ArrayRef) -> impl Iterator<Item = usize> + '_ {
    (0..array.len()).filter(|row| array.is_valid(*row))
}

fn range<T: Copy + Ord>(array: &ArrayRef, values: &[T], wide: impl Fn(T) -> i128) -> Option<(i128, i128)> {
    let min = valid_rows(array).map(|row| values[row]).min()?;
    let max = valid_rows(array).map(|row| values[row]).max()?;
    Some((wide(min), wide(max)))
}

fn byte_bounds(array: &ArrayRef, rows: &impl ByteRows, data_type: &LogicalType) -> Option<(Literal, Literal)> {
    let min = valid_rows(array).map(|row| rows.bytes(row)).min()?;
    let max = valid_rows(array).map(|row| rows.bytes(row)).max()?;
    let literal = |bytes: &[u8]| {
        let value = match data_type {
            LogicalType::Utf8 => Value::Utf8(String::from_utf8(bytes.to_vec()).ok()?),
            _ => Value::Binary(bytes.to_vec()),
        };
        Some(Literal { value, data_type: data_type.clone() })
    };
    Some((literal(min)?, literal(max)?))
}
