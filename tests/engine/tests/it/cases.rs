//! The queries of `tests/engine/cases` and the rows that another engine gives for them (`expected.py` there), over small
//! tables with NULLs, duplicates and no rows, in one subtask, in three, and row by row, in every kind of exchange.

use flumen_cluster::Session;

use crate::harness::{assert_nothing_is_left, rows, session};

const TABLES: [(&str, &str); 4] = [
    ("l", "k INTEGER, g VARCHAR, v INTEGER, d DECIMAL(8, 2)"),
    ("r", "k INTEGER, g VARCHAR, w BIGINT"),
    ("n", "k INTEGER NOT NULL, v INTEGER NOT NULL"),
    ("e", "k INTEGER, v INTEGER"),
];

fn with_tables(settings: &[(&str, &str)]) -> Session {
    let mut session = session(settings);
    for (name, columns) in TABLES {
        let path = format!("{}/cases/tables/{name}", env!("CARGO_MANIFEST_DIR"));
        let options = format!("'connector' = 'filesystem', 'format' = 'csv', 'path' = '{path}'");
        let text = format!("CREATE TABLE {name} ({columns}) WITH ({options})");
        rows(&mut session, &text).unwrap_or_else(|error| panic!("{text}: {}", error.render()));
    }
    session
}

/// Query and rows of each case.
fn cases(text: &str) -> Vec<(&str, Vec<&str>)> {
    text.trim()
        .split("\n\n")
        .filter(|case| !case.starts_with('#'))
        .map(|case| {
            let (query, rows) = case.split_once("\n----").expect("a query, dashes and rows");
            (query, rows.lines().skip(1).collect())
        })
        .collect()
}

/// Whether a row is as expected: numbers to the digits that both engines give, everything else to the letter.
fn is_same(expected: &str, row: &str) -> bool {
    let same = |(a, b): (&str, &str)| {
        let numbers = (a.parse::<f64>(), b.parse::<f64>());
        a == b || matches!(numbers, (Ok(a), Ok(b)) if (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 5e-7)
    };
    expected.split('|').count() == row.split('|').count() && expected.split('|').zip(row.split('|')).all(same)
}

/// What is wrong with a case; nothing if it holds.
fn problem(session: &mut Session, query: &str, expected: &[&str]) -> Option<String> {
    let given = match rows(session, query) {
        Ok(given) => given,
        Err(error) => return Some(error.render()),
    };
    let cell = |cell: String| if cell.is_empty() { "NULL".to_owned() } else { cell };
    let mut given: Vec<String> =
        given.into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join("|")).collect();
    given.sort();
    let holds = given.len() == expected.len() && expected.iter().zip(&given).all(|(e, g)| is_same(e, g));
    (!holds).then(|| format!("{given:?}\n  instead of\n  {expected:?}"))
}

fn check(text: &str) {
    let cases = cases(text);
    assert!(cases.len() > 20);
    for (parallelism, batch_rows, exchange) in [
        ("1", "8192", "all-exchanges-pipelined"),
        ("3", "8192", "all-exchanges-blocking"),
        ("2", "1", "all-exchanges-hybrid-full"),
        ("3", "5", "all-exchanges-hybrid-selective"),
    ] {
        let mut session = with_tables(&[
            ("parallelism.default", parallelism),
            ("execution.batch-size", batch_rows),
            ("execution.batch-shuffle-mode", exchange),
        ]);
        let problems: Vec<String> = cases
            .iter()
            .filter_map(|(query, expected)| Some(format!("{query}\n  {}", problem(&mut session, query, expected)?)))
            .collect();
        assert!(
            problems.is_empty(),
            "{exchange}, parallelism {parallelism}, {batch_rows} rows:\n{}",
            problems.join("\n")
        );
        assert_nothing_is_left(&session);
    }
}

#[test]
fn joins() {
    check(include_str!("../../cases/joins.txt"));
}

#[test]
fn subqueries() {
    check(include_str!("../../cases/subqueries.txt"));
}

#[test]
fn set_operations() {
    check(include_str!("../../cases/set_operations.txt"));
}

#[test]
fn aggregates() {
    check(include_str!("../../cases/aggregates.txt"));
}
