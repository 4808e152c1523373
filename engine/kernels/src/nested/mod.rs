//! Lists, structs and maps as whole values.
//!
//! Operators carry nested columns as they are; what has to compare, group or show whole values comes here:
//! * [`canonical`]: one carrier for one logical type, since two batches may carry the parts differently;
//! * [`NestedKeys`]: bytes that are equal for equal values and whose order is the values' order, and back;
//! * [`NestedText`]: values as text.
//!
//! Inside of a nested value NULL equals NULL and is greater than all others, `-0.0` is `0.0`, and there is one NaN. Lists
//! are compared item by item and then by length, structs part by part, maps as lists of their entries.

mod keys;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, GenericListArray, MapArray, OffsetSizeTrait, StructArray};
use arrow_schema::{ArrowError, DataType, Field};
use flumen_core::types::{DECIMAL_PRECISION_MAX, LogicalType};

pub use keys::NestedKeys;
pub(crate) use keys::order_bytes;
pub use text::NestedText;

use crate::compare::order_normalized;
use crate::error::KernelError;

fn failed(array: &dyn Array, action: &'static str) -> impl FnOnce(ArrowError) -> KernelError {
    let column = array.data_type().to_string();
    move |source| KernelError::Column { column, action, source }
}

/// The carrier of a type that holds every carrier's values: decimals have all digits.
fn widest(data_type: &DataType) -> DataType {
    let part = |field: &Arc<Field>| Arc::new(Field::new(field.name(), widest(field.data_type()), field.is_nullable()));
    match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            DataType::Decimal128(DECIMAL_PRECISION_MAX, *scale)
        }
        DataType::List(item) => DataType::List(part(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(part).collect()),
        DataType::Map(entries, sorted) => DataType::Map(part(entries), *sorted),
        other => other.clone(),
    }
}

/// The array in a carrier that all arrays of its logical type can be brought to, with one representation for each float
/// that compares equal. Parts that are carried so already are not copied.
///
/// # Errors
/// [`KernelError::Column`] if a part outgrows 32-bit offsets.
pub fn canonical(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let logical = LogicalType::from_arrow(array.data_type())
        .ok_or_else(|| KernelError::NotOrdered { data_type: array.data_type().clone(), source: None })?;
    let carrier = widest(&logical.arrow_type());
    let array = if *array.data_type() == carrier {
        Arc::clone(array)
    } else {
        arrow_cast::cast(array, &carrier).map_err(failed(array, "brought to one carrier"))?
    };
    normalized(&array)
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(part) | DataType::LargeList(part) | DataType::Map(part, _) => has_floats(part.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

/// One representation for each float inside.
fn normalized(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    if !has_floats(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    Ok(match array.data_type() {
        DataType::List(_) => normalized_list(array.as_list::<i32>())?,
        DataType::LargeList(_) => normalized_list(array.as_list::<i64>())?,
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = normalized(&entries)?.as_struct().clone();
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let map = MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted);
            Arc::new(map.map_err(failed(array, "normalized"))?)
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns = parts.columns().iter().map(normalized).collect::<Result<Vec<_>, _>>()?;
            let parts = StructArray::try_new(fields.clone(), columns, parts.nulls().cloned());
            Arc::new(parts.map_err(failed(array, "normalized"))?)
        }
        _ => order_normalized(array)?,
    })
}

fn normalized_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<ArrayRef, KernelError> {
    let (field, offsets, values, nulls) = list.clone().into_parts();
    let values = normalized(&values)?;
    Ok(Arc::new(GenericListArray::try_new(field, offsets, values, nulls).map_err(failed(list, "normalized"))?))
}
