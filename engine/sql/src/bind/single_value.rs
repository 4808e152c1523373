//! The value of a subquery that stands for one value: an error where it has several rows.
//!
//! Whether a subquery has one row is only known when it has run, and it only matters for the rows that ask for it. So the
//! rows of each key are counted beside their value, and this function looks at the count after the join with the rows
//! that ask (SQL:2016 7.19, cardinality violation; Flink's SINGLE_VALUE).

use std::sync::{Arc, LazyLock};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The function: a value of any type, and the number of rows that it was taken from as BIGINT. NULL rows are none.
pub(crate) fn function() -> Arc<ScalarUDF> {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::new_from_impl(SingleValue { signature: Signature::any(2, Volatility::Immutable) }))
    });
    Arc::clone(&FUNCTION)
}

/// `value`, if it comes from one row at most.
pub(crate) fn single_value(value: Expr, rows: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(), vec![value, rows]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl ScalarUDFImpl for SingleValue {
    fn name(&self) -> &str {
        "__single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [value, DataType::Int64] => Ok(value.clone()),
            _ => exec_err!("{} takes a value and a number of rows", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, rows] = args.args.as_slice() else {
            return exec_err!("{} takes a value and a number of rows", self.name());
        };
        let several = match rows {
            ColumnarValue::Scalar(ScalarValue::Int64(rows)) => rows.is_some_and(|n| n > 1),
            ColumnarValue::Array(rows) => match rows.as_primitive_opt::<Int64Type>() {
                Some(rows) => rows.iter().flatten().any(|n| n > 1),
                None => return exec_err!("the number of rows is {}, not BIGINT", rows.data_type()),
            },
            ColumnarValue::Scalar(other) => {
                return exec_err!("the number of rows is {}, not BIGINT", other.data_type());
            }
        };
        if several {
            return exec_err!(
                "a subquery that stands for one value gave several rows: aggregate it, for instance with max(...), or add LIMIT 1"
            );
        }
        Ok(value.clone())
    }
}
