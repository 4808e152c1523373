//! How long a query takes.
//!
//! Wall time is from the text to the last row; CPU time is that of the whole process. Rows are taken as they come, and what
//! is done with them (formatted, added up) is not counted: its own wall and CPU time are taken off. On one thread it may
//! still hide time in which the engine would have waited for somebody to take rows.

use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::ArrowError;
use cpu_time::{ProcessTime, ThreadTime};
use flumen_cluster::{Outcome as StatementOutcome, Polled, Session, SessionError};
use flumen_config::Configuration;

use super::report::{Measured, Outcome};
use super::suite::{Query, Seen};

/// Between two looks at whether there are rows.
const WAIT: Duration = Duration::from_secs(60);

/// One run of a query.
pub(super) struct Run {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) peak_memory_bytes: u64,
}

/// Why there is no time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The statement was refused before it ran.
    #[error("{0}")]
    Refused(String),
    /// It ended with an error.
    #[error("{0}")]
    Ended(String),
}

impl From<SessionError> for Failed {
    fn from(error: SessionError) -> Self {
        let text = error.render();
        match error {
            SessionError::Sql(_) => Self::Refused(text),
            _ => Self::Ended(text),
        }
    }
}

impl From<ArrowError> for Failed {
    fn from(error: ArrowError) -> Self {
        Self::Ended(error.to_string())
    }
}

/// Runs a text and gives its rows away.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures from outside the engine")]
pub(super) fn run(
    session: &mut Session,
    text: &str,
    mut take: impl FnMut(&RecordBatch) -> Result<(), ArrowError>,
) -> Result<Run, Failed> {
    let (started, cpu) = (Instant::now(), ProcessTime::now());
    let (mut taking, mut taking_cpu) = (Duration::ZERO, Duration::ZERO);
    let mut peak_memory_bytes = 0;
    for statement in session.parse(text)? {
        let StatementOutcome::Rows(mut stream) = session.execute(&statement)? else { continue };
        loop {
            match stream.next_within(WAIT)? {
                Polled::Batch(batch) => {
                    let (began, thread) = (Instant::now(), ThreadTime::now());
                    take(&batch)?;
                    taking += began.elapsed();
                    taking_cpu += thread.elapsed();
                }
                Polled::Waiting => {}
                Polled::End => break,
            }
        }
        peak_memory_bytes = stream.progress().peak_memory_bytes;
    }
    let (wall, cpu) = (started.elapsed(), cpu.elapsed());
    Ok(Run { wall: wall.saturating_sub(taking), cpu: cpu.saturating_sub(taking_cpu), peak_memory_bytes })
}

/// Adds the rows of a batch as texts.
pub(super) fn format(batch: &RecordBatch, rows: &mut Vec<Vec<String>>) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let cells = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()?;
    rows.extend((0..batch.num_rows()).map(|row| cells.iter().map(|cell| cell.value(row).to_string()).collect()));
    Ok(())
}

/// Runs a query once cold and so many times hot.
///
/// # Errors
/// If no session can be opened; what goes wrong with the query is part of what is measured.
pub(super) fn query(
    query: &Query,
    configuration: &Configuration,
    threads: u32,
    runs: usize,
) -> anyhow::Result<Measured> {
    let mut session = Session::open(configuration.clone())?;
    let mut measured = Measured::new(&query.name, threads);
    let mut times = Vec::new();
    for number in 0..=runs.max(1) {
        let mut seen = query.answer.looks_at(number == 0);
        let mut rows = 0;
        let run = run(&mut session, &query.text, |batch| {
            rows += batch.num_rows() as u64;
            match &mut seen {
                Seen::Rows(rows) => format(batch, rows),
                Seen::Sums(adder) => adder.add(batch),
                Seen::Count(count) => {
                    *count += batch.num_rows() as u64;
                    Ok(())
                }
            }
        });
        let run = match run {
            Ok(run) => run,
            Err(failed) => {
                let outcome = match failed {
                    Failed::Refused(_) => Outcome::Unsupported,
                    Failed::Ended(_) => Outcome::Failed,
                };
                return Ok(Measured { message: Some(failed.to_string()), ..measured.ended(outcome) });
            }
        };
        measured.rows = rows;
        if let Err(difference) = query.answer.check(seen) {
            return Ok(Measured { message: Some(difference), ..measured.ended(Outcome::Wrong) });
        }
        times.push(run);
    }
    measured.outcome = if query.answer.is_known() { Outcome::Right } else { Outcome::Unchecked };
    measured.take(&times);
    Ok(measured)
}
