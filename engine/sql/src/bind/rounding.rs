//! Casts that lose a fraction, and those of nested values, kept from the front-end library's hands.
//!
//! The library folds casts of constants by Arrow's rules, which cut the fraction off, and takes casts out of comparisons
//! as if nothing were lost; it has another text for a list. Here `CAST(2.5 AS INT)` is 3, in a constant as in a column; so such a cast becomes this
//! function, which folds by the engine's rules (decimals half away from zero, floating point half to even) and becomes a
//! cast again when the plan is translated.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion_common::{ScalarValue, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::integer_scalar;

/// A cast of numbers with a fraction to an integer type, of a decimal to one with fewer digits after the point, or from or
/// to a nested type, which is never folded.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoundingCast {
    pub(crate) to: DataType,
    /// NULL for what does not fit.
    pub(crate) safe: bool,
    signature: Signature,
}

/// The call in the place of a cast, if the cast is one that rounds.
pub(crate) fn rounding_cast(input: &Expr, from: &DataType, to: &DataType, safe: bool) -> Option<Expr> {
    let has_fraction = from.is_floating() || from.is_decimal();
    let digits = |t: &DataType| if let DataType::Decimal128(_, scale) = t { Some(*scale) } else { None };
    let loses_digits = matches!((digits(from), digits(to)), (Some(from), Some(to)) if to < from);
    let is_nested = (from.is_nested() || to.is_nested()) && *from != DataType::Null;
    (has_fraction && to.is_integer() || loses_digits || is_nested).then(|| {
        let signature = Signature::user_defined(Volatility::Immutable);
        let function = ScalarUDF::new_from_impl(RoundingCast { to: to.clone(), safe, signature });
        Expr::ScalarFunction(datafusion_expr::expr::ScalarFunction {
            func: Arc::new(function),
            args: vec![input.clone()],
        })
    })
}

impl ScalarUDFImpl for RoundingCast {
    fn name(&self) -> &str {
        "cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> datafusion_common::Result<FieldRef> {
        let nullable = self.safe || args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        let [ColumnarValue::Scalar(value)] = args.args.as_slice() else {
            return exec_err!("a cast is evaluated by the engine");
        };
        // What does not fit is the engine's to report, if a row reaches it.
        match rounded(value, &self.to) {
            Some(value) => Ok(ColumnarValue::Scalar(value)),
            None => exec_err!("the cast of this constant is left to the engine"),
        }
    }
}

fn rounded(value: &ScalarValue, to: &DataType) -> Option<ScalarValue> {
    match value {
        value if value.is_null() => ScalarValue::try_from(to).ok(),
        ScalarValue::Decimal128(Some(unscaled), _, scale) => {
            let (kept, digits) =
                if let DataType::Decimal128(digits, kept) = to { (*kept, Some(*digits)) } else { (0, None) };
            let power = 10_i128.checked_pow(u32::try_from(scale - kept).ok()?)?;
            let (whole, rest) = (unscaled / power, unscaled % power);
            let away = rest.unsigned_abs() >= (power.unsigned_abs() - rest.unsigned_abs()) && rest != 0;
            let whole = whole + if away { rest.signum() } else { 0 };
            let Some(digits) = digits else { return integer_scalar(whole, to) };
            let fits = whole.unsigned_abs() < 10_u128.checked_pow(u32::from(digits))?;
            fits.then_some(ScalarValue::Decimal128(Some(whole), digits, kept))
        }
        ScalarValue::Float64(Some(x)) => {
            let whole = x.round_ties_even();
            // Beyond 2^63 nothing fits, and below it the conversion is exact.
            (whole.abs() < 9.3e18).then(|| integer_scalar(whole as i128, to)).flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_where_the_engine_sends_them() {
        let int = |v: i32| Some(ScalarValue::Int32(Some(v)));
        for (unscaled, expected) in [(25, 3), (-25, -3), (24, 2), (-24, -2), (26, 3), (0, 0), (5, 1), (-5, -1), (4, 0)]
        {
            let value = ScalarValue::Decimal128(Some(unscaled), 3, 1);
            assert_eq!(rounded(&value, &DataType::Int32), int(expected), "{unscaled}");
        }
        for (x, expected) in [(2.5, 2), (3.5, 4), (-2.5, -2), (2.4999, 2), (-0.5, 0)] {
            assert_eq!(rounded(&ScalarValue::Float64(Some(x)), &DataType::Int32), int(expected), "{x}");
        }
        let decimal = |unscaled| ScalarValue::Decimal128(Some(unscaled), 3, 1);
        let value = ScalarValue::Decimal128(Some(1049), 6, 3);
        assert_eq!(rounded(&value, &DataType::Decimal128(3, 1)), Some(decimal(10)));
        assert_eq!(
            rounded(&ScalarValue::Decimal128(Some(-1050), 6, 3), &DataType::Decimal128(3, 1)),
            Some(decimal(-11))
        );
        assert_eq!(rounded(&ScalarValue::Decimal128(Some(999_950), 6, 3), &DataType::Decimal128(3, 1)), None);
        assert_eq!(rounded(&ScalarValue::Float64(Some(3e9)), &DataType::Int32), None);
        assert_eq!(rounded(&ScalarValue::Float64(Some(f64::NAN)), &DataType::Int64), None);
    }
}
