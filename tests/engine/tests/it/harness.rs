//! Runs SQL on an embedded cluster and reads the rows as text.

use std::time::Duration;

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_cluster::{Outcome, Polled, Session, SessionError};
use flumen_config::Origin;

/// A session with these settings.
pub(crate) fn session(settings: &[(&str, &str)]) -> Session {
    let mut configuration = flumen_cluster::configuration().unwrap();
    for (key, value) in settings {
        configuration.set(key, value, Origin::Flag).unwrap();
    }
    Session::open(configuration).unwrap()
}

/// The rows of the last statement of `text`; NULL is an empty cell.
pub(crate) fn rows(session: &mut Session, text: &str) -> Result<Vec<Vec<String>>, SessionError> {
    let mut rows = Vec::new();
    for statement in session.parse(text)? {
        rows.clear();
        match session.execute(&statement)? {
            Outcome::Rows(mut stream) => loop {
                match stream.next_within(Duration::from_secs(60))? {
                    Polled::Batch(batch) => {
                        let options = FormatOptions::default();
                        let cells: Vec<_> =
                            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
                        let line = |row| cells.iter().map(|c| c.value(row).to_string()).collect();
                        rows.extend((0..batch.num_rows()).map(line));
                    }
                    Polled::Waiting => {}
                    Polled::End => break,
                }
            },
            Outcome::Job(mut job) => while !job.wait_within(Duration::from_secs(60))? {},
            Outcome::Text(_) | Outcome::Done(_) => {}
        }
    }
    Ok(rows)
}

/// What must hold after every job, however it ended.
pub(crate) fn assert_nothing_is_left(session: &Session) {
    // A job's last task reports its end before it is dropped.
    for _ in 0..1000 {
        if session.process().verify_empty().is_ok() {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
    session.process().verify_empty().unwrap();
}
