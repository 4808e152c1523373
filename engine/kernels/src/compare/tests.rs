use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::types::{Int16Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeStringArray, ListArray, NullArray, RunArray,
    StringArray, StringViewArray,
};
use flumen_core::batch::Column;
use flumen_core::spec::relational::SortKey;

use super::*;
use crate::hash::hash_columns;

/// Compares every row of one array with every row of the other; `expected` says it from the values.
fn check(left: ArrayRef, right: ArrayRef, expected: impl Fn(usize, usize) -> bool) {
    let pairs: Vec<(u32, u32)> =
        (0..left.len() as u32).flat_map(|l| (0..right.len() as u32).map(move |r| (l, r))).collect();
    let (left_rows, right_rows): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    let columns = [Column::Array(left), Column::Array(right)];
    for nulls in [NullEquality::NullsDiffer, NullEquality::NullsEqual] {
        let mut matches = vec![7];
        rows_equal(&[&columns[0]], &left_rows, &[&columns[1]], &right_rows, nulls, &mut matches);
        let want: Vec<u32> = (0..pairs.len())
            .filter(|i| {
                let (l, r) = (pairs[*i].0 as usize, pairs[*i].1 as usize);
                let is_null = |c: &Column, row| c.array().logical_nulls().is_some_and(|n| n.is_null(row));
                match (is_null(&columns[0], l), is_null(&columns[1], r)) {
                    (false, false) => expected(l, r),
                    (true, true) => nulls == NullEquality::NullsEqual,
                    _ => false,
                }
            })
            .map(|i| i as u32)
            .collect();
        assert_eq!(matches, want, "{:?} with {:?}", columns[0].array().data_type(), columns[1].array().data_type());
        // What is equal has equal hashes.
        let hashes = columns.each_ref().map(|c| hash_columns(&[c], c.array().len(), None));
        assert!(matches.iter().all(|i| {
            let (l, r) = pairs[*i as usize];
            hashes[0][l as usize] == hashes[1][r as usize]
        }));
    }
}

#[test]
fn integers_of_any_width() {
    let values = [Some(1i64), None, Some(-1), Some(1), Some(300)];
    let arrays: [ArrayRef; 5] = [
        Arc::new(Int64Array::from(values.to_vec())),
        Arc::new(values.iter().map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        Arc::new(values.iter().map(|v| v.map(i128::from)).collect::<Decimal128Array>()),
        Arc::new(DictionaryArray::<Int16Type>::new(
            vec![Some(0), None, Some(1), Some(3), Some(2)].into_iter().collect(),
            Arc::new(Int64Array::from(vec![1, -1, 300, 1])),
        )),
        Arc::new(
            RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2, 3, 4, 5]), &Int64Array::from(values.to_vec()))
                .unwrap(),
        ),
    ];
    for left in &arrays {
        for right in &arrays {
            check(Arc::clone(left), Arc::clone(right), |l, r| values[l] == values[r]);
            check(left.slice(1, 3), Arc::clone(right), |l, r| values[l + 1] == values[r]);
        }
    }
}

#[test]
fn strings_of_any_carrier() {
    let values = vec![Some("flum"), None, Some(""), Some("flumen"), Some("flumen flows on"), Some("flumen flows in")];
    let dictionary: DictionaryArray<Int32Type> = values.iter().copied().collect();
    let arrays: [ArrayRef; 5] = [
        Arc::new(StringArray::from(values.clone())),
        Arc::new(LargeStringArray::from(values.clone())),
        Arc::new(StringViewArray::from(values.clone())),
        Arc::new(BinaryViewArray::from_iter(values.iter().map(|v| v.map(str::as_bytes)))),
        Arc::new(dictionary),
    ];
    for left in &arrays {
        for right in &arrays {
            check(Arc::clone(left), Arc::clone(right), |l, r| values[l] == values[r]);
        }
    }
    let fixed = FixedSizeBinaryArray::try_from_iter([b"flumen", b"flumex"].into_iter()).unwrap();
    check(Arc::clone(&arrays[2]), Arc::new(fixed), |l, r| values[l] == Some(["flumen", "flumex"][r]));
}

#[test]
fn floats_booleans_nulls_and_lists() {
    let floats = [0.0, -0.0, f64::NAN, -f64::NAN, 1.5];
    let equal = |l: usize, r: usize| floats[l] == floats[r] || floats[l].is_nan() && floats[r].is_nan();
    let wide: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
    check(Arc::clone(&wide), Arc::clone(&wide), equal);
    check(wide, Arc::new(floats.iter().map(|v| Some(*v as f32)).collect::<Float32Array>()), equal);
    let bits: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    check(Arc::clone(&bits), Arc::clone(&bits), |l, r| l == r);
    check(Arc::new(NullArray::new(2)), Arc::new(Int32Array::from(vec![None, Some(1)])), |_, _| false);
    check(Arc::new(Int32Array::from(vec![None, Some(1)])), Arc::new(NullArray::new(2)), |_, _| false);
    let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(1), None])];
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists));
    check(Arc::clone(&lists), lists, |l, r| l == r || (l, r) == (0, 3) || (l, r) == (3, 0));
}

#[test]
fn rows_of_several_columns_and_missing_rows() {
    let numbers = Column::Array(Arc::new(Int32Array::from(vec![Some(1), Some(1), None])));
    let texts = Column::Array(Arc::new(StringViewArray::from(vec!["a", "b", "c"])));
    let one = Column::Constant(Arc::new(Int64Array::from(vec![1])));
    let mut matches = Vec::new();
    let rows = [0, 1, 2, NO_ROW, 0];
    let others = [0, 0, 2, NO_ROW, NO_ROW];
    let left = [&numbers, &texts];
    rows_equal(&left, &rows, &left, &others, NullEquality::NullsEqual, &mut matches);
    assert_eq!(matches, [0, 2, 3]);
    rows_equal(&left, &rows, &left, &others, NullEquality::NullsDiffer, &mut matches);
    assert_eq!(matches, [0]);
    rows_equal(&[&numbers], &rows, &[&one], &others, NullEquality::NullsEqual, &mut matches);
    assert_eq!(matches, [0, 1, 3]);
    rows_equal(&[], &rows, &[], &others, NullEquality::NullsDiffer, &mut matches);
    assert_eq!(matches, [0, 1, 2, 3, 4]);
}

#[test]
fn order_of_pairs() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(2)]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![-f64::NAN, -0.0, 0.0]));
    let arrays = [numbers, floats];
    let check = |column, descending, nulls_first, l, r, expected: Ordering| {
        let keys = [SortKey { column, descending, nulls_first }];
        assert_eq!(RowComparator::new(&arrays, &arrays, &keys).unwrap().compare(l, r), expected);
    };
    check(0, false, false, 0, 2, Ordering::Less);
    check(0, true, false, 0, 2, Ordering::Greater);
    check(0, false, false, 0, 1, Ordering::Less);
    check(0, false, true, 0, 1, Ordering::Greater);
    check(0, true, false, 0, 1, Ordering::Less);
    check(1, false, false, 0, 1, Ordering::Greater);
    check(1, false, false, 1, 2, Ordering::Equal);
}
