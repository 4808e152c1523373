//! Tests of expressions. `check` evaluates one expression over the same values in every encoding, repetition and
//! selection, so each line of a table says what must come out whatever the batch looks like.

mod arithmetic;
mod compiling;
mod conditions;
mod conversions;
mod nested;
mod properties;
mod reached;
mod strings;
mod times;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column, Selection};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::types::{Field, LogicalType, Resolution, Schema};

use super::column::{expand, flatten};
use super::*;

pub(super) fn col(index: usize) -> Expr {
    Expr::Column(index)
}

pub(super) fn int(value: i64) -> Expr {
    Expr::Literal(Literal::int64(value))
}

pub(super) fn float(value: f64) -> Expr {
    Expr::Literal(Literal::float64(value))
}

pub(super) fn text(value: &str) -> Expr {
    Expr::Literal(Literal::utf8(value))
}

pub(super) fn null(data_type: LogicalType) -> Expr {
    Expr::Literal(Literal::null(data_type))
}

pub(super) fn dec_type(precision: u8, scale: i8) -> LogicalType {
    LogicalType::Decimal { precision, scale }
}

pub(super) fn dec(value: i128, precision: u8, scale: i8) -> Expr {
    Expr::Literal(Literal { value: Value::Int(value), data_type: dec_type(precision, scale) })
}

pub(super) fn call(name: &str, args: impl Into<Vec<Expr>>, data_type: LogicalType) -> Expr {
    Expr::call(name, args.into(), data_type)
}

pub(super) fn test(name: &str, args: impl Into<Vec<Expr>>) -> Expr {
    call(name, args, LogicalType::Boolean)
}

pub(super) fn cast(input: Expr, to: LogicalType, safe: bool) -> Expr {
    Expr::Cast { input: Box::new(input), to, safe }
}

pub(super) fn ints(values: impl Into<Vec<Option<i64>>>) -> ArrayRef {
    Arc::new(Int64Array::from(values.into()))
}

pub(super) fn floats(values: impl Into<Vec<Option<f64>>>) -> ArrayRef {
    Arc::new(Float64Array::from(values.into()))
}

pub(super) fn bools(values: impl Into<Vec<Option<bool>>>) -> ArrayRef {
    Arc::new(BooleanArray::from(values.into()))
}

pub(super) fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

pub(super) fn decimals(values: impl Into<Vec<Option<i128>>>, precision: u8, scale: i8) -> ArrayRef {
    let array = Decimal128Array::from(values.into());
    Arc::new(array.with_precision_and_scale(precision, scale).expect("values fit"))
}

/// Decimals carried by 64 bits, whatever the precision of their type.
pub(super) fn small_decimals(values: impl Into<Vec<Option<i64>>>, precision: u8, scale: i8) -> ArrayRef {
    let array = Decimal64Array::from(values.into());
    Arc::new(array.with_precision_and_scale(precision.min(18), scale).expect("values fit"))
}

pub(super) fn dates(values: impl Into<Vec<Option<i32>>>) -> ArrayRef {
    Arc::new(Date32Array::from(values.into()))
}

pub(super) fn micros(values: impl Into<Vec<Option<i64>>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.into()))
}

pub(super) fn timestamp(resolution: Resolution) -> LogicalType {
    LogicalType::Timestamp { resolution, zone: None }
}

pub(super) fn schema_of(columns: &[Column]) -> Schema {
    let fields = columns.iter().enumerate();
    Schema::new(fields.map(|(i, c)| Field::new(format!("c{i}"), c.logical_type().unwrap(), true)).collect())
}

pub(super) fn batch_of(columns: Vec<Column>, rows: usize) -> Batch {
    Batch::new(Arc::new(schema_of(&columns)), columns, rows)
}

pub(super) fn batch(columns: &[ArrayRef]) -> Batch {
    let rows = columns.first().map_or(1, |c| c.len());
    batch_of(columns.iter().cloned().map(Column::Array).collect(), rows)
}

pub(super) fn run(expr: &Expr, batch: &Batch) -> Result<Column, ExprError> {
    let compiled = CompiledExpr::compile(expr, batch.schema(), &FunctionRegistry::new())?;
    let column = compiled.evaluate(batch)?;
    let found = column.logical_type().expect("a type the engine has");
    let agrees = match (&found, compiled.data_type()) {
        (LogicalType::Decimal { scale: a, .. }, LogicalType::Decimal { scale: b, .. }) => a == b,
        (a, b) => a == b,
    };
    assert!(agrees, "{found} instead of {}", compiled.data_type());
    let length = if column.as_constant().is_some() { 1 } else { batch.physical_rows() };
    assert_eq!(column.array().len(), length, "one value for each physical row");
    Ok(column)
}

/// The values at the selected rows as text.
pub(super) fn shown(column: &Column, batch: &Batch) -> Vec<String> {
    let flat = expand(&flatten(column.clone()).unwrap(), batch.physical_rows()).unwrap();
    let show = |row: usize| match flat.is_null(row) {
        true => "NULL".to_owned(),
        false => arrow_cast::display::array_value_to_string(&flat, row).unwrap(),
    };
    match batch.selection() {
        Some(selection) => selection.iter().map(|row| show(*row as usize)).collect(),
        None => (0..batch.physical_rows()).map(show).collect(),
    }
}

/// The same values in another encoding, if there is one of this number.
pub(super) fn encoded(array: &ArrayRef, encoding: usize) -> Option<ArrayRef> {
    let rows = i32::try_from(array.len()).unwrap();
    Some(match (encoding, array.data_type()) {
        (0, _) => Arc::clone(array),
        // One code for each row; NULL is a value of the dictionary.
        (1, _) => Arc::new(DictionaryArray::<Int32Type>::new((0..rows).collect::<Vec<_>>().into(), Arc::clone(array))),
        // NULL is a code.
        (2, _) => {
            let keys: Int16Array =
                (0..array.len()).map(|i| array.is_valid(i).then(|| i16::try_from(i).unwrap())).collect();
            Arc::new(DictionaryArray::<Int16Type>::new(keys, Arc::clone(array)))
        }
        (3, DataType::Utf8View) => arrow_cast::cast(array, &DataType::Utf8).unwrap(),
        (4, DataType::Utf8View) => arrow_cast::cast(array, &DataType::LargeUtf8).unwrap(),
        (3, DataType::Decimal128(_, scale)) => {
            let values = array.as_primitive::<Decimal128Type>();
            let small: Option<Vec<Option<i64>>> = values
                .iter()
                .map(|v| match v {
                    None => Some(None),
                    Some(v) => i64::try_from(v).ok().filter(|v| v.unsigned_abs() < 10u64.pow(18)).map(Some),
                })
                .collect();
            Arc::new(Decimal64Array::from(small?).with_precision_and_scale(18, *scale).unwrap())
        }
        (5, data_type) if !matches!(data_type, DataType::Dictionary(_, _)) => {
            let ends: Int32Array = (1..=rows).collect::<Vec<_>>().into();
            Arc::new(RunArray::try_new(&ends, array).ok()?)
        }
        _ => return None,
    })
}

pub(super) const ENCODINGS: usize = 6;

/// Evaluates over the columns in every encoding, repetition and selection; `expected` is one text for each row.
pub(super) fn check(expr: &Expr, columns: &[ArrayRef], expected: &[&str]) {
    let rows = columns.first().map_or(expected.len(), |c| c.len());
    assert_eq!(rows, expected.len(), "one expected value for each row");
    let flat: Vec<Column> = columns.iter().cloned().map(Column::Array).collect();
    let schema = Arc::new(schema_of(&flat));
    for encoding in 0..ENCODINGS {
        for repeat in [1usize, 7, 150] {
            // Repeated by indices, so that every encoding sees the rows many times.
            let indices: UInt32Array =
                (0..repeat * rows).map(|i| u32::try_from(i % rows).unwrap()).collect::<Vec<_>>().into();
            let Some(columns) = columns
                .iter()
                .map(|c| {
                    encoded(c, encoding).map(|c| Column::Array(arrow_select::take::take(&c, &indices, None).unwrap()))
                })
                .collect::<Option<Vec<_>>>()
            else {
                continue;
            };
            // The types stay those of the flat columns, although a carrier may have fewer digits.
            let all = Batch::new(Arc::clone(&schema), columns, repeat * rows);
            for step in [1usize, 2, 3, 16, 200] {
                let picked: Vec<u32> =
                    (0..u32::try_from(repeat * rows).unwrap()).skip(step - 1).step_by(step).collect();
                let batch =
                    if step == 1 { all.clone() } else { all.clone().with_selection(Some(picked.clone().into())) };
                let column = run(expr, &batch).unwrap_or_else(|e| panic!("{expr:?}: {e}"));
                let want: Vec<&str> = picked.iter().map(|row| expected[*row as usize % rows]).collect();
                assert_eq!(shown(&column, &batch), want, "{expr:?}, encoding {encoding}, repeat {repeat}, step {step}");
            }
        }
    }
    // Constants, one row at a time, among further rows.
    for (row, want) in expected.iter().enumerate() {
        let constants: Vec<Column> = columns.iter().map(|c| Column::Constant(c.slice(row, 1))).collect();
        let batch = batch_of(constants, 9).with_selection(Some(vec![1, 8].into()));
        let column = run(expr, &batch).unwrap_or_else(|e| panic!("{expr:?}: {e}"));
        assert_eq!(shown(&column, &batch), [*want, *want], "{expr:?}, constants of row {row}");
    }
    // No rows at all, and none selected.
    let none: Vec<Column> = columns.iter().map(|c| Column::Array(c.slice(0, 0))).collect();
    run(expr, &batch_of(none, 0)).unwrap();
    let unselected = batch_of(flat, rows).with_selection(Some(Selection::default()));
    if !columns.is_empty() {
        run(expr, &unselected).unwrap();
    }
}

/// The error of an expression over these columns, with its causes.
pub(super) fn fails(expr: &Expr, columns: &[ArrayRef]) -> String {
    match run(expr, &batch(columns)) {
        Ok(column) => panic!("{expr:?} gave {:?}", column.array()),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
pub(super) fn check_error(expr: &Expr, columns: &[ArrayRef], wanted: &str) {
    let found = fails(expr, columns);
    assert!(found.contains(wanted), "{found:?} does not say {wanted:?}");
}
