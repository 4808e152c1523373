//! TPC-H queries over Parquet against the answers of an independent engine: all at scale factor 0.01, and those that
//! have an answer there at 0.1. One axis at a time is varied from a base of parallelism 2, batches of 8192 rows and
//! pipelined exchanges.

use flumen::tpch;
use flumen_cluster::Session;
use flumen_network::HostileOptions;
use flumen_testkit::{TPCH_QUERIES, TPCH_SCALE, TPCH_SMALL_SCALE, small_tpch_tables, tpch_tables};

use crate::harness::{assert_nothing_is_left, hostile_session, rows, session};

/// The base, with some settings in place of its own.
fn settings<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let base = [
        ("parallelism.default", "2"),
        ("execution.batch-size", "8192"),
        ("execution.batch-shuffle-mode", "ALL_EXCHANGES_PIPELINED"),
        ("taskmanager.worker-threads", "2"),
    ];
    let mut all = base.to_vec();
    all.retain(|(key, _)| changed.iter().all(|(k, _)| k != key));
    all.extend(changed);
    all
}

fn check(changed: &[(&str, &str)]) {
    check_in(session(&settings(changed)), &format!("{changed:?}"));
}

fn check_in(mut session: Session, axis: &str) {
    for (scale, tables) in [(TPCH_SMALL_SCALE, small_tpch_tables()), (TPCH_SCALE, tpch_tables())] {
        let asked = |query: &u32| scale != TPCH_SCALE || TPCH_QUERIES.contains(query);
        for (query, text) in tpch::answered(scale).filter(|(query, _)| asked(query)) {
            let answer = rows(&mut session, &tpch::query_over(text, tables.path()))
                .unwrap_or_else(|error| panic!("query {query} at {scale} with {axis}: {}", error.render()));
            let expected = tpch::answer(query, scale).unwrap();
            if let Err(difference) = tpch::check_answer(&expected, &answer) {
                panic!("query {query} at {scale} with {axis}: {difference}");
            }
        }
    }
    assert_nothing_is_left(&session);
}

#[test]
fn every_query_has_an_answer_to_compare_with() {
    assert_eq!(tpch::answered(TPCH_SMALL_SCALE).count(), tpch::QUERIES.len());
}

#[test]
fn base() {
    check(&[]);
}

#[test]
fn parallelism_1() {
    check(&[("parallelism.default", "1")]);
}

#[test]
fn parallelism_3() {
    check(&[("parallelism.default", "3")]);
}

#[test]
fn parallelism_7() {
    check(&[("parallelism.default", "7")]);
}

#[test]
fn batches_of_1_row() {
    check(&[("execution.batch-size", "1")]);
}

#[test]
fn batches_of_7_rows() {
    check(&[("execution.batch-size", "7")]);
}

#[test]
fn blocking_exchanges() {
    check(&[("execution.batch-shuffle-mode", "ALL_EXCHANGES_BLOCKING")]);
}

#[test]
fn hybrid_full_exchanges() {
    check(&[("execution.batch-shuffle-mode", "ALL_EXCHANGES_HYBRID_FULL")]);
}

#[test]
fn hybrid_selective_exchanges() {
    check(&[("execution.batch-shuffle-mode", "ALL_EXCHANGES_HYBRID_SELECTIVE")]);
}

/// Late, in pieces and reordered across channels, on threads; `tests/simulation` has it in one thread, and with
/// connections that break.
#[test]
fn the_hostile_transport() {
    check_in(hostile_session(&settings(&[]), 1, HostileOptions::default()), "the hostile transport");
}
