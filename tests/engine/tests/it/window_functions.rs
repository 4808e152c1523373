//! Window functions through the whole engine, against another engine's answers (`window_functions.toml`), at
//! parallelism 1, 2 and 7; and what is refused.

use flumen_cluster::Session;

use crate::harness::{assert_nothing_is_left, rows, run, session};
use crate::semantics::lines;

const PAGE: &str = include_str!("window_functions.toml");

#[derive(serde::Deserialize)]
struct Page {
    columns: String,
    rows: String,
    query: Vec<Query>,
}

#[derive(serde::Deserialize)]
struct Query {
    sql: String,
    expected: Vec<String>,
}

/// A session with the page's table `t`, in three files so that several subtasks read.
fn with_table(page: &Page, directory: &std::path::Path, settings: &[(&str, &str)]) -> Session {
    let rows: Vec<&str> = page.rows.trim().lines().collect();
    for (index, part) in rows.chunks(rows.len().div_ceil(3)).enumerate() {
        let names: Vec<&str> = page.columns.split(", ").filter_map(|c| c.split(' ').next()).collect();
        // A comma within DECIMAL(10, 2) is no column.
        let names: Vec<&str> = names.into_iter().filter(|name| name.starts_with(char::is_alphabetic)).collect();
        let text = format!("{}\n{}\n", names.join(","), part.join("\n"));
        std::fs::write(directory.join(format!("part{index}.csv")), text).unwrap();
    }
    let mut session = session(settings);
    let table = format!(
        "CREATE TABLE t ({}) WITH ('connector' = 'filesystem', 'path' = '{}/', 'format' = 'csv')",
        page.columns,
        directory.display()
    );
    run(&mut session, &table, lines).unwrap_or_else(|error| panic!("{}", error.render()));
    session
}

fn check(parallelism: &str, batch_rows: &str) {
    let page: Page = toml::from_str(PAGE).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let settings = [("parallelism.default", parallelism), ("execution.batch-size", batch_rows)];
    let mut session = with_table(&page, directory.path(), &settings);
    assert!(page.query.len() >= 40);
    let mut problems = Vec::new();
    for query in &page.query {
        match run(&mut session, &query.sql, lines) {
            Ok(mut found) => {
                if !query.sql.contains("LIMIT") {
                    found.sort_unstable();
                }
                if found != query.expected {
                    problems.push(format!("{}\n  gives    {found:?}\n  expected {:?}", query.sql, query.expected));
                }
            }
            Err(error) => problems.push(format!("{}\n  {}", query.sql, error.render())),
        }
        assert_nothing_is_left(&session);
    }
    assert!(problems.is_empty(), "{} with {settings:?}:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn answers_in_one_subtask() {
    check("1", "8192");
}

#[test]
fn answers_in_two_subtasks_row_by_row() {
    check("2", "1");
}

#[test]
fn answers_in_seven_subtasks() {
    check("7", "7");
}

#[test]
fn arguments_are_judged_where_they_are_met() {
    for (sql, message) in [
        ("SELECT ntile(x) OVER () FROM (VALUES (0)) AS t(x)", "at least 1"),
        ("SELECT nth_value(x, x) OVER () FROM (VALUES (0)) AS t(x)", "counted from 1"),
        ("SELECT sum(x) OVER (ORDER BY x) FROM (VALUES (99999999999999999999999999999999999999), (1)) AS t(x)", "sum"),
    ] {
        let mut session = session(&[]);
        let error = rows(&mut session, sql).expect_err(sql).render();
        assert!(error.contains(message), "{error}");
        assert_nothing_is_left(&session);
    }
}
