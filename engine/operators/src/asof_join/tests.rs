use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::AsofJoinSpec;
use flumen_core::types::{LogicalType, Schema, SchemaRef};

use crate::testing::{Event, Feed, Instance, Limited, Numbers, batch, context, ints, rows_given, schema, texts};

/// A key, a position and a value.
type Row = (Option<String>, Option<i64>, i64);

fn side(prefix: &str) -> SchemaRef {
    let names = ["k", "t", "v"].map(|n| format!("{prefix}{n}"));
    schema(&[
        (names[0].as_str(), LogicalType::Utf8),
        (names[1].as_str(), LogicalType::Int64),
        (names[2].as_str(), LogicalType::Int64),
    ])
}

fn rows_batch(prefix: &str, rows: &[Row]) -> Batch {
    let arrays = vec![
        texts(rows.iter().map(|r| r.0.clone())),
        ints(rows.iter().map(|r| r.1)),
        ints(rows.iter().map(|r| Some(r.2))),
    ];
    batch(&side(prefix), arrays)
}

fn payload(has_key: bool, forward: bool, strict: bool, outer: bool) -> AsofJoinSpec {
    let keys = if has_key { vec![0] } else { Vec::new() };
    AsofJoinSpec {
        build_keys: keys.clone(),
        probe_keys: keys,
        build_position: 1,
        probe_position: 1,
        forward,
        strict,
        outer,
        projection: vec![5, 2, 0, 4],
    }
}

fn spec(payload: &AsofJoinSpec) -> OperatorSpec {
    let (build, probe) = (side("b"), side("p"));
    let all: Vec<_> = probe.fields.iter().chain(&build.fields).cloned().collect();
    let mut fields: Vec<_> = payload.projection.iter().map(|column| all[*column].clone()).collect();
    fields.iter_mut().for_each(|field| field.nullable = true);
    OperatorSpec::new(payload, vec![build, probe], Some(Arc::new(Schema::new(fields))))
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or("NULL".into(), |v| v.to_string())
}

/// The answer by looking at every build row. Positions of one key differ, so that there is one nearest.
fn model(payload: &AsofJoinSpec, build: &[Row], probe: &[Row]) -> Vec<String> {
    let mut answer = Vec::new();
    for (key, position, value) in probe {
        let mut best: Option<&Row> = None;
        for row in build {
            let same_key = payload.probe_keys.is_empty() || (key.is_some() && *key == row.0);
            let (Some(own), Some(other), true) = (*position, row.1, same_key) else { continue };
            let away = if payload.forward { other - own } else { own - other };
            let is_nearer = best.and_then(|b| b.1).is_none_or(|b| (own - b).abs() > (own - other).abs());
            if (away > 0 || away == 0 && !payload.strict) && is_nearer {
                best = Some(row);
            }
        }
        if best.is_some() || payload.outer {
            let build = [text(best.map(|b| b.2)), text(best.and_then(|b| b.1))];
            answer.push(format!("+I {} {value} {} {}", build[0], text(key.clone()), build[1]));
        }
    }
    answer.sort();
    answer
}

fn events(build: &[Row], probe: &[Row]) -> Vec<Event> {
    let batches = |input, prefix: &'static str, rows: &[Row]| {
        rows.chunks(100).map(|rows| Event::Batch(input, rows_batch(prefix, rows))).collect::<Vec<_>>()
    };
    let mut events = batches(0, "b", build);
    events.push(Event::EndOfInput(0));
    events.extend(batches(1, "p", probe));
    events.push(Event::EndOfInput(1));
    events
}

/// Rows whose positions differ, within a key and among keys.
fn build_rows(count: usize, keys: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    let mut rows: Vec<Row> = (0..count as i64)
        .map(|v| {
            let key = numbers.nullable(keys).map(|k| format!("a rather long key {k}"));
            (key, (numbers.below(8) > 0).then_some(v * 3), v)
        })
        .collect();
    rows.sort_by_key(|row| (row.2 * 7919) % 1009);
    rows
}

fn probe_rows(count: usize, keys: u64, span: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count as i64)
        .map(|v| {
            let key = numbers.nullable(keys).map(|k| format!("a rather long key {k}"));
            (key, numbers.nullable(span).map(|t| t - 5), v)
        })
        .collect()
}

#[test]
fn every_kind_is_what_looking_at_every_row_gives() {
    for (build, probe, keys) in [(0, 40, 3), (40, 0, 3), (1, 30, 1), (120, 90, 4), (60, 250, 20)] {
        let (builds, probes) = (build_rows(build, keys, 1), probe_rows(probe, keys, 3 * build as u64 + 10, 2));
        for has_key in [true, false] {
            for kind in 0..8 {
                let payload = payload(has_key, kind & 1 == 1, kind & 2 == 2, kind & 4 == 4);
                let expected = model(&payload, &builds, &probes);
                let keys = [payload.build_keys.clone(), payload.probe_keys.clone()];
                for mut feed in Feed::all(0, false, &[]) {
                    for parallelism in if has_key { vec![1, 3] } else { vec![1] } {
                        feed.parallelism = parallelism;
                        let mut given = rows_given(&spec(&payload), &keys, &events(&builds, &probes), &feed);
                        given.sort();
                        assert_eq!(given, expected, "{payload:?} {feed:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn of_equally_near_rows_the_last_is_taken() {
    let build: Vec<Row> = (0..20).map(|v| (Some("a".into()), Some(10), v)).collect();
    let probe = vec![(Some("a".to_owned()), Some(10), 0), (Some("a".to_owned()), Some(9), 1)];
    for batch_rows in [1, 7, 8192] {
        let feed = Feed { cut: 3, selected: false, restore: None, batch_rows, parallelism: 1 };
        let payload = payload(true, false, false, true);
        let mut given = rows_given(&spec(&payload), &[vec![0], vec![0]], &events(&build, &probe), &feed);
        given.sort();
        assert_eq!(given, ["+I 19 0 a 10", "+I NULL 1 a NULL"]);
    }
}

#[test]
fn without_room_the_sides_are_spilled() {
    let (build, probe) = (build_rows(20_000, 5, 1), probe_rows(16_000, 5, 60_000, 2));
    let payload = payload(true, false, false, true);
    let run = |limit: usize| {
        let memory = Limited::new(limit);
        let mut join = Instance::new(&spec(&payload), &context(0, 1, 64, Arc::clone(&memory) as Arc<_>)).unwrap();
        for event in events(&build, &probe) {
            match event {
                Event::Batch(input, batch) => join.batch(input, batch).unwrap(),
                Event::EndOfInput(input) => join.end_of_input(input).unwrap(),
                Event::Watermark(_) => {}
            }
        }
        join.finish().unwrap();
        let mut given = join.texts();
        given.sort();
        assert_eq!(given, model(&payload, &build, &probe));
        drop(join);
        assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0);
        memory.peak.load(std::sync::atomic::Ordering::Relaxed)
    };
    let peak = run(usize::MAX);
    assert!(peak > 2_400_000, "{peak} B are enough without spilling");
    run(2_000_000);
}

#[test]
fn keys_of_two_types_are_refused() {
    let wrong = AsofJoinSpec { build_position: 0, ..payload(false, false, false, false) };
    let error = Instance::new(&spec(&wrong), &context(0, 1, 8, Limited::new(1 << 20) as Arc<_>)).err().unwrap();
    assert!(error.to_string().contains("differ in number or type"), "{error}");
}
