//! TPC-H over the hostile transport: late, cut to pieces, reordered across channels; and broken, where a query fails
//! with its cause or starts again, and never gives a wrong answer or none at all.

use std::sync::Arc;
use std::time::Duration;

use flumen::tpch;
use flumen_cluster::{Outcome, Polled, Session, SessionError};
use flumen_io::{LocalFileSystem, Rng, SimulatedClock};
use flumen_network::HostileOptions;
use flumen_runtime::executor::deterministic::{Pace, Progress};
use flumen_testkit::{TPCH_QUERIES, TPCH_SCALE, configuration, text_rows, tpch_tables};

use crate::machine::{Incarnation, Machine, Temper};

const PARALLELISM: u32 = 2;
/// Steps between two looks of the client.
const STEPS_PER_LOOK: usize = 64;

/// The rows of a query, as text.
fn rows(incarnation: &Incarnation, session: &mut Session, text: &str) -> Result<Vec<Vec<String>>, SessionError> {
    let statements = session.parse(text)?;
    let Outcome::Rows(mut stream) = session.execute(&statements[0])? else { panic!("not a query: {text}") };
    let mut rows = Vec::new();
    let mut looks_in_vain = 0;
    loop {
        let stuck = (0..STEPS_PER_LOOK).any(|_| incarnation.executor.step() == Progress::Stuck);
        match stream.next_within(Duration::ZERO)? {
            Polled::Batch(batch) => {
                looks_in_vain = 0;
                rows.extend(text_rows(&batch));
            }
            Polled::Waiting if stuck => {
                // The client learns of an end one look late.
                looks_in_vain += 1;
                assert!(looks_in_vain < 4, "nothing can happen any more, but the query has not ended: {text}");
            }
            Polled::Waiting => {}
            Polled::End => return Ok(rows),
        }
    }
}

/// Runs a query in a process of its own; its rows or its error, and how many connections broke.
fn ask(
    query: &str,
    seed: u64,
    settings: &[(&str, &str)],
    hostile: HostileOptions,
) -> (Result<Vec<Vec<String>>, String>, u64) {
    let machine = Machine::new(Arc::new(SimulatedClock::new()), Arc::new(LocalFileSystem));
    let parallelism = PARALLELISM.to_string();
    let settings = [&[("parallelism.default", parallelism.as_str())], settings].concat();
    let configuration = configuration(&settings);
    let temper = Temper { seed, pace: Pace::default(), hostile: Some(hostile), late_messages: true };
    let incarnation = machine.start(temper, &configuration);
    let process = Arc::clone(&incarnation.process);
    let mut session = Session::over(process, configuration, PARALLELISM, Rng::stream(seed, "session"));
    let answer = rows(&incarnation, &mut session, query).map_err(|error| error.render());
    drop(session);
    let broken = incarnation.broken_connections();
    incarnation.come_to_rest().unwrap_or_else(|left| panic!("seed {seed}, {answer:?}: {left}\n{query}"));
    incarnation.kill().unwrap_or_else(|held| panic!("seed {seed}: {held}\n{query}"));
    (answer, broken)
}

fn assert_right(query: u32, seed: u64, answer: &[Vec<String>]) {
    let expected = tpch::answer(query, TPCH_SCALE).unwrap();
    if let Err(difference) = tpch::check_answer(&expected, answer) {
        panic!("query {query}, seed {seed}: {difference}");
    }
}

#[test]
fn answers_are_right_over_the_hostile_transport() {
    let tables = tpch_tables();
    for (seed, (query, text)) in
        tpch::answered(TPCH_SCALE).filter(|(query, _)| TPCH_QUERIES.contains(query)).enumerate()
    {
        let seed = seed as u64;
        let hostile = HostileOptions { steps_per_run: 64, ..HostileOptions::default() };
        let (answer, broken) = ask(&tpch::query_over(text, tables.path()), seed, &[], hostile);
        assert_eq!(broken, 0);
        assert_right(query, seed, &answer.unwrap_or_else(|error| panic!("query {query}: {error}")));
    }
}

/// Runs the queries with connections that break; how many were answered, and how many failed.
fn with_breaks(settings: &[(&str, &str)]) -> (u32, u32) {
    let tables = tpch_tables();
    let (mut answered, mut failed) = (0, 0);
    for (index, (query, text)) in tpch::answered(TPCH_SCALE).enumerate() {
        for (round, break_chance) in [1e-2, 1e-3, 1e-3, 2e-4].into_iter().enumerate() {
            let seed = (index * 4 + round) as u64;
            let hostile = HostileOptions { steps_per_run: 64, break_chance, ..HostileOptions::default() };
            let (answer, broken) = ask(&tpch::query_over(text, tables.path()), seed, settings, hostile);
            eprintln!("query {query}, {break_chance}: {broken} broken, {:?}", answer.as_ref().map(Vec::len));
            match answer {
                Ok(answer) => {
                    answered += 1;
                    assert_right(query, seed, &answer);
                }
                Err(error) => {
                    failed += 1;
                    assert!(broken > 0 && (error.contains("cut") || error.contains("given out")), "{error}");
                }
            }
        }
    }
    (answered, failed)
}

#[test]
fn a_query_whose_connections_break_fails_with_the_cause() {
    let (_, failed) = with_breaks(&[]);
    assert!(failed > 0);
}

const RESTARTS: [(&str, &str); 3] = [
    ("restart-strategy.type", "fixed-delay"),
    ("restart-strategy.fixed-delay.attempts", "20"),
    ("restart-strategy.fixed-delay.delay", "0 ms"),
];

#[test]
fn a_query_that_may_start_again_is_answered_right_or_fails() {
    let (answered, _) = with_breaks(&RESTARTS);
    assert!(answered > 0);
}

/// Rows of this one reach the client while it runs: what was given out cannot be taken back by a restart.
#[test]
fn rows_that_were_given_out_are_not_given_again() {
    let tables = tpch_tables();
    let directory = tables.path().display();
    let query = format!(
        "SELECT l_orderkey, l_linenumber, o_totalprice FROM '{directory}/lineitem.parquet' AS lineitem
           JOIN '{directory}/orders.parquet' AS orders ON l_orderkey = o_orderkey WHERE l_quantity = 50"
    );
    let sorted = |mut rows: Vec<Vec<String>>| {
        rows.sort_unstable();
        rows
    };
    let calm = HostileOptions { steps_per_run: 64, rows_max: 500, ..HostileOptions::default() };
    let expected = sorted(ask(&query, 0, &[], calm).0.unwrap());
    let (mut answered, mut refused) = (0, 0);
    for seed in 0..24 {
        let break_chance = [1e-3, 3e-4, 1e-4][seed as usize % 3];
        let (answer, broken) = ask(&query, seed, &RESTARTS, HostileOptions { break_chance, ..calm });
        match answer {
            Ok(answer) => {
                answered += u32::from(broken > 0);
                assert!(sorted(answer) == expected, "seed {seed}, {broken} broken: other rows than without failures");
            }
            Err(error) => {
                refused += u32::from(error.contains("given out"));
                assert!(broken > 0 && (error.contains("cut") || error.contains("given out")), "{error}");
            }
        }
    }
    eprintln!("{} rows; {answered} answered after a restart, {refused} refused", expected.len());
    assert!(refused > 0);
}
