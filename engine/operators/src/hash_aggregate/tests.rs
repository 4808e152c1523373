use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::meter::Unmetered;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase, ArgumentOrder, HashAggregateSpec};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_state::AggregateRegistry;

use crate::aggregation::aggregate_state_fields;
use crate::spill::testing::run_within;
use crate::testing::{
    CUTS, Event, Feed, Instance, Limited, Numbers, Parallel, applied, batch, context, ints, rows_given, schema, texts,
};

/// Key 1, key 2, value, text, condition.
type Row = (Option<i64>, Option<String>, Option<i64>, Option<String>, Option<bool>);

fn input() -> SchemaRef {
    schema(&[
        ("k", LogicalType::Int64),
        ("s", LogicalType::Utf8),
        ("v", LogicalType::Int64),
        ("t", LogicalType::Utf8),
        ("c", LogicalType::Boolean),
    ])
}

fn rows_batch(rows: &[Row]) -> Batch {
    let flags: arrow_array::ArrayRef = Arc::new(rows.iter().map(|r| r.4).collect::<arrow_array::BooleanArray>());
    batch(
        &input(),
        vec![
            ints(rows.iter().map(|r| r.0)),
            texts(rows.iter().map(|r| r.1.clone())),
            ints(rows.iter().map(|r| r.2)),
            texts(rows.iter().map(|r| r.3.clone())),
            flags,
        ],
    )
}

fn call(function: &str, args: &[usize], return_type: LogicalType) -> AggregateCall {
    let types = input();
    AggregateCall {
        function: function.into(),
        args: args.to_vec(),
        arg_types: args.iter().map(|a| types.fields[*a].data_type.clone()).collect(),
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type,
    }
}

fn calls() -> Vec<AggregateCall> {
    vec![
        call("sum", &[2], LogicalType::Int64),
        call("count", &[2], LogicalType::Int64),
        call("count", &[], LogicalType::Int64),
        call("min", &[2], LogicalType::Int64),
        call("max", &[3], LogicalType::Utf8),
        call("avg", &[2], LogicalType::Float64),
        AggregateCall { filter: Some(4), ..call("sum", &[2], LogicalType::Int64) },
    ]
}

/// Those of `calls` that can take rows back.
fn retractable() -> Vec<AggregateCall> {
    let all = calls();
    [0, 1, 2, 5, 6].map(|i| all[i].clone()).to_vec()
}

/// A spec, and the schema that it gives.
fn spec(group_by: &[usize], calls: &[AggregateCall], phase: AggregatePhase, continuous: bool) -> OperatorSpec {
    let input = input();
    let keys: Vec<Field> = group_by.iter().map(|k| input.fields[*k].clone()).collect();
    let states = aggregate_state_fields(&AggregateRegistry::default(), calls, continuous).unwrap();
    let values = calls.iter().map(|c| Field::new(c.function.as_str(), c.return_type.clone(), true));
    let with = |fields: Vec<Field>| Arc::new(Schema::new(keys.iter().cloned().chain(fields).collect()));
    let (from, to) = match phase {
        AggregatePhase::Single => (input, with(values.collect())),
        AggregatePhase::Local => (input, with(states)),
        AggregatePhase::Global => (with(states), with(values.collect())),
    };
    let group_by = match phase {
        AggregatePhase::Global => (0..group_by.len()).collect(),
        _ => group_by.to_vec(),
    };
    let (aggregates, estimated_groups) = (calls.to_vec(), Some(10));
    let payload = HashAggregateSpec { group_by, aggregates, phase, continuous, estimated_groups, totals: Vec::new() };
    OperatorSpec::new(&payload, vec![from], Some(to))
}

fn random_rows(count: usize, keys: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count)
        .map(|_| {
            // Half of all rows have one key.
            let key = if numbers.below(2) == 0 { Some(0) } else { numbers.nullable(keys) };
            let text = numbers.nullable(3).map(|t| format!("a text of some length, number {t}"));
            let name = numbers.nullable(100).map(|t| format!("{t}{}", "x".repeat((t % 30) as usize)));
            let flag = numbers.nullable(2).map(|b| b == 1);
            (key, text, numbers.nullable(50).map(|v| v - 20), name, flag)
        })
        .collect()
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or("NULL".into(), |v| v.to_string())
}

/// The answer, row by row.
fn model(rows: &[Row], group_by: &[usize], calls: &[AggregateCall]) -> Vec<String> {
    let mut groups: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let key = group_by.iter().map(|k| if *k == 0 { text(row.0) } else { text(row.1.clone()) }).collect();
        groups.entry(key).or_default().push(row);
    }
    let mut answer: Vec<String> = groups
        .iter()
        .map(|(key, rows)| {
            let mut line = String::from("+I");
            key.iter().for_each(|k| line.push_str(&format!(" {k}")));
            for call in calls {
                let rows = rows.iter().filter(|r| call.filter.is_none() || r.4 == Some(true));
                let values: Vec<i64> = rows.clone().filter_map(|r| r.2).collect();
                let value = match (call.function.as_str(), call.args.as_slice()) {
                    ("sum", _) => text((!values.is_empty()).then(|| values.iter().sum::<i64>())),
                    ("count", []) => rows.count().to_string(),
                    ("count", _) => values.len().to_string(),
                    ("min", _) => text(values.iter().min()),
                    ("max", _) => text(rows.filter_map(|r| r.3.clone()).max()),
                    ("avg", _) if values.is_empty() => "NULL".into(),
                    ("avg", _) => format!("{:?}", values.iter().sum::<i64>() as f64 / values.len() as f64),
                    other => panic!("{other:?}"),
                };
                line.push_str(&format!(" {value}"));
            }
            line
        })
        .collect();
    answer.sort();
    answer
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

fn events(rows: &[Row], pieces: usize) -> Vec<Event> {
    rows.chunks(rows.len().div_ceil(pieces).max(1)).map(|rows| Event::Batch(0, rows_batch(rows))).collect()
}

#[test]
fn bounded_groups_come_out_at_the_end() {
    for (rows, keys) in [(0, 1), (1, 1), (300, 5), (700, 400)] {
        let rows = random_rows(rows, keys, 11);
        for group_by in [vec![0], vec![1], vec![1, 0]] {
            let spec = spec(&group_by, &calls(), AggregatePhase::Single, false);
            let expected = model(&rows, &group_by, &calls());
            let events = events(&rows, 4);
            for feed in Feed::all(events.len(), true, &[1, 3]) {
                let given = rows_given(&spec, std::slice::from_ref(&group_by), &events, &feed);
                assert_eq!(sorted(given), expected, "{group_by:?} {feed:?}");
            }
        }
    }
}

#[test]
fn without_keys_there_is_one_group_even_without_rows() {
    let spec = spec(&[], &calls(), AggregatePhase::Single, false);
    for rows in [0, 1, 500] {
        let rows = random_rows(rows, 3, 5);
        let expected = match rows.as_slice() {
            [] => vec!["+I NULL 0 0 NULL NULL NULL NULL".to_owned()],
            _ => model(&rows, &[], &calls()),
        };
        let events = events(&rows, 3);
        for feed in Feed::all(events.len(), true, &[1]) {
            assert_eq!(rows_given(&spec, &[vec![]], &events, &feed), expected, "{feed:?}");
        }
    }
}

#[test]
fn groups_without_aggregates_are_the_distinct_keys() {
    let rows = random_rows(200, 7, 2);
    let spec = spec(&[0], &[], AggregatePhase::Single, false);
    let given = rows_given(&spec, &[vec![0]], &events(&rows, 2), &Feed::all(2, false, &[])[0]);
    assert_eq!(sorted(given), model(&rows, &[0], &[]));
}

/// Runs the local phase and feeds what it gives to the global one.
fn local_then_global(group_by: &[usize], rows: &[Row], feed: &Feed, limit: usize) -> Vec<String> {
    let memory = Limited::new(limit);
    let local = spec(group_by, &calls(), AggregatePhase::Local, false);
    let parallel = Parallel::new(&local, &[group_by.to_vec()], feed, memory.clone()).unwrap();
    let given = parallel.run(&events(rows, 3)).unwrap();
    assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0, "all memory is given back");
    let states: Vec<Event> = given
        .into_iter()
        .map(|element| match element {
            StreamElement::Batch(batch) => Event::Batch(0, batch),
            other => panic!("{other:?}"),
        })
        .collect();
    let global = spec(group_by, &calls(), AggregatePhase::Global, false);
    let keys = (0..group_by.len()).collect();
    sorted(rows_given(&global, &[keys], &states, feed))
}

#[test]
fn two_phases_give_what_one_gives() {
    let rows = random_rows(600, 40, 9);
    for group_by in [vec![], vec![0], vec![1, 0]] {
        let expected = model(&rows, &group_by, &calls());
        let parallelisms: &[u32] = if group_by.is_empty() { &[1] } else { &[1, 3] };
        for feed in Feed::all(3, true, parallelisms) {
            assert_eq!(local_then_global(&group_by, &rows, &feed, usize::MAX), expected, "{group_by:?} {feed:?}");
        }
    }
}

#[test]
fn the_local_phase_goes_on_when_memory_ends() {
    let rows: Vec<Row> = (0..20_000).map(|i| (Some(i % 9_000), None, Some(i), None, None)).collect();
    let expected = model(&rows, &[0], &calls());
    for cut in [7, 8192] {
        let feed = Feed { cut, selected: false, restore: None, batch_rows: 1000, parallelism: 1 };
        assert_eq!(local_then_global(&[0], &rows, &feed, 700_000), expected, "{cut}");
    }
}

#[test]
fn rows_that_do_not_reduce_pass_the_local_phase() {
    let rows: Vec<Row> = (0..90_000).map(|i| (Some(i), None, Some(i), None, Some(true))).collect();
    let feed = Feed { cut: 8192, selected: true, restore: None, batch_rows: 8192, parallelism: 1 };
    let local = spec(&[0], &calls(), AggregatePhase::Local, false);
    let given = rows_given(&local, &[vec![0]], &events(&rows, 3), &feed);
    assert_eq!(given.len(), 90_000);
    assert_eq!(local_then_global(&[0], &rows, &feed, usize::MAX), model(&rows, &[0], &calls()));
}

#[test]
fn a_refusal_names_who_holds_the_memory_and_nothing_leaks() {
    // Not even for a group.
    let memory = Limited::new(1_000);
    let spec = spec(&[0], &calls(), AggregatePhase::Single, false);
    let rows: Vec<Row> = (0..50_000).map(|i| (Some(i), None, Some(i), None, None)).collect();
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    let error = Parallel::new(&spec, &[vec![0]], &feed, memory.clone()).unwrap().run(&events(&rows, 5)).unwrap_err();
    assert!(error.chain().contains("top consumer"), "{}", error.chain());
    assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0);
}

/// One way to run with little memory: rows of a batch, of an output batch, budget, and whether the arbiter asks all the
/// time.
const WAYS: [(usize, usize, u64, bool); 4] =
    [(8192, 8192, 1 << 20, false), (700, 100, 300 << 10, false), (700, 100, 64 << 20, true), (100, 7, 300 << 10, true)];

#[test]
fn groups_that_do_not_fit_are_spilled() {
    // The first with many groups, then with many rows of one.
    for (count, keys) in [(0, 1), (1, 1), (5_000, 1 << 40), (5_000, 300)] {
        let rows = random_rows(count, keys, 17);
        for group_by in [vec![0], vec![1, 0]] {
            let expected = model(&rows, &group_by, &calls());
            let single = spec(&group_by, &calls(), AggregatePhase::Single, false);
            for (cut, batch_rows, budget, asks) in WAYS {
                let given = run_within(&single, &events(&rows, 3), cut, batch_rows, budget, asks);
                let (given, spilled) = given.unwrap_or_else(|e| panic!("{cut} {budget} {asks}: {}", e.chain()));
                assert!(sorted(given) == expected, "{group_by:?} {cut} {budget} {asks}");
                let may_fit = count < 2 || (keys < 1000 && !asks) || budget == 1 << 20;
                assert!(spilled > 0 || may_fit, "{group_by:?} {cut} {budget} {asks}");
            }
        }
    }
}

#[test]
fn states_that_do_not_fit_are_spilled() {
    let rows = random_rows(5_000, 1 << 40, 23);
    let expected = model(&rows, &[0], &calls());
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism: 1 };
    let local = spec(&[0], &calls(), AggregatePhase::Local, false);
    let states = Parallel::new(&local, &[vec![0]], &feed, Arc::new(Unmetered)).unwrap().run(&events(&rows, 3)).unwrap();
    let states: Vec<Event> = states
        .into_iter()
        .map(|element| match element {
            StreamElement::Batch(batch) => Event::Batch(0, batch),
            other => panic!("{other:?}"),
        })
        .collect();
    let global = spec(&[0], &calls(), AggregatePhase::Global, false);
    for (cut, batch_rows, budget, asks) in WAYS {
        let (given, spilled) = run_within(&global, &states, cut, batch_rows, budget, asks).unwrap();
        assert!(sorted(given) == expected, "{cut} {budget} {asks}");
        assert!(spilled > 0 || budget == 1 << 20);
    }
}

#[test]
fn lists_that_do_not_fit_are_spilled() {
    let mut numbers = Numbers::new(29);
    let rows: Vec<Row> = (0..20_000)
        .map(|_| (numbers.nullable(400), None, numbers.nullable(50), None, numbers.nullable(2).map(|b| b == 1)))
        .collect();
    let ascending = ArgumentOrder { descending: false, nulls_first: false };
    let list = LogicalType::list_of(LogicalType::Int64);
    let ordered = AggregateCall { order_by: vec![ascending], ..call("array_agg", &[2, 2], list.clone()) };
    let distinct = AggregateCall { distinct: true, filter: Some(4), ..call("array_agg", &[2], list) };
    let calls = [ordered, distinct, call("count", &[], LogicalType::Int64)];
    let mut groups: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row.0).or_default().push(row));
    let shown = |values: Vec<Option<i64>>| match values.is_empty() {
        true => "NULL".to_owned(),
        false => format!("[{}]", values.into_iter().map(text).collect::<Vec<_>>().join(", ")),
    };
    let by_value = |value: &Option<i64>| (value.is_none(), *value);
    let expected = groups.iter().map(|(key, rows)| {
        let mut all: Vec<Option<i64>> = rows.iter().map(|row| row.2).collect();
        let mut some: Vec<Option<i64>> = rows.iter().filter(|row| row.4 == Some(true)).map(|row| row.2).collect();
        all.sort_by_key(by_value);
        some.sort_by_key(by_value);
        some.dedup();
        format!("+I {} {} {} {}", text(*key), shown(all), shown(some), rows.len())
    });
    let expected = sorted(expected.collect());
    let single = spec(&[0], &calls, AggregatePhase::Single, false);
    for (cut, batch_rows, budget, asks) in WAYS {
        let given = run_within(&single, &events(&rows, 3), cut, batch_rows, budget, asks);
        let (given, spilled) = given.unwrap_or_else(|e| panic!("{cut} {budget} {asks}: {}", e.chain()));
        assert!(sorted(given) == expected, "{cut} {budget} {asks}");
        assert!(spilled > 0 || budget == 1 << 20, "{cut} {budget} {asks}");
    }
}

#[test]
fn batches_of_any_size_and_no_keys() {
    let rows = random_rows(200, 20, 31);
    for group_by in [vec![], vec![0], vec![1, 0]] {
        for cut in CUTS {
            for asks in [false, true] {
                let single = spec(&group_by, &calls(), AggregatePhase::Single, false);
                let (given, _) = run_within(&single, &events(&rows, 2), cut, cut, 256 << 10, asks).unwrap();
                assert_eq!(sorted(given), model(&rows, &group_by, &calls()), "{group_by:?} {cut} {asks}");
            }
        }
    }
}

fn changes(rows: &[(i8, Row)]) -> Batch {
    let batch = rows_batch(&rows.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>());
    batch.with_row_kinds(Some(rows.iter().map(|(kind, _)| *kind).collect()))
}

#[test]
fn a_changelog_has_the_net_change_of_each_batch() {
    let row = |k: i64, v: i64| (Some(k), None, Some(v), None, None);
    let calls = [call("sum", &[2], LogicalType::Int64)];
    let mut operator = Instance::alone(&spec(&[0], &calls, AggregatePhase::Single, true));
    for (rows, expected) in [
        (vec![(0, row(1, 5)), (0, row(2, 7)), (0, row(1, 1))], vec!["+I 1 6", "+I 2 7"]),
        (vec![(0, row(2, 3))], vec!["-U 2 7", "+U 2 10"]),
        // The sum is what it was.
        (vec![(0, row(1, 0)), (1, row(2, 3)), (2, row(2, 3))], vec![]),
        // Two rows of key 2 are left, then none.
        (vec![(3, row(2, 7))], vec!["-U 2 10", "+U 2 3"]),
        (vec![(3, row(2, 3)), (0, row(3, 9))], vec!["-D 2 3", "+I 3 9"]),
        (vec![(0, row(4, 1)), (3, row(4, 1))], vec![]),
        (vec![(0, row(2, 8)), (3, row(3, 9))], vec!["-D 3 9", "+I 2 8"]),
    ] {
        operator.given.clear();
        operator.batch(0, changes(&rows)).unwrap();
        assert_eq!(operator.texts(), expected, "{rows:?}");
    }
}

#[test]
fn a_changelog_adds_up_to_the_answer() {
    let mut numbers = Numbers::new(21);
    let mut live: Vec<Row> = Vec::new();
    let mut log: Vec<(i8, Row)> = Vec::new();
    for row in random_rows(800, 60, 4) {
        if !live.is_empty() && numbers.below(5) < 2 {
            let taken = live.swap_remove(numbers.below(live.len() as u64) as usize);
            log.push((3, taken));
        } else {
            live.push(row.clone());
            log.push((0, row));
        }
    }
    let events: Vec<Event> = log.chunks(200).map(|rows| Event::Batch(0, changes(rows))).collect();
    for (group_by, calls) in [
        (vec![0], retractable()),
        (vec![1, 0], retractable()),
        // The rows of a group are counted even if the query does not.
        (vec![0], vec![retractable()[0].clone(), retractable()[4].clone()]),
        (vec![0], vec![]),
        (vec![], retractable()),
    ] {
        let expected = model(&live, &group_by, &calls);
        let spec = spec(&group_by, &calls, AggregatePhase::Single, true);
        let parallelisms: &[u32] = if group_by.is_empty() { &[1] } else { &[1, 3] };
        for feed in Feed::all(events.len(), true, parallelisms) {
            let given = rows_given(&spec, std::slice::from_ref(&group_by), &events, &feed);
            assert_eq!(applied(&given), expected, "{group_by:?} {feed:?}");
            for pair in given.windows(2) {
                let (old, new) = (pair[0].strip_prefix("-U "), pair[1].strip_prefix("+U "));
                assert_eq!(old.is_some(), new.is_some(), "an update is two rows side by side: {pair:?}");
            }
        }
    }
}

#[test]
fn a_continuous_query_in_two_phases_adds_up() {
    let rows = random_rows(500, 30, 8);
    let expected = model(&rows, &[0], &calls());
    for cut in CUTS {
        let feed = Feed { cut, selected: true, restore: None, batch_rows: 4, parallelism: 1 };
        let local = spec(&[0], &calls(), AggregatePhase::Local, true);
        let given = Parallel::new(&local, &[vec![0]], &feed, Arc::new(Unmetered)).unwrap().run(&events(&rows, 3));
        let states = given.unwrap().into_iter().map(|element| match element {
            StreamElement::Batch(batch) => Event::Batch(0, batch),
            other => panic!("{other:?}"),
        });
        let global = spec(&[0], &calls(), AggregatePhase::Global, true);
        let given = rows_given(&global, &[vec![0]], &states.collect::<Vec<_>>(), &feed);
        assert_eq!(applied(&given), expected, "{cut}");
    }
}

#[test]
fn what_cannot_be_taken_back_is_refused() {
    let change = changes(&[(3, (Some(1), None, Some(2), None, None))]);
    for (calls, continuous) in [(retractable(), false), (calls(), true)] {
        let mut operator = Instance::alone(&spec(&[0], &calls, AggregatePhase::Single, continuous));
        let error = operator.batch(0, change.clone()).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[test]
fn a_spec_that_does_not_fit_its_schemas_is_refused() {
    let context = context(0, 1, 8, Arc::new(Unmetered));
    let mut no_output = spec(&[0], &calls(), AggregatePhase::Single, false);
    no_output.output = Some(input());
    let mut no_states = spec(&[0], &calls(), AggregatePhase::Global, false);
    no_states.inputs = vec![input()];
    let mut no_column = spec(&[0], &calls(), AggregatePhase::Single, false);
    no_column.inputs = vec![schema(&[("k", LogicalType::Int64)])];
    for spec in [no_output, no_states, no_column] {
        assert!(Instance::new(&spec, &context).is_err());
    }
}

#[test]
fn totals_exist_without_rows_and_once_among_subtasks() {
    use flumen_core::expr::Literal;
    for phase in [AggregatePhase::Single, AggregatePhase::Global] {
        let mut spec = spec(&[0, 1], &[call("count", &[], LogicalType::Int64)], phase, false);
        let mut payload: HashAggregateSpec = spec.payload().unwrap();
        let total = |key: Literal| vec![key, Literal::null(LogicalType::Utf8)];
        payload.totals = vec![total(Literal::null(LogicalType::Int64)), total(Literal::int64(7))];
        spec.payload = serde_json::to_value(&payload).unwrap();
        for parallelism in [1, 2, 3, 7] {
            let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism };
            let mut given = rows_given(&spec, &[vec![0, 1]], &[], &feed);
            given.sort();
            assert_eq!(given, ["+I 7 NULL 0", "+I NULL NULL 0"], "{phase:?} {parallelism}");
        }
    }
}

#[test]
fn a_total_with_rows_is_one_group() {
    use flumen_core::expr::Literal;
    let mut spec = spec(&[0], &[call("count", &[], LogicalType::Int64)], AggregatePhase::Single, false);
    let mut payload: HashAggregateSpec = spec.payload().unwrap();
    payload.totals = vec![vec![Literal::null(LogicalType::Int64)]];
    spec.payload = serde_json::to_value(&payload).unwrap();
    let rows: Vec<Row> = vec![(None, None, None, None, None), (Some(1), None, None, None, None)];
    for parallelism in [1, 3] {
        let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 8192, parallelism };
        let mut given = rows_given(&spec, &[vec![0]], &[Event::Batch(0, rows_batch(&rows))], &feed);
        given.sort();
        assert_eq!(given, ["+I 1 1", "+I NULL 1"]);
    }
}
