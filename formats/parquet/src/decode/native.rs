//! Native values to Arrow arrays, and bytes of the file to native values.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit};

/// A value as it lies in an array of some type.
pub(crate) trait Native: Copy + Default + Send + Sync + 'static {
    /// The array of these values; `None` if arrays of the type hold something else.
    fn array(data_type: &DataType, values: Vec<Self>, nulls: Option<NullBuffer>) -> Option<ArrayRef>;
}

macro_rules! native {
    ($native:ty, $($pattern:pat => $type:ty),+ $(,)?) => {
        impl Native for $native {
            fn array(data_type: &DataType, values: Vec<Self>, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
                match data_type {
                    $($pattern => Some(Arc::new(
                        PrimitiveArray::<$type>::new(values.into(), nulls).with_data_type(data_type.clone()),
                    ) as ArrayRef),)+
                    _ => None,
                }
            }
        }
    };
}

native!(i8, DataType::Int8 => Int8Type);
native!(i16, DataType::Int16 => Int16Type);
native!(i32, DataType::Int32 => Int32Type, DataType::Date32 => Date32Type,
    DataType::Time32(TimeUnit::Second) => Time32SecondType,
    DataType::Time32(TimeUnit::Millisecond) => Time32MillisecondType);
native!(i64, DataType::Int64 => Int64Type, DataType::Decimal64(_, _) => Decimal64Type,
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
native!(i128, DataType::Decimal128(_, _) => Decimal128Type);
native!(u8, DataType::UInt8 => UInt8Type);
native!(u16, DataType::UInt16 => UInt16Type);
native!(u32, DataType::UInt32 => UInt32Type);
native!(u64, DataType::UInt64 => UInt64Type);
native!(f32, DataType::Float32 => Float32Type);
native!(f64, DataType::Float64 => Float64Type);

impl Native for bool {
    fn array(data_type: &DataType, values: Vec<Self>, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
        (*data_type == DataType::Boolean).then(|| {
            let bits = BooleanBuffer::collect_bool(values.len(), |row| values[row]);
            Arc::new(BooleanArray::new(bits, nulls)) as ArrayRef
        })
    }
}

/// How a value of fixed width is stored.
pub(crate) trait Stored<N>: Copy + Send + 'static {
    /// Bytes of a value.
    fn width(self) -> usize;

    /// The value of these `width` bytes.
    fn value(self, bytes: &[u8]) -> N;
}

/// Little-endian, as INT32, INT64, FLOAT and DOUBLE are.
#[derive(Clone, Copy)]
pub(crate) struct Int32;
#[derive(Clone, Copy)]
pub(crate) struct Int64;
#[derive(Clone, Copy)]
pub(crate) struct Float;
#[derive(Clone, Copy)]
pub(crate) struct Double;
/// Big-endian two's complement of so many bytes, as decimals in FIXED_LEN_BYTE_ARRAY are.
#[derive(Clone, Copy)]
pub(crate) struct BigEndian(pub(crate) usize);

macro_rules! stored {
    ($stored:ty, $raw:ty => $($native:ty),+) => {
        $(impl Stored<$native> for $stored {
            #[inline(always)]
            fn width(self) -> usize {
                size_of::<$raw>()
            }

            #[inline(always)]
            fn value(self, bytes: &[u8]) -> $native {
                // Small types are stored in wider ones; what does not fit is cut off, as other readers do.
                <$raw>::from_le_bytes(bytes.try_into().expect("the width of the type")) as $native
            }
        })+
    };
}

stored!(Int32, i32 => i8, i16, i32, i64, i128, u8, u16, u32);
stored!(Int64, i64 => i64, i128, u64);
stored!(Float, f32 => f32);
stored!(Double, f64 => f64);

impl Stored<i64> for BigEndian {
    #[inline(always)]
    fn width(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn value(self, bytes: &[u8]) -> i64 {
        Stored::<i128>::value(self, bytes) as i64
    }
}

impl Stored<i128> for BigEndian {
    #[inline(always)]
    fn width(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn value(self, bytes: &[u8]) -> i128 {
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
        let mut wide = [sign; 16];
        wide[16 - bytes.len()..].copy_from_slice(bytes);
        i128::from_be_bytes(wide)
    }
}

/// Booleans have no bytes of their own.
impl Stored<bool> for Int32 {
    fn width(self) -> usize {
        1
    }

    fn value(self, bytes: &[u8]) -> bool {
        bytes[0] != 0
    }
}
