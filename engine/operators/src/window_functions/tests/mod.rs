//! Against a model that looks at every row of a partition for every row, and what it does when there is no room.

mod model;

use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array};
use flumen_core::batch::Batch;
use flumen_core::expr::{Literal, Value};
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{AggregateCall, SortKey};
use flumen_core::spec::window::{
    Count, Exclusion, Frame, FrameBound, FrameUnits, Position, Shift, WindowCall, WindowFunction, WindowFunctionsSpec,
};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::spill::testing::run_within;
use crate::testing::{Event, Feed, Instance, Limited, Numbers, Parallel, batch, ints, rows_given, schema, texts};
use model::{Row, model};

/// Columns of the input, by position.
const P: usize = 0;
const O: usize = 1;
const V: usize = 2;
const F: usize = 3;
const S: usize = 4;
const B: usize = 5;
const ID: usize = 6;

fn wide() -> LogicalType {
    LogicalType::Decimal { precision: 38, scale: 0 }
}

fn input() -> SchemaRef {
    schema(&[
        ("p", LogicalType::Int64),
        ("o", LogicalType::Int64),
        ("v", LogicalType::Int64),
        ("f", LogicalType::Float64),
        ("s", LogicalType::Utf8),
        ("b", LogicalType::Boolean),
        ("id", LogicalType::Int64),
    ])
}

fn rows_batch(rows: &[Row]) -> Batch {
    let arrays = vec![
        ints(rows.iter().map(|r| r.p)),
        ints(rows.iter().map(|r| r.o)),
        ints(rows.iter().map(|r| r.v)),
        Arc::new(rows.iter().map(|r| r.f).collect::<Float64Array>()) as ArrayRef,
        texts(rows.iter().map(|r| r.s.clone())),
        Arc::new(rows.iter().map(|r| r.b).collect::<BooleanArray>()),
        ints(rows.iter().map(|r| Some(r.id))),
    ];
    batch(&input(), arrays)
}

/// Rows of so many partitions and keys, with NULLs everywhere.
fn random_rows(count: usize, partitions: u64, keys: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count as i64)
        .map(|id| Row {
            p: numbers.nullable(partitions),
            o: numbers.nullable(keys).map(|o| o * 2 - 3),
            v: numbers.nullable(9).map(|v| v - 4),
            // Quarters, so that sums are exact in any order.
            f: numbers.nullable(40).map(|f| f as f64 * 0.25 - 3.0),
            s: numbers.nullable(6).map(|s| format!("a rather long common beginning {s}")),
            b: numbers.nullable(2).map(|b| b == 1),
            id,
        })
        .collect()
}

fn int(n: i64) -> Literal {
    Literal { value: Value::Int(i128::from(n)), data_type: LogicalType::Int64 }
}

fn frame(units: FrameUnits, start: FrameBound, end: FrameBound) -> Frame {
    Frame { units, start, end, exclude: Exclusion::NoOthers }
}

/// Every kind of frame; those of ranges only where there is one order key.
fn frames() -> Vec<Frame> {
    use FrameBound::{CurrentRow, Following, Preceding, UnboundedFollowing, UnboundedPreceding};
    use FrameUnits::{Groups, Range, Rows};
    let mut all = vec![Frame::whole_partition()];
    for units in [Rows, Range, Groups] {
        all.extend([
            frame(units, UnboundedPreceding, CurrentRow),
            frame(units, CurrentRow, UnboundedFollowing),
            frame(units, CurrentRow, CurrentRow),
            frame(units, Preceding(int(2)), Following(int(1))),
            frame(units, Preceding(int(3)), Preceding(int(1))),
            frame(units, Following(int(1)), Following(int(3))),
            frame(units, UnboundedPreceding, Preceding(int(1))),
            frame(units, Following(int(2)), UnboundedFollowing),
            frame(units, Preceding(int(50)), Following(int(40))),
            frame(units, Following(int(3)), Following(int(1))),
        ]);
        for exclude in [Exclusion::CurrentRow, Exclusion::Group, Exclusion::Ties] {
            all.push(Frame { exclude, ..frame(units, Preceding(int(2)), Following(int(3))) });
            all.push(Frame { exclude, ..frame(units, Following(int(1)), UnboundedFollowing) });
        }
    }
    all.push(Frame { exclude: Exclusion::Ties, ..Frame::whole_partition() });
    all
}

fn call(function: WindowFunction, return_type: LogicalType) -> WindowCall {
    WindowCall { function, return_type }
}

fn aggregate(
    function: &str,
    arg: Option<usize>,
    filter: Option<usize>,
    returns: LogicalType,
    frame: &Frame,
) -> WindowCall {
    let aggregate = AggregateCall {
        function: function.into(),
        args: arg.into_iter().collect(),
        arg_types: arg.map(|arg| input().fields[arg].data_type.clone()).into_iter().collect(),
        distinct: false,
        order_by: Vec::new(),
        filter,
        return_type: returns.clone(),
    };
    call(WindowFunction::Aggregate { call: aggregate, frame: frame.clone() }, returns)
}

/// All functions that have a frame.
fn framed_calls(frame: &Frame) -> Vec<WindowCall> {
    let value = |position: Position, column: usize, ignore_nulls: bool| {
        let function = WindowFunction::Value { position, column, ignore_nulls, frame: frame.clone() };
        call(function, input().fields[column].data_type.clone())
    };
    let mut calls = vec![
        aggregate("count", None, None, LogicalType::Int64, frame),
        aggregate("count", Some(S), None, LogicalType::Int64, frame),
        aggregate("count", None, Some(B), LogicalType::Int64, frame),
        aggregate("sum", Some(V), None, wide(), frame),
        aggregate("sum", Some(V), Some(B), wide(), frame),
        aggregate("avg", Some(V), None, LogicalType::Float64, frame),
        aggregate("sum", Some(F), None, LogicalType::Float64, frame),
        aggregate("avg", Some(F), Some(B), LogicalType::Float64, frame),
        aggregate("min", Some(V), None, LogicalType::Int64, frame),
        aggregate("max", Some(F), None, LogicalType::Float64, frame),
        aggregate("min", Some(S), None, LogicalType::Utf8, frame),
        aggregate("max", Some(S), Some(B), LogicalType::Utf8, frame),
        aggregate("bool_and", Some(B), None, LogicalType::Boolean, frame),
        aggregate("bool_or", Some(B), None, LogicalType::Boolean, frame),
    ];
    for ignore_nulls in [false, true] {
        calls.push(value(Position::First, V, ignore_nulls));
        calls.push(value(Position::Last, S, ignore_nulls));
        calls.push(value(Position::Nth(Count::Constant(Some(3))), V, ignore_nulls));
    }
    calls
}

/// All functions without a frame.
fn placed_calls() -> Vec<WindowCall> {
    use LogicalType::{Float64, Int64, Utf8};
    let shift = |column, offset, default, ignore_nulls| Shift { column, offset, default, ignore_nulls };
    let constant = |n| Count::Constant(Some(n));
    vec![
        call(WindowFunction::RowNumber, Int64),
        call(WindowFunction::Rank, Int64),
        call(WindowFunction::DenseRank, Int64),
        call(WindowFunction::PercentRank, Float64),
        call(WindowFunction::CumeDist, Float64),
        call(WindowFunction::Ntile(constant(3)), Int64),
        call(WindowFunction::Lag(shift(V, constant(1), None, false)), Int64),
        call(WindowFunction::Lag(shift(S, constant(2), None, true)), Utf8),
        call(WindowFunction::Lag(shift(V, constant(-1), Some(ID), false)), Int64),
        call(WindowFunction::Lead(shift(V, constant(2), Some(ID), false)), Int64),
        call(WindowFunction::Lead(shift(V, constant(1), Some(ID), true)), Int64),
        call(WindowFunction::Lead(shift(S, Count::Column(V), None, false)), Utf8),
        call(WindowFunction::Lag(shift(V, Count::Column(V), Some(ID), false)), Int64),
        call(WindowFunction::Lead(shift(V, constant(0), None, true)), Int64),
        call(WindowFunction::Lag(shift(V, Count::Constant(None), Some(ID), false)), Int64),
        call(WindowFunction::Lead(shift(V, constant(i64::MIN), None, false)), Int64),
    ]
}

fn key(column: usize, descending: bool, nulls_first: bool) -> SortKey {
    SortKey { column, descending, nulls_first }
}

/// A spec whose output is the row's id and the calls.
fn spec(partition_by: &[usize], order_by: &[SortKey], calls: Vec<WindowCall>) -> OperatorSpec {
    let width = input().fields.len();
    let projection = [ID].into_iter().chain(width..width + calls.len()).collect();
    let mut fields = vec![Field::new("id", LogicalType::Int64, false)];
    fields.extend(calls.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.return_type.clone(), true)));
    let payload =
        WindowFunctionsSpec { partition_by: partition_by.to_vec(), order_by: order_by.to_vec(), calls, projection };
    OperatorSpec::new(&payload, vec![input()], Some(Arc::new(Schema::new(fields))))
}

fn check(rows: &[Row], partition_by: &[usize], order_by: &[SortKey], calls: &[WindowCall], feeds: &[Feed]) {
    let expected = model(rows, partition_by, order_by, calls);
    let events: Vec<Event> = rows.chunks(300).map(|rows| Event::Batch(0, rows_batch(rows))).collect();
    let spec = spec(partition_by, order_by, calls.to_vec());
    for feed in feeds {
        let mut given = rows_given(&spec, &[partition_by.to_vec()], &events, feed);
        let mut expected = expected.clone();
        if feed.parallelism > 1 {
            given.sort_unstable();
            expected.sort_unstable();
        }
        assert_eq!(given.len(), expected.len(), "{partition_by:?} {order_by:?} {feed:?}");
        for (given, expected) in given.iter().zip(&expected) {
            assert_eq!(given, expected, "{partition_by:?} {order_by:?} {feed:?} {calls:?}");
        }
    }
}

fn feeds() -> Vec<Feed> {
    let parallel = Feed { cut: 7, selected: true, restore: None, batch_rows: 5, parallelism: 3 };
    Feed::all(0, false, &[]).into_iter().chain([parallel]).collect()
}

#[test]
fn places_in_every_layout() {
    let orders = [vec![], vec![key(O, false, false)], vec![key(O, true, true), key(S, false, true)]];
    for (count, partitions, keys) in [(0, 1, 1), (1, 1, 1), (2, 2, 2), (60, 3, 5), (150, 40, 4), (200, 1, 90)] {
        let rows = random_rows(count, partitions, keys, count as u64 + 7);
        for order in &orders {
            check(&rows, &[P], order, &placed_calls(), &feeds());
        }
    }
    check(&random_rows(90, 3, 5, 3), &[], &orders[1], &placed_calls(), &Feed::all(0, false, &[]));
}

#[test]
fn every_function_over_every_frame() {
    let one = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    for (seed, order) in
        [key(O, false, false), key(O, false, true), key(O, true, true), key(O, true, false)].into_iter().enumerate()
    {
        for (count, partitions, keys) in [(1, 1, 1), (50, 3, 6), (120, 60, 3), (140, 1, 25)] {
            let rows = random_rows(count, partitions, keys, seed as u64 + 1);
            for frame in frames() {
                check(&rows, &[P], &[order.clone()], &framed_calls(&frame), std::slice::from_ref(&one));
            }
        }
    }
}

#[test]
fn frames_do_not_depend_on_batches_or_subtasks() {
    let rows = random_rows(120, 4, 6, 21);
    let order = [key(O, false, false), key(V, true, false)];
    let calls: Vec<WindowCall> = frames()
        .iter()
        .filter(|f| {
            let free = |bound: &FrameBound| !matches!(bound, FrameBound::Preceding(_) | FrameBound::Following(_));
            f.units != FrameUnits::Range || free(&f.start) && free(&f.end)
        })
        .flat_map(framed_calls)
        .collect();
    check(&rows, &[P], &order, &calls, &feeds());
    check(&rows, &[P, S], &[], &framed_calls(&frames()[1]), &feeds());
    check(&rows, &[], &[key(ID, true, false)], &framed_calls(&frames()[4]), &Feed::all(0, false, &[]));
}

#[test]
fn one_partition_of_many_batches() {
    // The model is quadratic; here each value is known from the one before.
    let rows = random_rows(40_000, 1, 30_000, 5);
    let running = frame(FrameUnits::Rows, FrameBound::UnboundedPreceding, FrameBound::CurrentRow);
    let moving = frame(FrameUnits::Rows, FrameBound::Preceding(int(100)), FrameBound::CurrentRow);
    let calls = vec![
        call(WindowFunction::RowNumber, LogicalType::Int64),
        aggregate("sum", Some(ID), None, wide(), &running),
        aggregate("min", Some(ID), None, LogicalType::Int64, &moving),
        aggregate("sum", Some(F), None, LogicalType::Float64, &moving),
    ];
    let events: Vec<Event> = rows.chunks(8192).map(|rows| Event::Batch(0, rows_batch(rows))).collect();
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 1000, parallelism: 1 };
    let given = rows_given(&spec(&[], &[key(ID, false, false)], calls), &[vec![]], &events, &feed);
    assert_eq!(given.len(), rows.len());
    let mut sum = 0;
    for (at, text) in given.iter().enumerate() {
        sum += at;
        let first = at.saturating_sub(100);
        let floats: f64 = rows[first..=at].iter().filter_map(|row| row.f).sum();
        let expected = format!("+I {at} {} {sum} {first} {floats:?}", at + 1);
        if rows[first..=at].iter().any(|row| row.f.is_some()) {
            assert_eq!(*text, expected);
        }
    }
}

/// A column of wide decimals: `id`, and a value near the end of the type.
fn wide_rows(values: &[i128], frame: Frame) -> (OperatorSpec, Batch) {
    let input = schema(&[("id", LogicalType::Int64), ("d", wide())]);
    let mut calls = Vec::new();
    for function in ["sum", "min"] {
        let aggregate = AggregateCall {
            function: function.into(),
            args: vec![1],
            arg_types: vec![wide()],
            distinct: false,
            order_by: Vec::new(),
            filter: None,
            return_type: wide(),
        };
        calls.push(call(WindowFunction::Aggregate { call: aggregate, frame: frame.clone() }, wide()));
    }
    let mut fields = vec![Field::new("id", LogicalType::Int64, true)];
    fields.extend(calls.iter().map(|c| Field::new("c", c.return_type.clone(), true)));
    let payload = WindowFunctionsSpec {
        partition_by: vec![],
        order_by: vec![key(0, false, false)],
        calls,
        projection: vec![0, 2, 3],
    };
    let decimals = Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 0).unwrap();
    let rows = batch(&input, vec![ints((0..values.len() as i64).map(Some)), Arc::new(decimals)]);
    (OperatorSpec::new(&payload, vec![input], Some(Arc::new(Schema::new(fields)))), rows)
}

#[test]
fn sums_that_no_prefix_holds_are_exact() {
    let largest = 10_i128.pow(37);
    let values: Vec<i128> = (0..60).map(|i| if i % 5 == 4 { -largest } else { largest + i }).collect();
    let moving = frame(FrameUnits::Rows, FrameBound::Preceding(int(2)), FrameBound::CurrentRow);
    let (spec, rows) = wide_rows(&values, moving.clone());
    let mut instance = Instance::alone(&spec);
    instance.batch(0, rows).unwrap();
    instance.finish().unwrap();
    for (at, text) in instance.texts().iter().enumerate() {
        let frame = &values[at.saturating_sub(2)..=at];
        let expected = format!("+I {at} {} {}", frame.iter().sum::<i128>(), frame.iter().min().unwrap());
        assert_eq!(*text, expected);
    }
    // What is beyond the type is refused, not wrapped.
    let (spec, rows) = wide_rows(&[largest * 9; 40], moving);
    let mut instance = Instance::alone(&spec);
    instance.batch(0, rows).unwrap();
    let error = instance.finish().unwrap_err().chain();
    assert!(error.contains("sum"), "{error}");
}

#[test]
fn floats_are_never_subtracted() {
    let input = schema(&[("id", LogicalType::Int64), ("f", LogicalType::Float64)]);
    let rows = 200;
    // Taking the large value or the infinity away again would lose the small ones.
    let values: Vec<f64> = (0..rows).map(|i| [1e17, f64::INFINITY, f64::NAN].get(i).copied().unwrap_or(0.5)).collect();
    let running = frame(FrameUnits::Rows, FrameBound::Preceding(int(50)), FrameBound::Preceding(int(1)));
    let sum = AggregateCall {
        function: "sum".into(),
        args: vec![1],
        arg_types: vec![LogicalType::Float64],
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type: LogicalType::Float64,
    };
    let calls = vec![call(WindowFunction::Aggregate { call: sum, frame: running }, LogicalType::Float64)];
    let payload =
        WindowFunctionsSpec { partition_by: vec![], order_by: vec![key(0, false, false)], calls, projection: vec![2] };
    let output = schema(&[("sum", LogicalType::Float64)]);
    let floats = Arc::new(Float64Array::from(values)) as ArrayRef;
    let mut instance = Instance::alone(&OperatorSpec::new(&payload, vec![input.clone()], Some(output)));
    instance.batch(0, batch(&input, vec![ints((0..rows as i64).map(Some)), floats])).unwrap();
    instance.finish().unwrap();
    let given = instance.texts();
    assert_eq!(given[0], "+I NULL");
    assert_eq!(given[1], "+I 1e17");
    assert_eq!(given[2], "+I inf");
    assert_eq!(given[3], "+I NaN");
    assert_eq!(given[53], "+I 25.0");
    assert_eq!(given[199], "+I 25.0");
}

#[test]
fn arguments_without_meaning_are_refused() {
    let whole = Frame::whole_partition();
    let nth = WindowFunction::Value {
        position: Position::Nth(Count::Constant(Some(0))),
        column: V,
        ignore_nulls: false,
        frame: whole,
    };
    let cases = [
        (call(WindowFunction::Ntile(Count::Constant(Some(0))), LogicalType::Int64), "at least 1"),
        (call(nth, LogicalType::Int64), "counted from 1"),
    ];
    for (call, message) in cases {
        let mut instance = Instance::alone(&spec(&[P], &[], vec![call]));
        instance.batch(0, rows_batch(&random_rows(5, 2, 2, 1))).unwrap();
        let error = instance.finish().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn without_room_it_is_refused_and_leaves_nothing_behind() {
    let rows = random_rows(60_000, 100, 1000, 2);
    let events: Vec<Event> = rows.chunks(8192).map(|rows| Event::Batch(0, rows_batch(rows))).collect();
    let calls = framed_calls(&frames()[4]);
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    // One partition, which is not divided.
    let spec = spec(&[], &[key(O, false, false)], calls);
    // Refused while rows come, while they are sorted, and while functions are computed; until there is enough.
    let (mut limit, mut refused) = (1_000_000, 0);
    loop {
        let memory = Limited::new(limit);
        let outcome = Parallel::new(&spec, &[vec![]], &feed, memory.clone()).unwrap().run(&events);
        assert_eq!(memory.held.load(Ordering::Relaxed), 0, "all memory is given back");
        let Err(error) = outcome else { break };
        assert!(error.chain().contains("top consumer"), "{}", error.chain());
        (limit, refused) = (limit + 1_000_000, refused + 1);
    }
    assert!((8..40).contains(&refused), "{limit} bytes are enough");
}

#[test]
fn partitions_that_do_not_fit_together_are_computed_one_after_the_other() {
    for (count, partitions) in [(0, 1), (1, 1), (4_000, 1_000), (4_000, 40)] {
        let rows = random_rows(count, partitions, 1000, 2);
        let mut calls = placed_calls();
        calls.extend(framed_calls(&frames()[4]));
        let order = [key(O, false, false)];
        let expected = model(&rows, &[P], &order, &calls);
        let spec = spec(&[P], &order, calls);
        let events = [Event::Batch(0, rows_batch(&rows))];
        for (cut, batch_rows, budget, asks) in [
            (500, 8192, 1 << 20, false),
            (7, 100, 1 << 20, false),
            (500, 100, 64 << 20, true),
            (500, 1, 64 << 20, false),
        ] {
            let (given, spilled) = run_within(&spec, &events, cut, batch_rows, budget, asks)
                .unwrap_or_else(|error| panic!("{partitions} {cut} {budget} {asks}: {}", error.chain()));
            assert!(given == expected, "{partitions} {cut} {budget} {asks}");
            assert!(spilled > 0 || count < 2 || budget > 1 << 20);
        }
    }
}

#[test]
fn snapshots_and_changes_are_refused() {
    let spec = spec(&[P], &[], placed_calls());
    let mut instance = Instance::alone(&spec);
    let rows = rows_batch(&random_rows(1, 1, 1, 1));
    assert!(instance.snapshot().is_ok());
    instance.batch(0, rows.clone()).unwrap();
    assert!(instance.snapshot().err().unwrap().to_string().contains("without checkpoints"));
    instance.finish().unwrap();
    assert!(instance.snapshot().is_ok());
    let change = rows.with_row_kinds(Some(vec![3i8].into()));
    let error = Instance::alone(&spec).batch(0, change).unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
}
