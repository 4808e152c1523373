//! Reading columns of any encoding by physical row: the lanes of an array, and which of them a row has.
//!
//! State takes values in whatever encoding they arrive and keeps one. A column is looked at once per batch: its flat
//! values ([`Lanes`]), the position of each row among them ([`Index`]), and its nulls.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, IntervalMonthDayNano, NullBuffer, ToByteSlice};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use flumen_core::batch::Column;

use crate::error::{Result, StateError};

/// Where a row's value lies among the lanes.
pub(crate) enum Index<'a> {
    /// At the row.
    Row,
    /// All rows have this one.
    Constant(usize),
    /// By row; behind a null it may be out of range.
    Positions(Cow<'a, [u32]>),
}

/// Flat values as they lie in memory; several types lie alike.
pub(crate) enum Lanes<'a> {
    Null,
    Bool(&'a BooleanBuffer),
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
    Interval(&'a [IntervalMonthDayNano]),
    Bytes(ByteLanes<'a>),
    /// Nested values, of which only whether they are NULL can be asked.
    Opaque,
}

/// Byte strings.
pub(crate) enum ByteLanes<'a> {
    Small(&'a [i32], &'a [u8]),
    Large(&'a [i64], &'a [u8]),
    Views(&'a [u128], &'a [Buffer]),
    Fixed(usize, &'a [u8]),
}

impl<'a> ByteLanes<'a> {
    /// The bytes at a position.
    #[inline]
    pub(crate) fn get(&self, position: usize) -> &[u8] {
        match self {
            Self::Small(offsets, data) => &data[offsets[position] as usize..offsets[position + 1] as usize],
            Self::Large(offsets, data) => &data[offsets[position] as usize..offsets[position + 1] as usize],
            Self::Views(views, buffers) => {
                let view = &views[position];
                let length = *view as u32 as usize;
                if length <= crate::pages::VIEW_INLINE_BYTES {
                    return inline_bytes(view, length);
                }
                let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as u32 as usize);
                &buffers[buffer][offset..offset + length]
            }
            Self::Fixed(width, data) => &data[position * width..(position + 1) * width],
        }
    }
}

/// The bytes inside a short view. Views are little-endian in memory, as is every machine Arrow's native layout is for.
#[inline]
fn inline_bytes(view: &u128, length: usize) -> &[u8] {
    &view.to_byte_slice()[4..4 + length]
}

/// A column, ready to be read by physical row.
pub(crate) struct ColumnView<'a> {
    pub(crate) lanes: Lanes<'a>,
    pub(crate) index: Index<'a>,
    /// By physical row; of one row for a constant. `None` if there are no nulls.
    pub(crate) nulls: Option<NullBuffer>,
}

impl<'a> ColumnView<'a> {
    /// Looks at a column.
    ///
    /// # Errors
    /// If state does not take its type.
    pub(crate) fn new(column: &'a Column) -> Result<Self> {
        let array = column.array();
        let nulls = array.logical_nulls().filter(|n| n.null_count() > 0);
        let (values, index) = flat(array);
        let lanes = lanes(values)?;
        let index = match (column, index) {
            (Column::Constant(_), Index::Positions(positions)) => Index::Constant(positions[0] as usize),
            (Column::Constant(_), _) => Index::Constant(0),
            (Column::Array(_), index) => index,
        };
        Ok(Self { lanes, index, nulls })
    }

    /// Whether the value of a physical row is NULL.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match (&self.nulls, &self.index) {
            (None, _) => false,
            (Some(nulls), Index::Constant(_)) => nulls.is_null(0),
            (Some(nulls), _) => nulls.is_null(row),
        }
    }

    /// Where the row's value lies among the lanes.
    #[inline]
    pub(crate) fn position(&self, row: usize) -> usize {
        match &self.index {
            Index::Row => row,
            Index::Constant(position) => *position,
            Index::Positions(positions) => positions[row] as usize,
        }
    }
}

/// The flat values of an array, and where its rows lie among them.
fn flat(array: &ArrayRef) -> (&ArrayRef, Index<'_>) {
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let keys = dictionary.keys();
            let positions = match keys.data_type() {
                DataType::UInt32 => Cow::Borrowed(keys.as_primitive::<UInt32Type>().values().as_ref()),
                DataType::UInt8 => narrow(keys.as_primitive::<UInt8Type>().values()),
                DataType::UInt16 => narrow(keys.as_primitive::<UInt16Type>().values()),
                DataType::UInt64 => narrow(keys.as_primitive::<UInt64Type>().values()),
                DataType::Int8 => narrow(keys.as_primitive::<Int8Type>().values()),
                DataType::Int16 => narrow(keys.as_primitive::<Int16Type>().values()),
                DataType::Int32 => narrow(keys.as_primitive::<Int32Type>().values()),
                _ => narrow(keys.as_primitive::<Int64Type>().values()),
            };
            (dictionary.values(), Index::Positions(positions))
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array),
            DataType::Int32 => runs::<Int32Type>(array),
            _ => runs::<Int64Type>(array),
        },
        _ => (array, Index::Row),
    }
}

/// Keys as positions; one that does not fit can only lie behind a null, where it is not looked at.
fn narrow<T: ArrowNativeType>(keys: &[T]) -> Cow<'_, [u32]> {
    Cow::Owned(keys.iter().map(|key| key.as_usize() as u32).collect())
}

fn runs<R: RunEndIndexType>(array: &ArrayRef) -> (&ArrayRef, Index<'_>) {
    let array = array.as_run::<R>();
    let ends = array.run_ends();
    let mut positions = Vec::with_capacity(ends.len());
    let first = if ends.is_empty() { 0 } else { ends.get_start_physical_index() };
    for (run, end) in ends.values().iter().enumerate().skip(first) {
        let end = (end.as_usize() - ends.offset()).min(ends.len());
        positions.resize(end, run as u32);
        if end == ends.len() {
            break;
        }
    }
    (array.values(), Index::Positions(Cow::Owned(positions)))
}

fn lanes(array: &ArrayRef) -> Result<Lanes<'_>> {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef) -> &[T::Native] {
        array.as_primitive::<T>().values()
    }
    Ok(match array.data_type() {
        DataType::Null => Lanes::Null,
        DataType::Boolean => Lanes::Bool(array.as_boolean().values()),
        DataType::Int8 => Lanes::I8(of::<Int8Type>(array)),
        DataType::Int16 => Lanes::I16(of::<Int16Type>(array)),
        DataType::Int32 => Lanes::I32(of::<Int32Type>(array)),
        DataType::Int64 => Lanes::I64(of::<Int64Type>(array)),
        DataType::UInt8 => Lanes::U8(of::<UInt8Type>(array)),
        DataType::UInt16 => Lanes::U16(of::<UInt16Type>(array)),
        DataType::UInt32 => Lanes::U32(of::<UInt32Type>(array)),
        DataType::UInt64 => Lanes::U64(of::<UInt64Type>(array)),
        DataType::Float32 => Lanes::F32(of::<Float32Type>(array)),
        DataType::Float64 => Lanes::F64(of::<Float64Type>(array)),
        DataType::Decimal32(..) => Lanes::I32(of::<Decimal32Type>(array)),
        DataType::Decimal64(..) => Lanes::I64(of::<Decimal64Type>(array)),
        DataType::Decimal128(..) => Lanes::I128(of::<Decimal128Type>(array)),
        DataType::Date32 => Lanes::I32(of::<Date32Type>(array)),
        DataType::Time32(TimeUnit::Second) => Lanes::I32(of::<Time32SecondType>(array)),
        DataType::Time32(_) => Lanes::I32(of::<Time32MillisecondType>(array)),
        DataType::Time64(TimeUnit::Microsecond) => Lanes::I64(of::<Time64MicrosecondType>(array)),
        DataType::Time64(_) => Lanes::I64(of::<Time64NanosecondType>(array)),
        DataType::Timestamp(TimeUnit::Second, _) => Lanes::I64(of::<TimestampSecondType>(array)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Lanes::I64(of::<TimestampMillisecondType>(array)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Lanes::I64(of::<TimestampMicrosecondType>(array)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Lanes::I64(of::<TimestampNanosecondType>(array)),
        DataType::Duration(TimeUnit::Second) => Lanes::I64(of::<DurationSecondType>(array)),
        DataType::Duration(TimeUnit::Millisecond) => Lanes::I64(of::<DurationMillisecondType>(array)),
        DataType::Duration(TimeUnit::Microsecond) => Lanes::I64(of::<DurationMicrosecondType>(array)),
        DataType::Duration(TimeUnit::Nanosecond) => Lanes::I64(of::<DurationNanosecondType>(array)),
        DataType::Interval(IntervalUnit::MonthDayNano) => Lanes::Interval(of::<IntervalMonthDayNanoType>(array)),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Lanes::Bytes(ByteLanes::Small(array.value_offsets(), array.value_data()))
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Lanes::Bytes(ByteLanes::Small(array.value_offsets(), array.value_data()))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Lanes::Bytes(ByteLanes::Large(array.value_offsets(), array.value_data()))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            Lanes::Bytes(ByteLanes::Large(array.value_offsets(), array.value_data()))
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Lanes::Bytes(ByteLanes::Views(array.views(), array.data_buffers()))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Lanes::Bytes(ByteLanes::Views(array.views(), array.data_buffers()))
        }
        DataType::FixedSizeBinary(width) => {
            let data = array.as_fixed_size_binary().value_data();
            Lanes::Bytes(ByteLanes::Fixed(*width as usize, data))
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..) => Lanes::Opaque,
        other => {
            return Err(StateError::ColumnType {
                what: "a column of keyed state".into(),
                found: other.to_string(),
                expected: "a simple type".into(),
            });
        }
    })
}

/// An array of a fixed-width type over raw values.
pub(crate) fn fixed_array<T: ArrowNativeType>(
    data_type: DataType,
    values: Vec<T>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let data = arrow_data::ArrayData::builder(data_type)
        .len(values.len())
        .add_buffer(Buffer::from_vec(values))
        .nulls(nulls)
        .build()
        .expect("one value of the type's width for each row");
    arrow_array::make_array(data)
}

/// `f64` bits that are equal for equal values: one zero, one NaN.
#[inline]
pub(crate) fn canonical_f64(value: f64) -> f64 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    }
}

/// As [`canonical_f64`].
#[inline]
pub(crate) fn canonical_f32(value: f32) -> f32 {
    if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f32::NAN
    } else {
        value
    }
}
