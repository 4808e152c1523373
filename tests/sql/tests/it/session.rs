//! A session that answers in text.

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_cluster::{Session, SessionError};
use flumen_testkit::configuration;

/// A session with these settings, in this crate's directory.
pub(crate) fn session(settings: &[(&str, &str)]) -> Session {
    Session::open(configuration(settings)).unwrap()
}

/// The rows of the last statement of `text`. NULL is `NULL`, empty text `(empty)`, a timestamp has a blank in it.
pub(crate) fn rows(session: &mut Session, text: &str) -> Result<Vec<Vec<String>>, SessionError> {
    flumen_testkit::run(session, text, text_rows)
}

fn text_rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default()
        .with_null("NULL")
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("the type can be displayed"))
        .collect();
    let cell = |text: String| if text.is_empty() { "(empty)".to_owned() } else { text };
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| cell(c.value(row).to_string())).collect()).collect()
}
