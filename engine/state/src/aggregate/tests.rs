//! Aggregates against values worked out by hand or by plain loops, in any encoding, split and merged anywhere.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal64Array, Decimal128Array, DictionaryArray, Float64Array,
    Int32Array, Int64Array, StringArray, StringViewArray, UInt8Array,
};
use flumen_core::batch::Column;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::LogicalType;
use flumen_io::{RandomSource, Rng};

use super::{Accumulator, AccumulatorContext, AggregateRegistry, StateInput, UpdateInput};
use crate::error::StateError;
use crate::keyed::tests::call;
use crate::pages::MeteredPages;

const WIDE: LogicalType = LogicalType::Decimal { precision: 38, scale: 0 };

fn decimal(precision: u8, scale: i8) -> LogicalType {
    LogicalType::Decimal { precision, scale }
}

fn make(call: &AggregateCall, retracting: bool) -> Result<Box<dyn Accumulator>, StateError> {
    let context = AccumulatorContext { pages: MeteredPages::unmetered(), retracting };
    AggregateRegistry::default().create(call, &context)
}

/// Rows of one test: a slot and an argument each, and which are to count.
#[derive(Clone, Copy)]
struct Rows<'a> {
    slots: &'a [u32],
    arg: &'a Column,
    filter: Option<&'a Column>,
    kinds: Option<&'a [i8]>,
}

/// Updates with a range of the rows. Slots must be given out in the order of their first rows.
fn update(accumulator: &mut dyn Accumulator, rows: Rows<'_>, range: std::ops::Range<usize>) {
    let slot_count = rows.slots[..range.end].iter().max().map_or(0, |s| *s as usize + 1);
    update_slots(accumulator, rows, range.clone(), &rows.slots[range], slot_count);
}

fn update_slots(
    accumulator: &mut dyn Accumulator,
    rows: Rows<'_>,
    range: std::ops::Range<usize>,
    slots: &[u32],
    slot_count: usize,
) {
    // A range is given as a selection, so that positions and rows differ.
    let selection: Vec<u32> = range.map(|i| i as u32).collect();
    accumulator.reserve(slot_count).unwrap();
    let input = UpdateInput {
        slots,
        single: None,
        args: &[rows.arg],
        rows: rows.slots.len(),
        selection: Some(&selection),
        filter: rows.filter,
        row_kinds: rows.kinds,
        slot_count,
    };
    accumulator.update(&input).unwrap();
}

/// Aggregates at once, by halves, and by merged halves; all must give `expected`.
fn check(call: &AggregateCall, rows: Rows<'_>, expected: &dyn Array) {
    let count = rows.slots.len();
    let slot_count = rows.slots.iter().max().map_or(0, |s| *s as usize + 1);
    let slots: Vec<u32> = (0..slot_count as u32).collect();
    let retracting = rows.kinds.is_some();
    for cut in [0, count / 2, count] {
        let mut whole = make(call, retracting).unwrap();
        update(whole.as_mut(), rows, 0..cut);
        update(whole.as_mut(), rows, cut..count);
        assert_eq!(whole.evaluate(&slots).unwrap().as_ref(), expected, "{} cut at {cut}", call.function);

        let mut merged = make(call, retracting).unwrap();
        merged.reserve(slot_count).unwrap();
        let mut merged_slots = 0;
        for range in [0..cut, cut..count] {
            // A part numbers the groups that it sees by itself.
            let mut global: Vec<u32> = Vec::new();
            let mut local = Vec::new();
            for slot in &rows.slots[range.clone()] {
                let known = global.iter().position(|g| g == slot).unwrap_or(global.len());
                if known == global.len() {
                    global.push(*slot);
                }
                local.push(known as u32);
            }
            let mut part = make(call, retracting).unwrap();
            update_slots(part.as_mut(), rows, range, &local, global.len());
            // States come from a frozen accumulator whose original goes on.
            let own: Vec<u32> = (0..global.len() as u32).collect();
            let frozen = part.freeze();
            part.reset(&own).unwrap();
            let state: Vec<Column> = frozen.export_state(&own).unwrap().into_iter().map(Column::Array).collect();
            assert_eq!(state.len(), frozen.state_fields().len());
            let state: Vec<&Column> = state.iter().collect();
            merged_slots = merged_slots.max(global.iter().max().map_or(0, |s| *s as usize + 1));
            let rows = global.len();
            let input = StateInput { slots: &global, state: &state, rows, selection: None, slot_count: merged_slots };
            merged.merge(&input).unwrap();
            let empty = part.evaluate(&own).unwrap();
            let is_empty = |i| empty.is_null(i) || empty.as_primitive::<Int64Type>().value(i) == 0;
            assert!((0..own.len()).all(is_empty), "{} is fresh after a reset", call.function);
        }
        assert_eq!(merged.evaluate(&slots).unwrap().as_ref(), expected, "{} merged at {cut}", call.function);
    }
}

fn column(array: impl Array + 'static) -> Column {
    Column::Array(Arc::new(array))
}

#[test]
fn values_of_small_groups() {
    let slots = &[0, 1, 0, 2, 1, 0, 3];
    // Group 0: 1, 5, -2; group 1: NULL, 7; group 2: NULL; group 3: 4.
    let ints = column(Int32Array::from(vec![Some(1), None, Some(5), None, Some(7), Some(-2), Some(4)]));
    let rows = Rows { slots, arg: &ints, filter: None, kinds: None };
    let of = |function: &str, returns| call(function, Some(LogicalType::Int32), returns);
    check(&of("count", LogicalType::Int64), rows, &Int64Array::from(vec![3, 1, 0, 1]));
    check(&of("sum", LogicalType::Int64), rows, &Int64Array::from(vec![Some(4), Some(7), None, Some(4)]));
    check(&of("min", LogicalType::Int32), rows, &Int32Array::from(vec![Some(-2), Some(7), None, Some(4)]));
    check(&of("max", LogicalType::Int32), rows, &Int32Array::from(vec![Some(5), Some(7), None, Some(4)]));
    check(&of("first_value", LogicalType::Int32), rows, &Int32Array::from(vec![Some(1), Some(7), None, Some(4)]));
    check(&of("last_value", LogicalType::Int32), rows, &Int32Array::from(vec![Some(-2), Some(7), None, Some(4)]));
    let means = Float64Array::from(vec![Some(4.0 / 3.0), Some(7.0), None, Some(4.0)]);
    check(&of("avg", LogicalType::Float64), rows, &means);
    // Population variance of 1, 5, -2 around 4/3: (1/9 + 121/9 + 100/9) / 3 = 222/27.
    let variance = make(&of("var_pop", LogicalType::Float64), false).map(|mut a| {
        update(a.as_mut(), rows, 0..7);
        a.evaluate(&[0, 1, 2, 3]).unwrap()
    });
    let variance = variance.unwrap();
    let variance = variance.as_primitive::<Float64Type>();
    assert!((variance.value(0) - 222.0 / 27.0).abs() < 1e-12);
    assert_eq!((variance.value(1), variance.is_null(2), variance.value(3)), (0.0, true, 0.0));
    // A filter leaves groups without rows.
    let filter =
        column(BooleanArray::from(vec![Some(true), Some(true), None, Some(true), Some(false), Some(true), None]));
    let rows = Rows { filter: Some(&filter), ..rows };
    check(&of("sum", LogicalType::Int64), rows, &Int64Array::from(vec![Some(-1), None, None, None]));
    check(&of("count", LogicalType::Int64), rows, &Int64Array::from(vec![2, 0, 0, 0]));
    check(&of("max", LogicalType::Int32), rows, &Int32Array::from(vec![Some(1), None, None, None]));
}

#[test]
fn every_type_has_extremes() {
    let slots = &[0, 0, 0, 1];
    let cases: Vec<(LogicalType, ArrayRef, ArrayRef, ArrayRef)> = vec![
        (
            LogicalType::UInt8,
            Arc::new(UInt8Array::from(vec![Some(200), Some(3), None, None])),
            Arc::new(UInt8Array::from(vec![Some(3), None])),
            Arc::new(UInt8Array::from(vec![Some(200), None])),
        ),
        (
            LogicalType::Date,
            Arc::new(Date32Array::from(vec![-5, 0, 9, i32::MIN])),
            Arc::new(Date32Array::from(vec![-5, i32::MIN])),
            Arc::new(Date32Array::from(vec![9, i32::MIN])),
        ),
        (
            LogicalType::Boolean,
            Arc::new(BooleanArray::from(vec![true, false, true, false])),
            Arc::new(BooleanArray::from(vec![false, false])),
            Arc::new(BooleanArray::from(vec![true, false])),
        ),
        (
            // NaN is above infinity.
            LogicalType::Float64,
            Arc::new(Float64Array::from(vec![-1.5, -f64::NAN, f64::INFINITY, -0.5])),
            Arc::new(Float64Array::from(vec![-1.5, -0.5])),
            Arc::new(Float64Array::from(vec![f64::NAN, -0.5])),
        ),
        (
            LogicalType::Utf8,
            Arc::new(StringArray::from(vec![Some("b"), Some("a string that is long"), None, Some("")])),
            Arc::new(StringViewArray::from(vec!["a string that is long", ""])),
            Arc::new(StringViewArray::from(vec!["b", ""])),
        ),
        (
            // The narrow carrier of a wide type, and out it comes in it too.
            decimal(30, 2),
            Arc::new(Decimal64Array::from(vec![-7, 12, 0, -1]).with_precision_and_scale(18, 2).unwrap()),
            Arc::new(Decimal64Array::from(vec![-7, -1]).with_precision_and_scale(18, 2).unwrap()),
            Arc::new(Decimal64Array::from(vec![12, -1]).with_precision_and_scale(18, 2).unwrap()),
        ),
    ];
    for (data_type, values, min, max) in cases {
        let arg = Column::Array(Arc::clone(&values));
        let rows = Rows { slots, arg: &arg, filter: None, kinds: None };
        // Booleans and strings have no zero to compare a reset with; evaluate directly.
        for (function, expected) in [("min", min), ("max", max)] {
            let call = call(function, Some(data_type.clone()), data_type.clone());
            let mut accumulator = make(&call, false).unwrap();
            update(accumulator.as_mut(), rows, 0..2);
            update(accumulator.as_mut(), rows, 2..4);
            assert_eq!(accumulator.evaluate(&[0, 1]).unwrap().as_ref(), expected.as_ref(), "{function} {data_type}");
        }
    }
}

#[test]
fn sums_are_exact_beyond_64_bits() {
    let values = [i64::MAX, i64::MAX, 5, i64::MIN, -1, i64::MAX];
    let slots = &[0, 0, 0, 1, 1, 1];
    let arg = column(Int64Array::from(values.to_vec()));
    let rows = Rows { slots, arg: &arg, filter: None, kinds: None };
    let sum = call("sum", Some(LogicalType::Int64), WIDE);
    let max = i128::from(i64::MAX);
    let expected = Decimal128Array::from(vec![2 * max + 5, -2]).with_precision_and_scale(38, 0).unwrap();
    check(&sum, rows, &expected);
    // One group, summed without scatter.
    let mut single = make(&sum, false).unwrap();
    single.reserve(1).unwrap();
    let input = UpdateInput {
        slots: &[0; 6],
        single: Some(0),
        args: &[&arg],
        rows: 6,
        selection: None,
        filter: None,
        row_kinds: None,
        slot_count: 1,
    };
    single.update(&input).unwrap();
    let total = single.evaluate(&[0]).unwrap();
    assert_eq!(total.as_primitive::<Decimal128Type>().value(0), 2 * max + 3);
    // What does not fit the type is an error.
    let mut narrow = make(&call("sum", Some(LogicalType::Int32), LogicalType::Int64), false).unwrap();
    update(narrow.as_mut(), rows, 0..6);
    let error = narrow.evaluate(&[0]).unwrap_err();
    assert!(matches!(error, StateError::Overflow { .. }), "{error}");
    assert_eq!(narrow.evaluate(&[1]).unwrap().as_primitive::<Int64Type>().value(0), -2);
}

#[test]
fn decimals_keep_their_scale() {
    let slots = &[0, 0, 0, 1];
    let wide = Decimal128Array::from(vec![100, 250, 1, 700]).with_precision_and_scale(15, 2).unwrap();
    let narrow = Decimal64Array::from(vec![100, 250, 1, 700]).with_precision_and_scale(15, 2).unwrap();
    for arg in [column(wide), column(narrow)] {
        let rows = Rows { slots, arg: &arg, filter: None, kinds: None };
        let sums = Decimal64Array::from(vec![351, 700]).with_precision_and_scale(18, 2).unwrap();
        check(&call("sum", Some(decimal(15, 2)), decimal(38, 2)), rows, &sums);
        // 3.51 / 3 = 1.17; 7.00 / 1.
        let means = Decimal64Array::from(vec![1_170_000, 7_000_000]).with_precision_and_scale(18, 6).unwrap();
        check(&call("avg", Some(decimal(15, 2)), decimal(38, 6)), rows, &means);
    }
}

#[test]
fn encodings_do_not_matter() {
    let slots = &[0, 1, 1, 0];
    let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), None, Some(30)]));
    let keys = UInt8Array::from(vec![Some(0), Some(2), Some(1), None]);
    let dictionary = column(DictionaryArray::new(keys, values));
    let rows = Rows { slots, arg: &dictionary, filter: None, kinds: None };
    let expected = Decimal64Array::from(vec![10, 30]).with_precision_and_scale(18, 0).unwrap();
    check(&call("sum", Some(LogicalType::Int64), WIDE), rows, &expected);
    let constant = Column::Constant(Arc::new(Int64Array::from(vec![4])));
    let expected = Decimal64Array::from(vec![8, 8]).with_precision_and_scale(18, 0).unwrap();
    check(&call("sum", Some(LogicalType::Int64), WIDE), Rows { arg: &constant, ..rows }, &expected);
    let null = Column::Constant(Arc::new(Int64Array::from(vec![None])));
    let count = call("count", Some(LogicalType::Int64), LogicalType::Int64);
    check(&count, Rows { arg: &null, ..rows }, &Int64Array::from(vec![0, 0]));
}

#[test]
fn rows_are_taken_back() {
    // +I 5, +I 7, -U 5, +U 6, -D 7 in group 0; +I and -D of the same value in group 1; a NULL comes and goes.
    let kinds = &[0, 0, 1, 2, 3, 0, 3, 0, 3];
    let slots = &[0, 0, 0, 0, 0, 1, 1, 0, 0];
    let ints = [Some(5), Some(7), Some(5), Some(6), Some(7), Some(9), Some(9), None, None];
    let arg = column(Int64Array::from(ints.to_vec()));
    let rows = Rows { slots, arg: &arg, filter: None, kinds: Some(kinds) };
    let of = |function: &str, returns| call(function, Some(LogicalType::Int64), returns);
    let expected = Decimal64Array::from(vec![Some(6), None]).with_precision_and_scale(18, 0).unwrap();
    check(&of("sum", WIDE), rows, &expected);
    check(&of("count", LogicalType::Int64), rows, &Int64Array::from(vec![1, 0]));
    check(&of("avg", LogicalType::Float64), rows, &Float64Array::from(vec![Some(6.0), None]));
    let floats = column(Float64Array::from(ints.iter().map(|v| v.map(|v| v as f64)).collect::<Vec<_>>()));
    let sum = call("sum", Some(LogicalType::Float64), LogicalType::Float64);
    check(&sum, Rows { arg: &floats, ..rows }, &Float64Array::from(vec![Some(6.0), None]));
    // A removal may come in another part than what it takes back: the first half has no rows left, but a sum.
    let arg = column(Int64Array::from(vec![5, 7, 7, 1]));
    let rows = Rows { slots: &[0; 4], arg: &arg, filter: None, kinds: Some(&[0, 3, 0, 0]) };
    let expected = Decimal64Array::from(vec![6]).with_precision_and_scale(18, 0).unwrap();
    check(&of("sum", WIDE), rows, &expected);
    let error = make(&of("max", LogicalType::Int64), true).err().unwrap();
    assert!(error.to_string().contains("max cannot take rows back"), "{error}");
}

#[test]
fn connectives_count_truths() {
    let slots = &[0, 0, 1, 1, 2, 3];
    let arg = column(BooleanArray::from(vec![Some(true), Some(false), Some(true), None, None, Some(false)]));
    let rows = Rows { slots, arg: &arg, filter: None, kinds: None };
    for (function, expected) in [
        ("bool_and", [Some(false), Some(true), None, Some(false)]),
        ("bool_or", [Some(true), Some(true), None, Some(false)]),
    ] {
        let mut accumulator = make(&call(function, Some(LogicalType::Boolean), LogicalType::Boolean), false).unwrap();
        update(accumulator.as_mut(), rows, 0..6);
        let expected = BooleanArray::from(expected.to_vec());
        assert_eq!(accumulator.evaluate(&[0, 1, 2, 3]).unwrap().as_ref(), &expected as &dyn Array, "{function}");
    }
}

#[test]
fn long_strings_do_not_pile_up() {
    let mut accumulator = make(&call("last_value", Some(LogicalType::Utf8), LogicalType::Utf8), false).unwrap();
    for round in 0..400 {
        let text = format!("{round:>10000}");
        let arg = column(StringViewArray::from(vec![text.as_str(); 4]));
        update(accumulator.as_mut(), Rows { slots: &[0, 1, 2, 3], arg: &arg, filter: None, kinds: None }, 0..4);
    }
    // 16 MB went through, 40 kB are kept.
    assert!(accumulator.memory_bytes() < 3 << 20, "{}", accumulator.memory_bytes());
    let values = accumulator.evaluate(&[3]).unwrap();
    assert_eq!(values.as_string_view().value(0).trim_start(), "399");
}

#[test]
fn variance_survives_merging_and_taking_back() {
    let mut rng = Rng::from_seed(3);
    let values: Vec<f64> = (0..1000).map(|_| (rng.next_u64() % 1000) as f64 - 500.0).collect();
    let mean = values.iter().sum::<f64>() / 1000.0;
    let expected = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 999.0;
    let call = call("stddev_samp", Some(LogicalType::Float64), LogicalType::Float64);
    let arg = column(Float64Array::from(values));
    let rows = Rows { slots: &[0; 1000], arg: &arg, filter: None, kinds: None };
    let [mut left, mut right] = [make(&call, true).unwrap(), make(&call, true).unwrap()];
    update(left.as_mut(), rows, 0..300);
    update(right.as_mut(), rows, 200..1000);
    // Rows 200..300 are in both; take them back from one.
    update(right.as_mut(), Rows { kinds: Some(&[3; 1000]), ..rows }, 200..300);
    let state: Vec<Column> = right.export_state(&[0]).unwrap().into_iter().map(Column::Array).collect();
    let state: Vec<&Column> = state.iter().collect();
    left.merge(&StateInput { slots: &[0], state: &state, rows: 1, selection: None, slot_count: 1 }).unwrap();
    let found = left.evaluate(&[0]).unwrap().as_primitive::<Float64Type>().value(0);
    assert!((found - expected.sqrt()).abs() < 1e-9, "{found} {}", expected.sqrt());
}

#[test]
fn variances_merge_with_empty_sides() {
    let call = call("var_pop", Some(LogicalType::Float64), LogicalType::Float64);
    // Mean and variance of one part merged with another; no variance is NULL.
    let merged = |own: &[f64], own_kinds: &[i8], other: &[f64], kinds: &[i8]| {
        let part = |values: &[f64], kinds: &[i8]| {
            let mut accumulator = make(&call, true).unwrap();
            accumulator.reserve(1).unwrap();
            let arg = column(Float64Array::from(values.to_vec()));
            let rows = Rows { slots: &vec![0; values.len()], arg: &arg, filter: None, kinds: Some(kinds) };
            update(accumulator.as_mut(), rows, 0..values.len());
            accumulator
        };
        let mut own = part(own, own_kinds);
        own.reserve(1).unwrap();
        let other = part(other, kinds);
        let state: Vec<Column> = other.export_state(&[0]).unwrap().into_iter().map(Column::Array).collect();
        let state: Vec<&Column> = state.iter().collect();
        own.merge(&StateInput { slots: &[0], state: &state, rows: 1, selection: None, slot_count: 1 }).unwrap();
        let mean = own.export_state(&[0]).unwrap()[1].as_primitive::<Float64Type>().value(0);
        let found = own.evaluate(&[0]).unwrap();
        let found = found.as_primitive::<Float64Type>();
        (mean, found.is_valid(0).then(|| found.value(0)))
    };
    assert_eq!(merged(&[], &[], &[], &[]), (0.0, None));
    assert_eq!(merged(&[], &[], &[1.0, 3.0], &[0, 0]), (2.0, Some(1.0)));
    assert_eq!(merged(&[1.0, 3.0], &[0, 0], &[], &[]), (2.0, Some(1.0)));
    // The square of such a mean is infinite, and zero times infinity is NaN.
    assert_eq!(merged(&[], &[], &[1e200], &[0]), (1e200, Some(0.0)));
    // Rows that came and went leave nothing behind, in either part.
    assert_eq!(merged(&[f64::NAN, f64::NAN], &[0, 3], &[1.0, 3.0], &[0, 0]), (2.0, Some(1.0)));
    assert_eq!(merged(&[1.0, 3.0], &[0, 0], &[f64::INFINITY, f64::INFINITY], &[0, 3]), (2.0, Some(1.0)));
    // What one part has is taken back by the other: the total is zero.
    assert_eq!(merged(&[5.0], &[0], &[5.0], &[3]), (0.0, None));
    assert_eq!(merged(&[5.0, 7.0], &[3, 3], &[5.0, 7.0], &[0, 0]), (0.0, None));
}

#[test]
fn return_types_follow_the_rules() {
    let registry = AggregateRegistry::default();
    for (function, arg, expected) in [
        ("sum", LogicalType::Int16, Some(LogicalType::Int64)),
        ("sum", LogicalType::Int64, Some(WIDE)),
        ("sum", decimal(12, 3), Some(decimal(38, 3))),
        ("avg", LogicalType::Int64, Some(LogicalType::Float64)),
        ("avg", decimal(12, 3), Some(decimal(38, 6))),
        ("avg", decimal(12, 8), Some(decimal(38, 8))),
        ("min", LogicalType::Utf8, Some(LogicalType::Utf8)),
        ("sum", LogicalType::Utf8, None),
        ("nonsense", LogicalType::Int64, None),
    ] {
        assert_eq!(registry.return_type(function, &[arg]).ok(), expected, "{function}");
    }
    let mut distinct = call("count", Some(LogicalType::Int64), LogicalType::Int64);
    distinct.distinct = true;
    let error = make(&distinct, false).err().unwrap();
    assert!(error.to_string().contains("DISTINCT"), "{error}");
    let unknown = make(&call("nonsense", Some(LogicalType::Int64), LogicalType::Int64), false).err().unwrap();
    assert!(unknown.to_string().contains("nonsense(BIGINT)") && unknown.to_string().contains("stddev"), "{unknown}");
}
