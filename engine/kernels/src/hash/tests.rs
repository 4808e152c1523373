//! Golden values (from a separate implementation of the module's definition, in another language), a scalar reference
//! over logical values, equality across encodings, and distribution.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveRunBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt16Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Decimal32Array, Decimal64Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeBinaryArray, LargeStringArray, NullArray, StringArray, StringViewArray, StructArray, UInt64Array,
};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, Field};
use flumen_core::batch::Column;
use flumen_core::key_group::key_group_of;
use proptest::prelude::*;

use super::fold::{fold_dense_body, fold_dense_nullable_body};
use super::*;

fn hash_array(array: ArrayRef) -> Vec<u64> {
    let rows = array.len();
    hash_columns(&[&Column::Array(array)], rows, None)
}

fn check(array: impl Array + 'static, expected: &[u64]) {
    let array: ArrayRef = Arc::new(array);
    assert_eq!(hash_array(Arc::clone(&array)), expected, "{array:?}");
    // Constants, and rows under a selection, in a longer column and in a slice.
    for (row, hash) in expected.iter().enumerate() {
        let constant = Column::Constant(array.slice(row, 1));
        assert_eq!(hash_columns(&[&constant], 3, None), [*hash; 3]);
        let selection = vec![row as u32].into();
        let column = Column::Array(Arc::clone(&array));
        assert_eq!(hash_columns(&[&column], array.len(), Some(&selection))[row], *hash);
    }
    if array.len() > 1 {
        assert_eq!(hash_array(array.slice(1, array.len() - 1)), &expected[1..]);
    }
}

const NULL_HASH: u64 = 0xc975_7733_2bf4_3a5a;

#[test]
fn golden_values() {
    check(NullArray::new(2), &[NULL_HASH, NULL_HASH]);
    check(
        Int64Array::from(vec![Some(0), Some(1), Some(-1), None, Some(42), Some(i64::MIN), Some(i64::MAX)]),
        &[
            0x492b_8d60_66c0_9227,
            0x3564_b439_cd1e_1f16,
            0xfdb2_18e5_a88f_15ae,
            NULL_HASH,
            0x1889_195a_26e2_f9d5,
            0x1843_7c1c_7269_4c1e,
            0x3c24_9329_35b7_29f4,
        ],
    );
    check(UInt64Array::from(vec![1, u64::MAX]), &[0x3564_b439_cd1e_1f16, 0x9c7d_aaa2_40e1_6139]);
    check(
        Decimal128Array::from(vec![10i128.pow(30), -(10i128.pow(30)), 42]),
        &[0x93f4_c40e_6247_291d, 0x7fc5_5d21_08b3_f88b, 0x1889_195a_26e2_f9d5],
    );
    check(BooleanArray::from(vec![false, true]), &[0x492b_8d60_66c0_9227, 0x3564_b439_cd1e_1f16]);
    check(
        Float64Array::from(vec![0.0, -0.0, 1.5, f64::NAN, -f64::NAN, f64::NEG_INFINITY]),
        &[
            0x492b_8d60_66c0_9227,
            0x492b_8d60_66c0_9227,
            0x6c0b_0463_d038_551d,
            0xd521_db94_0423_0f10,
            0xd521_db94_0423_0f10,
            0x6520_0e33_3296_623f,
        ],
    );
    let intervals = vec![IntervalMonthDayNano::new(14, -3, 5_000_000_000), IntervalMonthDayNano::new(0, 1, -1)];
    check(IntervalMonthDayNanoArray::from(intervals), &[0xba32_9a19_dec3_845c, 0x3b9d_77cb_3ed4_f8b0]);
}

/// Hashes of the strings `1, 8, 15, ...` (modulo 256) of some lengths.
const STRINGS: [(usize, u64); 18] = [
    (0, 0x36f2_b599_291e_712c),
    (1, 0x8879_cc54_cef1_916c),
    (3, 0x9fe3_5b4c_d47c_d45e),
    (4, 0xe2e5_d602_5cc1_a8df),
    (7, 0x0826_5e3b_9bb7_ddaa),
    (8, 0x8fab_bd9c_eb3d_7433),
    (9, 0x1786_75ec_0ef4_ec07),
    (12, 0xb672_2313_3dbe_366f),
    (13, 0xfb72_110d_b6dc_01bf),
    (16, 0xf651_7cb0_4090_cb3a),
    (17, 0xb6a8_7238_e96f_dd1c),
    (32, 0x9a4b_6149_e1ef_1847),
    (33, 0x526f_6313_92fe_57d8),
    (48, 0xc613_c663_fa90_5a05),
    (49, 0x2958_cae6_9716_a431),
    (64, 0xa4e9_f5c0_b255_834a),
    (65, 0xcf54_c5f3_3885_603f),
    (100, 0x1ad0_4201_3f63_104c),
];

#[test]
fn golden_strings() {
    let strings: Vec<Vec<u8>> = STRINGS.iter().map(|(len, _)| (0..*len).map(|k| (k * 7 + 1) as u8).collect()).collect();
    let expected: Vec<u64> = STRINGS.iter().map(|(_, hash)| *hash).collect();
    check(BinaryArray::from_iter_values(&strings), &expected);
    check(LargeBinaryArray::from_iter_values(&strings), &expected);
    check(BinaryViewArray::from_iter_values(&strings), &expected);
    for (string, hash) in strings.iter().zip(&expected) {
        if !string.is_empty() {
            check(FixedSizeBinaryArray::try_from_iter([string].into_iter()).unwrap(), &[*hash]);
        }
    }
}

#[test]
fn golden_rows_and_nested_values() {
    let number: ArrayRef = Arc::new(Int32Array::from(vec![7]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["flumen"]));
    let null: ArrayRef = Arc::new(Int32Array::from(vec![None::<i32>]));
    let row = |arrays: [&ArrayRef; 2]| {
        let columns = arrays.map(|a| Column::Array(Arc::clone(a)));
        hash_columns(&columns.each_ref(), 1, None)[0]
    };
    assert_eq!(hash_columns(&[], 2, None), [0x6a09_e667_f3bc_c908; 2]);
    assert_eq!(row([&number, &text]), 0xe02a_ef58_2495_57b7);
    assert_eq!(row([&null, &number]), 0xcafd_4216_d092_1164);
    assert_eq!(row([&number, &null]), 0x8bd0_85b6_bd04_4970);
    let fields = vec![
        (Arc::new(Field::new("n", DataType::Int32, true)), Arc::clone(&number)),
        (Arc::new(Field::new("t", DataType::Utf8, true)), Arc::clone(&text)),
    ];
    check(StructArray::from(fields), &[0x2348_4064_2b82_9cb5]);
    let mut lists = ListBuilder::new(Int64Array::builder(4));
    lists.append_value([Some(1), None, Some(3)]);
    lists.append(true);
    lists.append(false);
    check(lists.finish(), &[0x3b35_3f36_71ae_9bcd, 0x3c9b_2862_4718_e81a, NULL_HASH]);
}

fn assert_same(arrays: &[ArrayRef]) {
    let first = hash_array(Arc::clone(&arrays[0]));
    for array in arrays {
        assert_eq!(hash_array(Arc::clone(array)), first, "{}", array.data_type());
        // As a second column, behind another one, and where few rows are selected.
        let number = Column::Array(Arc::new(Int64Array::from_iter_values(0..array.len() as i64)));
        let [one, other] = [Arc::clone(array), Arc::clone(&arrays[0])]
            .map(|array| hash_columns(&[&number, &Column::Array(array)], first.len(), None));
        assert_eq!(one, other);
        let selection: Selection = (0..array.len() as u32).step_by(9).collect();
        let selected = hash_columns(&[&number, &Column::Array(Arc::clone(array))], first.len(), Some(&selection));
        assert!(selection.iter().all(|row| selected[*row as usize] == other[*row as usize]));
    }
}

fn as_dictionary<K: arrow_array::types::ArrowDictionaryKeyType>(array: &ArrayRef) -> ArrayRef {
    let target = DataType::Dictionary(Box::new(K::DATA_TYPE), Box::new(array.data_type().clone()));
    arrow_cast::cast(array, &target).unwrap()
}

proptest! {
    #[test]
    fn integers_of_any_width_and_encoding(values in prop::collection::vec(prop::option::of(any::<i8>()), 1..200)) {
        let narrow: ArrayRef = Arc::new(Int8Array::from(values.clone()));
        let mut arrays = vec![Arc::clone(&narrow)];
        for wide in [DataType::Int16, DataType::Int32, DataType::Int64] {
            arrays.push(arrow_cast::cast(&narrow, &wide).unwrap());
        }
        let int64 = arrow_cast::cast(&narrow, &DataType::Int64).unwrap();
        arrays.push(Arc::new(int64.as_primitive::<Int64Type>().iter().map(|v| v.map(i128::from)).collect::<Decimal128Array>()));
        arrays.push(Arc::new(int64.as_primitive::<Int64Type>().iter().collect::<Decimal64Array>()));
        arrays.push(Arc::new(narrow.as_primitive::<Int8Type>().iter().map(|v| v.map(i32::from)).collect::<Decimal32Array>()));
        arrays.push(as_dictionary::<UInt16Type>(&int64));
        arrays.push(as_dictionary::<Int32Type>(&int64));
        arrays.push(as_dictionary::<UInt64Type>(&narrow));
        let mut runs = PrimitiveRunBuilder::<Int16Type, Int8Type>::new();
        values.iter().for_each(|v| runs.append_option(*v));
        arrays.push(Arc::new(runs.finish()));
        assert_same(&arrays);
        // Slices of a run-end column start inside a run.
        let middle = values.len() / 2;
        let slice = arrays.last().unwrap().slice(middle, values.len() - middle);
        prop_assert_eq!(hash_array(slice), &hash_array(narrow)[middle..]);
    }

    #[test]
    fn unsigned_beyond_the_signed_range(values in prop::collection::vec(any::<u64>(), 1..50)) {
        let decimals: Decimal128Array = values.iter().map(|v| Some(i128::from(*v))).collect();
        assert_same(&[Arc::new(UInt64Array::from(values)), Arc::new(decimals)]);
    }

    #[test]
    fn strings_of_any_carrier(values in prop::collection::vec(prop::option::of("\\PC{0,40}"), 1..100)) {
        let flat: ArrayRef = Arc::new(StringArray::from(values.clone()));
        let views: ArrayRef = Arc::new(values.iter().cloned().collect::<StringViewArray>());
        let binary: BinaryArray = values.iter().map(|v| v.as_ref().map(|v| v.as_bytes())).collect();
        assert_same(&[
            Arc::clone(&flat),
            Arc::new(LargeStringArray::from(values)),
            as_dictionary::<Int32Type>(&flat),
            as_dictionary::<UInt16Type>(&flat),
            Arc::clone(&views),
            Arc::new(binary),
        ]);
        // Few rows of a dictionary with many values.
        let dictionary = as_dictionary::<Int32Type>(&flat);
        let few = flat.len().div_ceil(3);
        prop_assert_eq!(hash_array(dictionary.slice(0, few)), &hash_array(flat)[..few]);
    }

    #[test]
    fn floats_of_either_width(values in prop::collection::vec(prop::option::of(any::<f32>()), 1..50)) {
        let wide: Float64Array = values.iter().map(|v| v.map(f64::from)).collect();
        assert_same(&[Arc::new(Float32Array::from(values)), Arc::new(wide)]);
    }

    #[test]
    fn every_instruction_set_agrees(values in prop::collection::vec(prop::option::of(any::<i64>()), 0..300)) {
        let array = Int64Array::from(values);
        let rows = array.len();
        let mut scalar = vec![SEED; rows];
        match array.nulls() {
            Some(nulls) => fold_dense_nullable_body(&mut scalar, array.values(), nulls.inner()),
            None => fold_dense_body(&mut scalar, array.values()),
        }
        prop_assert_eq!(hash_array(Arc::new(array)), scalar);
    }
}

fn assert_even(hashes: &[u64], cell: impl Fn(u64) -> usize) {
    let mut counts = [0f64; 1024];
    hashes.iter().for_each(|h| counts[cell(*h)] += 1.0);
    let expected = hashes.len() as f64 / 1024.0;
    let chi2: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
    assert!(chi2 < 1023.0 + 5.0 * 45.3, "{chi2}");
}

/// Sequential integers, and multiples of a power of two, must fill any bits evenly: chi-squared over 1024 cells has
/// mean 1023 and standard deviation 45; 5 of these are granted.
#[test]
fn integers_spread_over_key_groups_middle_and_low_bits() {
    let key_group = |h: u64| usize::from(key_group_of(h, 1024).0);
    // Bits 22.. are what radix partitions take, bits 0.. a directory.
    let low_bits = |shift: u32| move |h: u64| (h >> shift) as usize & 1023;
    for (first, step) in [(0, 1), (-50_000, 1), (0, 1 << 10), (0, 1 << 32), (0, 1 << 44), (1_700_000_000_000, 1000)] {
        let values = Int64Array::from_iter_values((0..100_000).map(|i| first + i * step));
        let hashes = hash_array(Arc::new(values));
        assert_even(&hashes, key_group);
        assert_even(&hashes, low_bits(22));
        assert_even(&hashes, low_bits(0));
        let mut sorted = hashes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), hashes.len(), "a bijection has no collisions");
    }
}

#[test]
fn short_strings_and_pairs_do_not_collide() {
    let texts: StringViewArray = (0..200_000).map(|i| Some(format!("{i}"))).collect();
    let pairs = [
        Column::Array(Arc::new(Int64Array::from_iter_values((0..200_000).map(|i| i % 447)))),
        Column::Array(Arc::new(Int64Array::from_iter_values((0..200_000).map(|i| i / 447)))),
    ];
    for mut hashes in [hash_array(Arc::new(texts)), hash_columns(&pairs.each_ref(), 200_000, None)] {
        // Among 2e5 random 64-bit values a collision has probability 1e-9.
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 200_000);
    }
}
