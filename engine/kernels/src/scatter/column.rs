#![allow(unsafe_code)]
//! The builders of one column, one for each target.
//!
//! The kind of builder is chosen by the logical type once; appending looks at the carrier once per batch and then runs
//! one loop per target. Fixed-width values are moved by their width alone. Decimals start at 64 bits where the
//! canonical carrier says so and widen, for good, when a batch brings 128.
//!
//! Unsafe code here: string views over bytes that were copied from valid strings, not validated again.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, NullArray, StringViewArray, UInt32Array, make_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBufferBuilder, Buffer, NullBufferBuilder, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};
use flumen_core::batch::Column;
use flumen_core::types::{DECIMAL64_PRECISION_MAX, LogicalType};

use super::PartitionedRows;
use crate::carrier::{ByteRows, Carrier, VIEW_INLINE_BYTES, Views, carrier};
use crate::error::KernelError;
use crate::gather::{column_array, flatten, take};

/// The builders of one column.
pub(super) struct ColumnBuilders {
    name: String,
    data_type: DataType,
    values: Values,
    nulls: Vec<NullBufferBuilder>,
}

enum Values {
    Null,
    Boolean(Vec<BooleanBufferBuilder>),
    Width1(Vec<Vec<u8>>),
    Width2(Vec<Vec<u16>>),
    Width4(Vec<Vec<u32>>),
    Width8(Vec<Vec<u64>>),
    Width16(Vec<Vec<u128>>),
    Views(Vec<ViewBuilder>),
    /// Lists, structs and maps: gathered once per batch, cut into one slice for each target.
    Pieces(Vec<Vec<ArrayRef>>),
}

#[derive(Default)]
struct ViewBuilder {
    views: Vec<u128>,
    data: Vec<u8>,
}

impl ViewBuilder {
    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        let offset = self.data.len() as u32;
        if bytes.len() > VIEW_INLINE_BYTES as usize {
            self.data.extend_from_slice(bytes);
        }
        self.views.push(make_view(bytes, 0, offset));
    }
}

impl ColumnBuilders {
    pub(super) fn new(name: &str, logical: &LogicalType, targets: usize) -> Self {
        let data_type = logical.arrow_type();
        let values = Values::new(&data_type, targets);
        let nulls = (0..targets).map(|_| NullBufferBuilder::new(0)).collect();
        Self { name: name.to_owned(), data_type, values, nulls }
    }

    /// Appends each target's rows.
    pub(super) fn append(
        &mut self,
        column: &Column,
        physical_rows: usize,
        rows: &PartitionedRows,
    ) -> Result<(), KernelError> {
        let array = self.in_our_carrier(&column_array(column, physical_rows)?)?;
        match array.nulls().filter(|n| n.null_count() > 0) {
            None => {
                for (target, nulls) in self.nulls.iter_mut().enumerate() {
                    nulls.append_n_non_nulls(rows.rows_of(target).len());
                }
            }
            Some(valid) => {
                for (target, nulls) in self.nulls.iter_mut().enumerate() {
                    rows.rows_of(target).iter().for_each(|row| nulls.append(valid.is_valid(*row as usize)));
                }
            }
        }
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(builders) => {
                let values = array.as_boolean().values();
                for (target, builder) in builders.iter_mut().enumerate() {
                    rows.rows_of(target).iter().for_each(|row| builder.append(values.value(*row as usize)));
                }
            }
            Values::Width1(builders) => append_fixed(builders, &array, rows),
            Values::Width2(builders) => append_fixed(builders, &array, rows),
            Values::Width4(builders) => append_fixed(builders, &array, rows),
            Values::Width8(builders) => append_fixed(builders, &array, rows),
            Values::Width16(builders) => append_fixed(builders, &array, rows),
            Values::Views(builders) => match carrier(&array) {
                Carrier::Views(views) => append_views(builders, &views, rows),
                Carrier::Bytes(bytes) => append_bytes(builders, &bytes, rows),
                Carrier::LargeBytes(bytes) => append_bytes(builders, &bytes, rows),
                Carrier::FixedBytes(bytes) => append_bytes(builders, &bytes, rows),
                _ => unreachable!("only byte strings are in the carrier of byte strings"),
            },
            Values::Pieces(pieces) => {
                let gathered = take(&array, &UInt32Array::from(rows.rows().to_vec()))?;
                for (target, pieces) in pieces.iter_mut().enumerate() {
                    let (from, len) = (rows.offsets()[target] as usize, rows.rows_of(target).len());
                    if len > 0 {
                        pieces.push(gathered.slice(from, len));
                    }
                }
            }
        }
        if let Values::Views(builders) = &self.values
            && builders.iter().any(|b| b.data.len() > i32::MAX as usize)
        {
            let source = ArrowError::OffsetOverflowError(i32::MAX as usize);
            return Err(self.failed("collected into one batch of less than 2 GiB", source));
        }
        Ok(())
    }

    /// The array in a carrier that the builders take; decimal builders may widen.
    fn in_our_carrier(&mut self, array: &ArrayRef) -> Result<ArrayRef, KernelError> {
        let array = flatten(array)?;
        if *array.data_type() == self.data_type {
            return Ok(array);
        }
        match (&self.data_type, array.data_type()) {
            (DataType::Utf8View, DataType::Utf8 | DataType::LargeUtf8) => return Ok(array),
            (DataType::BinaryView, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)) => {
                return Ok(array);
            }
            (DataType::Decimal64(precision, scale), DataType::Decimal64(..)) => {
                // The precision of a carrier says nothing; only the width does.
                let (precision, scale) = ((*precision).max(DECIMAL64_PRECISION_MAX), *scale);
                return self.cast(&array, &DataType::Decimal64(precision, scale));
            }
            (DataType::Decimal64(_, scale), DataType::Decimal128(..)) => {
                let narrow = DataType::Decimal64(DECIMAL64_PRECISION_MAX, *scale);
                match self.cast(&array, &narrow) {
                    Ok(narrow) => return Ok(narrow),
                    Err(_) => self.widen_decimals(),
                }
            }
            _ => {}
        }
        self.cast(&array, &self.data_type)
    }

    fn cast(&self, array: &ArrayRef, target: &DataType) -> Result<ArrayRef, KernelError> {
        let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
        arrow_cast::cast_with_options(array, target, &options)
            .map_err(|e| self.failed("brought to its type's carrier", e))
    }

    fn widen_decimals(&mut self) {
        if let (Values::Width8(builders), DataType::Decimal64(_, scale)) = (&mut self.values, &self.data_type) {
            let widen = |values: &Vec<u64>| values.iter().map(|v| i128::from(*v as i64) as u128).collect();
            let wide = builders.iter().map(widen).collect();
            self.data_type = DataType::Decimal128(arrow_schema::DECIMAL128_MAX_PRECISION, *scale);
            self.values = Values::Width16(wide);
        }
    }

    fn failed(&self, action: &'static str, source: ArrowError) -> KernelError {
        KernelError::Column { column: self.name.clone(), action, source }
    }

    /// Bytes of strings that a target holds beside its fixed-width values.
    pub(super) fn data_bytes(&self, target: usize) -> usize {
        match &self.values {
            Values::Views(builders) => builders[target].data.len(),
            Values::Pieces(pieces) => {
                pieces[target].iter().map(|p| p.to_data().get_slice_memory_size().unwrap_or(0)).sum()
            }
            _ => 0,
        }
    }

    /// Bytes of one row without those.
    pub(super) fn row_bytes(&self) -> usize {
        match &self.values {
            Values::Null | Values::Pieces(_) => 0,
            Values::Boolean(_) | Values::Width1(_) => 1,
            Values::Width2(_) => 2,
            Values::Width4(_) => 4,
            Values::Width8(_) => 8,
            Values::Width16(_) | Values::Views(_) => 16,
        }
    }

    /// The target's `rows` rows; its builder is empty afterwards, with room for as many again.
    pub(super) fn finish(&mut self, target: usize, rows: usize) -> Result<Column, KernelError> {
        let nulls = self.nulls[target].finish();
        let array: ArrayRef = match &mut self.values {
            Values::Null => Arc::new(NullArray::new(rows)),
            Values::Boolean(builders) => Arc::new(BooleanArray::new(builders[target].finish(), nulls)),
            Values::Width1(builders) => fixed(&self.data_type, taken(&mut builders[target]), nulls),
            Values::Width2(builders) => fixed(&self.data_type, taken(&mut builders[target]), nulls),
            Values::Width4(builders) => fixed(&self.data_type, taken(&mut builders[target]), nulls),
            Values::Width8(builders) => fixed(&self.data_type, taken(&mut builders[target]), nulls),
            Values::Width16(builders) => fixed(&self.data_type, taken(&mut builders[target]), nulls),
            Values::Views(builders) => {
                let (views, data) = (taken(&mut builders[target].views), taken(&mut builders[target].data));
                let buffers = if data.is_empty() { vec![] } else { vec![Buffer::from_vec(data)] };
                if self.data_type == DataType::Utf8View {
                    // SAFETY: `in_our_carrier` lets only strings into a column of strings. Each view was made over the
                    // whole of one of them, inline or at the place in the only buffer where it was copied to.
                    Arc::new(unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), buffers, nulls) })
                } else {
                    // SAFETY: as above, and bytes need not be valid text.
                    Arc::new(unsafe { BinaryViewArray::new_unchecked(ScalarBuffer::from(views), buffers, nulls) })
                }
            }
            Values::Pieces(pieces) => {
                let pieces = std::mem::take(&mut pieces[target]);
                let pieces: Vec<&dyn Array> = pieces.iter().map(|p| p.as_ref()).collect();
                arrow_select::concat::concat(&pieces).map_err(|e| self.failed("concatenated", e))?
            }
        };
        Ok(Column::Array(array))
    }
}

impl Values {
    fn new(data_type: &DataType, targets: usize) -> Self {
        fn each<T: Default>(targets: usize) -> Vec<T> {
            (0..targets).map(|_| T::default()).collect()
        }
        match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Boolean((0..targets).map(|_| BooleanBufferBuilder::new(0)).collect()),
            DataType::Utf8View | DataType::BinaryView => Self::Views(each(targets)),
            other => match other.primitive_width() {
                Some(1) => Self::Width1(each(targets)),
                Some(2) => Self::Width2(each(targets)),
                Some(4) => Self::Width4(each(targets)),
                Some(8) => Self::Width8(each(targets)),
                Some(16) => Self::Width16(each(targets)),
                _ => Self::Pieces(each(targets)),
            },
        }
    }
}

/// What was built, leaving room for as much again: a target that filled a batch will fill the next.
fn taken<T>(builder: &mut Vec<T>) -> Vec<T> {
    let room = Vec::with_capacity(builder.len());
    std::mem::replace(builder, room)
}

fn fixed<T: ArrowNativeType>(
    data_type: &DataType,
    values: Vec<T>,
    nulls: Option<arrow_buffer::NullBuffer>,
) -> ArrayRef {
    let data = ArrayData::builder(data_type.clone())
        .len(values.len())
        .add_buffer(Buffer::from_vec(values))
        .nulls(nulls)
        .build()
        .expect("values of the type's width, as many as validity bits");
    make_array(data)
}

#[inline(always)]
fn append_fixed<T: ArrowNativeType>(builders: &mut [Vec<T>], array: &ArrayRef, rows: &PartitionedRows) {
    let data = array.to_data();
    let values = ScalarBuffer::<T>::new(data.buffers()[0].clone(), data.offset(), data.len());
    let values: &[T] = &values;
    for (target, builder) in builders.iter_mut().enumerate() {
        builder.extend(rows.rows_of(target).iter().map(|row| values[*row as usize]));
    }
}

fn append_views(builders: &mut [ViewBuilder], views: &Views<'_>, rows: &PartitionedRows) {
    for (target, builder) in builders.iter_mut().enumerate() {
        let rows = rows.rows_of(target);
        if views.buffers.is_empty() {
            // All inline: Arrow validates every view, also those behind nulls.
            builder.views.extend(rows.iter().map(|row| views.views[*row as usize]));
            continue;
        }
        for row in rows {
            let view = views.views[*row as usize];
            if view as u32 <= VIEW_INLINE_BYTES {
                builder.views.push(view);
                continue;
            }
            // The new view has the old one's length and prefix, buffer 0, and a new offset.
            let offset = builder.data.len() as u32;
            builder.data.extend_from_slice(views.outside(view));
            builder.views.push(u128::from(view as u64) | u128::from(offset) << 96);
        }
    }
}

fn append_bytes(builders: &mut [ViewBuilder], bytes: &impl ByteRows, rows: &PartitionedRows) {
    for (target, builder) in builders.iter_mut().enumerate() {
        rows.rows_of(target).iter().for_each(|row| builder.push(bytes.bytes(*row as usize)));
    }
}
