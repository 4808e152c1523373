//! Scattered rows, against the rows that went in.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal64Array, Decimal128Array, DictionaryArray, Int16Array, Int32Array, Int64Array,
    LargeStringArray, ListArray, NullArray, StringArray, StringViewArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_core::batch::{Batch, Column, Selection};
use flumen_core::key_group::{key_group_of, subtask_of};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

use super::*;
use crate::hash::hash_batch;

fn schema() -> SchemaRef {
    let item = Arc::new(Field::new("item", LogicalType::Int32, true));
    Arc::new(Schema::new(vec![
        Field::new("id", LogicalType::Int64, false),
        Field::new("text", LogicalType::Utf8, true),
        Field::new("price", LogicalType::Decimal { precision: 15, scale: 2 }, true),
        Field::new("total", LogicalType::Decimal { precision: 30, scale: 2 }, true),
        Field::new("flag", LogicalType::Boolean, true),
        Field::new("small", LogicalType::Int16, true),
        Field::new("list", LogicalType::List(item), true),
        Field::new("nothing", LogicalType::Null, true),
        Field::new("constant", LogicalType::Date, true),
    ]))
}

/// Rows numbered from `first`; `variant` chooses carriers.
fn batch(first: i64, rows: usize, variant: usize) -> Batch {
    let ids: Vec<i64> = (first..first + rows as i64).collect();
    let text = |id: &i64| (id % 5 != 0).then(|| format!("{id} {}", "and more ".repeat((id % 4) as usize)));
    let texts: ArrayRef = match variant % 4 {
        0 => Arc::new(ids.iter().map(text).collect::<StringViewArray>()),
        1 => Arc::new(ids.iter().map(text).collect::<StringArray>()),
        2 => Arc::new(ids.iter().map(text).collect::<LargeStringArray>()),
        _ => {
            let values = StringArray::from_iter(ids.iter().map(text));
            Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from_iter_values(0..rows as i32), Arc::new(values)))
        }
    };
    let price = |id: &i64| (id % 7 != 0).then_some(id * 100);
    let prices: ArrayRef = if variant.is_multiple_of(2) {
        Arc::new(ids.iter().map(price).collect::<Decimal64Array>().with_precision_and_scale(15, 2).unwrap())
    } else {
        let wide = ids.iter().map(|id| price(id).map(i128::from)).collect::<Decimal128Array>();
        Arc::new(wide.with_precision_and_scale(15, 2).unwrap())
    };
    let totals: ArrayRef = if variant < 2 {
        Arc::new(ids.iter().map(price).collect::<Decimal64Array>().with_precision_and_scale(18, 2).unwrap())
    } else {
        let wide = ids.iter().map(|id| price(id).map(|p| i128::from(p) << 60)).collect::<Decimal128Array>();
        Arc::new(wide.with_precision_and_scale(30, 2).unwrap())
    };
    let lists = ids.iter().map(|id| (id % 3 != 0).then(|| (0..id % 4).map(|i| Some(i as i32)).collect::<Vec<_>>()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.clone())),
        texts,
        prices,
        totals,
        Arc::new(ids.iter().map(|id| (id % 11 != 0).then_some(id % 2 == 0)).collect::<BooleanArray>()),
        Arc::new(ids.iter().map(|id| (id % 2 != 0).then_some(*id as i16)).collect::<Int16Array>()),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        Arc::new(NullArray::new(rows)),
    ];
    let mut columns: Vec<Column> = columns.into_iter().map(Column::Array).collect();
    columns.push(Column::Constant(Arc::new(arrow_array::Date32Array::from(vec![variant as i32]))));
    Batch::new(schema(), columns, rows)
}

/// Each selected row as text, with its kind.
fn rows_of(batch: &Batch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let arrays: Vec<_> = batch.columns().iter().map(|c| (c.array().clone(), c.as_constant().is_some())).collect();
    let formatters: Vec<_> =
        arrays.iter().map(|(a, constant)| (ArrayFormatter::try_new(a, &options).unwrap(), *constant)).collect();
    let row_text = |row: usize| {
        let mut values: Vec<_> =
            formatters.iter().map(|(f, constant)| f.value(if *constant { 0 } else { row }).to_string()).collect();
        values.push(batch.row_kinds().map_or(0, |k| k[row]).to_string());
        values.join("|")
    };
    match batch.selection() {
        None => (0..batch.physical_rows()).map(row_text).collect(),
        Some(selection) => selection.iter().map(|row| row_text(*row as usize)).collect(),
    }
}

fn check(targets: u32, rows: usize, limits: PartitionLimits) {
    let groups = KeyGroupTargets::new(targets, 128);
    let mut builders = PartitionBuilders::new(schema(), targets as usize, Some(Arc::from([0])), limits);
    let (mut partitioned, mut out) = (PartitionedRows::default(), Vec::new());
    let mut expected = vec![Vec::new(); targets as usize];
    for variant in 0..6 {
        let mut batch = batch((variant * rows) as i64, rows, variant);
        if variant == 4 {
            batch = batch.with_row_kinds(Some((0..rows).map(|row| [0, 3][row % 2]).collect()));
        }
        if variant % 3 == 1 {
            let selection: Selection = (0..rows as u32).filter(|row| row % 3 != 0).collect();
            batch = batch.with_selection(Some(selection));
        }
        let hashes = hash_batch(&batch, &[0]);
        partitioned.assign_by_hash(&hashes, batch.selection(), &groups);
        builders.append(&batch, &partitioned, &mut out).unwrap();
        let texts = rows_of(&batch);
        for (position, text) in texts.into_iter().enumerate() {
            let row = batch.selection().map_or(position, |s| s[position] as usize);
            let target = subtask_of(key_group_of(hashes[row], 128), targets, 128);
            expected[target as usize].push(text);
        }
    }
    builders.finish_all(&mut out).unwrap();
    assert_eq!(builders.memory_size(), 0);
    let mut got = vec![Vec::new(); targets as usize];
    for (target, batch) in &out {
        assert!(batch.num_rows() > 0 && batch.num_rows() <= limits.rows_max);
        let hashes = batch.hashes_of(&[0]).unwrap();
        assert_eq!(hashes, &hash_batch(&batch.clone().with_hashes(None), &[0]), "hashes travel with their rows");
        got[*target].extend(rows_of(batch));
    }
    assert_eq!(got, expected);
}

#[test]
fn every_row_arrives_once_and_in_order() {
    for targets in [1, 2, 3, 128] {
        for rows in [1, 7, 1000] {
            check(targets, rows, PartitionLimits { rows_max: 8192, bytes_max: 1 << 20 });
            check(targets, rows, PartitionLimits { rows_max: 64, bytes_max: 1 << 20 });
            check(targets, rows, PartitionLimits { rows_max: 8192, bytes_max: 2000 });
        }
    }
}

#[test]
fn strings_are_copied_so_that_no_page_is_kept() {
    let schema = Arc::new(Schema::new(vec![Field::new("text", LogicalType::Utf8, false)]));
    let page = StringViewArray::from_iter_values((0..1000).map(|i| format!("a long string, number {i}")));
    let selected = Batch::new(Arc::clone(&schema), vec![Column::Array(Arc::new(page))], 1000)
        .with_selection(Some(vec![500].into()));
    let limits = PartitionLimits { rows_max: 10, bytes_max: 1 << 20 };
    let mut builders = PartitionBuilders::new(schema, 1, None, limits);
    let (mut rows, mut out) = (PartitionedRows::default(), Vec::new());
    rows.assign(1, 1000, selected.selection(), |_| 0);
    builders.append(&selected, &rows, &mut out).unwrap();
    builders.finish_all(&mut out).unwrap();
    assert_eq!(rows_of(&out[0].1), ["a long string, number 500|0"]);
    assert!(out[0].1.memory_size() < 1000);
}

#[test]
fn pairs_that_are_split_become_delete_and_insert() {
    let schema = Arc::new(Schema::new(vec![Field::new("key", LogicalType::Int64, false)]));
    let check = |keys: Vec<i64>, kinds: Vec<i8>, selection: Option<Vec<u32>>, expected: [&[(i64, i8)]; 2]| {
        let rows = keys.len();
        let batch =
            Batch::new(Arc::clone(&schema), vec![Column::Array(Arc::new(Int64Array::from(keys.clone())))], rows)
                .with_row_kinds(Some(kinds.into()))
                .with_selection(selection.map(Into::into));
        let limits = PartitionLimits { rows_max: 100, bytes_max: 1 << 20 };
        let mut builders = PartitionBuilders::new(Arc::clone(&schema), 2, None, limits);
        let (mut partitioned, mut out) = (PartitionedRows::default(), Vec::new());
        // Odd keys go to target 1.
        partitioned.assign(2, rows, batch.selection(), |row| (keys[row] % 2) as u16);
        builders.append(&batch, &partitioned, &mut out).unwrap();
        builders.finish_all(&mut out).unwrap();
        for (target, batch) in out {
            let keys =
                arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(batch.column(0).array());
            let got: Vec<_> = keys.values().iter().copied().zip(batch.row_kinds().unwrap().iter().copied()).collect();
            assert_eq!(got, expected[target]);
        }
    };
    check(vec![2, 2, 4, 5], vec![1, 2, 1, 2], None, [&[(2, 1), (2, 2), (4, 3)], &[(5, 0)]]);
    // A half that stands alone is left as it is; neighbours are those that are selected.
    check(vec![2, 3, 4], vec![1, 0, 2], None, [&[(2, 1), (4, 2)], &[(3, 0)]]);
    check(vec![2, 9, 3], vec![1, 0, 2], Some(vec![0, 2]), [&[(2, 3)], &[(3, 0)]]);
}
