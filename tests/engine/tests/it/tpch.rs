//! TPC-H queries over Parquet at scale factor 0.1 against the answers of an independent engine. One axis at a time is
//! varied from a base of parallelism 2, batches of 8192 rows and pipelined exchanges.

use flumen::tpch;
use flumen_cluster::Session;
use flumen_network::HostileOptions;
use flumen_testkit::{TPCH_SCALE, tpch_tables};

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
    let tables = tpch_tables();
    for (query, text) in tpch::QUERIES {
        let answer = rows(&mut session, &tpch::query_over(text, tables.path()))
            .unwrap_or_else(|error| panic!("query {query} with {axis}: {}", error.render()));
        let expected = tpch::answer(query, TPCH_SCALE).unwrap();
        assert!(!expected.is_empty());
        if let Err(difference) = tpch::check_answer(&expected, &answer) {
            panic!("query {query} with {axis}: {difference}");
        }
    }
    assert_nothing_is_left(&session);
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
