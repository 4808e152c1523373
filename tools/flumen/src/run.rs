//! Runs statements one after another.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use anyhow::Context;
use flumen_cluster::{Outcome, Session, SessionError};
use flumen_config::Configuration;

use crate::arguments::{Arguments, Benchmark, Format, Settings, SqlArguments, Verb};
use crate::interrupt::{INTERRUPTED, Interrupts};
use crate::output::ResultWriter;
use crate::progress::{ProgressLine, bytes, count};

/// How long one wait for rows lasts before progress and interrupts are looked at.
const POLL: Duration = Duration::from_millis(50);

/// Whether the error is that nobody reads our output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Does what the command line asks; the exit code.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    match arguments.verb {
        Verb::Sql(arguments) => sql(&arguments),
        Verb::Demo(arguments) => crate::demo::demo(&arguments),
        Verb::Bench(Benchmark::Tpch(arguments)) => crate::bench::tpch(&arguments),
        Verb::Bench(Benchmark::Queries(arguments)) => crate::bench::queries(&arguments),
        Verb::Config { changed, markdown } => config(changed, markdown),
    }
}

/// The command line, or what it names, is wrong.
#[derive(Debug)]
pub(crate) struct UsageError(anyhow::Error);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for UsageError {}

/// The configuration from file, environment and flags. Errors are [`UsageError`]s.
pub(crate) fn configuration(settings: &Settings) -> anyhow::Result<Configuration> {
    Ok(configured(settings).map_err(UsageError)?)
}

fn configured(settings: &Settings) -> anyhow::Result<Configuration> {
    let mut configuration = flumen_cluster::configuration()?;
    let default = std::path::Path::new("flumen.toml");
    if let Some(path) = settings.config.as_deref().or_else(|| default.exists().then_some(default)) {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        configuration.apply_toml(&text, path)?;
    }
    // FLUMEN_LOG is the log filter of this binary.
    configuration.apply_environment(std::env::vars(), &["FLUMEN_LOG"])?;
    configuration.apply_flags(&settings.set)?;
    Ok(configuration)
}

fn config(changed: bool, markdown: bool) -> anyhow::Result<u8> {
    let configuration = configuration(&Settings::default())?;
    let mut out = std::io::stdout().lock();
    if markdown {
        write!(out, "{}", flumen_config::reference::markdown(configuration.registry()))?;
        return Ok(0);
    }
    for value in configuration.effective() {
        if !changed || value.origin != flumen_config::Origin::Default {
            writeln!(out, "{} = {}  # {}", value.key, value.text, value.origin)?;
        }
    }
    Ok(0)
}

fn texts(arguments: &SqlArguments) -> anyhow::Result<Vec<String>> {
    let mut texts: Vec<String> = arguments.commands.iter().chain(&arguments.statements).cloned().collect();
    for file in &arguments.files {
        texts.push(if file.as_os_str() == "-" {
            standard_input()?
        } else {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        });
    }
    if texts.is_empty() {
        anyhow::ensure!(
            !std::io::stdin().is_terminal(),
            "nothing to run: give SQL with -c, -f or on standard input; `flumen --help` has examples, `flumen demo` shows around"
        );
        texts.push(standard_input()?);
    }
    Ok(texts)
}

fn standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    Ok(text)
}

fn sql(arguments: &SqlArguments) -> anyhow::Result<u8> {
    let texts = texts(arguments).map_err(UsageError)?;
    let interrupts = Interrupts::listen()?;
    let mut session = Session::open(configuration(&arguments.settings)?)?;
    let mut code = 0;
    for text in texts {
        code = code.max(run_text(&mut session, &text, arguments, &interrupts)?);
        if code != 0 && (!arguments.keep_going || code == INTERRUPTED) {
            break;
        }
    }
    Ok(code)
}

fn run_text(
    session: &mut Session,
    text: &str,
    arguments: &SqlArguments,
    interrupts: &Interrupts,
) -> anyhow::Result<u8> {
    let statements = match session.parse(text) {
        Ok(statements) => statements,
        Err(error) => {
            report(&error);
            return Ok(1);
        }
    };
    let mut code = 0;
    for statement in &statements {
        let mut progress = ProgressLine::start(arguments.quiet);
        let done = execute(session, statement, arguments, interrupts, &mut progress);
        interrupts.running(None);
        progress.clear();
        match done {
            Ok(()) => {}
            Err(Stopped::Statement(error)) => {
                if matches!(error, SessionError::Cancelled) && interrupts.interrupted() {
                    eprintln!("interrupted: the statement was cancelled");
                    return Ok(INTERRUPTED);
                }
                report(&error);
                code = 1;
                if !arguments.keep_going {
                    break;
                }
            }
            Err(Stopped::Output(error)) => return Err(error.into()),
        }
    }
    Ok(code)
}

enum Stopped {
    Statement(SessionError),
    Output(std::io::Error),
}

impl From<SessionError> for Stopped {
    fn from(error: SessionError) -> Self {
        Self::Statement(error)
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

fn execute(
    session: &mut Session,
    statement: &flumen_cluster::Statement,
    arguments: &SqlArguments,
    interrupts: &Interrupts,
    progress: &mut ProgressLine,
) -> Result<(), Stopped> {
    let terminal = std::io::stdout().is_terminal();
    let format = arguments.format.unwrap_or(if terminal { Format::Box } else { Format::Csv });
    // Not locked: the rows of a `print` table go there, too, from the threads of its tasks.
    let mut out = std::io::BufWriter::new(std::io::stdout());
    match session.execute(statement)? {
        Outcome::Rows(mut rows) => {
            interrupts.running(Some(rows.cancel_handle()));
            let mut writer = ResultWriter::new(format, rows.schema(), arguments.max_rows);
            loop {
                match rows.next_within(POLL)? {
                    flumen_cluster::Polled::Batch(batch) => {
                        progress.clear();
                        writer.write(&batch, &mut out)?;
                    }
                    flumen_cluster::Polled::Waiting => {
                        out.flush()?;
                        progress.show(&rows.progress());
                    }
                    flumen_cluster::Polled::End => break,
                }
            }
            progress.clear();
            let written = writer.rows();
            writer.finish(&mut out)?;
            if !arguments.quiet {
                footer(written as u64, progress.elapsed(), rows.plan_time(), &rows.progress());
            }
        }
        Outcome::Job(mut job) => {
            interrupts.running(Some(job.cancel_handle()));
            for damaged in job.recovery().iter().flat_map(|r| &r.passed_over) {
                eprintln!("warning: {damaged}");
            }
            if !arguments.quiet {
                let from = job.recovery().map_or_else(String::new, |r| format!(", resumed from {}", r.location));
                eprintln!("job {} ({}) is running{from}", job.name(), job.id());
            }
            while !job.wait_within(POLL)? {
                progress.show(&job.progress());
            }
            progress.clear();
            if !arguments.quiet {
                footer(job.progress().rows_out, progress.elapsed(), job.plan_time(), &job.progress());
            }
        }
        Outcome::Table(batch) => {
            let mut writer = ResultWriter::new(format, batch.schema(), arguments.max_rows);
            writer.write(&batch, &mut out)?;
            writer.finish(&mut out)?;
        }
        Outcome::Text(text) => writeln!(out, "{text}")?,
        Outcome::Done(message) => {
            if !arguments.quiet {
                eprintln!("{message}");
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn footer(rows: u64, elapsed: Duration, plan: Duration, progress: &flumen_cluster::StatementProgress) {
    eprintln!(
        "{} {} · {} (plan {}) · read {} rows, {} rows/s · peak {}",
        count(rows),
        if rows == 1 { "row" } else { "rows" },
        time(elapsed),
        time(plan),
        count(progress.rows_read),
        count((progress.rows_read as f64 / elapsed.as_secs_f64().max(1e-9)) as u64),
        bytes(progress.peak_memory_bytes),
    );
}

fn time(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

fn report(error: &SessionError) {
    eprintln!("error: {}", error.render());
}
