//! Fixtures shared by tests of whole jobs: configurations, TPC-H tables, rows as text.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen::tpch;
use flumen_cluster::{Outcome, Polled, Session, SessionError};
use flumen_config::{Configuration, Origin};
use tempfile::TempDir;

/// One wait for rows, or for the end of a job.
const WAIT: Duration = Duration::from_secs(60);

/// Scale factor of [`tpch_tables`].
pub const TPCH_SCALE: f64 = 0.1;
/// The queries that are asked of it while everything else is varied.
pub const TPCH_QUERIES: [u32; 5] = [1, 3, 6, 12, 18];
/// Scale factor of [`small_tpch_tables`].
pub const TPCH_SMALL_SCALE: f64 = 0.01;

/// The defaults with these settings on top.
///
/// # Panics
/// If there is no such option or a value does not fit.
#[must_use]
pub fn configuration(settings: &[(&str, &str)]) -> Configuration {
    let mut configuration = flumen_cluster::configuration().expect("the options are declared well");
    for (key, value) in settings {
        configuration.set(key, value, Origin::Flag).expect("the setting is right");
    }
    configuration
}

/// Executes the statements of `text`, and gives each batch of the last one's rows to `visit`; text that a statement shows
/// comes as a batch of one column.
///
/// # Errors
/// With what a statement is refused for.
pub fn run<T>(
    session: &mut Session,
    text: &str,
    mut visit: impl FnMut(&RecordBatch) -> Vec<T>,
) -> Result<Vec<T>, SessionError> {
    let mut rows = Vec::new();
    for statement in session.parse(text)? {
        rows.clear();
        match session.execute(&statement)? {
            Outcome::Rows(mut stream) => loop {
                match stream.next_within(WAIT)? {
                    Polled::Batch(batch) => rows.extend(visit(&batch)),
                    Polled::Waiting => {}
                    Polled::End => break,
                }
            },
            Outcome::Job(mut job) => while !job.wait_within(WAIT)? {},
            Outcome::Table(batch) => rows.extend(visit(&batch)),
            Outcome::Text(text) => rows.extend(visit(&lines(&text))),
            Outcome::Done(_) => {}
        }
    }
    Ok(rows)
}

fn lines(text: &str) -> RecordBatch {
    let lines: ArrayRef = Arc::new(text.lines().map(Some).collect::<StringArray>());
    RecordBatch::try_from_iter([("text", lines)]).expect("a column of text is a batch")
}

/// A directory that all tests that run at the same time share; the last one removes it.
type Shared = Mutex<Weak<TempDir>>;

/// A directory with TPC-H tables in Parquet. Tests that run at the same time share it; the last one removes it.
///
/// # Panics
/// If they cannot be written.
#[must_use]
pub fn tpch_tables() -> Arc<TempDir> {
    static TABLES: Shared = Mutex::new(Weak::new());
    shared_tables(&TABLES, TPCH_SCALE)
}

/// The same, small enough for many runs of many queries.
///
/// # Panics
/// If they cannot be written.
#[must_use]
pub fn small_tpch_tables() -> Arc<TempDir> {
    static TABLES: Shared = Mutex::new(Weak::new());
    shared_tables(&TABLES, TPCH_SMALL_SCALE)
}

/// The tables of [`tpch_tables`] in small row groups, for scans that hold little.
///
/// # Panics
/// If they cannot be written.
#[must_use]
pub fn finely_divided_tpch_tables() -> Arc<TempDir> {
    static TABLES: Shared = Mutex::new(Weak::new());
    shared_tables_of(&TABLES, TPCH_SCALE, 8192)
}

fn shared_tables(tables: &Shared, scale: f64) -> Arc<TempDir> {
    shared_tables_of(tables, scale, tpch::ROW_GROUP_ROWS)
}

fn shared_tables_of(tables: &Shared, scale: f64, row_group_rows: usize) -> Arc<TempDir> {
    let mut tables = tables.lock().expect("a test failed while it made the tables");
    tables.upgrade().unwrap_or_else(|| {
        let directory = Arc::new(tempfile::tempdir().expect("there is room for a directory"));
        tpch::generate_divided(directory.path(), scale, row_group_rows).expect("the tables can be written");
        *tables = Arc::downgrade(&directory);
        directory
    })
}

/// The rows of a batch as Arrow displays their values; NULL is an empty cell.
///
/// # Panics
/// If a type cannot be displayed.
#[must_use]
pub fn text_rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("the type can be displayed"))
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect()).collect()
}
