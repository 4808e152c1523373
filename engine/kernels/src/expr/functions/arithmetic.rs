//! Arithmetic on integers and floating-point numbers.
//!
//! Integers are computed for all rows with a flag for "something went wrong"; only if it is up are the rows that count
//! looked at one by one. So the loop has no branch, and a row that does not count never fails.

use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use crate::expr::column::{Fixed, Native, Operand, Rows, fixed, map_array, nulls_of, operand, union_nulls, zip_with};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Self::Add,
            "subtract" => Self::Subtract,
            "multiply" => Self::Multiply,
            "divide" => Self::Divide,
            "modulo" => Self::Modulo,
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

    fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Modulo => '%',
        }
    }

    /// The error for operands whose result does not fit.
    pub(crate) fn overflow(
        self,
        left: impl std::fmt::Display,
        right: impl std::fmt::Display,
        data_type: &LogicalType,
    ) -> ExprError {
        let operands = format!("{left} {} {right}", self.symbol());
        ExprError::Overflow { operation: self.name(), operands, data_type: data_type.clone() }
    }

    /// The error for a divisor of zero.
    pub(crate) fn by_zero(self, dividend: impl std::fmt::Display) -> ExprError {
        ExprError::DivisionByZero { operation: self.name(), dividend: dividend.to_string() }
    }
}

/// The kernel for two numbers of this integer or floating-point type.
pub(crate) fn bind(op: Arithmetic, data_type: &LogicalType) -> Bound {
    let can_fail = data_type.is_integer() || matches!(op, Arithmetic::Divide | Arithmetic::Modulo);
    let traits = if can_fail { Traits::FALLIBLE } else { Traits::PLAIN };
    Bound::new(Numbers { op, data_type: data_type.clone() }, traits)
}

struct Numbers {
    op: Arithmetic,
    data_type: LogicalType,
}

impl Kernel for Numbers {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        macro_rules! with {
            ($run:ident, $native:ty) => {{
                let (a, b) = (operand::<$native>(&args[0]), operand::<$native>(&args[1]));
                if let (Some(a), Some(b)) = (a, b) {
                    return self.$run(a, b, args, rows);
                }
            }};
        }
        match fixed(args[0].array()) {
            Some(Fixed::I8(_)) => with!(integers, i8),
            Some(Fixed::I16(_)) => with!(integers, i16),
            Some(Fixed::I32(_)) => with!(integers, i32),
            Some(Fixed::I64(_)) => with!(integers, i64),
            Some(Fixed::U8(_)) => with!(integers, u8),
            Some(Fixed::U16(_)) => with!(integers, u16),
            Some(Fixed::U32(_)) => with!(integers, u32),
            Some(Fixed::U64(_)) => with!(integers, u64),
            Some(Fixed::F32(_)) => with!(floats, f32),
            Some(Fixed::F64(_)) => with!(floats, f64),
            _ => {}
        }
        Err(ExprError::Carrier { operation: self.op.name(), found: args[0].array().data_type().clone() })
    }
}

impl Numbers {
    fn integers<T: Integer>(
        &self,
        a: Operand<'_, T>,
        b: Operand<'_, T>,
        args: &[Column],
        rows: Rows<'_>,
    ) -> Result<Column, ExprError> {
        let mut wrong = false;
        let mut flagged = |(value, overflowed): (T, bool)| {
            wrong |= overflowed;
            value
        };
        let values = match self.op {
            Arithmetic::Add => zip_with(a, b, rows.len, |a, b| flagged(a.plus(b))),
            Arithmetic::Subtract => zip_with(a, b, rows.len, |a, b| flagged(a.minus(b))),
            Arithmetic::Multiply => zip_with(a, b, rows.len, |a, b| flagged(a.times(b))),
            Arithmetic::Divide => zip_with(a, b, rows.len, |a, b| flagged(a.over(b))),
            Arithmetic::Modulo => zip_with(a, b, rows.len, |a, b| flagged(a.rest(b))),
        };
        let nulls = union_nulls(args);
        if wrong {
            rows.try_each(nulls.as_ref(), |i| self.check(a.get(i), b.get(i)))?;
        }
        Ok(Column::Array(T::array(&self.data_type.arrow_type(), values, nulls)))
    }

    fn check<T: Integer>(&self, a: T, b: T) -> Result<(), ExprError> {
        let (_, overflowed) = match self.op {
            Arithmetic::Add => a.plus(b),
            Arithmetic::Subtract => a.minus(b),
            Arithmetic::Multiply => a.times(b),
            Arithmetic::Divide | Arithmetic::Modulo if b == T::default() => return Err(self.op.by_zero(a)),
            Arithmetic::Divide => a.over(b),
            Arithmetic::Modulo => a.rest(b),
        };
        if overflowed { Err(self.op.overflow(a, b, &self.data_type)) } else { Ok(()) }
    }

    fn floats<T: Float>(
        &self,
        a: Operand<'_, T>,
        b: Operand<'_, T>,
        args: &[Column],
        rows: Rows<'_>,
    ) -> Result<Column, ExprError> {
        let zero = T::default();
        let mut wrong = false;
        let values = match self.op {
            Arithmetic::Add => zip_with(a, b, rows.len, |a, b| a + b),
            Arithmetic::Subtract => zip_with(a, b, rows.len, |a, b| a - b),
            Arithmetic::Multiply => zip_with(a, b, rows.len, |a, b| a * b),
            Arithmetic::Divide => zip_with(a, b, rows.len, |a, b| {
                wrong |= b == zero;
                a / b
            }),
            Arithmetic::Modulo => zip_with(a, b, rows.len, |a, b| {
                wrong |= b == zero;
                a % b
            }),
        };
        let nulls = union_nulls(args);
        if wrong {
            rows.try_each(nulls.as_ref(), |i| {
                let dividend = a.get(i);
                // As in PostgreSQL, NaN divided by anything is NaN.
                let is_nan = dividend.partial_cmp(&dividend).is_none();
                if b.get(i) == zero && !is_nan { Err(self.op.by_zero(dividend)) } else { Ok(()) }
            })?;
        }
        Ok(Column::Array(T::array(&self.data_type.arrow_type(), values, nulls)))
    }
}

/// An integer whose operations say whether they overflowed. Division by zero counts as overflow.
trait Integer: Native + PartialEq + std::fmt::Display {
    fn plus(self, other: Self) -> (Self, bool);
    fn minus(self, other: Self) -> (Self, bool);
    fn times(self, other: Self) -> (Self, bool);
    fn over(self, other: Self) -> (Self, bool);
    fn rest(self, other: Self) -> (Self, bool);
}

macro_rules! integer {
    ($($native:ty),+) => {
        $(impl Integer for $native {
            #[inline]
            fn plus(self, other: Self) -> (Self, bool) {
                self.overflowing_add(other)
            }

            #[inline]
            fn minus(self, other: Self) -> (Self, bool) {
                self.overflowing_sub(other)
            }

            #[inline]
            fn times(self, other: Self) -> (Self, bool) {
                self.overflowing_mul(other)
            }

            #[inline]
            fn over(self, other: Self) -> (Self, bool) {
                let by_zero = other == 0;
                let (value, overflowed) = self.overflowing_div(if by_zero { 1 } else { other });
                (value, overflowed | by_zero)
            }

            #[inline]
            fn rest(self, other: Self) -> (Self, bool) {
                let by_zero = other == 0;
                // The remainder of MIN and -1 is 0, although the quotient overflows.
                (self.wrapping_rem(if by_zero { 1 } else { other }), by_zero)
            }
        })+
    };
}

integer!(i8, i16, i32, i64, u8, u16, u32, u64);

trait Float:
    Native
    + PartialOrd
    + std::fmt::Display
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Rem<Output = Self>
{
}

impl Float for f32 {}
impl Float for f64 {}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Negate,
    Abs,
}

/// The kernel for a number, or for `negate` also a span of time.
pub(crate) fn bind_unary(op: Unary, data_type: &LogicalType) -> Option<Bound> {
    let traits = match data_type {
        t if t.is_integer() => Traits::FALLIBLE,
        LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal { .. } => Traits::PLAIN,
        LogicalType::Interval | LogicalType::Duration(_) if op == Unary::Negate => Traits::FALLIBLE,
        _ => return None,
    };
    Some(Bound::new(Sign { op, data_type: data_type.clone() }, traits))
}

struct Sign {
    op: Unary,
    data_type: LogicalType,
}

impl Kernel for Sign {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let column = &args[0];
        let arrow = column.array().data_type().clone();
        let nulls = nulls_of(column);
        macro_rules! signed {
            ($values:ident) => {{
                let mut wrong = false;
                let abs = self.op == Unary::Abs;
                let out = $values
                    .iter()
                    .map(|v| {
                        let (value, overflowed) = if abs { v.overflowing_abs() } else { v.overflowing_neg() };
                        wrong |= overflowed;
                        value
                    })
                    .collect();
                if wrong {
                    rows.try_each(nulls.as_ref(), |i| match $values[i].checked_neg() {
                        Some(_) => Ok(()),
                        None => Err(self.overflow($values[i])),
                    })?;
                }
                Native::array(&arrow, out, nulls)
            }};
        }
        macro_rules! unsigned {
            ($values:ident) => {{
                if self.op == Unary::Negate {
                    rows.try_each(nulls.as_ref(), |i| match $values[i] {
                        0 => Ok(()),
                        value => Err(self.overflow(value)),
                    })?;
                }
                Native::array(&arrow, $values.to_vec(), nulls)
            }};
        }
        macro_rules! float {
            ($values:ident) => {{
                let abs = self.op == Unary::Abs;
                Native::array(&arrow, $values.iter().map(|v| if abs { v.abs() } else { -v }).collect(), nulls)
            }};
        }
        let array = match fixed(column.array()) {
            Some(Fixed::I8(values)) => signed!(values),
            Some(Fixed::I16(values)) => signed!(values),
            Some(Fixed::I32(values)) => signed!(values),
            Some(Fixed::I64(values)) => signed!(values),
            Some(Fixed::I128(values)) => signed!(values),
            Some(Fixed::U8(values)) => unsigned!(values),
            Some(Fixed::U16(values)) => unsigned!(values),
            Some(Fixed::U32(values)) => unsigned!(values),
            Some(Fixed::U64(values)) => unsigned!(values),
            Some(Fixed::F32(values)) => float!(values),
            Some(Fixed::F64(values)) => float!(values),
            None => {
                return map_array(column, |array| arrow_arith::numeric::neg(array).map_err(ExprError::arrow("negate")));
            }
        };
        Ok(Column::Array(array))
    }
}

impl Sign {
    fn overflow(&self, value: impl std::fmt::Display) -> ExprError {
        let operation = if self.op == Unary::Abs { "abs" } else { "negate" };
        ExprError::Overflow { operation, operands: value.to_string(), data_type: self.data_type.clone() }
    }
}
