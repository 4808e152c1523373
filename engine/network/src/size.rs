//! How many bytes a batch stands for in an exchange, without encoding it.
//!
//! The figure is what a frame of the selected rows would roughly hold: it decides when builders are flushed, how many
//! credits a batch costs and where a large one is cut. Fixed-width columns are exact; strings count their bytes;
//! shared dictionaries count once a batch. One pass over views and offsets at most, nothing is allocated for flat
//! columns.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};

/// Views of up to this many bytes carry their value inline.
const INLINE_VIEW_BYTES: u128 = 12;

/// Estimated bytes of the selected rows; never 0 for a batch with rows.
pub(crate) fn batch_bytes(batch: &Batch) -> usize {
    let (rows, physical) = (batch.num_rows(), batch.physical_rows());
    if rows == 0 {
        return 0;
    }
    let columns: usize = batch
        .columns()
        .iter()
        .map(|column| match column {
            Column::Constant(_) => 16,
            // The selection takes its share; rows are taken to be about equally wide.
            Column::Array(array) => scale(array_bytes(array), rows, physical),
        })
        .sum();
    let kinds = if batch.row_kinds().is_some() { rows } else { 0 };
    let hashes = if batch.hashes().is_some() { rows * 8 } else { 0 };
    (columns + kinds + hashes).max(1)
}

fn scale(bytes: usize, rows: usize, physical: usize) -> usize {
    if rows == physical { bytes } else { (bytes as u128 * rows as u128 / physical as u128) as usize }
}

fn array_bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    let validity = if array.nulls().is_some() { rows.div_ceil(8) } else { 0 };
    let values = match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        DataType::Utf8 => offsets_bytes(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => offsets_bytes(array.as_string::<i64>().value_offsets()),
        DataType::Binary => offsets_bytes(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => offsets_bytes(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => views_bytes(array.as_string_view().views()),
        DataType::BinaryView => views_bytes(array.as_binary_view().views()),
        DataType::Dictionary(key, _) => {
            // A dictionary much larger than the batch is left behind when the batch is encoded.
            let values = array.as_any_dictionary().values();
            rows * key.primitive_width().unwrap_or(8) + scale(array_bytes(values), values.len().min(rows), values.len())
        }
        data_type => match data_type.primitive_width() {
            Some(width) => rows * width,
            None => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
        },
    };
    validity + values
}

fn offsets_bytes<T: Copy + Into<i64>>(offsets: &[T]) -> usize {
    let (first, last) = (offsets.first().copied(), offsets.last().copied());
    let bytes = last.map_or(0, Into::into) - first.map_or(0, Into::into);
    usize::try_from(bytes).unwrap_or(0) + std::mem::size_of_val(offsets)
}

fn views_bytes(views: &[u128]) -> usize {
    let outside: u128 = views
        .iter()
        .map(|view| {
            let length = view & u128::from(u32::MAX);
            if length > INLINE_VIEW_BYTES { length } else { 0 }
        })
        .sum();
    outside as usize + std::mem::size_of_val(views)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{BooleanArray, Int64Array, StringArray, StringViewArray};
    use flumen_core::types::{Field, LogicalType, Schema};
    use std::sync::Arc;

    fn one_column(array: ArrayRef) -> Batch {
        let data_type = LogicalType::from_arrow(array.data_type()).unwrap();
        let rows = array.len();
        Batch::new(Arc::new(Schema::new(vec![Field::new("a", data_type, true)])), vec![array.into()], rows)
    }

    #[test]
    fn bytes_follow_the_selected_rows() {
        let long = "a string that is not inline";
        let cases: Vec<(ArrayRef, usize)> = vec![
            (Arc::new(Int64Array::from(vec![1; 16])), 128),
            (Arc::new(BooleanArray::from(vec![true; 16])), 2),
            (Arc::new(StringArray::from(vec!["ab"; 4])), 8 + 5 * 4),
            (Arc::new(StringViewArray::from(vec!["ab", long])), 32 + long.len()),
            (Arc::new(Int64Array::from(vec![Some(1), None])), 17),
        ];
        for (array, expected) in cases {
            assert_eq!(batch_bytes(&one_column(array)), expected);
        }
        let batch = one_column(Arc::new(Int64Array::from(vec![1; 16])));
        assert_eq!(batch_bytes(&batch.clone().with_selection(Some(vec![1, 5].into()))), 16);
        assert_eq!(batch_bytes(&batch.slice(3, 4)), 32);
        assert_eq!(batch_bytes(&batch.slice(3, 0)), 0);
    }
}
