//! One statement after another, for the command line and the shell alike.
//!
//! A [`Console`] has a session, a way to show results and a place they go to. A statement's rows are written as they
//! come; its footer, and what went wrong with it, are words to people. Rows are polled for, so that progress and
//! interrupts are looked at in between; an interrupted statement is left after [`GRACE`], whatever its tasks still do.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use flumen_cluster::{
    JobHandle, Outcome, Polled, Restart, RowStream, Session, SessionError, Statement, StatementProgress,
};
use flumen_config::Configuration;

use crate::interrupt::Interrupts;
use crate::output::{Destination, Format, Layout, Pager, ResultWriter};
use crate::progress::{ProgressLine, bytes, count};
use crate::say;
use crate::terminal::{ColorChoice, Terminal};

/// How long one wait for rows lasts before progress and interrupts are looked at.
const POLL: Duration = Duration::from_millis(50);

/// How long an interrupted statement is waited for.
const GRACE: Duration = Duration::from_millis(200);

/// How results are shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The format that was asked for; `None` leaves it to where results go.
    pub(crate) format: Option<Format>,
    /// As [`Layout::new`] takes it.
    pub(crate) rows_max: Option<usize>,
    /// As [`Layout::new`] takes it.
    pub(crate) width_max: Option<usize>,
    /// When colours are used.
    pub(crate) color: ColorChoice,
    /// Show how long a statement took and what it read.
    pub(crate) timer: bool,
    /// Show results that are longer than the terminal in pages.
    pub(crate) pager: bool,
    /// Show neither progress nor what DDL did.
    pub(crate) quiet: bool,
}

/// What is said of a restart.
fn restarted(restart: &Restart) -> String {
    let from = match restart.checkpoint {
        Some(checkpoint) => format!("from checkpoint {checkpoint}"),
        None => "from the beginning".to_owned(),
    };
    let (number, delay, cause) = (restart.number, restart.delay.as_secs_f64(), &restart.cause);
    format!("the job starts again {from} in {delay:.1} s (restart {number}): {cause}")
}

/// How statements ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Well.
    Done,
    /// At least one failed, and was reported.
    Failed,
    /// By the user.
    Interrupted,
}

/// See the module.
pub(crate) struct Console {
    session: Session,
    interrupts: Interrupts,
    pub(crate) view: View,
    to: Destination,
    /// The format that the file's name asks for.
    to_format: Option<Format>,
}

enum Stopped {
    Statement(SessionError),
    /// The result cannot go where it should.
    Refused(String),
    Output(io::Error),
}

impl From<SessionError> for Stopped {
    fn from(error: SessionError) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Console {
    /// Opens a session. Nobody listens to interrupts yet ([`Interrupts::listen`]).
    ///
    /// # Errors
    /// If the embedded cluster cannot be started.
    pub(crate) fn open(configuration: Configuration, view: View) -> anyhow::Result<Self> {
        let session = Session::open(configuration)?;
        // Who listens may outlive the session.
        let process = Arc::downgrade(session.process());
        let interrupts = Interrupts::new(move || {
            process.upgrade().iter().flat_map(|process| process.jobs()).for_each(|job| job.cancel());
        });
        Ok(Self { session, interrupts, view, to: Destination::standard(), to_format: None })
    }

    /// The names that its session knows.
    pub(crate) fn names(&self) -> flumen_cluster::Names {
        self.session.names()
    }

    /// What the session's jobs share.
    #[cfg(test)]
    pub(crate) fn process(&self) -> &Arc<flumen_cluster::process::Process> {
        self.session.process()
    }

    /// Interrupts of what runs here.
    pub(crate) fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// From now on results go there, in the format that goes with it unless another is asked for. What they went to
    /// before is completed.
    ///
    /// # Errors
    /// If a file cannot be put in its place; results go to the new place all the same.
    pub(crate) fn send_to(&mut self, to: Destination, format: Option<Format>) -> io::Result<()> {
        self.to_format = format;
        std::mem::replace(&mut self.to, to).complete()
    }

    /// Puts a file that results went to in its place.
    ///
    /// # Errors
    /// If it cannot be.
    pub(crate) fn complete(self) -> io::Result<()> {
        self.to.complete()
    }

    /// The format of results now.
    pub(crate) fn format(&self) -> Format {
        let standard = if self.to.is_terminal() { Format::Box } else { Format::Csv };
        self.chosen_format().unwrap_or(standard)
    }

    /// The format that somebody chose.
    fn chosen_format(&self) -> Option<Format> {
        self.view.format.or(self.to_format)
    }

    /// Why results in the format of now cannot go where they go, if so.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.to.refuses(self.format())
    }

    fn layout(&self) -> Layout {
        let mut terminal = Terminal::of_output(self.view.color);
        // A file that was named is no terminal, even where standard output is one.
        if !self.to.is_standard() {
            terminal.is_terminal = false;
            terminal.color &= self.view.color == ColorChoice::Always;
        }
        let layout = Layout::new(&terminal, self.view.rows_max, self.view.width_max);
        if self.is_paged() { layout.paged(self.view.rows_max) } else { layout }
    }

    fn is_paged(&self) -> bool {
        self.view.pager && self.to.is_terminal()
    }

    /// What is written from now on is looked at in pages, if pages are on. [`Console::end_pages`] has to follow.
    fn begin_pages(&mut self) {
        if self.is_paged() {
            let height = Terminal::of_output(self.view.color).height;
            self.to.begin_pages(Pager::new(height, std::env::var_os("PAGER")));
            self.interrupts.lend_keyboard(true);
        }
    }

    /// Waits until pages have been looked at.
    fn end_pages(&mut self) -> io::Result<()> {
        let ended = self.to.end_pages();
        self.interrupts.lend_keyboard(false);
        ended
    }

    /// Runs the statements of a text.
    ///
    /// # Errors
    /// If results cannot be written.
    pub(crate) fn run_text(&mut self, text: &str, keep_going: bool) -> io::Result<Ended> {
        let parsed = match keep_going {
            true => self.session.parse_each(text),
            // A mistake anywhere is told before anything is done.
            false => match self.session.parse(text) {
                Ok(statements) => statements.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            },
        };
        let mut ended = Ended::Done;
        for statement in &parsed {
            let done = match statement {
                Ok(statement) => self.run_statement(statement)?,
                Err(error) => {
                    say::error(&error.render());
                    Ended::Failed
                }
            };
            match done {
                Ended::Done => {}
                Ended::Interrupted => return Ok(Ended::Interrupted),
                Ended::Failed => {
                    ended = Ended::Failed;
                    if !keep_going {
                        break;
                    }
                }
            }
        }
        Ok(ended)
    }

    fn run_statement(&mut self, statement: &Statement) -> io::Result<Ended> {
        let errors = Terminal::of_errors(self.view.color);
        let mut progress = ProgressLine::start(&errors, !self.view.quiet);
        self.interrupts.begin();
        let done = self.execute(statement, &mut progress);
        progress.clear();
        let was_left = self.to.were_pages_left();
        let paged = self.end_pages();
        self.interrupts.end();
        let stopped = match done {
            Ok(()) => return paged.map(|()| Ended::Done),
            Err(stopped) => stopped,
        };
        match stopped {
            // Who has seen enough of a result does not wait for the rest of it.
            Stopped::Output(_) if was_left => return paged.map(|()| Ended::Done),
            Stopped::Output(error) => return Err(error),
            Stopped::Statement(SessionError::Cancelled) if self.interrupts.interrupted() => {
                self.to.take_back()?;
                say::line("interrupted: the statement was cancelled");
                return Ok(Ended::Interrupted);
            }
            Stopped::Statement(error) => say::error(&error.render()),
            Stopped::Refused(why) => say::error(&why),
        }
        self.to.take_back()?;
        Ok(Ended::Failed)
    }

    fn execute(&mut self, statement: &Statement, progress: &mut ProgressLine) -> Result<(), Stopped> {
        let outcome = self.session.execute(statement)?;
        match outcome {
            Outcome::Rows(rows) => self.rows(rows, progress),
            Outcome::Job(job) => self.job(job, progress),
            Outcome::Table(batch) => self.table(&batch),
            Outcome::Text(text) => self.text(&text),
            Outcome::Done(message) => {
                if !self.view.quiet {
                    say::line(&message);
                }
                Ok(())
            }
        }
    }

    fn rows(&mut self, mut rows: RowStream, progress: &mut ProgressLine) -> Result<(), Stopped> {
        self.check_place()?;
        let format = self.format();
        self.begin_pages();
        // Rows and the line of progress would take turns on one screen.
        let shares_screen = self.to.is_terminal() && !format.is_picture() && format != Format::None;
        let mut writer = ResultWriter::new(format, rows.schema(), self.layout());
        let mut interrupted = None;
        loop {
            if self.interrupts.interrupted() {
                rows.cancel_handle().cancel();
                let since = *interrupted.get_or_insert(progress.elapsed());
                if progress.elapsed() > since + GRACE {
                    return Err(SessionError::Cancelled.into());
                }
            }
            let polled = rows.next_within(POLL)?;
            let is_waiting = match polled {
                Polled::End => break,
                Polled::Waiting => true,
                Polled::Batch(_) if interrupted.is_some() => false,
                Polled::Batch(batch) => {
                    if shares_screen {
                        progress.clear();
                    }
                    writer.write(&batch, &mut self.to)?;
                    false
                }
            };
            if is_waiting {
                self.to.flush()?;
            }
            if (is_waiting || !shares_screen) && !self.to.shows_pages() {
                progress.show(|| rows.progress(), || rows.expected_rows());
            }
        }
        progress.clear();
        let written = writer.rows();
        writer.finish(&mut self.to)?;
        self.end_pages()?;
        self.to.keep()?;
        self.footer(written as u64, progress.elapsed(), rows.plan_time(), &rows.progress());
        Ok(())
    }

    fn job(&mut self, mut job: JobHandle, progress: &mut ProgressLine) -> Result<(), Stopped> {
        for damaged in job.recovery().iter().flat_map(|r| &r.passed_over) {
            say::warning(damaged);
        }
        if !self.view.quiet {
            let from = job.recovery().map_or_else(String::new, |r| format!(", resumed from {}", r.location));
            say::line(&format!("job {} ({}) is running{from}", job.name(), job.id()));
        }
        let mut restarts = 0;
        let mut interrupted = None;
        while !job.wait_within(POLL)? {
            if self.interrupts.interrupted() {
                job.cancel_handle().cancel();
                let since = *interrupted.get_or_insert(progress.elapsed());
                if progress.elapsed() > since + GRACE {
                    return Err(SessionError::Cancelled.into());
                }
            }
            for restart in job.restarts_after(restarts) {
                progress.clear();
                say::warning(&restarted(&restart));
                restarts = restart.number;
            }
            progress.show(|| job.progress(), || job.expected_rows());
        }
        progress.clear();
        self.footer(job.progress().rows_out, progress.elapsed(), job.plan_time(), &job.progress());
        Ok(())
    }

    /// Writes rows that are there.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) fn show(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let shown = self.table(batch);
        let was_left = self.to.were_pages_left();
        self.end_pages()?;
        match shown {
            Ok(()) => Ok(()),
            Err(Stopped::Output(_)) if was_left => Ok(()),
            Err(Stopped::Output(error)) => Err(error),
            Err(Stopped::Refused(why)) => {
                say::error(&why);
                Ok(())
            }
            Err(Stopped::Statement(error)) => {
                say::error(&error.render());
                Ok(())
            }
        }
    }

    fn table(&mut self, batch: &RecordBatch) -> Result<(), Stopped> {
        self.check_place()?;
        self.begin_pages();
        let mut writer = ResultWriter::new(self.format(), batch.schema(), self.layout());
        writer.write(batch, &mut self.to)?;
        writer.finish(&mut self.to)?;
        Ok(self.to.keep()?)
    }

    /// A plan: as it is for people, as rows for whoever chose a format for programs.
    fn text(&mut self, text: &str) -> Result<(), Stopped> {
        let as_rows = self.chosen_format().is_some_and(|format| !format.is_picture());
        if as_rows {
            let lines: ArrayRef = Arc::new(text.lines().map(Some).collect::<StringArray>());
            let batch = RecordBatch::try_from_iter([("plan", lines)]).map_err(io::Error::other)?;
            return self.table(&batch);
        }
        self.begin_pages();
        writeln!(self.to, "{}", text.trim_end())?;
        Ok(self.to.keep()?)
    }

    fn check_place(&self) -> Result<(), Stopped> {
        self.refusal().map_or(Ok(()), |why| Err(Stopped::Refused(why)))
    }

    fn footer(&self, rows: u64, elapsed: Duration, plan: Duration, progress: &StatementProgress) {
        if self.view.timer {
            say::aside(&footer(rows, elapsed, plan, progress));
        }
    }
}

fn footer(rows: u64, elapsed: Duration, plan: Duration, progress: &StatementProgress) -> String {
    let from_files = if progress.bytes_read > 0 { format!(", {}", bytes(progress.bytes_read)) } else { String::new() };
    let spilled =
        if progress.spilled_bytes > 0 { format!(", spilled {}", bytes(progress.spilled_bytes)) } else { String::new() };
    format!(
        "{} {} · {} (plan {}) · read {} rows{from_files}, {} rows/s · peak {}{spilled}",
        count(rows),
        if rows == 1 { "row" } else { "rows" },
        time(elapsed),
        time(plan),
        count(progress.rows_read),
        count((progress.rows_read as f64 / elapsed.as_secs_f64().max(1e-9)) as u64),
        bytes(progress.peak_memory_bytes),
    )
}

fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footer_says_what_it_cost() {
        let mut progress = StatementProgress { rows_read: 6_000_000, peak_memory_bytes: 5 << 20, ..Default::default() };
        let of = |progress: &_, rows| footer(rows, Duration::from_millis(1500), Duration::from_millis(8), progress);
        assert_eq!(of(&progress, 3), "3 rows · 1.50 s (plan 8.0 ms) · read 6.0 M rows, 4.0 M rows/s · peak 5.0 MiB");
        progress.bytes_read = 3 << 30;
        assert!(of(&progress, 1).starts_with("1 row · 1.50 s (plan 8.0 ms) · read 6.0 M rows, 3.0 GiB, 4.0 M rows/s"));
        progress.spilled_bytes = 7 << 20;
        assert!(of(&progress, 1).ends_with("peak 5.0 MiB, spilled 7.0 MiB"));
    }
}
