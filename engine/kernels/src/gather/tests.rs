//! Gathering, against the obvious row-by-row answer.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, Decimal64Array, Decimal128Array, DictionaryArray, Int64Array, RunArray, StringArray,
    StringViewArray, UInt32Array,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column, KeyHashes};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

use super::*;

fn text(array: &dyn Array) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(array, &options).unwrap();
    (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("n", LogicalType::Int64, true),
        Field::new("s", LogicalType::Utf8, true),
        Field::new("d", LogicalType::Decimal { precision: 25, scale: 2 }, true),
        Field::new("c", LogicalType::Int64, true),
    ]))
}

fn batch(rows: usize, strings: ArrayRef, decimals: ArrayRef) -> Batch {
    let numbers = Int64Array::from_iter((0..rows as i64).map(|i| (i % 3 != 1).then_some(i)));
    let columns: [ArrayRef; 3] = [Arc::new(numbers), strings, decimals];
    let mut columns: Vec<_> = columns.into_iter().map(Column::Array).collect();
    columns.push(Column::Constant(Arc::new(Int64Array::from(vec![9]))));
    Batch::new(schema(), columns, rows)
        .with_row_kinds(Some((0..rows).map(|i| (i % 4) as i8).collect()))
        .with_hashes(Some(KeyHashes { columns: Arc::from([0]), values: (0..rows as u64).collect() }))
}

fn views(rows: usize) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(
        (0..rows).map(|i| (i % 5 != 2).then(|| "long enough for a buffer ".repeat(i % 3))),
    ))
}

fn small_decimals(rows: usize) -> ArrayRef {
    Arc::new(Decimal64Array::from_iter_values(0..rows as i64).with_precision_and_scale(18, 2).unwrap())
}

#[test]
fn materializing_keeps_exactly_the_selected_rows() {
    for (rows, selection) in [(0, vec![]), (1, vec![0]), (7, vec![]), (7, vec![2, 3, 4]), (7, vec![0, 2, 6])] {
        let batch = batch(rows, views(rows), small_decimals(rows));
        let narrowed = batch.clone().with_selection(Some(selection.clone().into()));
        let whole = materialize(&batch).unwrap();
        let got = materialize(&narrowed).unwrap();
        assert_eq!((got.num_rows(), got.selection()), (selection.len(), None));
        for column in 0..4 {
            let all = text(whole.column(column).array());
            let expected: Vec<_> = selection.iter().map(|row| all[*row as usize].clone()).collect();
            assert_eq!(text(got.column(column).array()), expected);
        }
        let expected: Vec<i8> = selection.iter().map(|row| (row % 4) as i8).collect();
        assert_eq!(got.row_kinds().unwrap().as_ref(), expected);
        let expected: Vec<u64> = selection.iter().map(|row| u64::from(*row)).collect();
        assert_eq!(got.hashes_of(&[0]).unwrap().as_ref(), expected);
    }
}

#[test]
fn null_indices_give_nulls_for_every_encoding() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let runs: RunArray<Int32Type> = vec!["x", "x", "y"].into_iter().collect();
    let arrays: [ArrayRef; 5] =
        [Arc::new(dictionary), Arc::new(runs), views(3), small_decimals(3), Arc::new(Int64Array::from(vec![1, 2, 3]))];
    // The slot behind the null is out of range.
    let indices = UInt32Array::new(vec![2, 99, 0].into(), Some(vec![true, false, true].into()));
    for array in arrays {
        let all = text(&array);
        let taken = take(&array, &indices).unwrap();
        assert_eq!(text(&taken), [all[2].clone(), "NULL".into(), all[0].clone()], "{}", array.data_type());
        let none = UInt32Array::new_null(2);
        assert_eq!(text(&take(&array.slice(0, 0), &none).unwrap()), ["NULL", "NULL"]);
        let constant = take_column(&Column::Constant(array.slice(0, 1)), &indices).unwrap();
        assert_eq!(text(constant.array()), [all[0].clone(), "NULL".into(), all[0].clone()]);
    }
}

#[test]
fn concatenation_brings_carriers_together() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let wide = Decimal128Array::from(vec![10i128.pow(24), -5, 7]).with_precision_and_scale(25, 2).unwrap();
    let first = batch(3, Arc::new(dictionary), Arc::new(wide));
    let second = batch(4, views(4), small_decimals(4)).with_selection(Some(vec![1, 3].into()));
    let both = [first.clone(), batch(0, views(0), small_decimals(0)), second.clone()];
    let got = concat(&schema(), &both).unwrap();
    assert_eq!(got.num_rows(), 5);
    assert_eq!(text(got.column(1).array()), ["a", "NULL", "b", "long enough for a buffer ", ""]);
    assert_eq!(text(got.column(2).array()), ["10000000000000000000000.00", "-0.05", "0.07", "0.01", "0.03"]);
    assert_eq!(text(got.column(3).array()), ["9"; 5]);
    assert_eq!(got.row_kinds().unwrap().as_ref(), [0, 1, 2, 1, 3]);
    assert_eq!(got.hashes_of(&[0]).unwrap().as_ref(), [0, 1, 2, 1, 3]);
    let rows = [(1, 3), (0, 0), (1, 1)];
    let got = interleave(&schema(), &[first, second], &rows).unwrap();
    assert_eq!(text(got.column(1).array()), ["", "a", "long enough for a buffer "]);
    assert_eq!(got.row_kinds().unwrap().as_ref(), [3, 0, 1]);
    assert_eq!(concat(&schema(), &[]).unwrap().num_rows(), 0);
}

#[test]
fn portable_batches_have_portable_types() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let batch = batch(3, Arc::new(dictionary), small_decimals(3)).with_selection(Some(vec![0, 2].into()));
    let portable = to_portable_record_batch(&batch).unwrap();
    assert_eq!(portable.schema(), schema().portable_arrow_schema());
    assert_eq!(text(portable.column(1)), ["a", "b"]);
    assert_eq!(text(portable.column(2)), ["0.00", "0.02"]);
    assert_eq!(text(portable.column(3)), ["9", "9"]);
    let runs: RunArray<Int32Type> = vec!["x", "x", "y"].into_iter().collect();
    let one = Arc::new(Schema::new(vec![Field::new("s", LogicalType::Utf8, true)]));
    let portable = to_portable_record_batch(&Batch::new(one, vec![Column::Array(Arc::new(runs))], 3)).unwrap();
    assert_eq!(portable.column(0).data_type(), &DataType::Utf8);
    assert_eq!(text(portable.column(0)), ["x", "x", "y"]);
}

#[test]
fn few_rows_do_not_pin_much_memory() {
    let long: ArrayRef =
        Arc::new(StringViewArray::from_iter_values((0..1000).map(|i| format!("a long string, number {i}"))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let flat: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|i| format!("{i}"))));
    for array in [long, numbers, flat] {
        let slice = array.slice(500, 10);
        let kept = compact_array(&slice).unwrap();
        assert_eq!(text(&kept), text(&slice));
        assert!(kept.get_array_memory_size() * 10 < array.get_array_memory_size(), "{}", array.data_type());
        // What uses most of its bytes is left alone.
        assert!(Arc::ptr_eq(&compact_array(&array).unwrap(), &array));
    }
}
