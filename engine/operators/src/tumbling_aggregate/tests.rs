use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::element::StreamElement;
use flumen_core::meter::Unmetered;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase};
use flumen_core::spec::streaming::TumblingAggregateSpec;
use flumen_core::time::window_start;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_state::AggregateRegistry;

use crate::aggregation::aggregate_state_fields;
use crate::testing::{Event, Feed, Instance, Numbers, Parallel, batch, ints, millis, rows_given, schema, times};

const SIZE: i64 = 100;
const OFFSET: i64 = 30;

/// Key, time, value.
type Row = (Option<i64>, i64, Option<i64>);

fn input() -> SchemaRef {
    schema(&[("k", LogicalType::Int64), ("t", millis()), ("v", LogicalType::Int64)])
}

fn calls() -> Vec<AggregateCall> {
    let call = |function: &str, args: &[usize]| AggregateCall {
        function: function.into(),
        args: args.to_vec(),
        arg_types: vec![LogicalType::Int64; args.len()],
        distinct: false,
        order_by: Vec::new(),
        filter: None,
        return_type: LogicalType::Int64,
    };
    vec![call("sum", &[2]), call("count", &[]), call("max", &[2])]
}

fn spec(group_by: &[usize], phase: AggregatePhase) -> OperatorSpec {
    let input = input();
    let time = |name: &str| Field::new(name, millis(), false);
    let keys: Vec<Field> = group_by.iter().map(|k| input.fields[*k].clone()).collect();
    let with = |fields: Vec<Field>| Arc::new(Schema::new(keys.iter().cloned().chain(fields).collect()));
    let mut states = aggregate_state_fields(&AggregateRegistry::default(), &calls(), false).unwrap();
    states.insert(0, time("window_end"));
    let mut values = vec![time("window_start"), time("window_end")];
    values.extend(calls().iter().map(|c| Field::new(c.function.as_str(), c.return_type.clone(), true)));
    let keys_count = group_by.len();
    let (from, to, group_by, time_column) = match phase {
        AggregatePhase::Single => (input, with(values), group_by.to_vec(), 1),
        AggregatePhase::Local => (input, with(states), group_by.to_vec(), 1),
        AggregatePhase::Global => (with(states), with(values), (0..keys_count).collect(), keys_count),
    };
    let payload =
        TumblingAggregateSpec { group_by, time_column, size_ms: SIZE, offset_ms: OFFSET, aggregates: calls(), phase };
    OperatorSpec::new(&payload, vec![from], Some(to))
}

fn rows_event(rows: &[Row]) -> Event {
    let arrays = vec![ints(rows.iter().map(|r| r.0)), times(rows.iter().map(|r| r.1)), ints(rows.iter().map(|r| r.2))];
    Event::Batch(0, batch(&input(), arrays))
}

/// Rows between watermarks, with some disorder and some late rows.
fn stream(seed: u64) -> (Vec<Event>, Vec<(Vec<Row>, i64)>) {
    let mut numbers = Numbers::new(seed);
    let (mut events, mut sections) = (Vec::new(), Vec::new());
    for section in 0..12i64 {
        let rows: Vec<Row> = (0..numbers.below(60))
            .map(|_| {
                let key = if numbers.below(3) == 0 { Some(0) } else { numbers.nullable(6) };
                (key, section * 70 - 300 + numbers.below(280) as i64, numbers.nullable(30))
            })
            .collect();
        let watermark = section * 70 - 150;
        events.push(rows_event(&rows));
        events.push(Event::Watermark(watermark));
        sections.push((rows, watermark));
    }
    events.push(Event::Watermark(i64::MAX));
    (events, sections)
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or("NULL".into(), |v| v.to_string())
}

fn time_text(millis: i64) -> String {
    let seconds = millis.div_euclid(1000);
    let (day, second) = if seconds < 0 { ("1969-12-31", seconds + 86_400) } else { ("1970-01-01", seconds) };
    let fraction = match millis.rem_euclid(1000) {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{day}T{:02}:{:02}:{:02}{fraction}", second / 3600, second / 60 % 60, second % 60)
}

/// The answer in the order of windows, row by row, and how many rows are late.
fn model(sections: &[(Vec<Row>, i64)], by_key: bool) -> (Vec<String>, u64) {
    let mut windows: BTreeMap<(i64, String), Vec<Row>> = BTreeMap::new();
    let (mut watermark, mut late) = (i64::MIN, 0);
    for (rows, next) in sections {
        for row in rows {
            let start = window_start(row.1, OFFSET, SIZE);
            if start + SIZE - 1 <= watermark {
                late += 1;
            } else {
                let key = if by_key { text(row.0) } else { String::new() };
                windows.entry((start, key)).or_default().push(*row);
            }
        }
        watermark = *next;
    }
    let line = |((start, key), rows): (&(i64, String), &Vec<Row>)| {
        let values: Vec<i64> = rows.iter().filter_map(|r| r.2).collect();
        let sum = text((!values.is_empty()).then(|| values.iter().sum::<i64>()));
        let key = if by_key { format!(" {key}") } else { String::new() };
        let bounds = format!("{} {}", time_text(*start), time_text(start + SIZE));
        format!("+I{key} {bounds} {sum} {} {}", rows.len(), text(values.iter().max()))
    };
    (windows.iter().map(line).collect(), late)
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

#[test]
fn windows_fire_when_the_watermark_passes_them() {
    for seed in 1..6 {
        let (events, sections) = stream(seed);
        let (expected, late) = model(&sections, true);
        assert!(late > 0, "some rows of the stream are late");
        let spec = spec(&[0], AggregatePhase::Single);
        for feed in Feed::all(events.len(), true, &[1, 3]) {
            let given = rows_given(&spec, &[vec![0]], &events, &feed);
            assert_eq!(sorted(given), sorted(expected.clone()), "{seed} {feed:?}");
        }
    }
}

#[test]
fn windows_without_keys_come_out_in_order() {
    let (events, sections) = stream(77);
    let (expected, late) = model(&sections, false);
    let spec = spec(&[], AggregatePhase::Single);
    for feed in Feed::all(events.len(), true, &[1]) {
        assert_eq!(rows_given(&spec, &[vec![]], &events, &feed), expected, "{feed:?}");
    }
    let mut operator = Instance::alone(&spec);
    for event in &events {
        match event {
            Event::Batch(input, batch) => operator.batch(*input, batch.clone()).unwrap(),
            Event::Watermark(millis) => operator.watermark(*millis).unwrap(),
            Event::EndOfInput(_) => {}
        }
    }
    let mut counted = 0;
    operator.operator.counters(&mut |name, count| {
        assert_eq!(name, "numLateRecordsDropped");
        counted += count;
    });
    assert_eq!(counted, late);
}

#[test]
fn results_come_before_the_watermark_that_closes_them() {
    let mut operator = Instance::alone(&spec(&[0], AggregatePhase::Single));
    let feed = |operator: &mut Instance, rows: &[Row]| match rows_event(rows) {
        Event::Batch(input, batch) => operator.batch(input, batch).unwrap(),
        _ => unreachable!("rows make a batch"),
    };
    feed(&mut operator, &[(Some(1), 35, Some(4))]);
    operator.watermark(128).unwrap();
    assert_eq!(operator.texts(), ["W 128"], "130 - 1 is not reached");
    operator.given.clear();
    operator.watermark(129).unwrap();
    assert_eq!(
        operator.texts(),
        ["+I 1 1970-01-01T00:00:00.030 1970-01-01T00:00:00.130 4 1 4".to_owned(), "W 129".to_owned()]
    );
    operator.given.clear();
    feed(&mut operator, &[(Some(1), 129, Some(9)), (Some(1), 130, Some(8))]);
    operator.finish().unwrap();
    assert_eq!(operator.texts(), ["+I 1 1970-01-01T00:00:00.130 1970-01-01T00:00:00.230 8 1 8"]);
}

#[test]
fn two_phases_give_what_one_gives() {
    for seed in [3, 4] {
        let (events, sections) = stream(seed);
        let expected = sorted(model(&sections, true).0);
        for feed in Feed::all(events.len(), true, &[1, 3]) {
            let local = spec(&[0], AggregatePhase::Local);
            let given = Parallel::new(&local, &[vec![0]], &feed, Arc::new(Unmetered)).unwrap().run(&events).unwrap();
            // A watermark counts when the last subtask has sent it.
            let mut seen = std::collections::HashSet::new();
            let mut merged: Vec<Event> = given
                .into_iter()
                .rev()
                .filter_map(|element| match element {
                    StreamElement::Batch(batch) => Some(Event::Batch(0, batch)),
                    StreamElement::Watermark(mark) => seen.insert(mark).then_some(Event::Watermark(mark.0.0)),
                    _ => None,
                })
                .collect();
            merged.reverse();
            let global = spec(&[0], AggregatePhase::Global);
            let given = rows_given(&global, &[vec![0]], &merged, &feed);
            assert_eq!(sorted(given), expected, "{seed} {feed:?}");
        }
    }
}

#[test]
fn a_snapshot_in_other_resolutions_and_zones_is_no_matter() {
    use arrow_array::{ArrayRef, TimestampMicrosecondArray};
    use flumen_core::types::Resolution;
    let micros = LogicalType::Timestamp { resolution: Resolution::Microsecond, zone: Some("UTC".into()) };
    let mut spec = spec(&[0], AggregatePhase::Single);
    let mut from = Schema::clone(&spec.inputs[0]);
    from.fields[1].data_type = micros.clone();
    let mut to = Schema::clone(spec.output.as_ref().unwrap());
    to.fields[1].data_type = micros.clone();
    to.fields[2].data_type = micros;
    spec.inputs = vec![Arc::new(from)];
    spec.output = Some(Arc::new(to));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![29_999, 30_000, -1]).with_timezone("UTC"));
    let rows = batch(&spec.inputs[0], vec![ints([Some(1); 3]), times, ints([Some(1), Some(2), Some(4)])]);
    let feed = Feed { cut: 2, selected: true, restore: Some((1, 2)), batch_rows: 10, parallelism: 1 };
    let given = rows_given(&spec, &[vec![0]], &[Event::Batch(0, rows), Event::Watermark(i64::MAX)], &feed);
    assert_eq!(
        given,
        [
            "+I 1 1969-12-31T23:59:59.930Z 1970-01-01T00:00:00.030Z 5 2 4",
            "+I 1 1970-01-01T00:00:00.030Z 1970-01-01T00:00:00.130Z 2 1 2",
        ]
    );
}
