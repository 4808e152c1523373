//! Every layout against a nested loop.

use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, StringViewArray, UInt64Array};
use flumen_core::batch::Selection;
use flumen_core::expr::{Literal, Value};
use flumen_core::source::RuntimeFilter;
use flumen_core::types::{Field, LogicalType, Schema};
use proptest::prelude::*;

use super::*;
use crate::hash::hash_columns;

type Row = (Option<i64>, Option<&'static str>);

/// Keys `n` and `s`, and the row's number as payload.
fn batch(rows: &[Row]) -> Batch {
    let schema = Schema::new(vec![
        Field::new("n", LogicalType::Int64, true),
        Field::new("s", LogicalType::Utf8, true),
        Field::new("id", LogicalType::Int64, false),
    ]);
    let columns: [ArrayRef; 3] = [
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<StringViewArray>()),
        Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
    ];
    Batch::new(Arc::new(schema), columns.map(Column::Array).into(), rows.len())
}

/// Probes in pieces of `pairs_max` and compares with the nested loop over `(build row, probe row)`.
fn check(build: &[Row], probe: &[Row], keys: &[usize], options: JoinTableOptions, pairs_max: usize) {
    let table = JoinTable::build(&batch(build), keys.to_vec(), options).unwrap();
    let probe_batch = batch(probe);
    let columns: Vec<&Column> = keys.iter().map(|key| probe_batch.column(*key)).collect();
    let hashes = hash_columns(&columns, probe.len(), None);
    let odd: Selection = (0..probe.len() as u32).filter(|row| row % 2 == 1).collect();
    let ids = table.batch().column(2).array().clone();
    let ids = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(&ids).values().clone();
    for selection in [None, Some(&odd)] {
        let key = |row: &Row| -> Vec<Option<String>> {
            keys.iter().map(|k| if *k == 0 { row.0.map(|n| n.to_string()) } else { row.1.map(str::to_owned) }).collect()
        };
        let equal = |b: &Row, p: &Row| {
            key(b).iter().zip(&key(p)).all(|(b, p)| b == p && (b.is_some() || options.null_equals_null))
        };
        let counts = |row: usize| selection.is_none() || row % 2 == 1;
        let mut expected: Vec<(u32, i64)> = Vec::new();
        for (p, row) in probe.iter().enumerate().filter(|(p, _)| counts(*p)) {
            expected.extend(build.iter().enumerate().filter(|(_, b)| equal(b, row)).map(|(b, _)| (p as u32, b as i64)));
        }
        let input = ProbeInput { hashes: &hashes, keys: &columns, rows: probe.len(), selection };
        let (mut cursor, mut pairs) = (ProbeCursor::default(), Pairs::default());
        // Twice, as a cursor serves batch after batch.
        for _ in 0..2 {
            let mut got = Vec::new();
            loop {
                let status = table.probe(&input, &mut cursor, pairs_max, &mut pairs).unwrap();
                assert!(pairs.len() <= pairs_max);
                got.extend(pairs.probe.iter().zip(&pairs.build).map(|(p, b)| (*p, ids[*b as usize])));
                if status == ProbeStatus::Finished {
                    break;
                }
            }
            assert!(got.is_sorted_by_key(|pair| pair.0), "probe rows ascend");
            got.sort_unstable();
            assert_eq!(got, expected);
        }
        let mut matching: Vec<u32> = expected.iter().map(|pair| pair.0).collect();
        matching.dedup();
        assert_eq!(table.matching_rows(&input, &mut cursor).unwrap().as_ref(), matching);
    }
}

const TEXTS: [Option<&str>; 4] = [Some("a"), Some("b"), Some("a text beyond a view"), None];

fn rows(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    let number = prop_oneof![4 => (0i64..20).prop_map(Some), 1 => Just(None), 1 => Just(Some(1 << 40))];
    prop::collection::vec((number, prop::sample::select(&TEXTS[..])), len)
}

proptest! {
    #[test]
    fn every_layout_finds_every_pair(
        build in rows(0..80),
        probe in rows(0..80),
        keys in prop::sample::select(vec![vec![0], vec![1], vec![0, 1]]),
        null_equals_null: bool,
        always_hash: bool,
        always_rank: bool,
        is_narrow: bool,
        pairs_max in prop::sample::select(vec![1, 7, 8192]),
    ) {
        let build: Vec<Row> = build.into_iter().map(|r| (r.0.filter(|n| !is_narrow || *n < 20), r.1)).collect();
        check(&build, &probe, &keys, JoinTableOptions { null_equals_null, always_hash, always_rank }, pairs_max);
    }

    #[test]
    fn unique_keys(mut numbers in prop::collection::vec(-30i64..30, 0..40), probe in rows(0..60)) {
        numbers.sort_unstable();
        numbers.dedup();
        let build: Vec<Row> = numbers.iter().map(|n| (Some(*n), None)).collect();
        for always_rank in [false, true] {
            check(&build, &probe, &[0], JoinTableOptions { always_rank, ..Default::default() }, 8192);
        }
    }
}

fn integers(array: ArrayRef) -> Batch {
    let data_type = LogicalType::from_arrow(array.data_type()).unwrap();
    let rows = array.len();
    Batch::new(Arc::new(Schema::new(vec![Field::new("n", data_type, true)])), vec![Column::Array(array)], rows)
}

fn layout_of(array: ArrayRef) -> &'static str {
    let table = JoinTable::build(&integers(array), vec![0], JoinTableOptions::default()).unwrap();
    match table.layout {
        Layout::Unique { .. } => "unique",
        Layout::Ranges { .. } => "ranges",
        Layout::RankedUnique { .. } => "ranked, unique",
        Layout::RankedRanges { .. } => "ranked",
        Layout::Hashed(_) => "hashed",
    }
}

#[test]
fn the_span_of_the_keys_chooses_the_layout() {
    let check = |values: Vec<Option<i64>>, expected: &str| {
        assert_eq!(layout_of(Arc::new(Int64Array::from(values))), expected);
    };
    check(vec![Some(-5), Some(1_000_000), None, None], "unique");
    check(vec![Some(5), Some(5)], "ranges");
    check(vec![Some(0), Some(1 << 20)], "hashed");
    check(vec![Some(i64::MIN), Some(i64::MAX)], "hashed");
    check(vec![None, None], "hashed");
    check(vec![], "hashed");
    check((0..400_000).map(|n| Some(n * 4)).collect(), "unique");
    check((0..400_000).map(|n| Some(n * 5)).collect(), "ranked, unique");
    check((0..400_000).map(|n| if n == 7 { None } else { Some(n / 2 * 128) }).collect(), "ranked");
    check((0..400_000).map(|n| Some(n * 65)).collect(), "hashed");
    assert_eq!(layout_of(Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 1]))), "hashed");
    assert_eq!(layout_of(Arc::new(Decimal128Array::from(vec![7, 9]))), "unique");
}

#[test]
fn keys_of_other_carriers_and_constants_find_their_rows() {
    let build: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    for (always_hash, always_rank) in [(false, false), (false, true), (true, false)] {
        let options = JoinTableOptions { always_hash, always_rank, ..Default::default() };
        let table = JoinTable::build(&integers(Arc::clone(&build)), vec![0], options).unwrap();
        let probe = |column: Column, rows: usize| {
            let keys = [&column];
            let hashes = hash_columns(&keys, rows, None);
            let input = ProbeInput { hashes: &hashes, keys: &keys, rows, selection: None };
            let mut pairs = Pairs::default();
            let status = table.probe(&input, &mut ProbeCursor::default(), 100, &mut pairs).unwrap();
            assert_eq!(status, ProbeStatus::Finished);
            let ids = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(
                table.batch().column(0).array(),
            );
            pairs.probe.iter().zip(&pairs.build).map(|(p, b)| (*p, ids.value(*b as usize))).collect::<Vec<_>>()
        };
        let numbers = || Int32Array::from(vec![Some(3), None, Some(4), Some(1)]);
        assert_eq!(probe(Column::Array(Arc::new(numbers())), 4), [(0, 3), (3, 1)]);
        let wide = Decimal128Array::from(vec![Some(2), Some(1 << 100), Some(2 + (1 << 64))]);
        assert_eq!(probe(Column::Array(Arc::new(wide)), 3), [(0, 2)]);
        let codes =
            DictionaryArray::<Int32Type>::new(Int32Array::from(vec![Some(3), None, Some(0)]), Arc::new(numbers()));
        assert_eq!(probe(Column::Array(Arc::new(codes)), 3), [(0, 1), (2, 3)]);
        assert_eq!(probe(Column::Constant(Arc::new(Int64Array::from(vec![2]))), 3), [(0, 2), (1, 2), (2, 2)]);
        assert_eq!(probe(Column::Constant(Arc::new(Int64Array::from(vec![None::<i64>]))), 3), []);
    }
}

#[test]
fn a_hot_key_comes_in_pieces() {
    let build: Vec<Row> = (0..1000).map(|i| (Some(7), if i % 2 == 0 { Some("a") } else { None })).collect();
    for (always_hash, always_rank) in [(false, false), (false, true), (true, false)] {
        let options = JoinTableOptions { always_hash, always_rank, ..Default::default() };
        check(&build, &[(Some(7), None), (Some(7), Some("a"))], &[0], options, 64);
        check(&build, &[(Some(7), None), (Some(7), Some("a"))], &[0, 1], options, 64);
    }
}

#[test]
fn filters_say_what_the_build_side_holds() {
    let filter = |rows: &[Row], keys: &[usize], key: usize| {
        JoinTable::build(&batch(rows), keys.to_vec(), JoinTableOptions::default()).unwrap().runtime_filter(key).unwrap()
    };
    let rows = [(Some(10), Some("m")), (None, Some("z")), (Some(75), None), (Some(12), Some("b"))];
    // Alone or beside another key.
    for keys in [&[0][..], &[0, 1]] {
        let numbers = filter(&rows, keys, 0);
        assert_eq!((numbers.min, numbers.max), (Literal::int64(10), Literal::int64(75)));
        assert_eq!(numbers.bitmap.unwrap().as_ref(), [0b101, 0b10]);
    }
    let texts = filter(&rows, &[0, 1], 1);
    assert_eq!(texts.min, Literal::utf8("b"));
    assert_eq!(texts.max.value, Value::Utf8("z".into()));
    assert_eq!(texts.bitmap, None);
    assert_eq!(filter(&[(None, None)], &[0], 0), RuntimeFilter::unknown());
    assert_eq!(filter(&[], &[0], 0), RuntimeFilter::unknown());
}
