//! The engine's types and the binder's.
//!
//! The binder sees the portable Arrow type of each logical type (128-bit decimals, plain strings). Everything it
//! returns comes back through [`logical`].

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use flumen_core::types::{DECIMAL_PRECISION_MAX, Field, LogicalType, Schema};

use crate::error::{Result, SqlError};

/// The engine's type for one of the binder's.
pub(crate) fn logical(data_type: &DataType) -> Result<LogicalType> {
    match data_type {
        DataType::Decimal256(_, scale) => {
            Ok(LogicalType::Decimal { precision: DECIMAL_PRECISION_MAX, scale: (*scale).min(38) })
        }
        DataType::Date64 => Ok(LogicalType::Date),
        other => LogicalType::from_arrow(other).ok_or_else(|| SqlError::unsupported(format!("values of type {other}"))),
    }
}

/// The engine's field for one of the binder's, under another name.
pub(crate) fn logical_field(field: &FieldRef, name: &str) -> Result<Field> {
    Ok(Field::new(name, logical(field.data_type())?, field.is_nullable()))
}

/// The schema that the binder sees: portable types under lower-case names. A name that differs from an earlier one by
/// case alone gets a number, so that both can be asked for.
pub(crate) fn binder_schema(schema: &Schema) -> Arc<arrow_schema::Schema> {
    let mut names = std::collections::HashSet::with_capacity(schema.fields.len());
    let fields: Vec<arrow_schema::Field> = schema
        .fields
        .iter()
        .map(|field| {
            let lower = field.name.to_lowercase();
            let mut name = lower.clone();
            let mut number = 1;
            while !names.insert(name.clone()) {
                name = format!("{lower}_{number}");
                number += 1;
            }
            arrow_schema::Field::new(name, field.data_type.portable_arrow_type(), field.nullable)
        })
        .collect();
    Arc::new(arrow_schema::Schema::new(fields))
}
