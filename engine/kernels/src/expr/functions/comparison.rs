//! Comparisons, to bits.
//!
//! Numbers of one representation are compared by a key that orders them: integers by themselves, floating-point numbers
//! by their bits turned so that NaN equals NaN and is greatest, and -0 equals 0 (PostgreSQL). Strings are compared as
//! views: the length and the first four bytes decide most comparisons without a look at the data. Decimals of different
//! scales or carriers are compared exactly.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ByteViewType, IntervalMonthDayNanoType};
use arrow_array::{ArrayRef, BooleanArray, GenericByteViewArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, IntervalUnit};
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::decimal;
use crate::expr::column::{
    Fixed, Native, Operand, Rows, expand, fixed, is_constant_null, map_array, nulls_of, operand, pack_bits, pack_with,
    union_nulls,
};
use crate::expr::error::ExprError;
use crate::expr::program::{Bound, Kernel, Traits};
use crate::nested::canonical;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Distinct,
    NotDistinct,
}

impl Comparison {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "is_distinct_from" => Self::Distinct,
            "is_not_distinct_from" => Self::NotDistinct,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Distinct => "is_distinct_from",
            Self::NotDistinct => "is_not_distinct_from",
        }
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq | Self::NotDistinct => ordering.is_eq(),
            Self::Ne | Self::Distinct => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Le => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Ge => ordering.is_ge(),
        }
    }
}

/// The kernel for values of these types; `None` if they do not compare.
pub(crate) fn bind(op: Comparison, left: &LogicalType, right: &LogicalType) -> Option<Bound> {
    let is_decimal = |t: &LogicalType| matches!(t, LogicalType::Decimal { .. });
    let mixed = (is_decimal(left) || is_decimal(right))
        .then(|| decimal::digits(left).zip(decimal::digits(right)))
        .flatten()
        .map(|(a, b)| (a.1, b.1));
    let untyped = *left == LogicalType::Null || *right == LogicalType::Null;
    if left != right && mixed.is_none() && !untyped {
        return None;
    }
    let strict = !matches!(op, Comparison::Distinct | Comparison::NotDistinct);
    let cost = match left {
        LogicalType::Utf8 | LogicalType::Binary => 15,
        t if t.fixed_width().is_some() => 3,
        _ => 200,
    };
    Some(Bound::new(Compare { op, scales: mixed }, Traits { strict, cost, ..Traits::PLAIN }))
}

struct Compare {
    op: Comparison,
    /// Scales of both sides if one is a decimal.
    scales: Option<(i8, i8)>,
}

impl Kernel for Compare {
    fn evaluate(&self, args: &[Column], rows: Rows<'_>) -> Result<Column, ExprError> {
        let distinct = matches!(self.op, Comparison::Distinct | Comparison::NotDistinct);
        let array = if distinct {
            BooleanArray::new(self.distinct(args, rows)?, None)
        } else {
            BooleanArray::new(self.bits(args, rows)?, union_nulls(args))
        };
        Ok(Column::Array(Arc::new(array)))
    }
}

impl Compare {
    /// Nulls are equal to each other and to nothing else.
    fn distinct(&self, args: &[Column], rows: Rows<'_>) -> Result<BooleanBuffer, ExprError> {
        let valid = |column: &Column| match column {
            column if is_constant_null(column) => Some(NullBuffer::new_null(rows.len)),
            column => nulls_of(column),
        };
        let (left, right) = (valid(&args[0]), valid(&args[1]));
        let either_null = args.iter().any(is_constant_null);
        let negated = self.op == Comparison::NotDistinct;
        let unequal = if either_null {
            BooleanBuffer::new_unset(rows.len)
        } else {
            let bits = self.bits(args, rows)?;
            if negated { !&bits } else { bits }
        };
        let distinct = match (&left, &right) {
            (None, None) => unequal,
            _ => {
                let all = BooleanBuffer::new_set(rows.len);
                let left = left.map_or_else(|| all.clone(), NullBuffer::into_inner);
                let right = right.map_or(all, NullBuffer::into_inner);
                &(&left ^ &right) | &(&(&left & &right) & &unequal)
            }
        };
        Ok(if negated { !&distinct } else { distinct })
    }

    /// The comparison of all rows; what it says of rows with a NULL means nothing.
    fn bits(&self, args: &[Column], rows: Rows<'_>) -> Result<BooleanBuffer, ExprError> {
        let (left, right) = (&args[0], &args[1]);
        macro_rules! with {
            ($native:ty) => {
                if let (Some(a), Some(b)) = (operand::<$native>(left), operand::<$native>(right)) {
                    return Ok(natives(self.op, a, b, rows.len));
                }
            };
        }
        let same_scale = self.scales.is_none_or(|(a, b)| a == b);
        if same_scale {
            match fixed(left.array()) {
                Some(Fixed::I8(_)) => with!(i8),
                Some(Fixed::I16(_)) => with!(i16),
                Some(Fixed::I32(_)) => with!(i32),
                Some(Fixed::I64(_)) => with!(i64),
                Some(Fixed::I128(_)) => with!(i128),
                Some(Fixed::U8(_)) => with!(u8),
                Some(Fixed::U16(_)) => with!(u16),
                Some(Fixed::U32(_)) => with!(u32),
                Some(Fixed::U64(_)) => with!(u64),
                Some(Fixed::F32(_)) => with!(f32),
                Some(Fixed::F64(_)) => with!(f64),
                None => {}
            }
        }
        if let Some((a_scale, b_scale)) = self.scales {
            return self.decimals(left, right, a_scale, b_scale, rows);
        }
        match left.array().data_type() {
            DataType::Boolean => {
                let (a, b) = (expand(left, rows.len)?, expand(right, rows.len)?);
                let (a, b) = (a.as_boolean().values(), b.as_boolean().values());
                Ok(match self.op {
                    Comparison::Eq | Comparison::NotDistinct => !&(a ^ b),
                    Comparison::Ne | Comparison::Distinct => a ^ b,
                    Comparison::Lt => &!a & b,
                    Comparison::Le => &!a | b,
                    Comparison::Gt => a & &!b,
                    Comparison::Ge => a | &!b,
                })
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let (left, right) = (as_views(left, &DataType::Utf8View)?, as_views(right, &DataType::Utf8View)?);
                let (a, b) = (left.array().as_string_view(), right.array().as_string_view());
                Ok(views(self.op, (a, left.as_constant().is_some()), (b, right.as_constant().is_some()), rows.len))
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let (left, right) = (as_views(left, &DataType::BinaryView)?, as_views(right, &DataType::BinaryView)?);
                let (a, b) = (left.array().as_binary_view(), right.array().as_binary_view());
                Ok(views(self.op, (a, left.as_constant().is_some()), (b, right.as_constant().is_some()), rows.len))
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let (a, b) = (expand(left, rows.len)?, expand(right, rows.len)?);
                let a = a.as_primitive::<IntervalMonthDayNanoType>().values();
                let b = b.as_primitive::<IntervalMonthDayNanoType>().values();
                Ok(pack_bits(rows.len, |i| self.op.holds(interval_key(a[i]).cmp(&interval_key(b[i])))))
            }
            _ => self.others(left, right, rows),
        }
    }

    fn decimals(
        &self,
        left: &Column,
        right: &Column,
        a_scale: i8,
        b_scale: i8,
        rows: Rows<'_>,
    ) -> Result<BooleanBuffer, ExprError> {
        let (mut a_small, mut a_large, mut b_small, mut b_large) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let carrier = |c: &Column| ExprError::Carrier { operation: "compare", found: c.array().data_type().clone() };
        let a = decimal::unscaled(left, &mut a_small, &mut a_large).ok_or_else(|| carrier(left))?;
        let b = decimal::unscaled(right, &mut b_small, &mut b_large).ok_or_else(|| carrier(right))?;
        // A column against a constant that can be had at the column's scale: plain 64-bit comparison.
        if let (decimal::Unscaled::Small(a @ Operand::Slice(_)), Some(_)) = (a, right.as_constant())
            && a_scale >= b_scale
            && let Some(b) = decimal::rescale(b.get(0), b_scale, a_scale).and_then(|b| i64::try_from(b).ok())
        {
            return Ok(natives(self.op, a, Operand::Constant(b), rows.len));
        }
        Ok(pack_bits(rows.len, |i| self.op.holds(decimal::compare(a.get(i), a_scale, b.get(i), b_scale))))
    }

    /// Nested types, element by element.
    fn others(&self, left: &Column, right: &Column, rows: Rows<'_>) -> Result<BooleanBuffer, ExprError> {
        let one_carrier = |column: &Column| -> Result<ArrayRef, ExprError> {
            let failed = |source| ExprError::Function { function: self.op.name().to_owned(), source: Box::new(source) };
            let column = map_array(column, |array| canonical(array).map_err(failed))?;
            expand(&column, rows.len)
        };
        let (left, right) = (one_carrier(left)?, one_carrier(right)?);
        let options = arrow_schema::SortOptions { descending: false, nulls_first: false };
        let compare = arrow_ord::ord::make_comparator(&left, &right, options).map_err(ExprError::arrow("compare"))?;
        Ok(pack_bits(rows.len, |i| self.op.holds(compare(i, i))))
    }
}

/// An interval's length with months of 30 days and days of 24 hours, in nanoseconds (PostgreSQL).
pub(crate) fn interval_key(value: arrow_buffer::IntervalMonthDayNano) -> i128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    days * 86_400_000_000_000 + i128::from(value.nanoseconds)
}

/// A number that orders as SQL wants.
pub(crate) trait Ordered: Native {
    type Key: Copy + Ord;
    fn key(self) -> Self::Key;
}

macro_rules! ordered_by_itself {
    ($($native:ty),+) => {
        $(impl Ordered for $native {
            type Key = Self;
            #[inline]
            fn key(self) -> Self {
                self
            }
        })+
    };
}

ordered_by_itself!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl Ordered for f32 {
    type Key = i32;

    #[inline]
    #[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bits are moved, not numbers")]
    fn key(self) -> i32 {
        // Adding zero turns -0 into 0.
        let bits = (self + 0.0).to_bits() as i32;
        let turned = bits ^ ((bits >> 31) as u32 >> 1) as i32;
        if self.is_nan() { i32::MAX } else { turned }
    }
}

impl Ordered for f64 {
    type Key = i64;

    #[inline]
    #[expect(clippy::cast_possible_wrap, clippy::cast_sign_loss, reason = "bits are moved, not numbers")]
    fn key(self) -> i64 {
        let bits = (self + 0.0).to_bits() as i64;
        let turned = bits ^ ((bits >> 63) as u64 >> 1) as i64;
        if self.is_nan() { i64::MAX } else { turned }
    }
}

fn natives<T: Ordered>(op: Comparison, a: Operand<'_, T>, b: Operand<'_, T>, len: usize) -> BooleanBuffer {
    match op {
        Comparison::Eq | Comparison::NotDistinct => pack_with(a, b, len, |a, b| a.key() == b.key()),
        Comparison::Ne | Comparison::Distinct => pack_with(a, b, len, |a, b| a.key() != b.key()),
        Comparison::Lt => pack_with(a, b, len, |a, b| a.key() < b.key()),
        Comparison::Le => pack_with(a, b, len, |a, b| a.key() <= b.key()),
        Comparison::Gt => pack_with(a, b, len, |a, b| a.key() > b.key()),
        Comparison::Ge => pack_with(a, b, len, |a, b| a.key() >= b.key()),
    }
}

/// The column as views.
pub(crate) fn as_views(column: &Column, view: &DataType) -> Result<Column, ExprError> {
    if column.array().data_type() == view {
        return Ok(column.clone());
    }
    map_array(column, |array: &ArrayRef| arrow_cast::cast(array, view).map_err(ExprError::arrow("read strings")))
}

type Side<'a, V> = (&'a GenericByteViewArray<V>, bool);

/// Length and first four bytes of a view.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half of a view")]
fn head(view: u128) -> u64 {
    view as u64
}

fn views<V: ByteViewType + ?Sized>(
    op: Comparison,
    (a, a_constant): Side<'_, V>,
    (b, b_constant): Side<'_, V>,
    len: usize,
) -> BooleanBuffer {
    let at = |constant: bool, i: usize| if constant { 0 } else { i };
    let (a_views, b_views) = (a.views(), b.views());
    let same = |i: usize| {
        let (i, j) = (at(a_constant, i), at(b_constant, i));
        let (x, y) = (a_views[i], b_views[j]);
        if head(x) != head(y) {
            return false;
        }
        // Up to twelve bytes lie in the view itself.
        if x as u32 <= 12 { x == y } else { AsRef::<[u8]>::as_ref(a.value(i)) == AsRef::<[u8]>::as_ref(b.value(j)) }
    };
    let order = |i: usize| {
        let (i, j) = (at(a_constant, i), at(b_constant, i));
        // Big-endian prefixes order as the bytes do; shorter strings are filled with zeros, and then the rest decides.
        let prefix = |view: u128| ((view >> 32) as u32).swap_bytes();
        match prefix(a_views[i]).cmp(&prefix(b_views[j])) {
            Ordering::Equal => AsRef::<[u8]>::as_ref(a.value(i)).cmp(AsRef::<[u8]>::as_ref(b.value(j))),
            decided => decided,
        }
    };
    match op {
        Comparison::Eq | Comparison::NotDistinct => pack_bits(len, same),
        Comparison::Ne | Comparison::Distinct => pack_bits(len, |i| !same(i)),
        _ => pack_bits(len, |i| op.holds(order(i))),
    }
}
