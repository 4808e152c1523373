//! Columns taken apart: fixed-width values as plain slices, validity, and the moves between encodings and row sets.
//!
//! Kernels see flat arrays and constants only; dictionaries and run ends are peeled or flattened before (`evaluate`).
//! Types that share a representation share a kernel: a timestamp, a BIGINT and a small decimal are all `&[i64]` here.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use flumen_core::batch::{Column, Selection};
use flumen_core::types::LogicalType;

use super::error::ExprError;
use crate::selection::mask_to_selection;

/// The rows a kernel works on: it fills `len` positions, but may fail only for the active ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// Positions of every array.
    pub(crate) len: usize,
    /// The positions that count; `None` means all.
    pub(crate) active: Option<&'a BooleanBuffer>,
}

impl<'a> Rows<'a> {
    /// All of `len` rows.
    pub(crate) fn all(len: usize) -> Self {
        Self { len, active: None }
    }

    /// Calls `visit` for each active position that is valid in `nulls`, until it fails.
    pub(crate) fn try_each<E>(
        self,
        nulls: Option<&NullBuffer>,
        mut visit: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        match (self.active, nulls) {
            (None, None) => (0..self.len).try_for_each(visit),
            (Some(active), None) => active.set_indices().try_for_each(visit),
            (None, Some(nulls)) => nulls.try_for_each_valid_idx(visit),
            (Some(active), Some(nulls)) => {
                active.set_indices().try_for_each(|i| if nulls.is_valid(i) { visit(i) } else { Ok(()) })
            }
        }
    }
}

/// The values of a fixed-width array.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fixed<'a> {
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    I128(&'a [i128]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

/// The values of a flat fixed-width array; `None` for any other.
pub(crate) fn fixed(array: &dyn Array) -> Option<Fixed<'_>> {
    macro_rules! values {
        ($variant:ident, $type:ty) => {
            Fixed::$variant(array.as_primitive::<$type>().values())
        };
    }
    Some(match array.data_type() {
        DataType::Int8 => values!(I8, Int8Type),
        DataType::Int16 => values!(I16, Int16Type),
        DataType::Int32 => values!(I32, Int32Type),
        DataType::Int64 => values!(I64, Int64Type),
        DataType::UInt8 => values!(U8, UInt8Type),
        DataType::UInt16 => values!(U16, UInt16Type),
        DataType::UInt32 => values!(U32, UInt32Type),
        DataType::UInt64 => values!(U64, UInt64Type),
        DataType::Float32 => values!(F32, Float32Type),
        DataType::Float64 => values!(F64, Float64Type),
        DataType::Decimal64(_, _) => values!(I64, Decimal64Type),
        DataType::Decimal128(_, _) => values!(I128, Decimal128Type),
        DataType::Date32 => values!(I32, Date32Type),
        DataType::Time32(TimeUnit::Second) => values!(I32, Time32SecondType),
        DataType::Time32(TimeUnit::Millisecond) => values!(I32, Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => values!(I64, Time64MicrosecondType),
        DataType::Time64(TimeUnit::Nanosecond) => values!(I64, Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => values!(I64, TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => values!(I64, TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values!(I64, TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values!(I64, TimestampNanosecondType),
        DataType::Duration(TimeUnit::Second) => values!(I64, DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => values!(I64, DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => values!(I64, DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => values!(I64, DurationNanosecondType),
        _ => return None,
    })
}

/// A native value that makes an array of any type it represents.
pub(crate) trait Native: Copy + Default + Send + Sync + 'static {
    /// The array of `data_type` over these values.
    ///
    /// # Panics
    /// If the type has another representation: a bug of the kernel that asks.
    fn array(data_type: &DataType, values: Vec<Self>, nulls: Option<NullBuffer>) -> ArrayRef;

    /// The values of an array if they are of this kind.
    fn slice(fixed: Fixed<'_>) -> Option<&[Self]>;
}

macro_rules! native {
    ($native:ty, $variant:ident, $($pattern:pat => $type:ty),+ $(,)?) => {
        impl Native for $native {
            fn array(data_type: &DataType, values: Vec<Self>, nulls: Option<NullBuffer>) -> ArrayRef {
                match data_type {
                    $($pattern => Arc::new(
                        PrimitiveArray::<$type>::new(values.into(), nulls).with_data_type(data_type.clone()),
                    ),)+
                    other => panic!("{other} is not represented by {}", stringify!($native)),
                }
            }

            fn slice(fixed: Fixed<'_>) -> Option<&[Self]> {
                match fixed {
                    Fixed::$variant(values) => Some(values),
                    _ => None,
                }
            }
        }
    };
}

native!(i8, I8, DataType::Int8 => Int8Type);
native!(i16, I16, DataType::Int16 => Int16Type);
native!(i32, I32, DataType::Int32 => Int32Type, DataType::Date32 => Date32Type,
    DataType::Time32(TimeUnit::Second) => Time32SecondType,
    DataType::Time32(TimeUnit::Millisecond) => Time32MillisecondType);
native!(i64, I64, DataType::Int64 => Int64Type, DataType::Decimal64(_, _) => Decimal64Type,
    DataType::Time64(TimeUnit::Microsecond) => Time64MicrosecondType,
    DataType::Time64(TimeUnit::Nanosecond) => Time64NanosecondType,
    DataType::Timestamp(TimeUnit::Second, _) => TimestampSecondType,
    DataType::Timestamp(TimeUnit::Millisecond, _) => TimestampMillisecondType,
    DataType::Timestamp(TimeUnit::Microsecond, _) => TimestampMicrosecondType,
    DataType::Timestamp(TimeUnit::Nanosecond, _) => TimestampNanosecondType,
    DataType::Duration(TimeUnit::Second) => DurationSecondType,
    DataType::Duration(TimeUnit::Millisecond) => DurationMillisecondType,
    DataType::Duration(TimeUnit::Microsecond) => DurationMicrosecondType,
    DataType::Duration(TimeUnit::Nanosecond) => DurationNanosecondType);
native!(i128, I128, DataType::Decimal128(_, _) => Decimal128Type);
native!(u8, U8, DataType::UInt8 => UInt8Type);
native!(u16, U16, DataType::UInt16 => UInt16Type);
native!(u32, U32, DataType::UInt32 => UInt32Type);
native!(u64, U64, DataType::UInt64 => UInt64Type);
native!(f32, F32, DataType::Float32 => Float32Type);
native!(f64, F64, DataType::Float64 => Float64Type);

/// One value for each row, or one for all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand<'a, T> {
    Slice(&'a [T]),
    Constant(T),
}

impl<'a, T: Copy> Operand<'a, T> {
    /// The value at a row.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> T {
        match self {
            Self::Slice(values) => values[row],
            Self::Constant(value) => *value,
        }
    }
}

/// The values of a column as natives of `T`; `None` if it has another representation.
pub(crate) fn operand<T: Native>(column: &Column) -> Option<Operand<'_, T>> {
    let values = T::slice(fixed(column.array())?)?;
    Some(match column {
        Column::Array(_) => Operand::Slice(values),
        Column::Constant(_) => Operand::Constant(values[0]),
    })
}

/// Validity of the rows of an array column; a constant has none (NULL constants are dealt with before kernels run).
pub(crate) fn nulls_of(column: &Column) -> Option<NullBuffer> {
    match column {
        Column::Array(array) => array.logical_nulls().filter(|n| n.null_count() > 0),
        Column::Constant(_) => None,
    }
}

/// Rows valid in both.
pub(crate) fn union_nulls(args: &[Column]) -> Option<NullBuffer> {
    args.iter().fold(None, |nulls, arg| NullBuffer::union(nulls.as_ref(), nulls_of(arg).as_ref()))
}

/// Whether the column is one NULL for all rows.
pub(crate) fn is_constant_null(column: &Column) -> bool {
    column.as_constant().is_some_and(|value| value.is_null(0) || value.logical_null_count() == 1)
}

/// NULL for all rows.
pub(crate) fn constant_null(data_type: &LogicalType) -> Column {
    Column::Constant(new_null_array(&data_type.arrow_type(), 1))
}

/// The column as an array of `rows` rows.
pub(crate) fn expand(column: &Column, rows: usize) -> Result<ArrayRef, ExprError> {
    match column {
        Column::Array(array) => Ok(Arc::clone(array)),
        Column::Constant(value) => {
            let indices = UInt32Array::new(vec![0u32; rows].into(), None);
            arrow_select::take::take(value, &indices, None).map_err(ExprError::arrow("repeat"))
        }
    }
}

/// The column without dictionary, run ends, 32-bit decimals, fixed-size binary and other lists than the canonical ones:
/// what kernels take.
pub(crate) fn flatten(column: Column) -> Result<Column, ExprError> {
    let target = match column.array().data_type() {
        DataType::Dictionary(_, values) => (**values).clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        _ => return plain_carrier(column),
    };
    let cast = |array: &ArrayRef| match array.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            arrow_select::take::take(dictionary.values(), dictionary.keys(), None)
        }
        _ => arrow_cast::cast(array, &target),
    };
    let flat = match &column {
        Column::Array(array) => Column::Array(cast(array).map_err(ExprError::arrow("flatten"))?),
        Column::Constant(value) => Column::Constant(cast(value).map_err(ExprError::arrow("flatten"))?),
    };
    plain_carrier(flat)
}

fn plain_carrier(column: Column) -> Result<Column, ExprError> {
    let target = match column.array().data_type() {
        DataType::Decimal32(precision, scale) => DataType::Decimal64(*precision, *scale),
        DataType::FixedSizeBinary(_) => DataType::BinaryView,
        DataType::Interval(IntervalUnit::DayTime | IntervalUnit::YearMonth) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        list @ (DataType::LargeList(_) | DataType::FixedSizeList(..)) => match LogicalType::from_arrow(list) {
            Some(logical) => logical.arrow_type(),
            None => return Ok(column),
        },
        _ => return Ok(column),
    };
    map_array(&column, |array| arrow_cast::cast(array, &target).map_err(ExprError::arrow("widen a carrier")))
}

/// The column with `map` applied to its array or constant.
pub(crate) fn map_array(
    column: &Column,
    map: impl FnOnce(&ArrayRef) -> Result<ArrayRef, ExprError>,
) -> Result<Column, ExprError> {
    Ok(match column {
        Column::Array(array) => Column::Array(map(array)?),
        Column::Constant(value) => Column::Constant(map(value)?),
    })
}

/// The column at these positions, in their order.
pub(crate) fn gather(column: &Column, positions: &Selection) -> Result<Column, ExprError> {
    match column {
        Column::Constant(_) => Ok(column.clone()),
        Column::Array(array) => {
            let indices = UInt32Array::new(positions.clone(), None);
            Ok(Column::Array(arrow_select::take::take(array, &indices, None).map_err(ExprError::arrow("gather"))?))
        }
    }
}

/// The reverse of [`gather`]: row `positions[i]` of the result is row `i` of the column; other rows hold anything.
pub(crate) fn scatter(column: &Column, positions: &Selection, rows: usize) -> Result<Column, ExprError> {
    let Column::Array(array) = column else { return Ok(column.clone()) };
    if let Some(values) = array.as_boolean_opt() {
        return Ok(Column::Array(Arc::new(scatter_boolean(values, positions, rows))));
    }
    // Rows that do not count point at row 0, so that the gather needs no validity of its own.
    let mut indices = vec![0u32; rows];
    for (index, position) in (0u32..).zip(positions.iter()) {
        indices[*position as usize] = index;
    }
    let indices = UInt32Array::new(indices.into(), None);
    Ok(Column::Array(arrow_select::take::take(array, &indices, None).map_err(ExprError::arrow("scatter"))?))
}

fn scatter_boolean(values: &BooleanArray, positions: &Selection, rows: usize) -> BooleanArray {
    let place = |bits: &BooleanBuffer| {
        let mut builder = BooleanBufferBuilder::new(rows);
        builder.append_n(rows, false);
        for index in bits.set_indices() {
            builder.set_bit(positions[index] as usize, true);
        }
        builder.finish()
    };
    let nulls = values.nulls().map(|n| NullBuffer::new(place(n.inner())));
    BooleanArray::new(place(values.values()), nulls)
}

/// The rows of a boolean column that are true (neither false nor NULL), as bits.
pub(crate) fn true_bits(column: &Column, rows: usize) -> Result<BooleanBuffer, ExprError> {
    let array = column
        .array()
        .as_boolean_opt()
        .ok_or_else(|| ExprError::Carrier { operation: "a condition", found: column.array().data_type().clone() })?;
    Ok(match column {
        Column::Constant(_) if array.is_valid(0) && array.value(0) => BooleanBuffer::new_set(rows),
        Column::Constant(_) => BooleanBuffer::new_unset(rows),
        Column::Array(_) => match array.nulls() {
            Some(nulls) if nulls.null_count() > 0 => array.values() & nulls.inner(),
            _ => array.values().clone(),
        },
    })
}

/// The set positions.
pub(crate) fn positions(bits: &BooleanBuffer) -> Selection {
    mask_to_selection(&BooleanArray::new(bits.clone(), None), None)
}

/// The bits of `rows` rows that are set at these positions.
pub(crate) fn bits_at(positions: &Selection, rows: usize) -> BooleanBuffer {
    let mut words = vec![0u64; rows.div_ceil(64)];
    for position in positions.iter() {
        words[*position as usize / 64] |= 1 << (position % 64);
    }
    BooleanBuffer::new(arrow_buffer::Buffer::from_vec(words), 0, rows)
}

/// `test(i)` for each of `len` rows, as bits. `test` is called on 64 rows at a time without a branch between them, so
/// that the compiler can turn the comparison into vector instructions and the packing into eight multiplications.
#[inline]
pub(crate) fn pack_bits(len: usize, test: impl Fn(usize) -> bool) -> BooleanBuffer {
    let mut words = Vec::with_capacity(len.div_ceil(64));
    let mut lanes = [0u8; 64];
    let mut start = 0;
    while start + 64 <= len {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = u8::from(test(start + i));
        }
        words.push(pack_word(&lanes));
        start += 64;
    }
    if start < len {
        lanes = [0; 64];
        for (i, lane) in lanes.iter_mut().enumerate().take(len - start) {
            *lane = u8::from(test(start + i));
        }
        words.push(pack_word(&lanes));
    }
    BooleanBuffer::new(arrow_buffer::Buffer::from_vec(words), 0, len)
}

/// Bit `i` is the lowest bit of byte `i`.
#[inline]
pub(crate) fn pack_word(lanes: &[u8; 64]) -> u64 {
    let mut word = 0u64;
    for (i, eight) in lanes.chunks_exact(8).enumerate() {
        let bytes = u64::from_le_bytes(eight.try_into().expect("chunks of eight bytes"));
        word |= (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    word
}

/// `combine(a, b)` row by row, with a loop of its own for each of the four shapes.
#[inline]
pub(crate) fn zip_with<A: Copy, B: Copy, R>(
    a: Operand<'_, A>,
    b: Operand<'_, B>,
    len: usize,
    mut combine: impl FnMut(A, B) -> R,
) -> Vec<R> {
    match (a, b) {
        (Operand::Slice(a), Operand::Slice(b)) => a.iter().zip(b).map(|(a, b)| combine(*a, *b)).collect(),
        (Operand::Slice(a), Operand::Constant(b)) => a.iter().map(|a| combine(*a, b)).collect(),
        (Operand::Constant(a), Operand::Slice(b)) => b.iter().map(|b| combine(a, *b)).collect(),
        (Operand::Constant(a), Operand::Constant(b)) => (0..len).map(|_| combine(a, b)).collect(),
    }
}

/// `test(a, b)` row by row as bits, with a loop of its own for each of the four shapes.
#[inline]
pub(crate) fn pack_with<A: Copy, B: Copy>(
    a: Operand<'_, A>,
    b: Operand<'_, B>,
    len: usize,
    test: impl Fn(A, B) -> bool,
) -> BooleanBuffer {
    match (a, b) {
        (Operand::Slice(a), Operand::Slice(b)) => {
            let (a, b) = (&a[..len], &b[..len]);
            pack_bits(len, |i| test(a[i], b[i]))
        }
        (Operand::Slice(a), Operand::Constant(b)) => {
            let a = &a[..len];
            pack_bits(len, |i| test(a[i], b))
        }
        (Operand::Constant(a), Operand::Slice(b)) => {
            let b = &b[..len];
            pack_bits(len, |i| test(a, b[i]))
        }
        (Operand::Constant(a), Operand::Constant(b)) => {
            if test(a, b) {
                BooleanBuffer::new_set(len)
            } else {
                BooleanBuffer::new_unset(len)
            }
        }
    }
}
