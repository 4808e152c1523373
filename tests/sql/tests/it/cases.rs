//! The files of `cases`, each in every kind of exchange.
//!
//! What must come was never Flumen's own answer: DuckDB's (`expected.py` asks it again), or what PostgreSQL's
//! documentation says, where a comment names the page.

use flumen_cluster::Session;

use crate::script::{Expected, Record, records};
use crate::session::{rows, session};

/// The kinds of exchange, each at another parallelism and size of batches.
const RUNS: [(&str, &str, &str); 4] = [
    ("all-exchanges-pipelined", "1", "8192"),
    ("all-exchanges-blocking", "2", "3"),
    ("all-exchanges-hybrid-full", "3", "1"),
    ("all-exchanges-hybrid-selective", "2", "64"),
];

fn is_same(letter: char, expected: &str, given: &str) -> bool {
    let close = |(a, b): (f64, f64)| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 5e-7;
    let numbers = || Some((expected.parse().ok()?, given.parse().ok()?));
    expected == given || letter == 'R' && numbers().is_some_and(close)
}

/// What is wrong with a record; nothing if it holds.
fn problem(session: &mut Session, record: &Record<'_>) -> Option<String> {
    match (rows(session, &record.text), &record.expected) {
        (Err(error), Expected::Error(part)) => {
            let said = error.render();
            let first = said.lines().next().unwrap_or_default().to_owned();
            (!first.contains(part)).then(|| format!("said {first:?} instead of {part:?}"))
        }
        (Err(error), _) => Some(error.render()),
        (Ok(given), Expected::Error(part)) => Some(format!("gave {given:?} instead of the error {part:?}")),
        (Ok(_), Expected::Done) => None,
        (Ok(mut given), Expected::Rows { letters, sorted, rows }) => {
            let mut wanted = rows.clone();
            if *sorted {
                given.sort();
                wanted.sort();
            }
            let same = |(w, g): (&Vec<&str>, &Vec<String>)| {
                w.len() == g.len() && letters.chars().zip(w).zip(g).all(|((l, w), g)| is_same(l, w, g))
            };
            let holds = wanted.len() == given.len() && wanted.iter().zip(&given).all(same);
            (!holds).then(|| format!("gave {given:?}\n  instead of {wanted:?}"))
        }
    }
}

/// Runs a file in every kind of exchange; `{tmp}` in it is a directory that is empty each time.
fn check(name: &str, file: &str) {
    let records = records(file);
    assert!(!records.is_empty(), "{name} has no records");
    for (exchange, parallelism, batch_rows) in RUNS {
        let directory = tempfile::tempdir().unwrap();
        let tmp = directory.path().to_str().expect("the directory has a name in UTF-8");
        let mut session = session(&[
            ("execution.batch-shuffle-mode", exchange),
            ("parallelism.default", parallelism),
            ("execution.batch-size", batch_rows),
        ]);
        let problems: Vec<String> = records
            .iter()
            .filter_map(|record| {
                let record = Record {
                    text: record.text.replace("{tmp}", tmp),
                    line: record.line,
                    expected: match &record.expected {
                        Expected::Done => Expected::Done,
                        Expected::Error(part) => Expected::Error(part),
                        Expected::Rows { letters, sorted, rows } => {
                            Expected::Rows { letters, sorted: *sorted, rows: rows.clone() }
                        }
                    },
                };
                Some(format!("{name}:{}: {}\n  {}", record.line, record.text, problem(&mut session, &record)?))
            })
            .collect();
        assert!(problems.is_empty(), "{exchange}, {} problems:\n{}", problems.len(), problems.join("\n"));
    }
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let file = concat!(stringify!($name), ".slt");
                check(file, include_str!(concat!("../../cases/", stringify!($name), ".slt")));
            }
        )*

        #[test]
        fn every_file_is_run() {
            let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
            let mut files: Vec<String> = std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.ends_with(".slt"))
                .collect();
            files.sort();
            let mut run = vec![$(concat!(stringify!($name), ".slt")),*];
            run.sort_unstable();
            assert_eq!(files, run);
        }
    };
}

cases!(
    aggregates,
    asof_joins,
    bits_and_parts,
    case_and_coalesce,
    casts,
    common_table_expressions,
    copy,
    create_table_as,
    decimals,
    describe,
    errors,
    files,
    friendly,
    functions,
    grouping_sets,
    insert,
    joins,
    more_aggregates,
    nested,
    null_logic,
    order_and_limit,
    pivots,
    row_values,
    set_operations,
    strings,
    subqueries,
    time,
    types,
    views,
    window_functions,
);
