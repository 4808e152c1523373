//! Aggregates of bits, and of two arguments: against values worked out by hand, updated and merged in any order.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringViewArray, UInt64Array};
use flumen_core::batch::Column;
use flumen_core::spec::relational::AggregateCall;
use flumen_core::types::LogicalType;

use super::{Accumulator, AccumulatorContext, AggregateRegistry, StateInput, UpdateInput};
use crate::pages::MeteredPages;

fn make(function: &str, types: &[LogicalType], returns: LogicalType) -> Box<dyn Accumulator> {
    let call = AggregateCall {
        function: function.into(),
        args: Vec::new(),
        arg_types: types.to_vec(),
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type: returns,
    };
    let context = AccumulatorContext { pages: MeteredPages::unmetered(), retracting: false };
    AggregateRegistry::default().create(&call, &context).unwrap()
}

fn update(accumulator: &mut dyn Accumulator, slots: &[u32], args: &[ArrayRef], kinds: Option<&[i8]>) {
    let columns: Vec<Column> = args.iter().map(|a| Column::Array(Arc::clone(a))).collect();
    let columns: Vec<&Column> = columns.iter().collect();
    let slot_count = slots.iter().max().map_or(0, |s| *s as usize + 1);
    accumulator.reserve(slot_count).unwrap();
    let input = UpdateInput {
        slots,
        single: None,
        args: &columns,
        rows: slots.len(),
        selection: None,
        filter: None,
        row_kinds: kinds,
        slot_count,
    };
    accumulator.update(&input).unwrap();
}

/// The value of two groups, with the rows cut anywhere and the second part merged.
fn merged(make: &dyn Fn() -> Box<dyn Accumulator>, slots: &[u32], args: &[ArrayRef], cut: usize) -> ArrayRef {
    let (mut first, mut second) = (make(), make());
    let part = |from: usize, to: usize| -> Vec<ArrayRef> { args.iter().map(|a| a.slice(from, to - from)).collect() };
    let all = slots.len();
    update(first.as_mut(), &slots[..cut], &part(0, cut), None);
    first.reserve(2).unwrap();
    update(second.as_mut(), &slots[cut..], &part(cut, all), None);
    second.reserve(2).unwrap();
    let state: Vec<Column> = second.freeze().export_state(&[0, 1]).unwrap().into_iter().map(Column::Array).collect();
    assert_eq!(state.len(), second.state_fields().len());
    let state: Vec<&Column> = state.iter().collect();
    first.merge(&StateInput { slots: &[0, 1], state: &state, rows: 2, selection: None, slot_count: 2 }).unwrap();
    first.evaluate(&[0, 1]).unwrap()
}

#[test]
fn bits_of_signed_and_unsigned_integers() {
    let slots = [0, 1, 0, 0, 1];
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(-2), None, Some(7), Some(5), None]));
    let longs: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 1, 6, u64::MAX - 1, 3]));
    for (function, of_ints, of_longs) in
        [("bit_and", -2 & 7 & 5, [6, 1]), ("bit_or", -1, [u64::MAX, 3]), ("bit_xor", -2 ^ 7 ^ 5, [7, 2])]
    {
        for cut in 0..=slots.len() {
            let int = || make(function, &[LogicalType::Int32], LogicalType::Int32);
            let values = merged(&int, &slots, &[Arc::clone(&ints)], cut);
            let values = values.as_primitive::<Int32Type>();
            assert_eq!((values.value(0), values.is_null(1)), (of_ints, true), "{function} cut at {cut}");
            let long = || make(function, &[LogicalType::UInt64], LogicalType::UInt64);
            let values = merged(&long, &slots, &[Arc::clone(&longs)], cut);
            assert_eq!(values.as_primitive::<UInt64Type>().values(), &of_longs, "{function} cut at {cut}");
        }
    }
}

#[test]
fn regressions_follow_their_formulas() {
    let double = || LogicalType::Float64;
    let slots = [0, 0, 0, 0, 0, 1];
    // Of (x, y): (1, 2), (2, 3.5), (4, 4.5), and pairs with a NULL. The other group has one pair.
    let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), Some(4.0), None, Some(3.0), Some(9.0)]));
    let y: ArrayRef = Arc::new(Float64Array::from(vec![Some(2.0), Some(3.5), Some(4.5), Some(1.0), None, Some(1.0)]));
    let args = [y, x];
    // Means are 7/3 and 10/3; sums of squares and products 14/3, 19/6, 11/3.
    let (sxx, syy, sxy) = (14.0 / 3.0, 19.0 / 6.0, 11.0 / 3.0);
    for (function, expected, alone) in [
        ("corr", sxy / f64::sqrt(sxx * syy), None),
        ("covar_pop", sxy / 3.0, Some(0.0)),
        ("covar_samp", sxy / 2.0, None),
        ("regr_slope", sxy / sxx, None),
        ("regr_intercept", 10.0 / 3.0 - sxy / sxx * 7.0 / 3.0, None),
        ("regr_r2", sxy * sxy / (sxx * syy), None),
        ("regr_avgx", 7.0 / 3.0, Some(9.0)),
        ("regr_avgy", 10.0 / 3.0, Some(1.0)),
        ("regr_sxx", sxx, Some(0.0)),
        ("regr_syy", syy, Some(0.0)),
        ("regr_sxy", sxy, Some(0.0)),
    ] {
        for cut in 0..=slots.len() {
            let make = || make(function, &[double(), double()], double());
            let values = merged(&make, &slots, &args, cut);
            let values = values.as_primitive::<Float64Type>();
            assert!((values.value(0) - expected).abs() < 1e-12, "{function} cut at {cut}: {values:?}");
            assert_eq!(values.is_valid(1).then(|| values.value(1)), alone, "{function} cut at {cut}");
        }
    }
    let count = || make("regr_count", &[double(), double()], LogicalType::Int64);
    assert_eq!(merged(&count, &slots, &args, 2).as_primitive::<Int64Type>().values(), &[3, 1]);
    // What is taken back leaves no trace but of rounding.
    let context = AccumulatorContext { pages: MeteredPages::unmetered(), retracting: true };
    let call = AggregateCall {
        function: "regr_sxy".into(),
        args: Vec::new(),
        arg_types: vec![double(), double()],
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type: double(),
    };
    let mut retracting = AggregateRegistry::default().create(&call, &context).unwrap();
    let doubles = |values: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values)) };
    let (ys, xs) = (doubles(vec![2.0, 3.5, 4.5, 100.0, 100.0]), doubles(vec![1.0, 2.0, 4.0, -7.0, -7.0]));
    update(retracting.as_mut(), &[0; 5], &[ys, xs], Some(&[0, 0, 0, 0, 3]));
    let value = retracting.evaluate(&[0]).unwrap();
    assert!((value.as_primitive::<Float64Type>().value(0) - sxy).abs() < 1e-9);
}

#[test]
fn texts_are_joined_in_the_order_of_their_numbers() {
    let slots = [0, 1, 0, 0, 1, 0];
    let texts = StringViewArray::from(vec![
        Some("c, a text that is long enough"),
        Some("x"),
        None,
        Some("a"),
        Some(""),
        Some("b, another text of some length"),
    ]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![9, 1, 0, -1, 1, 3]));
    let args = [Arc::new(texts) as ArrayRef, numbers];
    let make = || make("concat_ordered", &[LogicalType::Utf8, LogicalType::Int64], LogicalType::Utf8);
    for cut in 0..=slots.len() {
        let values = merged(&make, &slots, &args, cut);
        let values = values.as_string_view();
        assert_eq!(values.value(0), "ab, another text of some lengthc, a text that is long enough", "cut at {cut}");
        assert_eq!(values.value(1), "x", "cut at {cut}");
    }
    let mut reset = make();
    update(reset.as_mut(), &slots, &args, None);
    reset.reset(&[0]).unwrap();
    let values = reset.evaluate(&[0, 1]).unwrap();
    assert_eq!((values.is_null(0), values.as_string_view().value(1)), (true, "x"));
    assert!(reset.memory_bytes() > 0);
    reset.clear();
    assert_eq!(reset.memory_bytes(), 0);
}

#[test]
fn a_damaged_state_of_texts_is_an_error() {
    let mut accumulator = make("concat_ordered", &[LogicalType::Utf8, LogicalType::Int64], LogicalType::Utf8);
    accumulator.reserve(1).unwrap();
    for state in [&[1_u8][..], &[0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, b'a'], &[255; 12]] {
        let column = Column::Array(Arc::new(arrow_array::BinaryViewArray::from(vec![state])));
        let input = StateInput { slots: &[0], state: &[&column], rows: 1, selection: None, slot_count: 1 };
        let error = accumulator.merge(&input).unwrap_err().to_string();
        assert!(error.contains("ends before its text"), "{error}");
    }
}
