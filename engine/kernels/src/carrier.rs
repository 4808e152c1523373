//! An array's physical form, looked at once per column so that inner loops are compiled for it.
//!
//! Many Arrow types lie in memory alike: a timestamp is an `i64`, a `Decimal64` too. Kernels that do not care what
//! values mean match on [`Carrier`] and need twenty arms instead of fifty.
//!
//! Dictionaries and run-end columns are both "values and a position for each row" ([`Indexed`]).

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType, RunEndIndexType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer, ScalarBuffer,
    ToByteSlice,
};
use arrow_schema::{DataType, IntervalUnit, TimeUnit};

/// The values of an array as they lie in memory. Nulls are not part of it.
pub(crate) enum Carrier<'a> {
    /// Only nulls.
    Null,
    /// Bits.
    Boolean(&'a BooleanBuffer),
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
    YearMonth(&'a [i32]),
    DayTime(&'a [IntervalDayTime]),
    MonthDayNano(&'a [IntervalMonthDayNano]),
    /// `Utf8`, `Binary`.
    Bytes(Offsets<'a, i32>),
    /// `LargeUtf8`, `LargeBinary`.
    LargeBytes(Offsets<'a, i64>),
    /// `Utf8View`, `BinaryView`.
    Views(Views<'a>),
    FixedBytes(FixedBytes<'a>),
    /// Dictionaries and run-end columns.
    Indexed(Indexed<'a>),
    /// Lists, structs, maps, and whatever the engine does not compute with.
    Nested,
}

/// Byte strings by row.
pub(crate) trait ByteRows {
    /// The bytes of a row. The slot behind a null may be anything, but is readable.
    fn bytes(&self, row: usize) -> &[u8];
}

/// Byte strings one after the other.
pub(crate) struct Offsets<'a, O> {
    pub(crate) offsets: &'a [O],
    pub(crate) data: &'a [u8],
}

impl<O: ArrowNativeType> ByteRows for Offsets<'_, O> {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        &self.data[self.offsets[row].as_usize()..self.offsets[row + 1].as_usize()]
    }
}

/// Longest string that lies inside its view.
pub(crate) const VIEW_INLINE_BYTES: u32 = 12;

/// String views.
pub(crate) struct Views<'a> {
    pub(crate) views: &'a [u128],
    pub(crate) buffers: &'a [Buffer],
}

impl Views<'_> {
    /// The bytes of a view that is longer than [`VIEW_INLINE_BYTES`].
    #[inline(always)]
    pub(crate) fn outside(&self, view: u128) -> &[u8] {
        let (len, buffer, offset) = (view as u32 as usize, (view >> 64) as u32 as usize, (view >> 96) as u32 as usize);
        &self.buffers[buffer][offset..offset + len]
    }
}

impl ByteRows for Views<'_> {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        let len = self.views[row] as u32;
        if len <= VIEW_INLINE_BYTES {
            // The bytes inside the view itself, so no copy is needed.
            &bytes_of_view(&self.views[row])[4..4 + len as usize]
        } else {
            self.outside(self.views[row])
        }
    }
}

/// A view's sixteen bytes in memory order.
#[inline(always)]
fn bytes_of_view(view: &u128) -> &[u8] {
    view.to_byte_slice()
}

/// Byte strings of one width.
pub(crate) struct FixedBytes<'a> {
    pub(crate) width: usize,
    pub(crate) data: &'a [u8],
}

impl ByteRows for FixedBytes<'_> {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        &self.data[row * self.width..(row + 1) * self.width]
    }
}

/// Values and which of them each row has.
pub(crate) struct Indexed<'a> {
    /// The values; of a run-end column all of them, also when the column is a slice.
    pub(crate) values: &'a ArrayRef,
    /// Position in `values` by row. Behind a null it may be out of range.
    pub(crate) positions: ScalarBuffer<u32>,
    /// Rows that are null whatever the values say.
    pub(crate) nulls: Option<&'a NullBuffer>,
}

/// The array's physical form.
pub(crate) fn carrier(array: &dyn Array) -> Carrier<'_> {
    fn native<T: ArrowPrimitiveType>(array: &dyn Array) -> &[T::Native] {
        array.as_primitive::<T>().values()
    }
    match array.data_type() {
        DataType::Null => Carrier::Null,
        DataType::Boolean => Carrier::Boolean(array.as_boolean().values()),
        DataType::Int8 => Carrier::I8(native::<Int8Type>(array)),
        DataType::Int16 => Carrier::I16(native::<Int16Type>(array)),
        DataType::Int32 => Carrier::I32(native::<Int32Type>(array)),
        DataType::Int64 => Carrier::I64(native::<Int64Type>(array)),
        DataType::UInt8 => Carrier::U8(native::<UInt8Type>(array)),
        DataType::UInt16 => Carrier::U16(native::<UInt16Type>(array)),
        DataType::UInt32 => Carrier::U32(native::<UInt32Type>(array)),
        DataType::UInt64 => Carrier::U64(native::<UInt64Type>(array)),
        DataType::Float32 => Carrier::F32(native::<Float32Type>(array)),
        DataType::Float64 => Carrier::F64(native::<Float64Type>(array)),
        DataType::Decimal32(..) => Carrier::I32(native::<Decimal32Type>(array)),
        DataType::Decimal64(..) => Carrier::I64(native::<Decimal64Type>(array)),
        DataType::Decimal128(..) => Carrier::I128(native::<Decimal128Type>(array)),
        DataType::Date32 => Carrier::I32(native::<Date32Type>(array)),
        DataType::Date64 => Carrier::I64(native::<Date64Type>(array)),
        DataType::Time32(TimeUnit::Second) => Carrier::I32(native::<Time32SecondType>(array)),
        DataType::Time32(_) => Carrier::I32(native::<Time32MillisecondType>(array)),
        DataType::Time64(TimeUnit::Microsecond) => Carrier::I64(native::<Time64MicrosecondType>(array)),
        DataType::Time64(_) => Carrier::I64(native::<Time64NanosecondType>(array)),
        DataType::Timestamp(unit, _) => Carrier::I64(match unit {
            TimeUnit::Second => native::<TimestampSecondType>(array),
            TimeUnit::Millisecond => native::<TimestampMillisecondType>(array),
            TimeUnit::Microsecond => native::<TimestampMicrosecondType>(array),
            TimeUnit::Nanosecond => native::<TimestampNanosecondType>(array),
        }),
        DataType::Duration(unit) => Carrier::I64(match unit {
            TimeUnit::Second => native::<DurationSecondType>(array),
            TimeUnit::Millisecond => native::<DurationMillisecondType>(array),
            TimeUnit::Microsecond => native::<DurationMicrosecondType>(array),
            TimeUnit::Nanosecond => native::<DurationNanosecondType>(array),
        }),
        DataType::Interval(unit) => match unit {
            IntervalUnit::YearMonth => Carrier::YearMonth(native::<IntervalYearMonthType>(array)),
            IntervalUnit::DayTime => Carrier::DayTime(native::<IntervalDayTimeType>(array)),
            IntervalUnit::MonthDayNano => Carrier::MonthDayNano(native::<IntervalMonthDayNanoType>(array)),
        },
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Carrier::Bytes(Offsets { offsets: array.value_offsets(), data: array.value_data() })
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Carrier::Bytes(Offsets { offsets: array.value_offsets(), data: array.value_data() })
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Carrier::LargeBytes(Offsets { offsets: array.value_offsets(), data: array.value_data() })
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            Carrier::LargeBytes(Offsets { offsets: array.value_offsets(), data: array.value_data() })
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Carrier::Views(Views { views: array.views(), buffers: array.data_buffers() })
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Carrier::Views(Views { views: array.views(), buffers: array.data_buffers() })
        }
        DataType::FixedSizeBinary(width) => {
            let data = array.as_fixed_size_binary().value_data();
            Carrier::FixedBytes(FixedBytes { width: width.as_usize(), data })
        }
        DataType::Dictionary(key, _) => {
            let dictionary = array.as_any_dictionary();
            let keys = dictionary.keys();
            let positions = match key.as_ref() {
                DataType::Int8 => narrow(native::<Int8Type>(keys)),
                DataType::Int16 => narrow(native::<Int16Type>(keys)),
                DataType::Int32 => {
                    // The same bytes: keys are never negative, and what lies behind a null is not looked at.
                    let keys = keys.as_primitive::<Int32Type>().values();
                    ScalarBuffer::new(keys.inner().clone(), 0, keys.len())
                }
                DataType::Int64 => narrow(native::<Int64Type>(keys)),
                DataType::UInt8 => narrow(native::<UInt8Type>(keys)),
                DataType::UInt16 => narrow(native::<UInt16Type>(keys)),
                DataType::UInt32 => keys.as_primitive::<UInt32Type>().values().clone(),
                _ => narrow(native::<UInt64Type>(keys)),
            };
            Carrier::Indexed(Indexed { values: dictionary.values(), positions, nulls: keys.nulls() })
        }
        DataType::RunEndEncoded(ends, _) => match ends.data_type() {
            DataType::Int16 => runs::<Int16Type>(array),
            DataType::Int32 => runs::<Int32Type>(array),
            _ => runs::<Int64Type>(array),
        },
        _ => Carrier::Nested,
    }
}

/// Keys as positions. What does not fit can only lie behind a null, where it is not looked at.
fn narrow<T: ArrowNativeType>(keys: &[T]) -> ScalarBuffer<u32> {
    keys.iter().map(|key| key.as_usize() as u32).collect()
}

fn runs<R: RunEndIndexType>(array: &dyn Array) -> Carrier<'_> {
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
    Carrier::Indexed(Indexed { values: array.values(), positions: positions.into(), nulls: None })
}
