use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::expr::Expr;
use flumen_core::meter::Unmetered;
use flumen_core::spec::OperatorSpec;
use flumen_core::spec::relational::{HashJoinSpec, JoinKind};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

use super::gives_pairs;
use crate::contract::InputSelection;
use crate::testing::{
    Event, Feed, Instance, Limited, Numbers, Parallel, batch, context, ints, rows_given, schema, texts,
};

/// Two keys and a value.
pub(super) type Row = (Option<i64>, Option<String>, Option<i64>);

pub(super) const KINDS: [JoinKind; 8] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::Full,
    JoinKind::LeftMark,
    JoinKind::BuildSemi,
    JoinKind::BuildAnti,
];

fn side(prefix: &str) -> SchemaRef {
    let names = ["k", "s", "v"].map(|n| format!("{prefix}{n}"));
    schema(&[
        (names[0].as_str(), LogicalType::Int64),
        (names[1].as_str(), LogicalType::Utf8),
        (names[2].as_str(), LogicalType::Int64),
    ])
}

pub(super) fn rows_batch(prefix: &str, rows: &[Row]) -> Batch {
    let arrays =
        vec![ints(rows.iter().map(|r| r.0)), texts(rows.iter().map(|r| r.1.clone())), ints(rows.iter().map(|r| r.2))];
    batch(&side(prefix), arrays)
}

pub(super) fn payload(kind: JoinKind, keys: &[usize]) -> HashJoinSpec {
    HashJoinSpec {
        kind,
        build_keys: keys.to_vec(),
        probe_keys: keys.to_vec(),
        filter: None,
        projection: None,
        null_equals_null: false,
        build_unique: false,
        runtime_filters: (0..keys.len()).map(|key| (7 + key as u32, key)).collect(),
        null_aware: false,
        build_count: None,
    }
}

pub(super) fn spec(payload: &HashJoinSpec) -> OperatorSpec {
    let (build, probe) = (side("b"), side("p"));
    let mut fields = probe.fields.clone();
    if gives_pairs(payload.kind) || payload.kind.gives_build() {
        fields.extend(build.fields.iter().cloned());
    } else if payload.kind == JoinKind::LeftMark {
        fields.push(Field::new("mark", LogicalType::Boolean, false));
    }
    if let Some(projection) = &payload.projection {
        fields = projection.iter().map(|column| fields[*column].clone()).collect();
    } else if payload.kind.gives_build() {
        fields.drain(..probe.fields.len());
    }
    OperatorSpec::new(payload, vec![build, probe], Some(Arc::new(Schema::new(fields))))
}

/// `probe value < build value`.
pub(super) fn value_is_less() -> Expr {
    Expr::call("lt", vec![Expr::Column(2), Expr::Column(5)], LogicalType::Boolean)
}

pub(super) fn row_text(row: &Row) -> [String; 3] {
    let text = |v: Option<String>| v.unwrap_or("NULL".into());
    [text(row.0.map(|v| v.to_string())), text(row.1.clone()), text(row.2.map(|v| v.to_string()))]
}

/// The answer by trying every pair.
pub(super) fn model(payload: &HashJoinSpec, build: &[Row], probe: &[Row]) -> Vec<String> {
    let key = |row: &Row| -> Vec<Option<String>> {
        payload.probe_keys.iter().map(|k| if *k == 0 { row.0.map(|v| v.to_string()) } else { row.1.clone() }).collect()
    };
    let matches = |left: &Row, right: &Row| {
        let (a, b) = (key(left), key(right));
        let equal = a == b && (payload.null_equals_null || a.iter().all(Option::is_some));
        equal && (payload.filter.is_none() || matches!((left.2, right.2), (Some(l), Some(r)) if l < r))
    };
    let null: Row = (None, None, None);
    let nulls_refuse = |left: &Row| {
        let has_null = |row: &Row| key(row).iter().any(Option::is_none);
        payload.null_aware && !build.is_empty() && (has_null(left) || build.iter().any(has_null))
    };
    let mut answer = Vec::new();
    let mut give = |left: &Row, more: &[String]| {
        let mut columns = row_text(left).to_vec();
        columns.extend_from_slice(more);
        if let Some(projection) = &payload.projection {
            columns = projection.iter().map(|c| columns[*c].clone()).collect();
        } else if payload.kind.gives_build() {
            columns.drain(..3);
        }
        answer.push(format!("+I {}", columns.join(" ")));
    };
    for left in probe {
        let partners: Vec<&Row> = build.iter().filter(|right| matches(left, right)).collect();
        match (payload.kind, partners.is_empty()) {
            (JoinKind::LeftMark, none) => give(left, &[(!none).to_string()]),
            (JoinKind::LeftSemi, false) => give(left, &[]),
            (JoinKind::LeftAnti, true) if !nulls_refuse(left) => give(left, &[]),
            (JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::BuildSemi | JoinKind::BuildAnti, _) => {}
            (JoinKind::Left | JoinKind::Full, true) => give(left, &row_text(&null)),
            _ => partners.into_iter().for_each(|right| give(left, &row_text(right))),
        }
    }
    if payload.kind == JoinKind::Full {
        let alone = |right: &&Row| !probe.iter().any(|left| matches(left, right));
        build.iter().filter(alone).for_each(|right| give(&null, &row_text(right)));
    }
    if payload.kind.gives_build() {
        let has_partner = |right: &Row| probe.iter().any(|left| matches(left, right));
        let comes_out = |right: &&Row| has_partner(right) == (payload.kind == JoinKind::BuildSemi);
        build.iter().filter(comes_out).for_each(|right| give(&null, &row_text(right)));
    }
    answer.sort();
    answer
}

pub(super) fn random_rows(count: usize, keys: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count)
        .map(|_| {
            // One key is hot.
            let key = if numbers.below(5) == 0 { Some(1) } else { numbers.nullable(keys) };
            (key, numbers.nullable(4).map(|s| format!("name number {s}")), numbers.nullable(20))
        })
        .collect()
}

pub(super) fn events(build: &[Row], probe: &[Row]) -> Vec<Event> {
    let (half, rest) = build.split_at(build.len() / 2);
    vec![
        Event::Batch(0, rows_batch("b", half)),
        Event::Batch(0, rows_batch("b", rest)),
        Event::EndOfInput(0),
        Event::Batch(1, rows_batch("p", probe)),
        Event::EndOfInput(1),
    ]
}

fn check(payload: &HashJoinSpec, build: &[Row], probe: &[Row]) {
    let expected = model(payload, build, probe);
    let keys = [payload.build_keys.clone(), payload.probe_keys.clone()];
    for mut feed in Feed::all(0, false, &[]) {
        for parallelism in [1, 3] {
            feed.parallelism = parallelism;
            let mut given = rows_given(&spec(payload), &keys, &events(build, probe), &feed);
            given.sort();
            assert_eq!(given, expected, "{payload:?} {feed:?}");
        }
    }
}

#[test]
fn every_kind_is_what_trying_all_pairs_gives() {
    for kind in KINDS {
        for keys in [vec![0], vec![1], vec![1, 0]] {
            for (build, probe, range) in [(0, 50, 5), (50, 0, 5), (1, 1, 1), (40, 120, 30), (90, 60, 8)] {
                let (build, probe) = (random_rows(build, range, 1), random_rows(probe, range, 2));
                for (null_equals_null, filtered) in [(false, false), (true, false), (false, true), (true, true)] {
                    let filter = filtered.then(value_is_less);
                    check(&HashJoinSpec { null_equals_null, filter, ..payload(kind, &keys) }, &build, &probe);
                }
            }
        }
    }
}

#[test]
fn unmatched_build_rows_come_out_in_bounded_pieces() {
    let rows = |range: std::ops::Range<i64>| range.map(|v| (Some(v), None, Some(v))).collect::<Vec<Row>>();
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 100, parallelism: 1 };
    for (kind, probe) in
        [(JoinKind::Full, rows(500..530)), (JoinKind::BuildAnti, rows(500..530)), (JoinKind::BuildSemi, rows(30..730))]
    {
        let (payload, build) = (payload(kind, &[0]), rows(0..1000));
        let parallel = Parallel::new(&spec(&payload), &[vec![0], vec![0]], &feed, Arc::new(Unmetered)).unwrap();
        let given = parallel.run(&events(&build, &probe)).unwrap();
        let mut texts: Vec<String> = given.iter().flat_map(crate::testing::element_texts).collect();
        for element in &given {
            let StreamElement::Batch(batch) = element else { panic!("{element:?}") };
            assert!(batch.num_rows() <= 100);
        }
        texts.sort();
        assert_eq!(texts, model(&payload, &build, &probe), "{kind:?}");
    }
}

/// Subtasks that each have the whole build side and a part of the probe side.
fn with_broadcast_build(payload: &HashJoinSpec, build: &[Row], probe: &[Row], parallelism: u32) -> Vec<String> {
    let mut given = Vec::new();
    for index in 0..parallelism {
        let mut join = Instance::new(&spec(payload), &context(index, parallelism, 8192, Arc::new(Unmetered))).unwrap();
        let part: Vec<Row> = probe.iter().skip(index as usize).step_by(parallelism as usize).cloned().collect();
        join.batch(0, rows_batch("b", build)).unwrap();
        join.end_of_input(0).unwrap();
        join.batch(1, rows_batch("p", &part)).unwrap();
        join.end_of_input(1).unwrap();
        join.finish().unwrap();
        given.extend(join.texts());
    }
    given.sort();
    given
}

#[test]
fn not_in_follows_three_valued_logic() {
    let values = |v: &[Option<i64>]| v.iter().map(|v| (*v, None, Some(1))).collect::<Vec<Row>>();
    let mut not_in = payload(JoinKind::LeftAnti, &[0]);
    not_in.null_aware = true;
    let probe = values(&[Some(1), None, Some(2), Some(3), Some(3)]);
    for (build, expected) in [
        (values(&[]), vec!["+I 1 NULL 1", "+I 2 NULL 1", "+I 3 NULL 1", "+I 3 NULL 1", "+I NULL NULL 1"]),
        (values(&[Some(2)]), vec!["+I 1 NULL 1", "+I 3 NULL 1", "+I 3 NULL 1"]),
        (values(&[Some(2), None]), vec![]),
        (values(&[None]), vec![]),
    ] {
        assert_eq!(model(&not_in, &build, &probe), expected);
        for parallelism in [1, 3] {
            assert_eq!(with_broadcast_build(&not_in, &build, &probe, parallelism), expected, "{build:?}");
        }
        for feed in Feed::all(0, false, &[]) {
            let mut given = rows_given(&spec(&not_in), &[vec![0], vec![0]], &events(&build, &probe), &feed);
            given.sort();
            assert_eq!(given, expected, "{build:?} {feed:?}");
        }
    }
    for seed in 0..20 {
        // Few NULLs, by seed on either side or on none.
        let rows = |count, nulls: bool, seed| {
            let mut rows = random_rows(count, 12, seed);
            rows.retain(|row| nulls || row.0.is_some());
            rows
        };
        let (build, probe) = (rows(5, seed % 3 == 0, seed), rows(60, seed % 2 == 0, seed + 100));
        let expected = model(&not_in, &build, &probe);
        for parallelism in [1, 2, 3] {
            assert_eq!(with_broadcast_build(&not_in, &build, &probe, parallelism), expected, "seed {seed}");
        }
    }
    let mut join = Instance::alone(&spec(&not_in));
    join.batch(0, rows_batch("b", &values(&[Some(1), None]))).unwrap();
    join.end_of_input(0).unwrap();
    assert!(join.operator.is_satisfied(), "nothing can come out any more");
}

/// How often `row`'s keys occur among `rows`; NULLs are equal.
pub(super) fn occurrences(rows: &[Row], row: &Row) -> usize {
    rows.iter().filter(|r| (r.0, &r.1) == (row.0, &row.1)).count()
}

#[test]
fn counted_joins_take_rows_as_often_as_they_occur() {
    for (build, probe, keys) in [(40, 60, 6), (0, 20, 5), (20, 0, 5), (30, 200, 3), (200, 30, 3)] {
        let (all, probe) = (random_rows(build, keys, 7), random_rows(probe, keys, 8));
        // The build side is grouped, and its value is the count.
        let mut build: Vec<Row> = all.iter().map(|r| (r.0, r.1.clone(), Some(occurrences(&all, r) as i64))).collect();
        build.sort();
        build.dedup();
        for kind in [JoinKind::LeftSemi, JoinKind::LeftAnti] {
            let counted = HashJoinSpec {
                null_equals_null: true,
                build_count: Some(2),
                projection: Some(vec![0, 1]),
                ..payload(kind, &[0, 1])
            };
            let mut expected = Vec::new();
            let mut distinct = probe.clone();
            distinct.iter_mut().for_each(|row| row.2 = None);
            distinct.sort();
            distinct.dedup();
            for row in &distinct {
                let (left, right) = (occurrences(&probe, row), occurrences(&all, row));
                let count = if kind == JoinKind::LeftSemi { left.min(right) } else { left.saturating_sub(right) };
                let [a, b, _] = row_text(row);
                expected.extend(std::iter::repeat_n(format!("+I {a} {b}"), count));
            }
            expected.sort();
            for mut feed in Feed::all(0, false, &[]) {
                for parallelism in [1, 3] {
                    feed.parallelism = parallelism;
                    let keys = [vec![0, 1], vec![0, 1]];
                    let mut given = rows_given(&spec(&counted), &keys, &events(&build, &probe), &feed);
                    given.sort();
                    assert_eq!(given, expected, "{kind:?} {feed:?}");
                }
            }
        }
    }
}

#[test]
fn variants_that_no_kind_has_are_refused() {
    let not_in = HashJoinSpec { null_aware: true, ..payload(JoinKind::LeftAnti, &[0]) };
    let counted = HashJoinSpec { build_count: Some(2), ..payload(JoinKind::LeftSemi, &[0]) };
    for wrong in [
        HashJoinSpec { kind: JoinKind::LeftSemi, ..not_in.clone() },
        HashJoinSpec { filter: Some(value_is_less()), ..not_in.clone() },
        HashJoinSpec { build_keys: vec![0, 1], probe_keys: vec![0, 1], ..not_in },
        HashJoinSpec { kind: JoinKind::Inner, ..counted.clone() },
        HashJoinSpec { filter: Some(value_is_less()), ..counted },
    ] {
        let error = Instance::new(&spec(&wrong), &context(0, 1, 8, Arc::new(Unmetered))).err().unwrap();
        assert!(error.to_string().contains("which only"), "{error}");
    }
}

#[test]
fn projections_pick_from_both_sides() {
    let (build, probe) = (random_rows(30, 10, 3), random_rows(60, 10, 4));
    for (kind, projection) in [
        (JoinKind::Inner, vec![5, 0]),
        (JoinKind::Left, vec![4, 4, 2]),
        (JoinKind::Inner, vec![3]),
        (JoinKind::LeftSemi, vec![2]),
        (JoinKind::LeftAnti, vec![1, 2]),
        (JoinKind::Full, vec![5, 0, 3]),
        (JoinKind::LeftMark, vec![3]),
        (JoinKind::LeftMark, vec![3, 1]),
        (JoinKind::BuildSemi, vec![5, 3]),
        (JoinKind::BuildAnti, vec![4]),
    ] {
        let with = HashJoinSpec { projection: Some(projection), ..payload(kind, &[0]) };
        check(&with, &build, &probe);
        check(&HashJoinSpec { filter: Some(value_is_less()), ..with }, &build, &probe);
    }
}

#[test]
fn a_hot_key_comes_out_in_bounded_pieces() {
    let rows = |count: i64| (0..count).map(|v| (Some(1), None, Some(v))).collect::<Vec<Row>>();
    let feed = Feed { cut: 8192, selected: false, restore: None, batch_rows: 100, parallelism: 1 };
    for (kind, expected) in [(JoinKind::Inner, 200 * 300), (JoinKind::Left, 200 * 300), (JoinKind::Full, 200 * 300)] {
        let parallel =
            Parallel::new(&spec(&payload(kind, &[0])), &[vec![0], vec![0]], &feed, Arc::new(Unmetered)).unwrap();
        let given = parallel.run(&events(&rows(300), &rows(200))).unwrap();
        let sizes: Vec<usize> = given
            .iter()
            .map(|element| match element {
                StreamElement::Batch(batch) => batch.num_rows(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(sizes.iter().all(|rows| *rows <= 100), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), expected);
    }
}

#[test]
fn the_build_side_is_read_first_and_tells_the_scans() {
    let mut join = Instance::alone(&spec(&payload(JoinKind::Inner, &[0])));
    assert_eq!(join.operator.input_selection(), InputSelection::Only(0));
    join.batch(0, rows_batch("b", &[(Some(5), None, None), (None, None, None), (Some(9), None, None)])).unwrap();
    assert!(join.operator.take_runtime_filters().is_empty());
    join.end_of_input(0).unwrap();
    assert_eq!(join.operator.input_selection(), InputSelection::Only(1));
    assert!(!join.operator.is_satisfied());
    let published = join.operator.take_runtime_filters();
    let [(7, filter)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(filter.min, flumen_core::expr::Literal::int64(5));
    assert_eq!(filter.max, flumen_core::expr::Literal::int64(9));
    assert!(join.operator.take_runtime_filters().is_empty(), "they are taken once");
}

#[test]
fn each_key_has_a_filter_of_its_own() {
    let mut payload = payload(JoinKind::LeftSemi, &[0, 1, 2]);
    payload.runtime_filters = vec![(4, 2), (9, 0)];
    let mut join = Instance::alone(&spec(&payload));
    let rows = [(Some(5), Some("x".into()), Some(1)), (Some(9), Some("y".into()), Some(-1)), (None, None, Some(77))];
    join.batch(0, rows_batch("b", &rows)).unwrap();
    join.end_of_input(0).unwrap();
    let ends: Vec<_> =
        join.operator.take_runtime_filters().into_iter().map(|(id, f)| (id, f.min.value, f.max.value)).collect();
    let int = flumen_core::expr::Value::Int;
    // A row that matches nothing for its NULLs may count.
    assert_eq!(ends, [(4, int(-1), int(77)), (9, int(5), int(9))]);
}

#[test]
fn who_waits_for_a_filter_hears_of_an_empty_build_side_too() {
    let mut join = Instance::alone(&spec(&payload(JoinKind::LeftSemi, &[0, 2])));
    join.end_of_input(0).unwrap();
    let unknown = flumen_core::source::RuntimeFilter::unknown();
    assert_eq!(join.operator.take_runtime_filters(), [(7, unknown.clone()), (8, unknown)]);
}

#[test]
fn kinds_that_need_rows_without_partners_publish_no_filter() {
    for kind in [JoinKind::Left, JoinKind::LeftAnti, JoinKind::Full, JoinKind::LeftMark] {
        let mut join = Instance::alone(&spec(&payload(kind, &[0])));
        join.batch(0, rows_batch("b", &[(Some(5), None, None)])).unwrap();
        join.end_of_input(0).unwrap();
        assert!(join.operator.take_runtime_filters().is_empty());
    }
}

#[test]
fn nothing_more_is_needed_once_nothing_can_match() {
    for (kind, satisfied) in KINDS.into_iter().zip([true, false, true, false, false, false, true, true]) {
        let mut join = Instance::alone(&spec(&payload(kind, &[0])));
        assert!(!join.operator.is_satisfied());
        join.end_of_input(0).unwrap();
        assert_eq!(join.operator.is_satisfied(), satisfied, "{kind:?}");
    }
}

#[test]
fn changes_of_the_probe_side_keep_their_kinds_and_of_the_build_side_are_refused() {
    let mut join = Instance::alone(&spec(&payload(JoinKind::Inner, &[0])));
    let row = (Some(1), None, None);
    let deletion = |prefix| rows_batch(prefix, std::slice::from_ref(&row)).with_row_kinds(Some(vec![3i8].into()));
    assert!(join.batch(0, deletion("b")).unwrap_err().to_string().contains("append-only"));
    join.batch(0, rows_batch("b", &[row.clone(), row.clone()])).unwrap();
    join.end_of_input(0).unwrap();
    join.batch(1, deletion("p")).unwrap();
    assert_eq!(join.texts(), ["-D 1 NULL NULL 1 NULL NULL"; 2]);
    let mut full = Instance::alone(&spec(&payload(JoinKind::Full, &[0])));
    full.end_of_input(0).unwrap();
    assert!(full.batch(1, deletion("p")).unwrap_err().to_string().contains("append-only"));
}

#[test]
fn a_build_side_without_room_is_refused_and_leaves_nothing_behind() {
    // Not even for a row.
    let memory = Limited::new(20);
    let rows: Vec<Row> = (0..10_000).map(|v| (Some(v), None, Some(v))).collect();
    let feed = Feed { cut: 1000, selected: false, restore: None, batch_rows: 100, parallelism: 1 };
    let join = Parallel::new(&spec(&payload(JoinKind::Inner, &[0])), &[vec![0], vec![0]], &feed, memory.clone());
    let error = join.unwrap().run(&events(&rows, &rows)).unwrap_err();
    assert!(error.chain().contains("top consumer"), "{}", error.chain());
    assert_eq!(memory.held.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_snapshot_in_the_middle_is_refused() {
    let mut join = Instance::alone(&spec(&payload(JoinKind::Inner, &[0])));
    assert!(join.snapshot().is_ok());
    join.batch(0, rows_batch("b", &[(Some(1), None, None)])).unwrap();
    assert!(join.snapshot().err().unwrap().to_string().contains("without checkpoints"));
    join.end_of_input(0).unwrap();
    join.end_of_input(1).unwrap();
    assert!(join.snapshot().is_ok());
}
