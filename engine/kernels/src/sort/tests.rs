//! Against the standard library's stable sort with a comparator over logical values.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    StringViewArray, UInt64Array,
};
use proptest::prelude::*;

use super::*;

/// A value of a key, with the order of its type.
#[derive(Clone, Debug, PartialEq)]
enum Key {
    Null,
    Int(i128),
    Float(f64),
    Text(String),
}

fn compare(left: &Key, right: &Key, key: &SortKey) -> Ordering {
    let order = match (left, right) {
        (Key::Null, Key::Null) => return Ordering::Equal,
        (Key::Null, _) => return if key.nulls_first { Ordering::Less } else { Ordering::Greater },
        (_, Key::Null) => return if key.nulls_first { Ordering::Greater } else { Ordering::Less },
        (Key::Int(l), Key::Int(r)) => l.cmp(r),
        (Key::Text(l), Key::Text(r)) => l.as_bytes().cmp(r.as_bytes()),
        (Key::Float(l), Key::Float(r)) => match (l.is_nan(), r.is_nan()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => l.partial_cmp(r).unwrap(),
        },
        _ => panic!("one type per column"),
    };
    if key.descending { order.reverse() } else { order }
}

/// A column of some type and carrier, and its values.
#[derive(Clone, Debug)]
struct Made {
    column: Column,
    logical: LogicalType,
    values: Vec<Key>,
}

const TEXTS: [&str; 7] =
    ["", "a", "a\0", "b", "the same sixteen bytes, then one", "the same sixteen bytes, then two", "the same sixteen"];

fn make(kind: usize, numbers: &[Option<i64>]) -> Made {
    let int = |v: &Option<i64>| v.map_or(Key::Null, |v| Key::Int(i128::from(v)));
    let text = |v: &Option<i64>| v.map(|v| TEXTS[v.rem_euclid(7) as usize]);
    let texts = || numbers.iter().map(|v| text(v).map_or(Key::Null, |t| Key::Text(t.into()))).collect();
    let (array, logical, values): (ArrayRef, LogicalType, Vec<Key>) = match kind {
        0 => (Arc::new(Int64Array::from(numbers.to_vec())), LogicalType::Int64, numbers.iter().map(int).collect()),
        1 => {
            let narrow = numbers.iter().map(|v| v.map(|v| v as i32)).collect::<Int32Array>();
            let values = narrow.iter().map(|v| v.map_or(Key::Null, |v| Key::Int(i128::from(v)))).collect();
            (Arc::new(narrow), LogicalType::Int32, values)
        }
        2 => (Arc::new(numbers.iter().map(text).collect::<StringViewArray>()), LogicalType::Utf8, texts()),
        3 => {
            let flat = StringArray::from_iter(numbers.iter().map(text));
            let codes = Int32Array::from_iter_values(0..numbers.len() as i32);
            (Arc::new(DictionaryArray::<Int32Type>::new(codes, Arc::new(flat))), LogicalType::Utf8, texts())
        }
        4 => {
            let float = |v: i64| match v.rem_euclid(6) {
                0 => 0.0,
                1 => -0.0,
                2 => f64::NAN,
                3 => -f64::NAN,
                4 => f64::NEG_INFINITY,
                _ => v as f64 / 8.0,
            };
            let values = numbers.iter().map(|v| v.map_or(Key::Null, |v| Key::Float(float(v)))).collect();
            (Arc::new(numbers.iter().map(|v| v.map(float)).collect::<Float64Array>()), LogicalType::Float64, values)
        }
        5 => {
            // Beyond 64 bits on both sides, where prefixes are clamped.
            let wide = |v: i64| if v % 2 == 0 { i128::from(v) } else { i128::from(v) << 64 };
            let array = numbers.iter().map(|v| v.map(wide)).collect::<Decimal128Array>();
            let values = numbers.iter().map(|v| v.map_or(Key::Null, |v| Key::Int(wide(v)))).collect();
            (Arc::new(array), LogicalType::Decimal { precision: 38, scale: 10 }, values)
        }
        6 => {
            let values = numbers.iter().map(|v| v.map_or(Key::Null, |v| Key::Int(i128::from(v as u64)))).collect();
            (
                Arc::new(numbers.iter().map(|v| v.map(|v| v as u64)).collect::<UInt64Array>()),
                LogicalType::UInt64,
                values,
            )
        }
        7 => {
            let values = numbers.iter().map(|v| v.map_or(Key::Null, |v| Key::Int(i128::from(v > 0)))).collect();
            (Arc::new(numbers.iter().map(|v| v.map(|v| v > 0)).collect::<BooleanArray>()), LogicalType::Boolean, values)
        }
        _ => {
            let constant = Column::Constant(Arc::new(Int64Array::from(vec![numbers.first().copied().flatten()])));
            let values = vec![numbers.first().map_or(Key::Null, int); numbers.len()];
            return Made { column: constant, logical: LogicalType::Int64, values };
        }
    };
    Made { column: Column::Array(array), logical, values }
}

fn columns() -> impl Strategy<Value = (Vec<Made>, Vec<SortKey>)> {
    let number = prop_oneof![6 => (-9i64..9).prop_map(Some), 1 => Just(None), 1 => any::<i64>().prop_map(Some)];
    // More rows than are sorted by comparison, now and then.
    let rows = prop_oneof![4 => 0usize..60, 1 => 600usize..1200];
    let shape = (rows, prop::collection::vec((0usize..9, any::<bool>(), any::<bool>()), 1..4));
    shape.prop_flat_map(move |(rows, kinds)| {
        let numbers = prop::collection::vec(prop::collection::vec(number.clone(), rows), kinds.len());
        numbers.prop_map(move |numbers| {
            let made = numbers.iter().zip(&kinds).map(|(numbers, (kind, ..))| make(*kind, numbers)).collect();
            let key = |(column, (_, descending, nulls_first)): (usize, &(usize, bool, bool))| SortKey {
                column,
                descending: *descending,
                nulls_first: *nulls_first,
            };
            (made, kinds.iter().enumerate().map(key).collect())
        })
    })
}

fn order(made: &[Made], keys: &[SortKey], left: usize, right: usize) -> Ordering {
    let by_key = |key: &SortKey| compare(&made[key.column].values[left], &made[key.column].values[right], key);
    keys.iter().map(by_key).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn indices_are_those_of_a_stable_sort((made, keys) in columns(), odd: bool) {
        let rows = made[0].values.len();
        let columns: Vec<&Column> = made.iter().map(|m| &m.column).collect();
        let types: Vec<LogicalType> = made.iter().map(|m| m.logical.clone()).collect();
        let selection: Option<Selection> = odd.then(|| (0..rows as u32).filter(|row| row % 2 == 1).collect());
        let mut expected: Vec<u32> = selection.as_ref().map_or((0..rows as u32).collect(), |s| s.to_vec());
        expected.sort_by(|l, r| order(&made, &keys, *l as usize, *r as usize));
        let got = sort_indices(&columns, &types, rows, selection.as_ref(), &keys).unwrap();
        prop_assert_eq!(&got, &expected);
        // And once more over what is sorted already.
        let sorted: Vec<Column> = super::take_rows(&columns, &got).unwrap();
        let sorted: Vec<&Column> = sorted.iter().collect();
        let again = sort_indices(&sorted, &types, got.len(), None, &keys).unwrap();
        prop_assert_eq!(again, (0..got.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn top_n_and_merge_agree_with_the_sort((made, keys) in columns(), rows_max in 0usize..20, cut in 1usize..200) {
        let rows = made[0].values.len();
        let columns: Vec<&Column> = made.iter().map(|m| &m.column).collect();
        let types: Vec<LogicalType> = made.iter().map(|m| m.logical.clone()).collect();
        let sorted = sort_indices(&columns, &types, rows, None, &keys).unwrap();

        let mut top = TopN::new(&types, &keys, rows_max).unwrap();
        let pieces: Vec<Vec<u32>> = (0..rows as u32).collect::<Vec<_>>().chunks(cut).map(<[u32]>::to_vec).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let taken = super::take_rows(&columns, piece).unwrap();
            let accepted = top.offer(&taken.iter().collect::<Vec<_>>(), piece.len(), None).unwrap();
            let held = top.rows().into_iter().filter(|(batch, _)| *batch as usize == number);
            prop_assert!(held.map(|(_, row)| row).all(|row| accepted.contains(&row)));
        }
        let got: Vec<u32> = top.rows().iter().map(|(batch, row)| pieces[*batch as usize][*row as usize]).collect();
        prop_assert_eq!(&got[..], &sorted[..rows_max.min(rows)]);

        // Each run is a sorted third of the rows, in batches of up to `cut`.
        let runs: Vec<Vec<u32>> = (0..3)
            .map(|run| sorted.iter().copied().filter(|row| *row as usize * 3 / rows.max(1) == run).collect())
            .collect();
        let mut batches: Vec<_> = runs.iter().map(|run| run.chunks(cut)).collect();
        let mut current: Vec<&[u32]> = vec![&[]; 3];
        let mut merge = SortedMerge::new(&types, &keys, 3).unwrap();
        let (mut got, mut piece) = (Vec::new(), Vec::new());
        loop {
            let status = merge.merge(7, &mut piece);
            prop_assert!(piece.len() <= 7);
            got.extend(piece.drain(..).map(|(run, row)| current[run as usize][row as usize]));
            match status {
                MergeStatus::Full => {}
                MergeStatus::Finished => break,
                MergeStatus::NeedsInput(run) => match batches[run].next() {
                    Some(batch) => {
                        current[run] = batch;
                        let taken = super::take_rows(&columns, batch).unwrap();
                        merge.feed(run, &taken.iter().collect::<Vec<_>>(), batch.len()).unwrap();
                    }
                    None => merge.end(run),
                },
            }
        }
        prop_assert_eq!(got, sorted);
    }
}

#[test]
fn exact_prefixes_and_those_that_are_not() {
    let key = |column| SortKey { column, descending: false, nulls_first: false };
    let types =
        [LogicalType::Int64, LogicalType::Date, LogicalType::Utf8, LogicalType::Decimal { precision: 38, scale: 0 }];
    let exact = |keys: &[SortKey]| PrefixLayout::new(&types, keys, |_| true).unwrap().is_always_exact();
    assert!(exact(&[key(0), key(1)]));
    assert!(!exact(&[key(0), key(0)]));
    assert!(!exact(&[key(2)]));
    assert!(!exact(&[key(3)]));
    let lists = PrefixLayout::new(&[LogicalType::list_of(LogicalType::Int32)], &[key(0)], |_| true).unwrap();
    assert!(!lists.is_always_exact());
    let intervals = PrefixLayout::new(&[LogicalType::Interval], &[key(0)], |_| true);
    assert!(matches!(intervals, Err(KernelError::NotOrdered { .. })));
}

#[test]
fn merges_of_no_and_one_run_end() {
    let keys = [SortKey { column: 0, descending: false, nulls_first: false }];
    let mut out = Vec::new();
    let mut none = SortedMerge::new(&[LogicalType::Int64], &keys, 0).unwrap();
    assert_eq!(none.merge(10, &mut out), MergeStatus::Finished);
    let mut one = SortedMerge::new(&[LogicalType::Int64], &keys, 1).unwrap();
    assert_eq!(one.merge(10, &mut out), MergeStatus::NeedsInput(0));
    let numbers = Column::Array(Arc::new(Int64Array::from(vec![1, 2])));
    one.feed(0, &[&numbers], 2).unwrap();
    assert_eq!(one.merge(1, &mut out), MergeStatus::Full);
    assert_eq!(one.merge(10, &mut out), MergeStatus::NeedsInput(0));
    one.end(0);
    assert_eq!(one.merge(10, &mut out), MergeStatus::Finished);
    assert_eq!(out, [(0, 0), (0, 1)]);
}

#[test]
fn keys_of_few_values_are_sorted_as_one() {
    // Two keys that vary in low bits only, far apart in the prefix; with NULLs, and with signs, which vary all bits.
    for (rows, nulls, signs) in [(600, false, false), (5000, true, false), (5000, true, true)] {
        let number = |i: i64, bound: i64| (i * 7919 % 104_729) % bound - if signs { bound / 3 } else { 0 };
        let column = |bound: i64| -> Vec<Option<i64>> {
            (0..rows).map(|i| (!nulls || i % 11 != 3).then(|| number(i + bound, bound))).collect()
        };
        let (first, second) = (make(0, &column(17)), make(0, &column(900)));
        let keys = [
            SortKey { column: 0, descending: false, nulls_first: true },
            SortKey { column: 1, descending: true, nulls_first: false },
        ];
        let types = [LogicalType::Int64, LogicalType::Int64];
        let sorted = sort_indices(&[&first.column, &second.column], &types, rows as usize, None, &keys).unwrap();
        let mut expected: Vec<u32> = (0..rows as u32).collect();
        expected.sort_by(|a, b| {
            let (a, b) = (*a as usize, *b as usize);
            compare(&first.values[a], &first.values[b], &keys[0])
                .then_with(|| compare(&second.values[a], &second.values[b], &keys[1]))
        });
        assert_eq!(sorted, expected);
    }
}
