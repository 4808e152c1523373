//! The front-end library's scalar functions for the engine: adapters that speak its types.
//!
//! A function takes portable Arrow arrays (128-bit decimals, plain strings), while batches carry the engine's (64-bit
//! decimals, views): arguments are cast where the two differ, results are left as they are, since any carrier of the
//! result's type will do. Constants stay constants, so a pattern is compiled once a batch and not once a row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, Volatility};
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;
use flumen_kernels::expr::{ExprError, FunctionError, FunctionRegistry, ScalarFunction};

use crate::bind::{CONFIG, functions};
use crate::plan::expr::FUNCTION_PREFIX;
use crate::{list_size, nested_functions};

/// `value, column`: the value, which is not NULL, else an error that names the column. INSERT wraps what goes into a
/// column that is NOT NULL in it; people cannot call it.
pub(crate) const NOT_NULL: &str = "sql:not_null";

/// Adds every function of the library, as `datafusion:<name>`, and [`NOT_NULL`].
///
/// # Errors
/// If one of these names is taken.
pub fn register_datafusion_functions(registry: &mut FunctionRegistry) -> Result<(), ExprError> {
    for function in functions::all() {
        let name = format!("{FUNCTION_PREFIX}{}", function.name());
        registry.register(Arc::new(Adapter { name, function }))?;
    }
    nested_functions::register(registry)?;
    registry.register(Arc::new(NotNull))
}

struct NotNull;

impl ScalarFunction for NotNull {
    fn name(&self) -> &str {
        NOT_NULL
    }

    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        args.first().cloned().ok_or_else(|| "there is no value".into())
    }

    fn invoke(&self, args: &[Column], rows: usize, _: &LogicalType) -> Result<Column, FunctionError> {
        let [value, column] = args else { return Err("a value and a column's name are due".into()) };
        if rows == 0 || value.array().logical_null_count() == 0 {
            return Ok(value.clone());
        }
        let column = arrow_cast::cast(column.array(), &DataType::Utf8)?;
        Err(Box::new(ExprError::NullInNotNull { column: column.as_string::<i32>().value(0).to_owned() }))
    }
}

struct Adapter {
    name: String,
    function: Arc<ScalarUDF>,
}

fn field(data_type: &LogicalType, index: usize) -> FieldRef {
    Arc::new(Field::new(format!("arg_{index}"), data_type.portable_arrow_type(), true))
}

/// The array in its portable carrier.
fn portable(array: &ArrayRef) -> Result<ArrayRef, FunctionError> {
    let logical = LogicalType::from_arrow(array.data_type())
        .ok_or_else(|| format!("an argument of Arrow type {} cannot be read", array.data_type()))?;
    let wanted = logical.portable_arrow_type();
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    Ok(arrow_cast::cast(array, &wanted)?)
}

/// A decimal with as many digits as the widest of the same scale: one carrier of a type may have fewer digits than another,
/// and functions that compare their arguments ask for equal types.
fn as_wide_as_any(array: &ArrayRef, all: &[ArrayRef]) -> Result<ArrayRef, FunctionError> {
    let DataType::Decimal128(digits, scale) = *array.data_type() else { return Ok(Arc::clone(array)) };
    let same_scale = |other: &ArrayRef| match *other.data_type() {
        DataType::Decimal128(digits, other) if other == scale => Some(digits),
        _ => None,
    };
    match all.iter().filter_map(same_scale).max() {
        Some(widest) if widest > digits => Ok(arrow_cast::cast(array, &DataType::Decimal128(widest, scale))?),
        _ => Ok(Arc::clone(array)),
    }
}

impl ScalarFunction for Adapter {
    fn name(&self) -> &str {
        &self.name
    }

    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        self.return_type_of(args, &vec![None; args.len()])
    }

    fn return_type_of(
        &self,
        args: &[LogicalType],
        constants: &[Option<&Column>],
    ) -> Result<LogicalType, FunctionError> {
        let arg_fields: Vec<FieldRef> = args.iter().enumerate().map(|(i, t)| field(t, i)).collect();
        let scalar = |constant: &Option<&Column>| -> Result<Option<ScalarValue>, FunctionError> {
            let Some(constant) = constant else { return Ok(None) };
            Ok(Some(ScalarValue::try_from_array(&portable(constant.array())?, 0)?))
        };
        let scalars = constants.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
        let scalar_arguments: Vec<Option<&ScalarValue>> = scalars.iter().map(Option::as_ref).collect();
        let found = self
            .function
            .return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments })?;
        LogicalType::from_arrow(found.data_type())
            .ok_or_else(|| format!("the result's type {} is not supported", found.data_type()).into())
    }

    fn invoke(&self, args: &[Column], rows: usize, return_type: &LogicalType) -> Result<Column, FunctionError> {
        list_size::check(self.function.name(), args, rows)?;
        let mut values = Vec::with_capacity(args.len());
        let mut arg_fields = Vec::with_capacity(args.len());
        let arrays = args.iter().map(|column| portable(column.array())).collect::<Result<Vec<_>, _>>()?;
        for (index, (column, array)) in args.iter().zip(&arrays).enumerate() {
            let array = as_wide_as_any(array, &arrays)?;
            arg_fields.push(Arc::new(Field::new(format!("arg_{index}"), array.data_type().clone(), true)));
            values.push(match column {
                Column::Constant(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?),
                Column::Array(_) => ColumnarValue::Array(array),
            });
        }
        let return_field =
            Arc::new(Field::new(&self.name, self.arrow_return_type(&arg_fields, &values, return_type), true));
        let result = self.function.invoke_with_args(ScalarFunctionArgs {
            args: values,
            arg_fields,
            number_rows: rows,
            return_field,
            config_options: Arc::clone(&CONFIG),
        })?;
        Ok(match result {
            ColumnarValue::Array(array) => Column::Array(array),
            ColumnarValue::Scalar(value) => Column::Constant(value.to_array_of_size(1)?),
        })
    }

    fn is_deterministic(&self) -> bool {
        self.function.signature().volatility != Volatility::Volatile
    }
}

impl Adapter {
    /// The Arrow type that the function itself states for these arguments: it may be another carrier of the logical type
    /// (a view), and functions check that they return what they said.
    fn arrow_return_type(&self, fields: &[FieldRef], values: &[ColumnarValue], stated: &LogicalType) -> DataType {
        let scalars: Vec<Option<&ScalarValue>> =
            values.iter().map(|v| if let ColumnarValue::Scalar(s) = v { Some(s) } else { None }).collect();
        self.function
            .return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments: &scalars })
            .map_or_else(|_| stated.portable_arrow_type(), |f| f.data_type().clone())
    }
}

/// Names of the functions of many rows, in order: aggregates and window functions.
#[must_use]
pub fn aggregate_names() -> Vec<String> {
    let mut names: Vec<String> =
        crate::bind::aggregates::names().into_iter().chain(crate::bind::windows::names()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use arrow_array::{Decimal64Array, StringViewArray};

    use super::*;

    fn registry() -> FunctionRegistry {
        let mut registry = FunctionRegistry::new();
        register_datafusion_functions(&mut registry).unwrap();
        registry
    }

    #[test]
    fn functions_take_the_engines_carriers() {
        let registry = registry();
        let trim = registry.get("datafusion:btrim").unwrap();
        assert_eq!(trim.return_type(&[LogicalType::Utf8]).unwrap(), LogicalType::Utf8);
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("  a "), None, Some("b")]));
        let out = trim.invoke(&[Column::Array(text)], 3, &LogicalType::Utf8).unwrap();
        let out = arrow_cast::cast(out.array(), &DataType::Utf8).unwrap();
        assert_eq!(out.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a"), None, Some("b")]);
    }

    #[test]
    fn small_decimals_are_widened() {
        let registry = registry();
        let ceil = registry.get("datafusion:ceil").unwrap();
        let decimal = LogicalType::Decimal { precision: 15, scale: 2 };
        let returns = ceil.return_type(std::slice::from_ref(&decimal)).unwrap();
        let values: ArrayRef =
            Arc::new(Decimal64Array::from(vec![Some(150), None]).with_precision_and_scale(15, 2).unwrap());
        let out = ceil.invoke(&[Column::Array(values)], 2, &returns).unwrap();
        let text = arrow_cast::cast(out.array(), &DataType::Float64).unwrap();
        assert_eq!(text.as_primitive::<arrow_array::types::Float64Type>().value(0), 2.0);
        assert!(text.is_null(1));
    }

    #[test]
    fn decimals_of_one_type_may_have_carriers_of_different_width() {
        let registry = registry();
        let least = registry.get("datafusion:least").unwrap();
        let decimals = |values: Vec<i128>, digits| -> ArrayRef {
            let array = arrow_array::Decimal128Array::from(values);
            Arc::new(array.with_precision_and_scale(digits, 2).unwrap())
        };
        let wide = LogicalType::Decimal { precision: 38, scale: 2 };
        let args = [Column::Array(decimals(vec![150, -5], 18)), Column::Array(decimals(vec![100, 7], 38))];
        let out = least.invoke(&args, 2, &wide).unwrap();
        let out = arrow_cast::cast(out.array(), &DataType::Float64).unwrap();
        assert_eq!(out.as_primitive::<arrow_array::types::Float64Type>().values(), &[1.0, -0.05]);
    }

    #[test]
    fn constants_stay_constants() {
        let registry = registry();
        let reverse = registry.get("datafusion:reverse").unwrap();
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["abc"]));
        let out = reverse.invoke(&[Column::Constant(text)], 8192, &LogicalType::Utf8).unwrap();
        assert!(out.as_constant().is_some());
    }

    #[test]
    fn null_in_a_column_that_has_none_is_named() {
        let registry = registry();
        let check = registry.get(NOT_NULL).unwrap();
        let name: ArrayRef = Arc::new(StringViewArray::from(vec!["\"a\" of table \"t\""]));
        let invoke = |values: Vec<Option<&str>>| {
            let rows = values.len();
            let values: ArrayRef = Arc::new(StringViewArray::from(values));
            check.invoke(&[Column::Array(values), Column::Constant(Arc::clone(&name))], rows, &LogicalType::Utf8)
        };
        assert_eq!(invoke(vec![Some("x"), Some("")]).unwrap().array().len(), 2);
        let error = invoke(vec![Some("x"), None]).err().unwrap().to_string();
        assert_eq!(error, "NULL for column \"a\" of table \"t\", which is NOT NULL");
        assert!(invoke(vec![]).is_ok());
    }
}
