//! Arithmetic with the engine's types: the functions that take the place of the binder's operators.
//!
//! The binder would type and fold arithmetic by Arrow's rules (wrapping integers, other decimal scales). Operators on
//! numbers are therefore turned into these functions, whose types are the engine's and which fold constants only where
//! the result is certain. Types: integers take the wider side; a float makes it float; decimals follow Flink's
//! formulas (`add`: s = max(s1, s2), p = max(p1 - s1, p2 - s2) + s + 1; `multiply`: s = s1 + s2, p = p1 + p2 + 1;
//! `divide`: s = max(6, s1 + p2 + 1), p = p1 - s1 + s2 + s; `modulo`: s = max(s1, s2), p = min(p1 - s1, p2 - s2) + s;
//! beyond 38 digits the integer part is kept and the scale shrinks, to no less than min(s, 6)).

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub(crate) fn of(op: Operator) -> Option<Self> {
        Some(match op {
            Operator::Plus => Self::Add,
            Operator::Minus => Self::Subtract,
            Operator::Multiply => Self::Multiply,
            Operator::Divide => Self::Divide,
            Operator::Modulo => Self::Modulo,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Modulo => "modulo",
        }
    }

    pub(crate) fn function(self) -> Arc<ScalarUDF> {
        static ALL: LazyLock<[Arc<ScalarUDF>; 5]> = LazyLock::new(|| {
            [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Modulo].map(
                |op| {
                    Arc::new(ScalarUDF::new_from_impl(ArithmeticFunction {
                        op,
                        signature: Signature::user_defined(Volatility::Immutable),
                    }))
                },
            )
        });
        Arc::clone(&ALL[self as usize])
    }
}

/// Precision and scale after the cut to 38 digits.
fn fit(precision: i32, scale: i32) -> (u8, i8) {
    if precision <= 38 {
        return (u8::try_from(precision.max(1)).unwrap_or(1), i8::try_from(scale).unwrap_or(0));
    }
    let integer = precision - scale;
    let scale = (38 - integer).max(scale.min(6));
    (38, i8::try_from(scale).unwrap_or(0))
}

/// The type of a decimal result by Flink's formulas.
pub(crate) fn decimal_result(op: Arithmetic, left: (u8, i8), right: (u8, i8)) -> (u8, i8) {
    let (p1, s1) = (i32::from(left.0), i32::from(left.1));
    let (p2, s2) = (i32::from(right.0), i32::from(right.1));
    match op {
        Arithmetic::Add | Arithmetic::Subtract => {
            let s = s1.max(s2);
            fit((p1 - s1).max(p2 - s2) + s + 1, s)
        }
        Arithmetic::Multiply => fit(p1 + p2 + 1, s1 + s2),
        Arithmetic::Divide => {
            let s = (s1 + p2 + 1).max(6);
            fit(p1 - s1 + s2 + s, s)
        }
        Arithmetic::Modulo => {
            let s = s1.max(s2);
            fit((p1 - s1).min(p2 - s2) + s, s)
        }
    }
}

/// The operand types and result type of an operator on numbers; `None` if an operand is not a number.
pub(crate) fn numeric_types(
    op: Arithmetic,
    left: &DataType,
    right: &DataType,
) -> Option<(DataType, DataType, DataType)> {
    use DataType as T;
    let is_number = |t: &DataType| t.is_numeric() || matches!(t, T::Null);
    if !is_number(left) || !is_number(right) || (*left == T::Null && *right == T::Null) {
        return None;
    }
    let (left, right) = match (left, right) {
        (T::Null, other) => (other, other),
        (other, T::Null) => (other, other),
        both => both,
    };
    if left.is_floating() || right.is_floating() {
        let single = matches!((left, right), (T::Float32 | T::Float16, T::Float32 | T::Float16));
        let t = if single { T::Float32 } else { T::Float64 };
        return Some((t.clone(), t.clone(), t));
    }
    if let (Some(l), Some(r)) = (as_decimal(left), as_decimal(right)) {
        if left.is_integer() && right.is_integer() {
            let t = wider_integer(left, right);
            return Some((t.clone(), t.clone(), t));
        }
        let (p, s) = decimal_result(op, l, r);
        return Some((T::Decimal128(l.0, l.1), T::Decimal128(r.0, r.1), T::Decimal128(p, s)));
    }
    None
}

/// The integer type that holds both.
pub(super) fn wider_integer(left: &DataType, right: &DataType) -> DataType {
    let width = |t: &DataType| t.primitive_width().unwrap_or(8);
    let (left_unsigned, right_unsigned) = (left.is_unsigned_integer(), right.is_unsigned_integer());
    if left_unsigned == right_unsigned {
        return if width(left) >= width(right) { left.clone() } else { right.clone() };
    }
    // The signed type that holds both; 64-bit unsigned values above its range are an error when they are met.
    let (unsigned, signed) = if left_unsigned { (left, right) } else { (right, left) };
    match (width(unsigned) * 2).max(width(signed)) {
        0..=2 => DataType::Int16,
        3..=4 => DataType::Int32,
        _ => DataType::Int64,
    }
}

/// Digits and scale of a decimal, or of the decimal that holds an integer type.
pub(crate) fn as_decimal(data_type: &DataType) -> Option<(u8, i8)> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => (*p, *s),
        DataType::Decimal256(_, s) => (38, (*s).min(38)),
        _ => return None,
    })
}

/// The function of one operator.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ArithmeticFunction {
    pub(crate) op: Arithmetic,
    signature: Signature,
}

impl ScalarUDFImpl for ArithmeticFunction {
    fn name(&self) -> &str {
        self.op.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        match arg_types {
            [left, right] => match numeric_types(self.op, left, right) {
                Some((_, _, result)) => Ok(result),
                None => plan_err!("{} does not take {left} and {right}", self.name()),
            },
            _ => plan_err!("{} takes two arguments", self.name()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> datafusion_common::Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        let [ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)] = args.args.as_slice() else {
            return exec_err!("{} is evaluated by the engine", self.name());
        };
        // A constant that does not fold stays in the plan, and the engine reports it if a row reaches it.
        match fold(self.op, left, right, args.return_field.data_type()) {
            Some(value) => Ok(ColumnarValue::Scalar(value)),
            None => exec_err!("{} of these constants is left to the engine", self.name()),
        }
    }
}

/// The value of an operator on constants, where it is certain and in range.
pub(crate) fn fold(op: Arithmetic, left: &ScalarValue, right: &ScalarValue, result: &DataType) -> Option<ScalarValue> {
    if left.is_null() || right.is_null() {
        return ScalarValue::try_from(result).ok();
    }
    if result.is_floating() {
        return fold_float(op, left, right, result);
    }
    let (l, ls) = unscaled(left)?;
    let (r, rs) = unscaled(right)?;
    match result {
        DataType::Decimal128(precision, scale) => {
            let value = fold_decimal(op, (l, ls), (r, rs), *scale)?;
            let bound = 10_i128.checked_pow(u32::from(*precision))?;
            (value.abs() < bound).then_some(ScalarValue::Decimal128(Some(value), *precision, *scale))
        }
        integer if integer.is_integer() => {
            let value = match op {
                Arithmetic::Add => l.checked_add(r)?,
                Arithmetic::Subtract => l.checked_sub(r)?,
                Arithmetic::Multiply => l.checked_mul(r)?,
                Arithmetic::Divide => l.checked_div(r)?,
                Arithmetic::Modulo => l.checked_rem(r)?,
            };
            integer_scalar(value, integer)
        }
        _ => None,
    }
}

fn fold_float(op: Arithmetic, left: &ScalarValue, right: &ScalarValue, result: &DataType) -> Option<ScalarValue> {
    let (ScalarValue::Float64(Some(l)), ScalarValue::Float64(Some(r))) = (left, right) else { return None };
    // Division by zero is the engine's to judge.
    if *result != DataType::Float64 || (*r == 0.0 && matches!(op, Arithmetic::Divide | Arithmetic::Modulo)) {
        return None;
    }
    let value = match op {
        Arithmetic::Add => l + r,
        Arithmetic::Subtract => l - r,
        Arithmetic::Multiply => l * r,
        Arithmetic::Divide => l / r,
        Arithmetic::Modulo => l % r,
    };
    Some(ScalarValue::Float64(Some(value)))
}

/// Exact decimal results only: one that would have to be rounded is left to the engine.
fn fold_decimal(op: Arithmetic, left: (i128, i8), right: (i128, i8), scale: i8) -> Option<i128> {
    let power = |n: i32| 10_i128.checked_pow(u32::try_from(n).ok()?);
    let ((l, ls), (r, rs)) = (left, right);
    match op {
        Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Modulo => {
            let common = ls.max(rs);
            if common != scale {
                return None;
            }
            let l = l.checked_mul(power(i32::from(common - ls))?)?;
            let r = r.checked_mul(power(i32::from(common - rs))?)?;
            match op {
                Arithmetic::Add => l.checked_add(r),
                Arithmetic::Subtract => l.checked_sub(r),
                _ => l.checked_rem(r),
            }
        }
        Arithmetic::Multiply => {
            if i32::from(ls) + i32::from(rs) != i32::from(scale) {
                return None;
            }
            l.checked_mul(r)
        }
        Arithmetic::Divide => {
            if r == 0 {
                return None;
            }
            let l = l.checked_mul(power(i32::from(scale) - i32::from(ls) + i32::from(rs))?)?;
            (l % r == 0).then_some(l / r)
        }
    }
}

fn unscaled(value: &ScalarValue) -> Option<(i128, i8)> {
    Some(match value {
        ScalarValue::Int8(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int16(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int32(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int64(Some(v)) => (i128::from(*v), 0),
        ScalarValue::UInt8(Some(v)) => (i128::from(*v), 0),
        ScalarValue::UInt16(Some(v)) => (i128::from(*v), 0),
        ScalarValue::UInt32(Some(v)) => (i128::from(*v), 0),
        ScalarValue::UInt64(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Decimal128(Some(v), _, s) => (*v, *s),
        _ => return None,
    })
}

/// An integer as a constant of a type, if it fits.
pub(crate) fn integer_scalar(value: i128, data_type: &DataType) -> Option<ScalarValue> {
    Some(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(value.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.try_into().ok()?)),
        DataType::UInt8 => ScalarValue::UInt8(Some(value.try_into().ok()?)),
        DataType::UInt16 => ScalarValue::UInt16(Some(value.try_into().ok()?)),
        DataType::UInt32 => ScalarValue::UInt32(Some(value.try_into().ok()?)),
        DataType::UInt64 => ScalarValue::UInt64(Some(value.try_into().ok()?)),
        _ => return None,
    })
}

/// The decimal constant with the fewest digits that holds an integer constant.
pub(crate) fn integer_as_decimal(value: &ScalarValue) -> Option<ScalarValue> {
    if matches!(value, ScalarValue::Decimal128(..)) {
        return None;
    }
    let (v, _) = unscaled(value)?;
    let digits = v.unsigned_abs().checked_ilog10().map_or(1, |d| d + 1);
    Some(ScalarValue::Decimal128(Some(v), u8::try_from(digits).ok()?, 0))
}
