//! NOT and the tests for NULL, true and false. AND and OR are in the evaluator, since they narrow rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray};
use arrow_buffer::BooleanBuffer;
use flumen_core::batch::Column;

use crate::expr::column::{Rows, expand, true_bits};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// The kernel of one of `not`, `is_null`, `is_not_null`, `is_true`, `is_false`.
pub(crate) fn bind(name: &str) -> Bound {
    let traits = Traits { strict: false, cost: 1, ..Traits::PLAIN };
    match name {
        "not" => Bound::new(Not, Traits { strict: true, ..traits }),
        "is_null" => Bound::new(IsNull { negated: false }, traits),
        "is_not_null" => Bound::new(IsNull { negated: true }, traits),
        "is_true" => Bound::new(IsTruth { wanted: true }, traits),
        _ => Bound::new(IsTruth { wanted: false }, traits),
    }
}

struct Not;

impl Kernel for Not {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let array = boolean(&args[0], rows)?;
        Ok(Column::Array(Arc::new(BooleanArray::new(!array.values(), array.nulls().cloned()))))
    }
}

struct IsNull {
    negated: bool,
}

impl Kernel for IsNull {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let valid = match &args[0] {
            Column::Array(array) => array.logical_nulls().map(|n| n.into_inner()),
            Column::Constant(value) if value.logical_null_count() == 1 => Some(BooleanBuffer::new_unset(rows.len)),
            Column::Constant(_) => None,
        };
        let bits = match valid {
            None if self.negated => BooleanBuffer::new_set(rows.len),
            None => BooleanBuffer::new_unset(rows.len),
            Some(valid) if self.negated => valid,
            Some(valid) => !&valid,
        };
        Ok(Column::Array(Arc::new(BooleanArray::new(bits, None))))
    }
}

struct IsTruth {
    wanted: bool,
}

impl Kernel for IsTruth {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let bits = if self.wanted {
            true_bits(&args[0], rows.len)?
        } else {
            let array = boolean(&args[0], rows)?;
            match array.nulls() {
                Some(nulls) => &!array.values() & nulls.inner(),
                None => !array.values(),
            }
        };
        Ok(Column::Array(Arc::new(BooleanArray::new(bits, None))))
    }
}

/// The column as a boolean array of all rows.
pub(crate) fn boolean(column: &Column, rows: Rows<'_>) -> Result<BooleanArray, ExprError> {
    let array = expand(column, rows.len)?;
    array
        .as_boolean_opt()
        .cloned()
        .ok_or_else(|| ExprError::Carrier { operation: "a condition", found: array.data_type().clone() })
}
