//! Constants as one-row arrays in the canonical carrier.

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_array::{ArrayRef, BooleanArray, IntervalMonthDayNanoArray, MapArray, StructArray, new_null_array};
use arrow_schema::{DataType, Fields};
use flumen_core::expr::{Literal, Value};
use flumen_core::types::{Field, LogicalType};

use super::column::Native;
use super::error::ExprError;
use super::functions::decimal;

/// The constant as an array of one row.
///
/// # Errors
/// [`ExprError::Literal`] if the value is not of the stated type.
pub fn literal_array(literal: &Literal) -> Result<ArrayRef, ExprError> {
    array_of(&literal.value, &literal.data_type).ok_or_else(|| ExprError::Literal {
        value: format!("{:?}", literal.value),
        data_type: literal.data_type.clone(),
    })
}

fn array_of(value: &Value, data_type: &LogicalType) -> Option<ArrayRef> {
    let arrow = data_type.arrow_type();
    Some(match (value, data_type) {
        (Value::Null, _) => new_null_array(&arrow, 1),
        (Value::Boolean(value), LogicalType::Boolean) => Arc::new(BooleanArray::from(vec![*value])),
        (Value::Int(value), LogicalType::Decimal { precision, .. }) => {
            if value.unsigned_abs() > decimal::limit(*precision).unsigned_abs() {
                return None;
            }
            match arrow {
                DataType::Decimal64(_, _) => i64::array(&arrow, vec![i64::try_from(*value).ok()?], None),
                _ => i128::array(&arrow, vec![*value], None),
            }
        }
        (Value::Int(value), _) => integer(*value, &arrow)?,
        #[expect(clippy::cast_possible_truncation, reason = "a REAL constant is the nearest REAL")]
        (Value::FloatBits(bits), LogicalType::Float32) => f32::array(&arrow, vec![f64::from_bits(*bits) as f32], None),
        (Value::FloatBits(bits), LogicalType::Float64) => f64::array(&arrow, vec![f64::from_bits(*bits)], None),
        (Value::Utf8(text), LogicalType::Utf8) => {
            let mut builder = StringViewBuilder::with_capacity(1);
            builder.try_append_value(text).ok()?;
            Arc::new(builder.finish())
        }
        (Value::Binary(bytes), LogicalType::Binary) => {
            let mut builder = BinaryViewBuilder::with_capacity(1);
            builder.try_append_value(bytes).ok()?;
            Arc::new(builder.finish())
        }
        (Value::Interval { months, days, nanos }, LogicalType::Interval) => {
            let value = IntervalMonthDayNanoType::make_value(*months, *days, *nanos);
            Arc::new(IntervalMonthDayNanoArray::new(vec![value].into(), None))
        }
        (Value::List(items), LogicalType::List(item)) => {
            let DataType::List(field) = &arrow else { return None };
            let values = items.iter().map(|v| array_of(v, &item.data_type)).collect::<Option<Vec<_>>>()?;
            let values = if values.is_empty() {
                arrow_array::new_empty_array(field.data_type())
            } else {
                let parts: Vec<&dyn arrow_array::Array> = values.iter().map(AsRef::as_ref).collect();
                arrow_select::concat::concat(&parts).ok()?
            };
            let offsets = arrow_buffer::OffsetBuffer::from_lengths([items.len()]);
            Arc::new(arrow_array::ListArray::try_new(Arc::clone(field), offsets, values, None).ok()?)
        }
        (Value::Struct(parts), LogicalType::Struct(_)) => {
            let DataType::Struct(fields) = &arrow else { return None };
            Arc::new(struct_of(parts, data_type, fields)?)
        }
        (Value::List(entries), LogicalType::Map { key, value }) => {
            let DataType::Map(field, sorted) = &arrow else { return None };
            let entry = LogicalType::Struct([Field::clone(key), Field::clone(value)].into());
            let DataType::Struct(fields) = field.data_type() else { return None };
            let rows = entries.iter().map(|entry_value| match entry_value {
                Value::Struct(parts) => struct_of(parts, &entry, fields),
                _ => None,
            });
            let rows = rows.collect::<Option<Vec<_>>>()?;
            let rows = match rows.as_slice() {
                [] => arrow_array::new_empty_array(field.data_type()),
                rows => {
                    let parts: Vec<&dyn arrow_array::Array> =
                        rows.iter().map(|row| row as &dyn arrow_array::Array).collect();
                    arrow_select::concat::concat(&parts).ok()?
                }
            };
            let offsets = arrow_buffer::OffsetBuffer::from_lengths([entries.len()]);
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, rows.as_struct().clone(), None, *sorted).ok()?)
        }
        _ => return None,
    })
}

/// One row of a struct.
fn struct_of(parts: &[Value], data_type: &LogicalType, fields: &Fields) -> Option<StructArray> {
    let LogicalType::Struct(types) = data_type else { return None };
    if parts.len() != types.len() {
        return None;
    }
    let columns = parts.iter().zip(types.iter()).map(|(value, field)| array_of(value, &field.data_type));
    StructArray::try_new(fields.clone(), columns.collect::<Option<Vec<_>>>()?, None).ok()
}

fn integer(value: i128, arrow: &DataType) -> Option<ArrayRef> {
    macro_rules! make {
        ($native:ty) => {
            <$native>::array(arrow, vec![<$native>::try_from(value).ok()?], None)
        };
    }
    Some(match arrow {
        DataType::Int8 => make!(i8),
        DataType::Int16 => make!(i16),
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) => make!(i32),
        DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(_, _) | DataType::Duration(_) => make!(i64),
        DataType::UInt8 => make!(u8),
        DataType::UInt16 => make!(u16),
        DataType::UInt32 => make!(u32),
        DataType::UInt64 => make!(u64),
        _ => return None,
    })
}
