//! The front-end library's scalar functions for the engine: adapters that speak its types.
//!
//! A function takes portable Arrow arrays (128-bit decimals, plain strings), while batches carry the engine's (64-bit
//! decimals, views): arguments are cast where the two differ, results are left as they are, since any carrier of the
//! result's type will do. Constants stay constants, so a pattern is compiled once a batch and not once a row.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::ScalarValue;
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, Volatility};
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;
use flumen_kernels::expr::{ExprError, FunctionError, FunctionRegistry, ScalarFunction};

use crate::bind::{CONFIG, functions};
use crate::plan::expr::FUNCTION_PREFIX;

/// Adds every function of the library, as `datafusion:<name>`.
///
/// # Errors
/// If one of these names is taken.
pub fn register_datafusion_functions(registry: &mut FunctionRegistry) -> Result<(), ExprError> {
    for function in functions::all() {
        let name = format!("{FUNCTION_PREFIX}{}", function.name());
        registry.register(Arc::new(Adapter { name, function }))?;
    }
    Ok(())
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

impl ScalarFunction for Adapter {
    fn name(&self) -> &str {
        &self.name
    }

    fn return_type(&self, args: &[LogicalType]) -> Result<LogicalType, FunctionError> {
        let arg_fields: Vec<FieldRef> = args.iter().enumerate().map(|(i, t)| field(t, i)).collect();
        let scalar_arguments = vec![None; args.len()];
        let found = self
            .function
            .return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments })?;
        LogicalType::from_arrow(found.data_type())
            .ok_or_else(|| format!("the result's type {} is not supported", found.data_type()).into())
    }

    fn invoke(&self, args: &[Column], rows: usize, return_type: &LogicalType) -> Result<Column, FunctionError> {
        let mut values = Vec::with_capacity(args.len());
        let mut arg_fields = Vec::with_capacity(args.len());
        for (index, column) in args.iter().enumerate() {
            let array = portable(column.array())?;
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
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, Decimal64Array, StringViewArray};

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
    fn constants_stay_constants() {
        let registry = registry();
        let reverse = registry.get("datafusion:reverse").unwrap();
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["abc"]));
        let out = reverse.invoke(&[Column::Constant(text)], 8192, &LogicalType::Utf8).unwrap();
        assert!(out.as_constant().is_some());
    }
}
