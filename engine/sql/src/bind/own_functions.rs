//! Scalar functions of our own that the front-end library has not: operators on the bits of integers, `sign`, `//`.
//!
//! | function | operator | result |
//! |---|---|---|
//! | `__bit_and`, `__bit_or`, `__bit_xor` (`xor`) | `&`, `\|`, `#` | the wider type of both |
//! | `__shift_left` | `<<` | the wider type of both; what does not fit is an error, as is a negative count |
//! | `__shift_right` | `>>` | the same; the sign comes in from the left |
//! | `__bit_not` | `~` | the type |
//! | `sign` | | INTEGER: -1, 0 or 1; 0 of NaN |
//! | `__integer_divide` | `//` | becomes `/` of integers, and is refused of others |
//!
//! The analyzer rule of [`super::typing`] puts the functions in the place of the operators.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Int32Array, Int64Array};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::arithmetic::wider_integer;
use crate::wording::sql_types;

/// The function of `//`.
pub(crate) const INTEGER_DIVIDE: &str = "__integer_divide";
/// The function of `~`.
pub(crate) const BIT_NOT: &str = "__bit_not";

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Own {
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
    Not,
    Sign,
    IntegerDivide,
}

const ALL: [(Own, &str); 8] = [
    (Own::And, "__bit_and"),
    (Own::Or, "__bit_or"),
    (Own::Xor, "xor"),
    (Own::ShiftLeft, "__shift_left"),
    (Own::ShiftRight, "__shift_right"),
    (Own::Not, BIT_NOT),
    (Own::Sign, "sign"),
    (Own::IntegerDivide, INTEGER_DIVIDE),
];

/// All of them, in the order of [`ALL`].
pub(crate) fn functions() -> &'static [Arc<ScalarUDF>] {
    static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; ALL.len()]> = LazyLock::new(|| {
        ALL.map(|(own, name)| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(OwnFunction { own, name, signature }))
        })
    });
    &*FUNCTIONS
}

/// The function of an operator on bits.
pub(crate) fn of_operator(op: Operator) -> Option<Arc<ScalarUDF>> {
    let own = match op {
        Operator::BitwiseAnd => Own::And,
        Operator::BitwiseOr => Own::Or,
        Operator::BitwiseXor => Own::Xor,
        Operator::BitwiseShiftLeft => Own::ShiftLeft,
        Operator::BitwiseShiftRight => Own::ShiftRight,
        _ => return None,
    };
    let index = ALL.iter().position(|(other, _)| *other == own)?;
    functions().get(index).map(Arc::clone)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OwnFunction {
    own: Own,
    name: &'static str,
    signature: Signature,
}

impl OwnFunction {
    fn sign_of(&self) -> &'static str {
        match self.own {
            Own::And => "&",
            Own::Or => "|",
            Own::Xor => "xor",
            Own::ShiftLeft => "<<",
            Own::ShiftRight => ">>",
            Own::Not => "~",
            Own::Sign => "sign",
            Own::IntegerDivide => "//",
        }
    }
}

impl ScalarUDFImpl for OwnFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let is_integer = |t: &DataType| t.is_integer() || t.is_null();
        let integer = |t: &DataType| if t.is_null() { DataType::Int32 } else { t.clone() };
        match (self.own, arg_types) {
            (Own::Sign, [number]) if number.is_null() => Ok(vec![DataType::Float64]),
            (Own::Sign, [number]) if number.is_numeric() => Ok(vec![number.clone()]),
            (Own::Sign, [other]) => plan_err!("sign takes a number, not {other}"),
            (Own::Not, [value]) if is_integer(value) => Ok(vec![integer(value)]),
            (Own::Not, [other]) => plan_err!("~ takes an integer, not {other}"),
            (Own::Sign | Own::Not, _) => plan_err!("{} takes one argument", self.sign_of()),
            (_, [left, right]) if is_integer(left) && is_integer(right) => {
                let wider = wider_integer(&integer(left), &integer(right));
                Ok(vec![wider.clone(), wider])
            }
            (_, [left, right]) => plan_err!("{} takes integers, not {left} and {right}", self.sign_of()),
            _ => plan_err!("{} takes two arguments", self.sign_of()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let types = self.coerce_types(arg_types)?;
        match self.own {
            Own::Sign => Ok(DataType::Int32),
            _ => Ok(types[0].clone()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let result: ArrayRef = match (self.own, arrays.as_slice()) {
            (Own::Sign, [numbers]) => {
                let numbers = cast(numbers, &DataType::Float64)?;
                let sign = |x: f64| i32::from(x > 0.0) - i32::from(x < 0.0);
                Arc::new(numbers.as_primitive::<Float64Type>().iter().map(|x| x.map(sign)).collect::<Int32Array>())
            }
            (Own::Not, [values]) => {
                let flipped: Int64Array = bits(values)?.iter().map(|v| v.map(|v| !v)).collect();
                from_bits(&flipped, args.return_field.data_type())?
            }
            (Own::IntegerDivide, _) => return exec_err!("// is a division by the time it runs"),
            (_, [left, right]) => {
                let (left, right) = (bits(left)?, bits(right)?);
                let pairs = left.iter().zip(right.iter());
                let results: Result<Int64Array> = pairs
                    .map(|(l, r)| match (l, r) {
                        (Some(l), Some(r)) => self.of_pair(l, r).map(Some),
                        _ => Ok(None),
                    })
                    .collect();
                from_bits(&results?, args.return_field.data_type())?
            }
            _ => return exec_err!("{} has other arguments", self.sign_of()),
        };
        Ok(if is_constant {
            ColumnarValue::Scalar(datafusion_common::ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

impl OwnFunction {
    fn of_pair(&self, left: i64, right: i64) -> Result<i64> {
        let count = || match u32::try_from(right) {
            Ok(count) => Ok(count),
            Err(_) if right > 0 => Ok(u32::MAX),
            Err(_) => exec_err!("{} by {right}: the number of bits cannot be negative", self.sign_of()),
        };
        Ok(match self.own {
            Own::And => left & right,
            Own::Or => left | right,
            Own::Xor => left ^ right,
            Own::ShiftRight => left >> count()?.min(i64::BITS - 1),
            Own::ShiftLeft => {
                let count = count()?;
                let shifted = if count < i64::BITS { left << count } else { 0 };
                if left != 0 && (count >= i64::BITS || shifted >> count != left) {
                    return exec_err!("{left} << {right} is out of range");
                }
                shifted
            }
            Own::Not | Own::Sign | Own::IntegerDivide => return exec_err!("{} has one argument", self.sign_of()),
        })
    }
}

/// Integers as 64 bits. Unsigned values beyond 63 bits are an error.
fn bits(array: &ArrayRef) -> Result<Int64Array> {
    Ok(checked_cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

fn from_bits(array: &Int64Array, data_type: &DataType) -> Result<ArrayRef> {
    // What does not fit came from a shift to the left, or from the complement of an unsigned value.
    let array: ArrayRef = Arc::new(array.clone());
    checked_cast(&array, data_type)
        .or_else(|_| exec_err!("a result of << or ~ is out of range for {}", sql_types(&data_type.to_string())))
}

fn checked_cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options).map_err(DataFusionError::from)
}
