//! The one row of a `SUMMARIZE` as a table with a row for each column.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use flumen_sql::Summary;

/// Values of a column in the row.
const VALUES: usize = 5;

pub(crate) fn schema() -> SchemaRef {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("column_name", DataType::Utf8),
        field("column_type", DataType::Utf8),
        field("min", DataType::Utf8),
        field("max", DataType::Utf8),
        field("avg", DataType::Float64),
        field("std", DataType::Float64),
        field("count", DataType::Int64),
        field("null_percentage", DataType::Float64),
    ]))
}

/// Turns the row around. No rows become none.
pub(crate) fn table(summary: &Summary, row: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = if row.num_rows() == 0 { &[] } else { summary.columns.as_slice() };
    let value = |column: usize, place: usize, data_type: DataType| -> Result<ArrayRef, ArrowError> {
        let index = column * VALUES + place;
        let array = row
            .columns()
            .get(index)
            .ok_or_else(|| ArrowError::InvalidArgumentError(format!("the row of a summary has no column {index}")))?;
        cast(array, &data_type)
    };
    let texts = |place: usize| -> Result<ArrayRef, ArrowError> {
        let cell = |column: usize| -> Result<Option<String>, ArrowError> {
            let array = value(column, place, DataType::Utf8)?;
            let text = array.as_string::<i32>();
            Ok(text.is_valid(0).then(|| text.value(0).to_owned()))
        };
        Ok(Arc::new((0..columns.len()).map(cell).collect::<Result<StringArray, _>>()?))
    };
    let numbers = |place: usize| -> Result<ArrayRef, ArrowError> {
        let cell = |column: usize| -> Result<Option<f64>, ArrowError> {
            let array = value(column, place, DataType::Float64)?;
            let number = array.as_primitive::<Float64Type>();
            Ok(number.is_valid(0).then(|| number.value(0)))
        };
        Ok(Arc::new((0..columns.len()).map(cell).collect::<Result<Float64Array, _>>()?))
    };
    let count = |array: ArrayRef| array.as_primitive::<Int64Type>().value(0);
    let counts: Vec<i64> = (0..columns.len())
        .map(|column| value(column, VALUES - 1, DataType::Int64).map(count))
        .collect::<Result<_, _>>()?;
    let rows = match columns.len() {
        0 => 0,
        columns => count(value(columns, 0, DataType::Int64)?),
    };
    let nulls = counts.iter().map(|n| (rows > 0).then(|| (rows - n) as f64 * 100.0 / rows as f64));
    let names: StringArray = columns.iter().map(|c| Some(c.name.as_str())).collect();
    let types: StringArray = columns.iter().map(|c| Some(c.data_type.to_string())).collect();
    let nulls: Float64Array = nulls.collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(names),
            Arc::new(types),
            texts(0)?,
            texts(1)?,
            numbers(2)?,
            numbers(3)?,
            Arc::new(Int64Array::from(counts)),
            Arc::new(nulls),
        ],
    )
}
