//! Exact decimal arithmetic, on 64 bits wherever that is provably enough.
//!
//! The carrier of a batch decides, not the type: DECIMAL(32, 4) whose values fit in 18 digits is an `i64` column. For
//! two such columns the largest possible result is bounded, first by the types' precision and, if that does not settle
//! it, by the largest values of this batch; within 18 digits plain 64-bit arithmetic is exact. Otherwise
//! the rows are computed with 128 bits, and with 256 where an intermediate overflows those; the result is carried by 64
//! bits again if all of it fits. Results are rounded half up (away from zero) to the scale that the planner stated.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{NullBuffer, i256};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::types::{DECIMAL_PRECISION_MAX, DECIMAL64_PRECISION_MAX, LogicalType};

use super::arithmetic::Arithmetic;
use crate::expr::column::{Fixed, Native, Operand, Rows, fixed, map_array, union_nulls, zip_with};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// 10 to the power of 0 to 38.
pub(crate) const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The largest unscaled value of so many digits.
pub(crate) fn limit(precision: u8) -> i128 {
    POWERS[usize::from(precision.min(DECIMAL_PRECISION_MAX))] - 1
}

/// Largest value that 64 bits carry.
const SMALL_LIMIT: i128 = POWERS[DECIMAL64_PRECISION_MAX as usize] - 1;

/// The 64-bit carrier of a decimal type.
pub(crate) fn small_type(precision: u8, scale: i8) -> DataType {
    DataType::Decimal64(precision.min(DECIMAL64_PRECISION_MAX), scale)
}

/// Digits and scale of a decimal, or of an integer seen as one.
pub(crate) fn digits(data_type: &LogicalType) -> Option<(u8, i8)> {
    Some(match data_type {
        LogicalType::Decimal { precision, scale } => (*precision, *scale),
        LogicalType::Int8 | LogicalType::UInt8 => (3, 0),
        LogicalType::Int16 | LogicalType::UInt16 => (5, 0),
        LogicalType::Int32 | LogicalType::UInt32 => (10, 0),
        LogicalType::Int64 => (19, 0),
        LogicalType::UInt64 => (20, 0),
        _ => return None,
    })
}

/// An unscaled value as text.
pub(crate) fn text(value: i128, scale: i8) -> String {
    if scale <= 0 {
        let zeros = if value == 0 { 0 } else { usize::from(scale.unsigned_abs()) };
        return format!("{value}{}", "0".repeat(zeros));
    }
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// The values of a decimal or integer column, as they lie.
#[derive(Clone, Copy)]
pub(crate) enum Unscaled<'a> {
    Small(Operand<'a, i64>),
    Large(Operand<'a, i128>),
}

impl Unscaled<'_> {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> i128 {
        match self {
            Self::Small(values) => i128::from(values.get(row)),
            Self::Large(values) => values.get(row),
        }
    }
}

/// The unscaled values of a column. Narrow integers are widened into `buffer`.
pub(crate) fn unscaled<'a>(
    column: &'a Column,
    buffer: &'a mut Vec<i64>,
    large: &'a mut Vec<i128>,
) -> Option<Unscaled<'a>> {
    let constant = column.as_constant().is_some();
    fn shape<T: Copy>(values: &[T], constant: bool) -> Operand<'_, T> {
        if constant { Operand::Constant(values[0]) } else { Operand::Slice(values) }
    }
    macro_rules! widened {
        ($values:ident) => {{
            buffer.extend($values.iter().map(|v| i64::from(*v)));
            Unscaled::Small(shape(buffer, constant))
        }};
    }
    Some(match fixed(column.array())? {
        Fixed::I64(values) => Unscaled::Small(shape(values, constant)),
        Fixed::I128(values) => Unscaled::Large(shape(values, constant)),
        Fixed::I8(values) => widened!(values),
        Fixed::I16(values) => widened!(values),
        Fixed::I32(values) => widened!(values),
        Fixed::U8(values) => widened!(values),
        Fixed::U16(values) => widened!(values),
        Fixed::U32(values) => widened!(values),
        Fixed::U64(values) => {
            large.extend(values.iter().map(|v| i128::from(*v)));
            Unscaled::Large(shape(large, constant))
        }
        Fixed::F32(_) | Fixed::F64(_) => return None,
    })
}

/// The column carried by 128 bits.
pub(crate) fn widen(column: &Column, precision: u8, scale: i8) -> Result<Column, ExprError> {
    map_array(column, |array| {
        Ok(match fixed(array) {
            Some(Fixed::I64(values)) => {
                let values = values.iter().map(|v| i128::from(*v)).collect();
                i128::array(&DataType::Decimal128(precision, scale), values, array.nulls().cloned())
            }
            _ => Arc::clone(array),
        })
    })
}

/// An array of unscaled values within `precision` digits, in the smallest carrier.
pub(crate) fn pack(values: Vec<i128>, nulls: Option<NullBuffer>, precision: u8, scale: i8) -> ArrayRef {
    // Folded without a branch, so that the loop is one pass of vector compares.
    let is_small = |v: &i128| (-SMALL_LIMIT..=SMALL_LIMIT).contains(v);
    if values.iter().fold(true, |all, v| all & is_small(v)) || precision <= DECIMAL64_PRECISION_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "values that count have at most 18 digits")]
        let small = values.iter().map(|v| *v as i64).collect();
        return i64::array(&small_type(precision, scale), small, nulls);
    }
    i128::array(&DataType::Decimal128(precision, scale), values, nulls)
}

/// Divides and rounds half away from zero. The divisor is not zero.
#[inline]
pub(crate) fn divide_half_up(dividend: i128, divisor: i128) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend % divisor;
    // |rest| >= |divisor| - |rest| instead of 2 |rest| >= |divisor|, which could overflow.
    if rest != 0 && rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs() {
        let away = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
        return quotient.checked_add(away);
    }
    Some(quotient)
}

fn divide_half_up_256(dividend: i256, divisor: i256) -> Option<i256> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?;
    let rest = if rest < i256::ZERO { rest.checked_neg()? } else { rest };
    let size = if divisor < i256::ZERO { divisor.checked_neg()? } else { divisor };
    if rest != i256::ZERO && rest >= size.checked_sub(rest)? {
        let away = if (dividend < i256::ZERO) == (divisor < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
        return quotient.checked_add(away);
    }
    Some(quotient)
}

/// `value * 10^(to - from)`, rounded half up if digits go.
pub(crate) fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    let power = usize::try_from(shift.unsigned_abs()).ok()?;
    if shift >= 0 {
        if value == 0 {
            return Some(0);
        }
        return value.checked_mul(*POWERS.get(power)?);
    }
    match POWERS.get(power) {
        Some(divisor) => divide_half_up(value, *divisor),
        None => Some(0),
    }
}

/// Compares `a * 10^-a_scale` with `b * 10^-b_scale`, whatever their sizes.
pub(crate) fn compare(a: i128, a_scale: i8, b: i128, b_scale: i8) -> Ordering {
    let shift = i32::from(a_scale) - i32::from(b_scale);
    let power = POWERS.get(shift.unsigned_abs() as usize).copied();
    let scaled = |v: i128| {
        power.and_then(|p| v.checked_mul(p)).unwrap_or(if v == 0 {
            0
        } else if v < 0 {
            i128::MIN
        } else {
            i128::MAX
        })
    };
    match shift.cmp(&0) {
        Ordering::Equal => a.cmp(&b),
        Ordering::Greater => a.cmp(&scaled(b)),
        Ordering::Less => scaled(a).cmp(&b),
    }
}

/// Whether this is arithmetic of decimals: the result and at least one side, the other may be an integer.
pub(crate) fn takes(left: &LogicalType, right: &LogicalType, result: &LogicalType) -> bool {
    let is_decimal = |t: &LogicalType| matches!(t, LogicalType::Decimal { .. });
    is_decimal(result) && digits(left).is_some() && digits(right).is_some()
}

/// The kernel for two decimals (or integers) and the stated result.
pub(crate) fn bind(
    op: Arithmetic,
    left: &LogicalType,
    right: &LogicalType,
    result: &LogicalType,
) -> Result<Bound, ExprError> {
    let (Some(left), Some(right), Some((precision, scale))) = (digits(left), digits(right), digits(result)) else {
        unreachable!("asked only for what `takes` accepts");
    };
    let kernel = Decimals { op, left, right, precision, scale };
    // Sums and products that their type always holds cannot fail, so they need not wait for the rows before them.
    let sure = match op {
        Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply => kernel.scales().is_some_and(|(a, b)| {
            kernel.bound(limit(left.0), limit(right.0), a, b).is_some_and(|bound| bound <= limit(precision))
        }),
        Arithmetic::Divide | Arithmetic::Modulo => false,
    };
    Ok(Bound::new(kernel, if sure { Traits::PLAIN } else { Traits::FALLIBLE }))
}

struct Decimals {
    op: Arithmetic,
    left: (u8, i8),
    right: (u8, i8),
    precision: u8,
    scale: i8,
}

/// Why a row has no result.
enum Wrong {
    Zero,
    Overflow,
}

impl Decimals {
    /// Powers of ten that bring both sides to the scale of the result, if that needs no rounding.
    fn scales(&self) -> Option<(i128, i128)> {
        let up = |from: i8, to: i8| {
            let shift = i32::from(to) - i32::from(from);
            usize::try_from(shift).ok().and_then(|s| POWERS.get(s).copied())
        };
        match self.op {
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Modulo => {
                Some((up(self.left.1, self.scale)?, up(self.right.1, self.scale)?))
            }
            Arithmetic::Multiply => {
                let natural = self.left.1.checked_add(self.right.1)?;
                Some((up(natural, self.scale)?, 1))
            }
            Arithmetic::Divide => {
                let natural = self.left.1.checked_sub(self.right.1)?;
                Some((up(natural, self.scale)?, 1))
            }
        }
    }

    /// The largest magnitude that occurs for sides of at most `a` and `b`.
    fn bound(&self, a: i128, b: i128, a_scale: i128, b_scale: i128) -> Option<i128> {
        let (a, b) = (a.checked_mul(a_scale)?, b.checked_mul(b_scale)?);
        match self.op {
            Arithmetic::Add | Arithmetic::Subtract => a.checked_add(b),
            Arithmetic::Multiply => a.checked_mul(b),
            Arithmetic::Divide | Arithmetic::Modulo => Some(a.max(b)),
        }
    }

    /// Plain 64-bit arithmetic if nothing can leave it.
    fn small(
        &self,
        a: Operand<'_, i64>,
        b: Operand<'_, i64>,
        args: &[Column],
        rows: Rows<'_>,
    ) -> Option<Result<Column, ExprError>> {
        let (a_scale, b_scale) = self.scales()?;
        let allowed = SMALL_LIMIT.min(match self.op {
            Arithmetic::Divide => SMALL_LIMIT,
            _ => limit(self.precision),
        });
        let fits = |a: i128, b: i128| self.bound(a, b, a_scale, b_scale).is_some_and(|bound| bound <= allowed);
        let by_type = [(self.left.0, a), (self.right.0, b)].map(|(precision, values)| match values {
            Operand::Constant(value) => i128::from(value.unsigned_abs()),
            Operand::Slice(_) => limit(precision.min(DECIMAL64_PRECISION_MAX + 1)),
        });
        if !fits(by_type[0], by_type[1]) && !fits(largest(a), largest(b)) {
            return None;
        }
        let (a_scale, b_scale) = (i64::try_from(a_scale).ok()?, i64::try_from(b_scale).ok()?);
        let nulls = union_nulls(args);
        let mut by_zero = false;
        // Values behind a NULL may be anything, so the arithmetic wraps.
        let values = match self.op {
            Arithmetic::Add if (a_scale, b_scale) == (1, 1) => zip_with(a, b, rows.len, i64::wrapping_add),
            Arithmetic::Subtract if (a_scale, b_scale) == (1, 1) => zip_with(a, b, rows.len, i64::wrapping_sub),
            Arithmetic::Multiply if a_scale == 1 => zip_with(a, b, rows.len, i64::wrapping_mul),
            Arithmetic::Add => {
                zip_with(a, b, rows.len, |a, b| a.wrapping_mul(a_scale).wrapping_add(b.wrapping_mul(b_scale)))
            }
            Arithmetic::Subtract => {
                zip_with(a, b, rows.len, |a, b| a.wrapping_mul(a_scale).wrapping_sub(b.wrapping_mul(b_scale)))
            }
            Arithmetic::Multiply => zip_with(a, b, rows.len, |a, b| a.wrapping_mul(b).wrapping_mul(a_scale)),
            Arithmetic::Modulo => zip_with(a, b, rows.len, |a, b| {
                by_zero |= b == 0;
                a.wrapping_mul(a_scale).wrapping_rem(if b == 0 { 1 } else { b.wrapping_mul(b_scale) })
            }),
            Arithmetic::Divide => zip_with(a, b, rows.len, |a, b| {
                by_zero |= b == 0;
                let (a, b) = (a.wrapping_mul(a_scale), if b == 0 { 1 } else { b });
                let (quotient, rest) = (a.wrapping_div(b), a.wrapping_rem(b));
                let half = rest.unsigned_abs() >= b.unsigned_abs() - rest.unsigned_abs();
                let away = if (a < 0) == (b < 0) { 1 } else { -1 };
                if rest != 0 && half { quotient.wrapping_add(away) } else { quotient }
            }),
        };
        if by_zero {
            let check = |i: usize| match b.get(i) {
                0 => Err(self.op.by_zero(text(i128::from(a.get(i)), self.left.1))),
                _ => Ok(()),
            };
            if let Err(error) = rows.try_each(nulls.as_ref(), check) {
                return Some(Err(error));
            }
        }
        if self.op == Arithmetic::Divide && limit(self.precision) < SMALL_LIMIT {
            // A quotient is no larger than the scaled dividend, but the stated precision may be smaller still.
            let check = |i: usize| match i128::from(values[i]).abs() > limit(self.precision) {
                true => Err(self.overflow(i128::from(a.get(i)), i128::from(b.get(i)))),
                false => Ok(()),
            };
            if let Err(error) = rows.try_each(nulls.as_ref(), check) {
                return Some(Err(error));
            }
        }
        Some(Ok(Column::Array(i64::array(&small_type(self.precision, self.scale), values, nulls))))
    }

    fn overflow(&self, a: i128, b: i128) -> ExprError {
        let data_type = LogicalType::Decimal { precision: self.precision, scale: self.scale };
        self.op.overflow(text(a, self.left.1), text(b, self.right.1), &data_type)
    }

    /// One row, exactly.
    fn exact(&self, a: i128, b: i128) -> Result<i128, Wrong> {
        let divides = matches!(self.op, Arithmetic::Divide | Arithmetic::Modulo);
        if divides && b == 0 {
            return Err(Wrong::Zero);
        }
        let value = self.exact_128(a, b).or_else(|| self.exact_256(a, b)).ok_or(Wrong::Overflow)?;
        if value.unsigned_abs() > limit(self.precision).unsigned_abs() { Err(Wrong::Overflow) } else { Ok(value) }
    }

    /// `None` if an intermediate does not fit, which says nothing about the result.
    #[inline]
    fn exact_128(&self, a: i128, b: i128) -> Option<i128> {
        match self.op {
            Arithmetic::Multiply => rescale(a.checked_mul(b)?, self.left.1.checked_add(self.right.1)?, self.scale),
            Arithmetic::Divide => {
                // a / 10^s1 / (b / 10^s2) = (a * 10^(s - s1 + s2) / b) / 10^s
                let shift = i32::from(self.scale) - i32::from(self.left.1) + i32::from(self.right.1);
                let power = *POWERS.get(shift.unsigned_abs() as usize)?;
                if shift >= 0 {
                    divide_half_up(a.checked_mul(power)?, b)
                } else {
                    divide_half_up(a, b.checked_mul(power)?)
                }
            }
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Modulo => {
                let scale = self.left.1.max(self.right.1);
                let (a, b) = (rescale(a, self.left.1, scale)?, rescale(b, self.right.1, scale)?);
                let value = match self.op {
                    Arithmetic::Add => a.checked_add(b)?,
                    Arithmetic::Subtract => a.checked_sub(b)?,
                    _ => a.wrapping_rem(b),
                };
                rescale(value, scale, self.scale)
            }
        }
    }

    fn exact_256(&self, a: i128, b: i128) -> Option<i128> {
        let power = |shift: i32| i256::from_i128(10).checked_pow(shift.unsigned_abs());
        let rescale = |value: i256, from: i32, to: i32| {
            if to >= from { value.checked_mul(power(to - from)?) } else { divide_half_up_256(value, power(from - to)?) }
        };
        let (left, right, scale) = (i32::from(self.left.1), i32::from(self.right.1), i32::from(self.scale));
        let (a, b) = (i256::from_i128(a), i256::from_i128(b));
        let value = match self.op {
            Arithmetic::Multiply => rescale(a.checked_mul(b)?, left + right, scale)?,
            Arithmetic::Divide => {
                let shift = scale - left + right;
                if shift >= 0 {
                    divide_half_up_256(a.checked_mul(power(shift)?)?, b)?
                } else {
                    divide_half_up_256(a, b.checked_mul(power(shift)?)?)?
                }
            }
            Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Modulo => {
                let common = left.max(right);
                let (a, b) = (rescale(a, left, common)?, rescale(b, right, common)?);
                let value = match self.op {
                    Arithmetic::Add => a.checked_add(b)?,
                    Arithmetic::Subtract => a.checked_sub(b)?,
                    _ => a.checked_rem(b)?,
                };
                rescale(value, common, scale)?
            }
        };
        value.to_i128()
    }
}

/// The largest magnitude of a batch.
pub(crate) fn largest(values: Operand<'_, i64>) -> i128 {
    match values {
        Operand::Constant(value) => i128::from(value.unsigned_abs()),
        Operand::Slice(values) => {
            let (least, most) = values.iter().fold((0i64, 0i64), |(least, most), v| (least.min(*v), most.max(*v)));
            i128::from(least.unsigned_abs().max(most.unsigned_abs()))
        }
    }
}

impl Kernel for Decimals {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let (mut a_small, mut a_large, mut b_small, mut b_large) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let carrier = |column: &Column| ExprError::Carrier {
            operation: self.op.name(),
            found: column.array().data_type().clone(),
        };
        let a = unscaled(&args[0], &mut a_small, &mut a_large).ok_or_else(|| carrier(&args[0]))?;
        let b = unscaled(&args[1], &mut b_small, &mut b_large).ok_or_else(|| carrier(&args[1]))?;
        if let (Unscaled::Small(a), Unscaled::Small(b)) = (a, b) {
            if let Some(result) = self.small(a, b, args, rows) {
                return result;
            }
            // The product of two 64-bit numbers fits in 128 bits, and one of 36 digits in any such type.
            let exact = self.scales() == Some((1, 1)) && limit(self.precision) >= largest(a) * largest(b);
            if self.op == Arithmetic::Multiply && exact {
                let values = zip_with(a, b, rows.len, |a, b| i128::from(a) * i128::from(b));
                return Ok(Column::Array(pack(values, union_nulls(args), self.precision, self.scale)));
            }
        }
        let nulls = union_nulls(args);
        let mut wrong = false;
        let values = (0..rows.len)
            .map(|i| {
                self.exact(a.get(i), b.get(i)).unwrap_or_else(|_| {
                    wrong = true;
                    0
                })
            })
            .collect();
        if wrong {
            rows.try_each(nulls.as_ref(), |i| match self.exact(a.get(i), b.get(i)) {
                Ok(_) => Ok(()),
                Err(Wrong::Zero) => Err(self.op.by_zero(text(a.get(i), self.left.1))),
                Err(Wrong::Overflow) => Err(self.overflow(a.get(i), b.get(i))),
            })?;
        }
        Ok(Column::Array(pack(values, nulls, self.precision, self.scale)))
    }
}
