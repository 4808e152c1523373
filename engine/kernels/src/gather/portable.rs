//! Leaving the engine: a record batch of the portable Arrow types.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::ArrowError;
use flumen_core::batch::Batch;

use super::{apply_selection, expand_constant, flatten};
use crate::error::KernelError;
use flumen_core::batch::Column;

/// The selected rows as a record batch of `Schema::portable_arrow_schema`: 128-bit decimals, plain strings, no views,
/// dictionaries or constants. Row kinds are not part of it.
///
/// # Errors
/// [`KernelError::Column`] if a column's text outgrows 32-bit offsets, or NULL stands in a column without NULLs.
pub fn to_portable_record_batch(batch: &Batch) -> Result<RecordBatch, KernelError> {
    let batch = apply_selection(batch)?;
    let schema = batch.schema().portable_arrow_schema();
    let rows = batch.physical_rows();
    let failed = |column: &str, source: ArrowError| KernelError::Column {
        column: column.to_owned(),
        action: "made portable",
        source,
    };
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let flat = flatten(column.array())?;
        let portable = arrow_cast::cast(&flat, field.data_type()).map_err(|e| failed(field.name(), e))?;
        arrays.push(match column {
            Column::Array(_) => portable,
            Column::Constant(_) => expand_constant(&portable, rows)?,
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options).map_err(|e| failed("", e))
}
