//! The choices of `engine/sql/semantics.toml`, through the whole engine: what the page promises is what comes out, at
//! parallelism 1 and 2 and with batches of one row. `engine/sql/semantics_duckdb.py` has asked another engine.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use flumen_cluster::{Outcome, Session, SessionError};

use crate::harness::{assert_nothing_is_left, run, session};

const CHOICES: &str = include_str!("../../../../engine/sql/semantics.toml");

#[derive(Debug, serde::Deserialize)]
struct Page {
    choice: Vec<Choice>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    id: String,
    sql: String,
    #[serde(default)]
    setup: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    expected: Option<Vec<String>>,
    types: Option<Vec<String>>,
    names: Option<Vec<String>>,
    error: Option<String>,
    subtasks: Option<u32>,
    duckdb: String,
    #[serde(rename = "duckdb_note")]
    _note: Option<String>,
    #[serde(rename = "duckdb_setup")]
    _setup: Option<Vec<String>>,
    #[serde(rename = "duckdb_sql")]
    _sql: Option<String>,
    #[serde(rename = "duckdb_gives")]
    _gives: Option<Vec<String>>,
}

/// The text with `<<text*3>>` written out and `{dir}` filled in.
fn unfolded(text: &str, directory: &Path) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<<") {
        let (repeated, after) = after.split_once(">>").expect("<< has its >>");
        let (repeated, count) = repeated.rsplit_once('*').expect("<<text*count>>");
        out.push_str(before);
        out.push_str(&repeated.repeat(count.parse().unwrap()));
        rest = after;
    }
    out.push_str(rest);
    out.replace("{dir}", &directory.display().to_string())
}

/// The rows as the page writes them.
pub(crate) fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let cells: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let cell = |column: usize, row: usize| {
        let array = batch.column(column);
        match array.data_type() {
            DataType::Float64 if array.is_valid(row) => array.as_primitive::<Float64Type>().value(row).to_string(),
            DataType::Float32 if array.is_valid(row) => array.as_primitive::<Float32Type>().value(row).to_string(),
            _ => cells[column].value(row).to_string(),
        }
    };
    let line = |row| (0..batch.num_columns()).map(|c| cell(c, row)).collect::<Vec<_>>().join(" ");
    (0..batch.num_rows()).map(line).collect()
}

/// What is wrong with a choice; nothing if it holds.
fn problem(choice: &Choice, settings: &[(&str, &str)]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in &choice.files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let mut session = session(settings);
    for statement in &choice.setup {
        if let Err(error) = run(&mut session, &unfolded(statement, directory.path()), lines) {
            return Some(format!("{statement}: {}", error.render()));
        }
    }
    let sql = unfolded(&choice.sql, directory.path());
    let found = match (run(&mut session, &sql, lines), &choice.expected, &choice.error) {
        (Ok(mut found), Some(expected), None) => {
            let mut expected = expected.clone();
            if !sql.contains("ORDER BY") {
                found.sort_unstable();
                expected.sort_unstable();
            }
            (found != expected).then(|| format!("{found:?} instead of {expected:?}"))
        }
        (Err(error), None, Some(expected)) => {
            let found = error.render();
            let holds = match expected.starts_with("not supported yet") {
                true => found.lines().next() == Some(expected),
                false => found.to_lowercase().contains(&expected.to_lowercase()),
            };
            (!holds).then(|| format!("the error {found:?} instead of {expected:?}"))
        }
        (Ok(found), ..) => Some(format!("{found:?} instead of an error")),
        (Err(error), ..) => Some(error.render()),
    };
    let described = (choice.types.is_some() || choice.names.is_some()).then(|| describe(&mut session, &sql));
    assert_nothing_is_left(&session);
    let (names, types) = match described {
        None => return found,
        Some(Err(error)) => return found.or(Some(format!("DESCRIBE: {}", error.render()))),
        Some(Ok(described)) => described,
    };
    found
        .or_else(|| choice.types.as_ref().filter(|t| **t != types).map(|_| format!("types {types:?}")))
        .or_else(|| choice.names.as_ref().filter(|n| **n != names).map(|_| format!("names {names:?}")))
}

/// Names and types of a query's columns.
fn describe(session: &mut Session, sql: &str) -> Result<(Vec<String>, Vec<String>), SessionError> {
    let statement = &session.parse(&format!("DESCRIBE {sql}"))?[0];
    let Outcome::Table(rows) = session.execute(statement)? else { panic!("DESCRIBE gives rows") };
    let text = |column: usize| rows.column(column).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    Ok((text(0), text(1)))
}

fn check(parallelism: &str, batch_rows: &str) {
    let settings = [("parallelism.default", parallelism), ("execution.batch-size", batch_rows)];
    let choices = toml::from_str::<Page>(CHOICES).unwrap().choice;
    assert!(choices.iter().all(|choice| ["same", "differs", "none"].contains(&choice.duckdb.as_str())));
    let asked = choices.iter().filter(|c| c.subtasks.is_none_or(|subtasks| subtasks.to_string() == parallelism));
    let problems: Vec<String> =
        asked.filter_map(|c| problem(c, &settings).map(|problem| format!("{}: {problem}", c.id))).collect();
    assert!(problems.is_empty(), "with {settings:?}:\n{}", problems.join("\n"));
}

#[test]
fn choices_hold_in_one_subtask() {
    check("1", "8192");
}

#[test]
fn choices_hold_in_two_subtasks() {
    check("2", "8192");
}

#[test]
fn choices_hold_row_by_row() {
    check("1", "1");
    check("2", "1");
}
