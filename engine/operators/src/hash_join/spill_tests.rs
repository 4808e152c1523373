//! Joins with too little memory, or whose memory the arbiter wants back all the time, against trying all pairs.

use flumen_core::spec::relational::{HashJoinSpec, JoinKind};

use super::gives_pairs;
use super::tests::{KINDS, Row, events, model, occurrences, payload, random_rows, row_text, spec, value_is_less};
use crate::spill::testing::run_within;
use crate::testing::Numbers;

/// Enough for some build rows only, and for nothing but a frame at a time.
const BUDGETS: [u64; 2] = [200 << 10, 64 << 10];

fn check(payload: &HashJoinSpec, build: &[Row], probe: &[Row], budgets: &[u64], expected: &[String]) {
    let events = events(build, probe);
    let ways = budgets.iter().map(|budget| (*budget, false)).chain([(64 << 20, true)]);
    for (budget, asks) in ways {
        let cut = if asks { 300 } else { 1000 };
        let (mut given, spilled) = run_within(&spec(payload), &events, cut, 500, budget, asks)
            .unwrap_or_else(|error| panic!("{payload:?} {budget} {asks}: {}", error.chain()));
        given.sort();
        assert!(given == expected, "{payload:?} {budget} {asks}: {} rows for {}", given.len(), expected.len());
        // Of the others only keys are kept, which may fit.
        let must_spill = asks || (gives_pairs(payload.kind) && budget != BUDGETS[0]);
        assert!(spilled > 0 || !must_spill, "{payload:?} {budget} {asks}");
    }
}

/// Rows of so many keys, and payload that takes room.
fn rows(count: usize, keys: u64, seed: u64) -> Vec<Row> {
    let mut numbers = Numbers::new(seed);
    (0..count)
        .map(|_| {
            let name = format!("a name that takes some room in memory {}", numbers.below(1000));
            (numbers.nullable(keys), Some(name), numbers.nullable(20))
        })
        .collect()
}

#[test]
fn every_kind_is_what_trying_all_pairs_gives() {
    for kind in KINDS {
        let (build, probe) = (rows(1_200, 800, 1), rows(150, 800, 2));
        for (null_equals_null, filtered) in [(false, false), (true, true)] {
            let filter = filtered.then(value_is_less);
            let payload = HashJoinSpec { null_equals_null, filter, ..payload(kind, &[0]) };
            check(&payload, &build, &probe, &BUDGETS, &model(&payload, &build, &probe));
        }
    }
}

#[test]
fn batches_of_any_size_and_empty_sides() {
    for kind in KINDS {
        for (build, probe) in [(0, 20), (20, 0), (1, 1), (25, 25)] {
            let (build, probe) = (random_rows(build, 20, 1), random_rows(probe, 20, 2));
            let payload = payload(kind, &[1, 0]);
            let expected = model(&payload, &build, &probe);
            for cut in [1, 7, 8192] {
                for asks in [false, true] {
                    let given = run_within(&spec(&payload), &events(&build, &probe), cut, cut, 64 << 10, asks);
                    let (mut given, _) = given.unwrap();
                    given.sort();
                    assert_eq!(given, expected, "{kind:?} {cut} {asks}");
                }
            }
        }
    }
}

#[test]
fn partitions_that_do_not_fit_are_divided_again() {
    let row = |key: i64| (Some(key), Some(format!("a name that takes some room in memory {key}")), Some(1));
    let build: Vec<Row> = (0..12_000).map(row).collect();
    let probe: Vec<Row> = (6_000..14_000).map(row).collect();
    let text = |row: &Row| row_text(row).join(" ");
    for kind in [JoinKind::Inner, JoinKind::Full, JoinKind::LeftAnti] {
        let mut expected: Vec<String> = (6_000..12_000).map(row).map(|r| format!("+I {0} {0}", text(&r))).collect();
        let (probe_only, build_only) = ((12_000..14_000).map(row), (0..6_000).map(row));
        match kind {
            JoinKind::Full => {
                expected.extend(probe_only.map(|r| format!("+I {} NULL NULL NULL", text(&r))));
                expected.extend(build_only.map(|r| format!("+I NULL NULL NULL {}", text(&r))));
            }
            JoinKind::LeftAnti => expected = probe_only.map(|r| format!("+I {}", text(&r))).collect(),
            _ => {}
        }
        expected.sort();
        let given = run_within(&spec(&payload(kind, &[0])), &events(&build, &probe), 1000, 500, 64 << 10, false);
        let mut given = given.unwrap().0;
        given.sort();
        assert!(given == expected, "{kind:?}: {} rows for {}", given.len(), expected.len());
    }
}

#[test]
fn a_key_with_too_many_rows_is_joined_piece_by_piece() {
    for kind in KINDS {
        // No bits of the hash divide the rows of one key.
        let heavy = |count, seed| {
            let mut rows = rows(count, 50, seed);
            rows.iter_mut().filter(|row| row.0.is_some_and(|key| key < 40)).for_each(|row| row.0 = Some(7));
            rows
        };
        let (build, probe) = (heavy(2_500, 3), heavy(6, 4));
        for filtered in [false, true] {
            let payload = HashJoinSpec { filter: filtered.then(value_is_less), ..payload(kind, &[0]) };
            check(&payload, &build, &probe, &[256 << 10], &model(&payload, &build, &probe));
        }
    }
}

#[test]
fn not_in_knows_the_whole_build_side() {
    let not_in = HashJoinSpec { null_aware: true, ..payload(JoinKind::LeftAnti, &[0]) };
    let without_nulls = |mut rows: Vec<Row>| {
        rows.retain(|row| row.0.is_some());
        rows
    };
    let (build, probe) = (rows(3_000, 1_500, 5), rows(100, 3_000, 6));
    check(&not_in, &build, &probe, &BUDGETS, &[]);
    let build = without_nulls(build);
    check(&not_in, &build, &probe, &BUDGETS, &model(&not_in, &build, &probe));
}

#[test]
fn counts_go_with_the_rows() {
    let all: Vec<Row> = rows(1_500, 400, 7).into_iter().map(|row| (row.0, None, None)).collect();
    let probe: Vec<Row> = rows(1_000, 500, 8).into_iter().map(|row| (row.0, None, None)).collect();
    let mut build: Vec<Row> = all.iter().map(|r| (r.0, None, Some(occurrences(&all, r) as i64))).collect();
    build.sort();
    build.dedup();
    for kind in [JoinKind::LeftSemi, JoinKind::LeftAnti] {
        let counted = HashJoinSpec {
            null_equals_null: true,
            build_count: Some(2),
            projection: Some(vec![0, 1]),
            ..payload(kind, &[0, 1])
        };
        let mut distinct = probe.clone();
        distinct.sort();
        distinct.dedup();
        let mut expected = Vec::new();
        for row in &distinct {
            let (left, right) = (occurrences(&probe, row), occurrences(&all, row));
            let count = if kind == JoinKind::LeftSemi { left.min(right) } else { left.saturating_sub(right) };
            let [a, b, _] = row_text(row);
            expected.extend(std::iter::repeat_n(format!("+I {a} {b}"), count));
        }
        expected.sort();
        check(&counted, &build, &probe, &[64 << 10], &expected);
    }
}
