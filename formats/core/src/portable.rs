//! Batches as others expect them: flat columns, no selection, no small decimals, no views.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, SchemaRef};
use flumen_core::batch::{Batch, Column, RowKind};

use crate::decoder::FormatError;

/// The selected rows in the portable carriers of the batch's schema. Row kinds are not part of it.
///
/// Columns that are flat and portable already are shared, not copied.
///
/// # Errors
/// If a value does not fit its portable carrier, which only a decimal with too many digits does.
pub fn portable_batch(batch: &Batch) -> Result<RecordBatch, ArrowError> {
    let schema: SchemaRef = batch.schema().portable_arrow_schema();
    let selection = batch.selection().map(|rows| UInt32Array::new(rows.clone(), None));
    let rows = batch.num_rows();
    let arrays = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            let flat: ArrayRef = match (column, &selection) {
                (Column::Constant(value), _) => {
                    arrow_select::take::take(value, &UInt32Array::from(vec![0; rows]), None)?
                }
                (Column::Array(array), Some(rows)) => arrow_select::take::take(array, rows, None)?,
                (Column::Array(array), None) => Arc::clone(array),
            };
            match flat.data_type() == field.data_type() {
                true => Ok(flat),
                false => {
                    let options = CastOptions { safe: false, ..CastOptions::default() };
                    cast_with_options(&flat, field.data_type(), &options)
                }
            }
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
}

/// Refuses a batch with rows that update or delete, for formats that only append.
///
/// # Errors
/// [`FormatError::Unsupported`] naming the first such kind.
pub fn insertions_only(format: &'static str, batch: &Batch) -> Result<(), FormatError> {
    let Some(kinds) = batch.row_kinds() else { return Ok(()) };
    let insert = RowKind::Insert as i8;
    let other = match batch.selection() {
        Some(rows) => rows.iter().map(|row| kinds[*row as usize]).find(|kind| *kind != insert),
        None => kinds.iter().copied().find(|kind| *kind != insert),
    };
    match other {
        None => Ok(()),
        Some(kind) => {
            let kind = RowKind::from_i8(kind).map_or("unknown", RowKind::symbol);
            let problem = format!("a row of kind {kind} was to be appended; use a sink that takes updates");
            Err(FormatError::Unsupported { format, problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Decimal128Type;
    use arrow_array::{Decimal64Array, StringViewArray};
    use flumen_core::types::{Field, LogicalType, Schema};

    fn batch() -> Batch {
        let schema = Schema::new(vec![
            Field::new("d", LogicalType::Decimal { precision: 10, scale: 2 }, true),
            Field::new("s", LogicalType::Utf8, true),
        ]);
        let decimals = Decimal64Array::from(vec![Some(100), None, Some(-5)]).with_precision_and_scale(10, 2).unwrap();
        let text = StringViewArray::from(vec![Some("same")]);
        Batch::new(Arc::new(schema), vec![Column::Array(Arc::new(decimals)), Column::Constant(Arc::new(text))], 3)
    }

    #[test]
    fn selections_constants_and_carriers_are_resolved() {
        let all = portable_batch(&batch()).unwrap();
        assert_eq!(all.schema(), batch().schema().portable_arrow_schema());
        let some = portable_batch(&batch().with_selection(Some(vec![1, 2].into()))).unwrap();
        assert_eq!(some.num_rows(), 2);
        let decimals = some.column(0).as_primitive::<Decimal128Type>();
        assert!(decimals.is_null(0));
        assert_eq!(decimals.value(1), -5);
        assert_eq!(some.column(1).as_string::<i32>().value(1), "same");
    }

    #[test]
    fn only_insertions_are_appended() {
        assert!(insertions_only("csv", &batch()).is_ok());
        let kinds = batch().with_row_kinds(Some(vec![0i8, 3, 0].into()));
        assert!(insertions_only("csv", &kinds).unwrap_err().to_string().contains("kind -D"));
        assert!(insertions_only("csv", &kinds.with_selection(Some(vec![0, 2].into()))).is_ok());
    }
}
