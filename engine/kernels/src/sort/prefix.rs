//! Normalized key prefixes: 128 bits whose unsigned order is the keys' order.
//!
//! From the top, for each key: one bit for NULL if the column may have any, then the value as an unsigned number of its
//! width (sign bit flipped, floats by the usual trick with `-0.0` as `0.0` and NaN on top), inverted for descending
//! keys. A string gives its first bytes, as many as there is room for, and ends the prefix; a nested value does the same
//! with the bytes of `nested`. A decimal of more than 18
//! digits gives 64 bits, clamped, and ends it too: what is clamped is undecided, and no later key may decide it.

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use flumen_core::batch::Column;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::{DECIMAL64_PRECISION_MAX, LogicalType, Resolution};

use crate::carrier::{ByteRows, Carrier, carrier};
use crate::error::KernelError;
use crate::gather::flatten;
use crate::nested::order_bytes;

const PREFIX_BITS: u32 = 128;

/// Which bits of the prefix hold which key.
#[derive(Clone, Debug)]
pub struct PrefixLayout {
    slots: Vec<Slot>,
    /// Every key fits whole, but for decimals that are clamped.
    fits: bool,
    /// The last key is a decimal of more digits than 64 bits hold.
    may_clamp: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    column: usize,
    descending: bool,
    nulls_first: bool,
    /// Bits above this slot.
    above: u32,
    has_null_bit: bool,
    /// Bits of the whole value, and how many of them are kept.
    value_bits: u32,
    kept_bits: u32,
}

/// Prefixes by physical row.
#[derive(Clone, Debug)]
pub struct Prefixes {
    /// One for each row.
    pub values: Vec<u128>,
    /// Rows with equal prefixes have equal keys.
    pub is_exact: bool,
}

/// Bits of a fixed-width key; `None` for strings and nested values.
fn value_bits(logical: &LogicalType) -> Result<Option<u32>, KernelError> {
    Ok(Some(match logical {
        LogicalType::Null => 0,
        LogicalType::Boolean => 1,
        LogicalType::Int8 | LogicalType::UInt8 => 8,
        LogicalType::Int16 | LogicalType::UInt16 => 16,
        LogicalType::Int32 | LogicalType::UInt32 | LogicalType::Float32 | LogicalType::Date => 32,
        LogicalType::Time(Resolution::Second | Resolution::Millisecond) => 32,
        LogicalType::Int64
        | LogicalType::UInt64
        | LogicalType::Float64
        | LogicalType::Decimal { .. }
        | LogicalType::Time(_)
        | LogicalType::Timestamp { .. }
        | LogicalType::Duration(_) => 64,
        LogicalType::Utf8 | LogicalType::Binary => return Ok(None),
        nested if nested.is_nested() => return Ok(None),
        other => return Err(KernelError::NotOrdered { data_type: other.arrow_type(), source: None }),
    }))
}

impl PrefixLayout {
    /// The layout for columns of these types. `may_be_null` says whether a key's column gets a NULL bit; without it
    /// there must be no NULL.
    ///
    /// # Panics
    /// If a key names a column that is not there.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for a type without order.
    pub fn new(
        types: &[LogicalType],
        keys: &[SortKey],
        may_be_null: impl Fn(&SortKey) -> bool,
    ) -> Result<Self, KernelError> {
        let mut layout = Self { slots: Vec::with_capacity(keys.len()), fits: true, may_clamp: false };
        let mut above = 0;
        for key in keys {
            let bits = value_bits(&types[key.column])?;
            // After a value that is not whole, the next key would decide what is undecided.
            if above == PREFIX_BITS || !layout.fits || layout.may_clamp {
                layout.fits = false;
                continue;
            }
            let has_null_bit = may_be_null(key);
            let room = PREFIX_BITS - above - u32::from(has_null_bit);
            let value_bits = bits.unwrap_or(PREFIX_BITS);
            let kept_bits = value_bits.min(room);
            layout.fits = bits.is_some() && kept_bits == value_bits;
            layout.may_clamp = matches!(types[key.column], LogicalType::Decimal { precision, .. }
                if precision > DECIMAL64_PRECISION_MAX);
            let SortKey { column, descending, nulls_first } = *key;
            layout.slots.push(Slot { column, descending, nulls_first, above, has_null_bit, value_bits, kept_bits });
            above += u32::from(has_null_bit) + kept_bits;
        }
        Ok(layout)
    }

    /// Whether prefixes are exact whatever the data.
    #[must_use]
    pub fn is_always_exact(&self) -> bool {
        self.fits && !self.may_clamp
    }

    /// The prefixes of rows `0..rows`.
    ///
    /// # Panics
    /// If a column is missing or has fewer rows.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] if an array is not of its column's type.
    pub fn encode(&self, columns: &[&Column], rows: usize) -> Result<Prefixes, KernelError> {
        let mut prefixes = Prefixes { values: vec![0; rows], is_exact: self.fits };
        for slot in &self.slots {
            match columns[slot.column] {
                Column::Array(array) => slot.encode(&simple(array)?, &mut prefixes)?,
                Column::Constant(value) => {
                    let mut one = Prefixes { values: vec![0], is_exact: prefixes.is_exact };
                    slot.encode(&simple(value)?, &mut one)?;
                    prefixes.is_exact = one.is_exact;
                    prefixes.values.iter_mut().for_each(|prefix| *prefix |= one.values[0]);
                }
            }
        }
        Ok(prefixes)
    }
}

/// The array flat, and nested values as bytes.
fn simple(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let array = flatten(array)?;
    if array.data_type().is_nested() { order_bytes(&array) } else { Ok(array) }
}

const SIGN_64: u64 = 1 << 63;

fn ordered_f64(value: f64) -> u64 {
    let bits = if value.is_nan() { f64::NAN.abs().to_bits() } else { (value + 0.0).to_bits() };
    bits ^ ((bits as i64 >> 63) as u64 | SIGN_64)
}

fn ordered_f32(value: f32) -> u64 {
    let bits = if value.is_nan() { f32::NAN.abs().to_bits() } else { (value + 0.0).to_bits() };
    u64::from(bits ^ ((bits as i32 >> 31) as u32 | 1 << 31))
}

impl Slot {
    fn encode(&self, array: &dyn Array, out: &mut Prefixes) -> Result<(), KernelError> {
        let rows = &mut out.values;
        let signed = |value: i64| (value as u64 ^ SIGN_64) >> (64 - self.value_bits);
        let small = |value: i64| (value as u64) ^ 1 << (self.value_bits - 1);
        let mask = (1u64 << (self.value_bits % 64)).wrapping_sub(1);
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        match carrier(array) {
            Carrier::Null => self.put(rows, Some(&NullBuffer::new_null(array.len())), |_| 0),
            Carrier::Boolean(bits) => self.put(rows, nulls, |row| u64::from(bits.value(row))),
            Carrier::I8(v) => self.put(rows, nulls, |row| small(i64::from(v[row])) & mask),
            Carrier::I16(v) => self.put(rows, nulls, |row| small(i64::from(v[row])) & mask),
            Carrier::I32(v) if self.value_bits == 32 => self.put(rows, nulls, |row| small(i64::from(v[row])) & mask),
            // A small decimal in 32 bits.
            Carrier::I32(v) => self.put(rows, nulls, |row| signed(i64::from(v[row]))),
            Carrier::I64(v) => self.put(rows, nulls, |row| v[row] as u64 ^ SIGN_64),
            Carrier::I128(v) => {
                let clamp = |value: i128| value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
                out.is_exact &= v.iter().all(|value| i128::from(clamp(*value)) == *value);
                self.put(rows, nulls, |row| clamp(v[row]) as u64 ^ SIGN_64);
            }
            Carrier::U8(v) => self.put(rows, nulls, |row| u64::from(v[row])),
            Carrier::U16(v) => self.put(rows, nulls, |row| u64::from(v[row])),
            Carrier::U32(v) => self.put(rows, nulls, |row| u64::from(v[row])),
            Carrier::U64(v) => self.put(rows, nulls, |row| v[row]),
            Carrier::F32(v) => self.put(rows, nulls, |row| ordered_f32(v[row])),
            Carrier::F64(v) => self.put(rows, nulls, |row| ordered_f64(v[row])),
            Carrier::Bytes(bytes) => self.put_bytes(rows, nulls, &bytes),
            Carrier::LargeBytes(bytes) => self.put_bytes(rows, nulls, &bytes),
            Carrier::FixedBytes(bytes) => self.put_bytes(rows, nulls, &bytes),
            Carrier::Views(bytes) => self.put_bytes(rows, nulls, &bytes),
            _ => return Err(KernelError::NotOrdered { data_type: array.data_type().clone(), source: None }),
        }
        Ok(())
    }

    /// A value of `value_bits` to its place.
    #[inline(always)]
    fn put(&self, rows: &mut [u128], nulls: Option<&NullBuffer>, value: impl Fn(usize) -> u64) {
        let dropped = self.value_bits - self.kept_bits;
        self.put_bits(rows, nulls, |row| u128::from(value(row)) >> dropped);
    }

    fn put_bytes(&self, rows: &mut [u128], nulls: Option<&NullBuffer>, bytes: &impl ByteRows) {
        let dropped = PREFIX_BITS - self.kept_bits;
        self.put_bits(rows, nulls, |row| {
            let bytes = bytes.bytes(row);
            let mut first = [0; 16];
            let len = bytes.len().min(16);
            first[..len].copy_from_slice(&bytes[..len]);
            u128::from_be_bytes(first).checked_shr(dropped).unwrap_or(0)
        });
    }

    /// `kept_bits` of a value to their place, with the NULL bit above.
    #[inline(always)]
    fn put_bits(&self, rows: &mut [u128], nulls: Option<&NullBuffer>, value: impl Fn(usize) -> u128) {
        let place = PREFIX_BITS - self.above - u32::from(self.has_null_bit) - self.kept_bits;
        let all_ones = u128::MAX.checked_shr(PREFIX_BITS - self.kept_bits).unwrap_or(0);
        let flip = if self.descending { all_ones } else { 0 };
        let shl = |bits: u128, by: u32| bits.checked_shl(by).unwrap_or(0);
        let (null, valid) = match (self.has_null_bit, self.nulls_first) {
            (false, _) => (0, 0),
            (true, true) => (0, shl(1, place + self.kept_bits)),
            (true, false) => (shl(1, place + self.kept_bits), 0),
        };
        let of = |row: usize| valid | shl(value(row) ^ flip, place);
        match nulls {
            None => rows.iter_mut().enumerate().for_each(|(row, prefix)| *prefix |= of(row)),
            Some(nulls) => rows
                .iter_mut()
                .enumerate()
                .for_each(|(row, prefix)| *prefix |= if nulls.is_valid(row) { of(row) } else { null }),
        }
    }
}
