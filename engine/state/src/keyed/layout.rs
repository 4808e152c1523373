//! How a key becomes words: the layout of key rows, and encoding columns into them.
//!
//! A key row is a fixed number of 64-bit words. Small fixed-width columns share words, 64-bit columns have one, 128-bit
//! columns two, strings two (a view, see [`crate::pages`]). Words of equal keys are equal: decimals are widened to
//! their type's own width whatever carried them, floats have one zero and one NaN, nested values are the strings that
//! [`NestedKeys`] makes of them, a NULL is all zeros and a bit in a
//! mask that is stored only once a NULL was seen. Rows rather than columns, because comparing a key after a random
//! probe then costs one cache line instead of one for each column; everything that is not compared stays columnar.

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, NullArray};
use arrow_array::{BinaryViewArray, BooleanArray, StringViewArray};
use arrow_buffer::{BooleanBuffer, Buffer, IntervalMonthDayNano, NullBuffer, ScalarBuffer};
use flumen_core::batch::Column;
use flumen_core::types::{Field, LogicalType};
use flumen_kernels::KernelError;
use flumen_kernels::nested::NestedKeys;
use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{Result, StateError};
use crate::pages::{VIEW_INLINE_BYTES, view_length, view_words};
use crate::values::{ByteLanes, ColumnView, Index, Lanes, canonical_f32, canonical_f64, fixed_array};

/// Where a key column lies in the words of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Always NULL.
    Nothing,
    /// Some bits of one word.
    Bits { word: usize, shift: u32, bits: u32 },
    /// 128 bits in two words, low first.
    Wide { word: usize },
    /// A string's view in two words, low first.
    View { word: usize },
}

/// The key columns and their places.
pub(crate) struct KeyLayout {
    pub(crate) fields: Vec<Field>,
    pub(crate) places: Vec<Place>,
    /// Words of a row.
    pub(crate) words: usize,
    /// Words that are compared as they are.
    pub(crate) plain_words: Vec<usize>,
    /// Columns that are strings, with their word.
    pub(crate) views: Vec<(usize, usize)>,
    /// For each column whose values are nested, what makes strings of them.
    nested: Vec<Option<NestedKeys>>,
}

impl KeyLayout {
    pub(crate) fn new(fields: Vec<Field>) -> Result<Self> {
        let mut places = Vec::with_capacity(fields.len());
        let mut words = 0;
        // Words with room: (word, bits used).
        let mut partial: Vec<(usize, u32)> = Vec::new();
        let mut views = Vec::new();
        let mut nested = Vec::with_capacity(fields.len());
        for (column, field) in fields.iter().enumerate() {
            let refused = || StateError::KeyType { column, data_type: field.data_type.to_string() };
            let is_nested = field.data_type.is_nested();
            nested.push(if is_nested { Some(NestedKeys::new(&field.data_type).map_err(|_| refused())?) } else { None });
            let place = match (&field.data_type, field.data_type.fixed_width()) {
                (LogicalType::Null, _) => Place::Nothing,
                (LogicalType::Utf8 | LogicalType::Binary, _) | (_, None) => {
                    views.push((column, words));
                    words += 2;
                    Place::View { word: words - 2 }
                }
                (_, Some(16)) => {
                    words += 2;
                    Place::Wide { word: words - 2 }
                }
                (_, Some(8)) => {
                    words += 1;
                    Place::Bits { word: words - 1, shift: 0, bits: 64 }
                }
                (_, Some(width)) => {
                    let bits = width as u32 * 8;
                    let room = partial.iter().position(|(_, used)| used + bits <= 64).unwrap_or_else(|| {
                        partial.push((words, 0));
                        words += 1;
                        partial.len() - 1
                    });
                    let (word, used) = &mut partial[room];
                    *used += bits;
                    Place::Bits { word: *word, shift: *used - bits, bits }
                }
            };
            places.push(place);
        }
        if fields.len() > 64 {
            return Err(StateError::KeyType { column: 64, data_type: "any (a key has at most 64 columns)".into() });
        }
        let is_view_word = |w: &usize| views.iter().any(|(_, word)| w == word || *w == word + 1);
        let plain_words = (0..words).filter(|w| !is_view_word(w)).collect();
        Ok(Self { fields, places, words: words.max(1), plain_words, views, nested })
    }

    /// The columns, with strings in the place of nested values.
    pub(crate) fn simple<'a>(&self, columns: &[&'a Column]) -> Result<Vec<Cow<'a, Column>>> {
        let simple = |(column, keys): (&&'a Column, &Option<NestedKeys>)| match keys {
            None => Ok(Cow::Borrowed(*column)),
            Some(keys) => as_strings(keys, column).map(Cow::Owned),
        };
        columns.iter().zip(&self.nested).map(simple).collect()
    }
}

/// The keys of some rows of a batch as words.
pub(crate) struct EncodedKeys<'a> {
    /// `words` for each row, row after row.
    pub(crate) words: Vec<u64>,
    /// One mask for each row, a bit for each NULL column; empty if there is no NULL.
    pub(crate) nulls: Vec<u64>,
    /// The strings of each view column, in the order of [`KeyLayout::views`].
    bytes: Vec<(&'a ByteLanes<'a>, &'a Index<'a>)>,
}

impl EncodedKeys<'_> {
    /// The bytes of a string column (by position among the views) of a physical row.
    #[inline]
    pub(crate) fn bytes(&self, view: usize, row: usize) -> &[u8] {
        let (lanes, index) = self.bytes[view];
        let position = match index {
            Index::Row => row,
            Index::Constant(position) => *position,
            Index::Positions(positions) => positions[row] as usize,
        };
        lanes.get(position)
    }

    #[inline]
    pub(crate) fn null_mask(&self, i: usize) -> u64 {
        if self.nulls.is_empty() { 0 } else { self.nulls[i] }
    }
}

/// Which physical rows are meant, in order.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// The first so many.
    All(usize),
    /// These.
    List(&'a [u32]),
}

impl Rows<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::All(rows) => rows,
            Self::List(rows) => rows.len(),
        }
    }

    /// The physical row of the i-th.
    #[inline]
    pub(crate) fn row(self, i: usize) -> usize {
        match self {
            Self::All(_) => i,
            Self::List(rows) => rows[i] as usize,
        }
    }
}

/// Calls `each(i, position)` for every row, compiled for each way of finding the position.
#[inline(always)]
fn for_each_position(rows: Rows<'_>, index: &Index<'_>, mut each: impl FnMut(usize, usize)) {
    match (rows, index) {
        (Rows::All(n), Index::Row) => (0..n).for_each(|i| each(i, i)),
        (Rows::All(n), Index::Constant(at)) => (0..n).for_each(|i| each(i, *at)),
        (Rows::All(n), Index::Positions(at)) => at[..n].iter().enumerate().for_each(|(i, p)| each(i, *p as usize)),
        (Rows::List(rows), Index::Row) => rows.iter().enumerate().for_each(|(i, r)| each(i, *r as usize)),
        (Rows::List(rows), Index::Constant(at)) => (0..rows.len()).for_each(|i| each(i, *at)),
        (Rows::List(rows), Index::Positions(at)) => {
            rows.iter().enumerate().for_each(|(i, r)| each(i, at[*r as usize] as usize));
        }
    }
}

impl KeyLayout {
    /// Encodes the key columns of `rows`. `words` and `nulls` are allocations to use again.
    pub(crate) fn encode<'a>(
        &self,
        columns: &'a [ColumnView<'a>],
        rows: Rows<'_>,
        mut words: Vec<u64>,
        mut nulls: Vec<u64>,
    ) -> Result<EncodedKeys<'a>> {
        words.clear();
        words.resize(rows.len() * self.words, 0);
        nulls.clear();
        let mut bytes = Vec::with_capacity(self.views.len());
        for (c, column) in columns.iter().enumerate() {
            match self.places[c] {
                Place::Nothing => {}
                Place::Bits { word, shift, bits } => {
                    let mask = u64::MAX >> (64 - bits);
                    self.encode_bits(c, column, rows, &mut words, |out, value| out[word] |= (value & mask) << shift)?;
                }
                Place::Wide { word } => self.encode_wide(c, column, rows, &mut words, word)?,
                Place::View { word } => {
                    let Lanes::Bytes(lanes) = &column.lanes else { return Err(self.mismatch(c, column)) };
                    bytes.push((lanes, &column.index));
                    self.encode_views(lanes, column, rows, &mut words, word);
                }
            }
            let all_null = matches!(column.lanes, Lanes::Null);
            if column.nulls.is_some() || all_null {
                self.clear_nulls(c, column, all_null, rows, &mut words, &mut nulls);
            }
        }
        Ok(EncodedKeys { words, nulls, bytes })
    }

    fn mismatch(&self, column: usize, view: &ColumnView<'_>) -> StateError {
        let found = match view.lanes {
            Lanes::Null => "Null",
            Lanes::Bool(_) => "Boolean",
            Lanes::Bytes(_) => "a string or binary type",
            Lanes::F32(_) | Lanes::F64(_) => "a floating-point type",
            Lanes::Interval(_) => "an interval",
            Lanes::Opaque => "a nested type",
            _ => "an integer type",
        };
        StateError::ColumnType {
            what: format!("key column {}", self.fields[column].name),
            found: found.into(),
            expected: self.fields[column].data_type.to_string(),
        }
    }

    #[inline(always)]
    fn encode_bits(
        &self,
        c: usize,
        column: &ColumnView<'_>,
        rows: Rows<'_>,
        words: &mut [u64],
        put: impl Fn(&mut [u64], u64),
    ) -> Result<()> {
        let stride = self.words;
        macro_rules! each {
            ($values:expr, |$value:ident| $bits:expr) => {{
                let values = $values;
                let null = column.nulls.is_some();
                for_each_position(rows, &column.index, |i, position| {
                    // Behind a null the position may be anything; its word is cleared afterwards.
                    let position = if null && position >= values.len() { 0 } else { position };
                    let Some($value) = values.get(position).copied() else { return };
                    put(&mut words[i * stride..(i + 1) * stride], $bits);
                })
            }};
        }
        match &column.lanes {
            Lanes::Null => {}
            Lanes::Bool(values) => for_each_position(rows, &column.index, |i, position| {
                if position < values.len() {
                    put(&mut words[i * stride..(i + 1) * stride], u64::from(values.value(position)));
                }
            }),
            Lanes::I8(values) => each!(values, |v| v as i64 as u64),
            Lanes::I16(values) => each!(values, |v| v as i64 as u64),
            Lanes::I32(values) => each!(values, |v| v as i64 as u64),
            Lanes::I64(values) => each!(values, |v| v as u64),
            // A narrow decimal that arrived in the wide carrier.
            Lanes::I128(values) => each!(values, |v| v as u64),
            Lanes::U8(values) => each!(values, |v| u64::from(v)),
            Lanes::U16(values) => each!(values, |v| u64::from(v)),
            Lanes::U32(values) => each!(values, |v| u64::from(v)),
            Lanes::U64(values) => each!(values, |v| v),
            Lanes::F32(values) => each!(values, |v| u64::from(canonical_f32(v).to_bits())),
            Lanes::F64(values) => each!(values, |v| canonical_f64(v).to_bits()),
            Lanes::Interval(_) | Lanes::Bytes(_) | Lanes::Opaque => return Err(self.mismatch(c, column)),
        }
        Ok(())
    }

    fn encode_wide(
        &self,
        c: usize,
        column: &ColumnView<'_>,
        rows: Rows<'_>,
        words: &mut [u64],
        word: usize,
    ) -> Result<()> {
        let stride = self.words;
        let mut put = |i: usize, value: u128| {
            words[i * stride + word] = value as u64;
            words[i * stride + word + 1] = (value >> 64) as u64;
        };
        macro_rules! each {
            ($values:expr, |$value:ident| $bits:expr) => {
                for_each_position(rows, &column.index, |i, position| {
                    if let Some($value) = $values.get(position).copied() {
                        put(i, $bits);
                    }
                })
            };
        }
        match &column.lanes {
            Lanes::Null => {}
            Lanes::I32(values) => each!(values, |v| i128::from(v) as u128),
            Lanes::I64(values) => each!(values, |v| i128::from(v) as u128),
            Lanes::I128(values) => each!(values, |v| v as u128),
            Lanes::Interval(values) => each!(values, |v| {
                let days = u128::from(v.days as u32);
                let months = u128::from(v.months as u32);
                (months << 96) | (days << 64) | u128::from(v.nanoseconds as u64)
            }),
            _ => return Err(self.mismatch(c, column)),
        }
        Ok(())
    }

    fn encode_views(
        &self,
        lanes: &ByteLanes<'_>,
        column: &ColumnView<'_>,
        rows: Rows<'_>,
        words: &mut [u64],
        word: usize,
    ) {
        let stride = self.words;
        if let ByteLanes::Views(views, _) = lanes {
            for_each_position(rows, &column.index, |i, position| {
                let Some(&view) = views.get(position) else { return };
                let low = view as u64;
                words[i * stride + word] = low;
                let short = view_length(low) <= VIEW_INLINE_BYTES;
                words[i * stride + word + 1] = if short { (view >> 64) as u64 } else { 0 };
            });
            return;
        }
        for_each_position(rows, &column.index, |i, position| {
            // What lies behind a null may be out of range; it is never read.
            if column.is_null(rows.row(i)) {
                return;
            }
            let (low, high) = view_words(lanes.get(position));
            words[i * stride + word] = low;
            words[i * stride + word + 1] = high;
        });
    }

    /// Sets the bits of NULLs and clears what was encoded of the values behind them.
    fn clear_nulls(
        &self,
        c: usize,
        column: &ColumnView<'_>,
        all: bool,
        rows: Rows<'_>,
        words: &mut [u64],
        nulls: &mut Vec<u64>,
    ) {
        nulls.resize(rows.len(), 0);
        for i in 0..rows.len() {
            if !all && !column.is_null(rows.row(i)) {
                continue;
            }
            nulls[i] |= 1 << c;
            let row = &mut words[i * self.words..(i + 1) * self.words];
            match self.places[c] {
                Place::Nothing => {}
                Place::Bits { word, shift, bits } => row[word] &= !((u64::MAX >> (64 - bits)) << shift),
                Place::Wide { word } | Place::View { word } => row[word..word + 2].fill(0),
            }
        }
    }

    /// The array of key column `c` over key rows; `mask` answers a row's NULL bits, `long` the bytes of a long string.
    pub(crate) fn decode<'s>(
        &self,
        c: usize,
        slots: &[u32],
        row: impl Fn(u32) -> &'s [u64],
        mask: impl Fn(u32) -> u64,
        has_nulls: bool,
        long: impl Fn(u64, u64) -> &'s [u8],
    ) -> Result<ArrayRef> {
        let nulls = has_nulls
            .then(|| BooleanBuffer::collect_bool(slots.len(), |i| mask(slots[i]) >> c & 1 == 0))
            .map(NullBuffer::new)
            .filter(|n| n.null_count() > 0);
        let data_type = self.fields[c].data_type.arrow_type();
        let wide = |slot: u32, word: usize| {
            let row = row(slot);
            u128::from(row[word]) | u128::from(row[word + 1]) << 64
        };
        Ok(match (self.places[c], &self.fields[c].data_type) {
            (Place::Nothing, _) => Arc::new(NullArray::new(slots.len())),
            (Place::Bits { word, shift, .. }, LogicalType::Boolean) => {
                let values = BooleanBuffer::collect_bool(slots.len(), |i| row(slots[i])[word] >> shift & 1 == 1);
                Arc::new(BooleanArray::new(values, nulls))
            }
            (Place::Bits { word, shift, bits }, _) => {
                let lane = |slot: &u32| row(*slot)[word] >> shift;
                match bits {
                    8 => fixed_array(data_type, slots.iter().map(|s| lane(s) as u8).collect(), nulls),
                    16 => fixed_array(data_type, slots.iter().map(|s| lane(s) as u16).collect(), nulls),
                    32 => fixed_array(data_type, slots.iter().map(|s| lane(s) as u32).collect(), nulls),
                    _ => fixed_array(data_type, slots.iter().map(lane).collect(), nulls),
                }
            }
            (Place::Wide { word }, LogicalType::Interval) => {
                let interval = |slot: &u32| {
                    let value = wide(*slot, word);
                    IntervalMonthDayNano::new((value >> 96) as i32, (value >> 64) as i32, value as i64)
                };
                fixed_array(data_type, slots.iter().map(interval).collect(), nulls)
            }
            (Place::Wide { word }, _) => {
                fixed_array(data_type, slots.iter().map(|s| wide(*s, word) as i128).collect(), nulls)
            }
            (Place::View { word }, logical) => {
                let keys = self.nested[c].as_ref();
                let logical = if keys.is_some() { &LogicalType::Binary } else { logical };
                let views = slots.iter().map(|slot| {
                    let row = row(*slot);
                    (row[word], row[word + 1])
                });
                let strings = view_array(logical, views, nulls, long)?;
                match keys {
                    Some(keys) => from_strings(keys, &strings)?,
                    None => strings,
                }
            }
        })
    }
}

fn nested_failed(error: KernelError) -> StateError {
    StateError::Codec { what: "nested values".into(), problem: error.to_string() }
}

/// The strings of a column's nested values.
pub(crate) fn as_strings(keys: &NestedKeys, column: &Column) -> Result<Column> {
    let strings = |array: &ArrayRef| -> Result<ArrayRef> {
        let flat = flumen_kernels::gather::flatten(array).map_err(nested_failed)?;
        Ok(Arc::new(keys.encode(&flat).map_err(nested_failed)?))
    };
    Ok(match column {
        Column::Array(array) => Column::Array(strings(array)?),
        Column::Constant(value) => Column::Constant(strings(value)?),
    })
}

/// The nested values of strings.
pub(crate) fn from_strings(keys: &NestedKeys, strings: &ArrayRef) -> Result<ArrayRef> {
    keys.decode(strings.as_binary_view()).map_err(nested_failed)
}

/// Bytes of a data buffer of an exported string array: offsets are 32 bits, and a reader may keep one buffer alive.
const EXPORT_BUFFER_BYTES: usize = 1 << 20;

/// A view array over strings as state keeps them; the bytes of long ones are copied.
pub(crate) fn view_array<'s>(
    logical: &LogicalType,
    rows: impl ExactSizeIterator<Item = (u64, u64)>,
    nulls: Option<NullBuffer>,
    long: impl Fn(u64, u64) -> &'s [u8],
) -> Result<ArrayRef> {
    let mut views: Vec<u128> = Vec::with_capacity(rows.len());
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut current: Vec<u8> = Vec::new();
    for (low, high) in rows {
        if view_length(low) <= VIEW_INLINE_BYTES {
            views.push(u128::from(low) | u128::from(high) << 64);
            continue;
        }
        let bytes = long(low, high);
        if !current.is_empty() && current.len() + bytes.len() > EXPORT_BUFFER_BYTES {
            buffers.push(Buffer::from_vec(std::mem::take(&mut current)));
        }
        let place = buffers.len() as u64 | (current.len() as u64) << 32;
        current.extend_from_slice(bytes);
        views.push(u128::from(low) | u128::from(place) << 64);
    }
    if !current.is_empty() {
        buffers.push(Buffer::from_vec(current));
    }
    let views = ScalarBuffer::from(views);
    let failed =
        |problem: arrow_schema::ArrowError| StateError::Codec { what: "strings".into(), problem: problem.to_string() };
    Ok(match logical {
        LogicalType::Utf8 => Arc::new(StringViewArray::try_new(views, buffers, nulls).map_err(failed)?),
        _ => Arc::new(BinaryViewArray::try_new(views, buffers, nulls).map_err(failed)?),
    })
}
