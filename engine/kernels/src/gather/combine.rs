//! Many batches to one: one after the other, or interleaved row by row.
//!
//! The batches may carry a column differently. Equal carriers are combined as they are (also dictionaries); else each
//! is turned into the type's canonical carrier, or for decimals into 128 bits if one of them is wide.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType};
use flumen_core::batch::{Batch, Column, KeyHashes, RowKind};
use flumen_core::types::{DECIMAL64_PRECISION_MAX, LogicalType, SchemaRef};

use super::{apply_selection, column_array, flatten};
use crate::error::KernelError;

/// All rows of the batches in order, as one batch without selection and constants.
///
/// # Errors
/// [`KernelError::TooManyRows`], or [`KernelError::Column`] if an array outgrows 32-bit offsets.
pub fn concat(schema: &SchemaRef, batches: &[Batch]) -> Result<Batch, KernelError> {
    let batches: Vec<_> = batches.iter().filter(|b| b.num_rows() > 0).map(apply_selection).collect::<Result<_, _>>()?;
    let rows = row_count(&batches)?;
    let mut columns = Vec::with_capacity(schema.fields.len());
    for index in 0..schema.fields.len() {
        let arrays = aligned(schema, &batches, index)?;
        let arrays: Vec<&dyn Array> = arrays.iter().map(|a| a.as_ref()).collect();
        let array = match arrays[..] {
            [] => arrow_array::new_empty_array(&schema.fields[index].data_type.arrow_type()),
            _ => arrow_select::concat::concat(&arrays).map_err(|e| failed(schema, index, "concatenated", e))?,
        };
        columns.push(Column::Array(array));
    }
    let kinds = batches.iter().any(|b| b.row_kinds().is_some()).then(|| {
        let mut kinds = Vec::with_capacity(rows);
        for batch in &batches {
            match batch.row_kinds() {
                Some(own) => kinds.extend_from_slice(own),
                None => kinds.resize(kinds.len() + batch.num_rows(), RowKind::Insert as i8),
            }
        }
        kinds.into()
    });
    let hashes = common_hash_columns(&batches).map(|columns| {
        let mut values = Vec::with_capacity(rows);
        batches.iter().filter_map(Batch::hashes).for_each(|h| values.extend_from_slice(&h.values));
        KeyHashes { columns, values: values.into() }
    });
    Ok(Batch::new(Arc::clone(schema), columns, rows).with_row_kinds(kinds).with_hashes(hashes))
}

/// The rows `(batch, physical row)` in order, as one batch without selection and constants. Selections of the batches
/// are not looked at.
///
/// # Panics
/// If a row does not exist.
///
/// # Errors
/// As [`fn@concat`].
pub fn interleave(schema: &SchemaRef, batches: &[Batch], rows: &[(u32, u32)]) -> Result<Batch, KernelError> {
    let indices: Vec<(usize, usize)> = rows.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
    let mut columns = Vec::with_capacity(schema.fields.len());
    for index in 0..schema.fields.len() {
        let arrays = aligned(schema, batches, index)?;
        let arrays: Vec<&dyn Array> = arrays.iter().map(|a| a.as_ref()).collect();
        let array = match arrays[..] {
            [] => arrow_array::new_empty_array(&schema.fields[index].data_type.arrow_type()),
            _ => arrow_select::interleave::interleave(&arrays, &indices)
                .map_err(|e| failed(schema, index, "interleaved", e))?,
        };
        columns.push(Column::Array(array));
    }
    let kinds = batches.iter().any(|b| b.row_kinds().is_some()).then(|| {
        let kind =
            |&(batch, row): &(usize, usize)| batches[batch].row_kinds().map_or(RowKind::Insert as i8, |k| k[row]);
        indices.iter().map(kind).collect::<ScalarBuffer<i8>>()
    });
    Ok(Batch::new(Arc::clone(schema), columns, rows.len()).with_row_kinds(kinds))
}

fn failed(schema: &SchemaRef, index: usize, action: &'static str, source: ArrowError) -> KernelError {
    KernelError::Column { column: schema.fields[index].name.clone(), action, source }
}

fn row_count(batches: &[Batch]) -> Result<usize, KernelError> {
    let rows = batches.iter().map(Batch::num_rows).sum();
    if rows >= u32::MAX as usize {
        return Err(KernelError::TooManyRows { rows, what: "a batch" });
    }
    Ok(rows)
}

fn common_hash_columns(batches: &[Batch]) -> Option<Arc<[usize]>> {
    let first = batches.first()?.hashes()?;
    let same = |b: &Batch| b.hashes().is_some_and(|h| h.columns == first.columns);
    batches.iter().all(same).then(|| Arc::clone(&first.columns))
}

/// One column of all batches, by one carrier.
fn aligned(schema: &SchemaRef, batches: &[Batch], index: usize) -> Result<Vec<ArrayRef>, KernelError> {
    let arrays: Vec<ArrayRef> =
        batches.iter().map(|b| column_array(b.column(index), b.physical_rows())).collect::<Result<_, _>>()?;
    let Some(first) = arrays.first() else { return Ok(arrays) };
    if arrays.iter().all(|a| a.data_type() == first.data_type()) {
        return Ok(arrays);
    }
    let arrays: Vec<ArrayRef> = arrays.iter().map(flatten).collect::<Result<_, _>>()?;
    let target = common_carrier(&schema.fields[index].data_type, &arrays);
    arrays
        .iter()
        .map(|a| arrow_cast::cast(a, &target).map_err(|e| failed(schema, index, "brought to one carrier", e)))
        .collect()
}

fn common_carrier(logical: &LogicalType, arrays: &[ArrayRef]) -> DataType {
    let LogicalType::Decimal { precision, scale } = logical else { return logical.arrow_type() };
    if arrays.iter().any(|a| matches!(a.data_type(), DataType::Decimal128(..))) {
        // A wide carrier of a small type may hold what 64 bits cannot.
        DataType::Decimal128(*precision, *scale)
    } else {
        DataType::Decimal64(DECIMAL64_PRECISION_MAX.min((*precision).max(1)), *scale)
    }
}
