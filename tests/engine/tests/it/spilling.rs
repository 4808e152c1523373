//! TPC-H queries with a fraction of the managed memory that they take when they may: the answer is the same, and with
//! more memory they still work.
//!
//! A scan holds a row group, however little memory there is, so the tables are divided into small ones: what is measured
//! and made scarce is the memory of operators.

use flumen::tpch;
use flumen_testkit::{TPCH_SCALE, finely_divided_tpch_tables};

use crate::harness::{assert_nothing_is_left, rows, session};

/// What the smallest memory must spill at least.
const SPILLED_BYTES_MIN: u64 = 1 << 20;

/// The rows of a query, the most managed memory that was reserved, and what was spilled.
fn run(query: u32, managed_bytes: Option<u64>) -> (Vec<Vec<String>>, u64, u64) {
    let tables = finely_divided_tpch_tables();
    let size = managed_bytes.map(|bytes| format!("{bytes} b"));
    let mut settings = vec![("parallelism.default", "2"), ("taskmanager.worker-threads", "2")];
    settings.extend(size.as_deref().map(|size| ("taskmanager.memory.managed.size", size)));
    let mut session = session(&settings);
    let (_, text) = tpch::QUERIES.iter().find(|(number, _)| *number == query).unwrap();
    let answer = rows(&mut session, &tpch::query_over(text, tables.path()))
        .unwrap_or_else(|error| panic!("query {query} in {managed_bytes:?} bytes: {}", error.render()));
    assert_nothing_is_left(&session);
    let process = session.process();
    (answer, process.memory().root().peak_bytes(), process.spilled_bytes())
}

/// At a quarter, a half and all of what the query reserves unbounded.
fn check(query: u32) {
    let (answer, peak, spilled) = run(query, None);
    assert_eq!(spilled, 0, "query {query} has enough");
    let expected = tpch::answer(query, TPCH_SCALE).unwrap();
    tpch::check_answer(&expected, &answer).unwrap_or_else(|difference| panic!("query {query}: {difference}"));
    for factor in [1, 2, 4] {
        let managed = peak / 4 * factor;
        let (given, _, spilled) = run(query, Some(managed));
        assert_eq!(given, answer, "query {query} in {managed} bytes");
        assert!(factor > 1 || spilled >= SPILLED_BYTES_MIN, "query {query}: {spilled} bytes spilled in {managed}");
    }
}

#[test]
fn query_9() {
    check(9);
}

#[test]
fn query_13() {
    check(13);
}

#[test]
fn query_18() {
    check(18);
}

#[test]
fn query_21() {
    check(21);
}
