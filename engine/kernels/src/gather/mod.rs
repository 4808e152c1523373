//! Gathering rows: take by index, materialize, concatenate, and make portable.
//!
//! A filter narrows a selection and leaves the columns alone; pipeline breakers gather once. Views share their data
//! buffers, dictionaries keep their codes, a constant stays a constant as long as the batch stays a batch. What is
//! kept for long is [compacted](compact), so that ten rows never pin a megabyte.
//!
//! The loops themselves are arrow-select's `take`, `concat` and `interleave`, whose fixed-width forms are plain indexed
//! copies at the cost of the memory they read.

mod combine;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use flumen_core::batch::{Batch, Column, KeyHashes, Selection};

pub use combine::{concat, interleave};
pub use portable::to_portable_record_batch;

use crate::carrier::{Carrier, carrier};
use crate::error::KernelError;

/// Gathers `array[indices[i]]` in index order.
///
/// A null index gives a null row; the slot behind it is never read. Views share the input's data buffers, dictionary
/// arrays their values; a run-end column comes out flat, since gathered rows have few runs.
///
/// # Panics
/// If a valid index is out of range.
///
/// # Errors
/// [`KernelError::Column`] if the result outgrows 32-bit offsets.
pub fn take(array: &dyn Array, indices: &UInt32Array) -> Result<ArrayRef, KernelError> {
    if array.is_empty() && indices.null_count() == indices.len() {
        return Ok(new_null_array(array.data_type(), indices.len()));
    }
    if let (DataType::RunEndEncoded(..), Carrier::Indexed(runs)) = (array.data_type(), carrier(array)) {
        let positions: UInt32Array = indices.iter().map(|row| row.map(|row| runs.positions[row as usize])).collect();
        return take(runs.values, &positions);
    }
    arrow_select::take::take(array, indices, None).map_err(|source| KernelError::Column {
        column: array.data_type().to_string(),
        action: "gathered",
        source,
    })
}

/// Indices as an array, without a copy; `valid` says which are not null.
#[must_use]
pub fn index_array(indices: &ScalarBuffer<u32>, valid: Option<NullBuffer>) -> UInt32Array {
    UInt32Array::new(indices.clone(), valid)
}

/// Gathers rows of a column; a constant stays one unless an index is null.
///
/// # Panics
/// If a valid index is out of range.
///
/// # Errors
/// As [`take`].
pub fn take_column(column: &Column, indices: &UInt32Array) -> Result<Column, KernelError> {
    Ok(match column {
        Column::Array(array) => Column::Array(take(array, indices)?),
        Column::Constant(value) => match indices.nulls().filter(|n| n.null_count() > 0) {
            None => Column::Constant(Arc::clone(value)),
            Some(nulls) => {
                let zeros = UInt32Array::new(vec![0; indices.len()].into(), Some(nulls.clone()));
                Column::Array(take(value, &zeros)?)
            }
        },
    })
}

/// Gathers physical rows of a batch with their kinds and hashes; the result has no selection.
///
/// # Panics
/// If an index is out of range.
///
/// # Errors
/// As [`take`].
pub fn take_batch(batch: &Batch, rows: &ScalarBuffer<u32>) -> Result<Batch, KernelError> {
    let indices = index_array(rows, None);
    let columns = batch.columns().iter().map(|c| take_column(c, &indices)).collect::<Result<_, _>>()?;
    let kinds = batch.row_kinds().map(|kinds| take_values(kinds, rows));
    let hashes = batch
        .hashes()
        .map(|hashes| KeyHashes { columns: Arc::clone(&hashes.columns), values: take_values(&hashes.values, rows) });
    let has_deletes = batch.flags().has_deletes;
    let flags = flumen_core::batch::BatchFlags { sorted_by: None, key_unique: false, has_deletes };
    Ok(Batch::new(Arc::clone(batch.schema()), columns, rows.len())
        .with_flags(flags)
        .with_row_kinds(kinds)
        .with_hashes(hashes))
}

/// Gathers plain values.
///
/// # Panics
/// If an index is out of range.
#[must_use]
pub fn take_values<T: arrow_buffer::ArrowNativeType>(values: &[T], rows: &[u32]) -> ScalarBuffer<T> {
    rows.iter().map(|row| values[*row as usize]).collect()
}

/// An array of `rows` times the constant's value.
///
/// # Errors
/// [`KernelError::Column`] if that outgrows 32-bit offsets.
pub fn expand_constant(value: &ArrayRef, rows: usize) -> Result<ArrayRef, KernelError> {
    take(value, &UInt32Array::new(vec![0; rows].into(), None))
}

/// The column as an array of `rows` rows.
///
/// # Errors
/// As [`expand_constant`].
pub fn column_array(column: &Column, rows: usize) -> Result<ArrayRef, KernelError> {
    match column {
        Column::Array(array) => Ok(Arc::clone(array)),
        Column::Constant(value) => expand_constant(value, rows),
    }
}

/// The values behind a dictionary or run-end column, row by row; other arrays as they are.
///
/// # Errors
/// As [`take`].
pub fn flatten(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    match carrier(array) {
        Carrier::Indexed(indexed) => {
            let positions = index_array(&indexed.positions, indexed.nulls.cloned());
            flatten(&take(indexed.values, &positions)?)
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// The batch without a selection and without constants. Dictionaries stay. A selection of neighbouring rows is a
/// slice, not a copy.
///
/// # Errors
/// As [`take`].
pub fn materialize(batch: &Batch) -> Result<Batch, KernelError> {
    expand_constants(&apply_selection(batch)?)
}

/// The batch without a selection; constants stay.
///
/// # Errors
/// As [`take`].
pub fn apply_selection(batch: &Batch) -> Result<Batch, KernelError> {
    let Some(selection) = batch.selection() else { return Ok(batch.clone()) };
    if let Some(range) = contiguous(selection) {
        return Ok(batch.clone().with_selection(None).slice(range.start, range.len()));
    }
    // Ascending rows keep whatever is known of all rows.
    Ok(take_batch(batch, selection)?.with_flags(batch.flags()))
}

fn contiguous(selection: &Selection) -> Option<std::ops::Range<usize>> {
    let (Some(first), Some(last)) = (selection.first(), selection.last()) else { return Some(0..0) };
    let range = *first as usize..*last as usize + 1;
    (range.len() == selection.len()).then_some(range)
}

fn expand_constants(batch: &Batch) -> Result<Batch, KernelError> {
    if batch.columns().iter().all(|c| matches!(c, Column::Array(_))) {
        return Ok(batch.clone());
    }
    let rows = batch.physical_rows();
    let columns = batch.columns().iter().map(|c| column_array(c, rows).map(Column::Array)).collect::<Result<_, _>>()?;
    Ok(batch
        .with_columns(Arc::clone(batch.schema()), columns)
        .with_hashes(batch.hashes().cloned())
        .with_flags(batch.flags()))
}

/// A batch is compacted when it uses less than one byte of so many that it keeps alive.
const COMPACT_BELOW_ONE_OF: usize = 4;

/// Copies each column that uses less than a quarter of the bytes it keeps alive, so that it can be held for long:
/// string views over large pages, slices of large arrays, dictionaries with mostly unused values. A selection is
/// applied.
///
/// # Errors
/// As [`take`].
pub fn compact(batch: &Batch) -> Result<Batch, KernelError> {
    let batch = apply_selection(batch)?;
    let columns = batch
        .columns()
        .iter()
        .map(|column| {
            Ok(match column {
                Column::Array(array) => Column::Array(compact_array(array)?),
                Column::Constant(value) => Column::Constant(compact_array(value)?),
            })
        })
        .collect::<Result<_, KernelError>>()?;
    Ok(batch
        .with_columns(Arc::clone(batch.schema()), columns)
        .with_hashes(batch.hashes().cloned())
        .with_flags(batch.flags()))
}

/// As [`compact`], for one array.
///
/// # Errors
/// As [`take`].
pub fn compact_array(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let failed =
        |source: ArrowError| KernelError::Column { column: array.data_type().to_string(), action: "compacted", source };
    match array.data_type() {
        DataType::Utf8View => {
            let views = array.as_string_view();
            let held: usize = views.data_buffers().iter().map(|b| b.capacity()).sum();
            if views.total_buffer_bytes_used() * COMPACT_BELOW_ONE_OF < held {
                return Ok(Arc::new(views.gc()));
            }
        }
        DataType::BinaryView => {
            let views = array.as_binary_view();
            let held: usize = views.data_buffers().iter().map(|b| b.capacity()).sum();
            if views.total_buffer_bytes_used() * COMPACT_BELOW_ONE_OF < held {
                return Ok(Arc::new(views.gc()));
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            if dictionary.values().len() > array.len() * COMPACT_BELOW_ONE_OF {
                let kept = arrow_select::dictionary::garbage_collect_any_dictionary(dictionary).map_err(failed)?;
                return Ok(kept);
            }
            let values = compact_array(dictionary.values())?;
            if !Arc::ptr_eq(&values, dictionary.values()) {
                return Ok(dictionary.with_values(values));
            }
        }
        DataType::RunEndEncoded(..) => return Ok(Arc::clone(array)),
        _ => {
            let used = array.to_data().get_slice_memory_size().map_err(failed)?;
            if used * COMPACT_BELOW_ONE_OF < array.get_buffer_memory_size() {
                return take(array, &UInt32Array::from_iter_values(0..array.len() as u32));
            }
        }
    }
    Ok(Arc::clone(array))
}
