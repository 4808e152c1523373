//! `flumen bench`: whole queries, timed from outside the engine, with their answers checked before a time counts.
//!
//! A query runs once cold (a fresh session: plan, footers; the files may be in the system's cache) and then some times hot
//! in the same session ([`measure`]). What came out of it is a [`report::Report`]: JSON, a Markdown table and one page of
//! HTML ([`html`]); two of them are held against each other by [`compare`].
//!
//! `flumen bench queries` lets a driver choose the queries and their order: it stays, answers a line with a line, and is
//! one of the engines that `benches/compare` takes turns with.

mod compare;
mod host;
mod html;
mod measure;
mod report;
mod suite;

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::Context;
use flumen_cluster::Session;
use flumen_config::{Configuration, Origin};
use serde::Serialize;

use crate::arguments::{Benchmark, QueriesArguments, SuiteArguments};
use crate::run::configuration;
use crate::say;
use report::{Measured, Outcome, Report};
use suite::Suite;

pub(crate) use suite::parse_rows;

/// Runs a benchmark; its exit code.
pub(crate) fn run(benchmark: &Benchmark) -> anyhow::Result<u8> {
    match benchmark {
        Benchmark::Tpch { scale, suite } => run_suite(&Suite::tpch(*scale, suite.dir.as_deref())?, suite),
        Benchmark::H2o { rows, suite } => run_suite(&Suite::h2o(*rows, suite.dir.as_deref())?, suite),
        Benchmark::Clickbench { rows, suite } => run_suite(&Suite::clickbench(*rows, suite.dir.as_deref())?, suite),
        Benchmark::Compare(arguments) => compare::run(arguments),
        Benchmark::Queries(arguments) => queries(arguments),
    }
}

fn run_suite(suite: &Suite, arguments: &SuiteArguments) -> anyhow::Result<u8> {
    let chosen = suite.choose(&arguments.queries)?;
    let mut out = std::io::stdout();
    if arguments.print {
        for query in chosen {
            writeln!(out, "{}", serde_json::to_string(&[&query.name, &query.text])?)?;
        }
        return Ok(0);
    }
    suite.provide()?;
    if arguments.generate_only {
        return Ok(0);
    }
    let configured = configuration(&arguments.settings)?;
    let mut report = Report::new(suite, &configured);
    if !arguments.json {
        writeln!(out, "{}", report::HEADINGS)?;
    }
    for threads in &arguments.threads {
        let configuration = with_threads(configured.clone(), *threads)?;
        for query in &chosen {
            let measured = measure::query(query, &configuration, *threads, arguments.runs)?;
            if arguments.json {
                writeln!(out, "{}", serde_json::to_string(&measured)?)?;
            } else {
                writeln!(out, "{}", measured.line())?;
            }
            report.results.push(measured);
        }
    }
    if let Some(directory) = &arguments.out {
        write(&report, directory)?;
    }
    if !arguments.json {
        writeln!(out, "{}", report.summary())?;
    }
    let is_bad = |measured: &Measured| matches!(measured.outcome, Outcome::Wrong | Outcome::Failed);
    Ok(u8::from(report.results.iter().any(is_bad)))
}

/// Writes a report in its three forms.
fn write(report: &Report, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let forms = [
        ("json", serde_json::to_string_pretty(report)? + "\n"),
        ("md", report.markdown()),
        ("html", html::page(report)),
    ];
    for (suffix, text) in forms {
        let path = directory.join(format!("{}-{}.{suffix}", report.suite, report.size));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say::line(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// One query that a driver asked for.
#[derive(Serialize)]
struct Answered<'a> {
    wall_s: f64,
    cpu_s: f64,
    rows: &'a [Vec<String>],
}

/// Answers queries from standard input in one session, until it ends. The first line names the version.
fn queries(arguments: &QueriesArguments) -> anyhow::Result<u8> {
    let mut session = Session::open(with_threads(configuration(&arguments.settings)?, arguments.threads)?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))?;
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?).context("a line of input is not a JSON string")?;
        let mut rows = Vec::new();
        let run = measure::run(&mut session, &text, |batch| measure::format(batch, &mut rows))?;
        let answered = Answered { wall_s: run.wall.as_secs_f64(), cpu_s: run.cpu.as_secs_f64(), rows: &rows };
        writeln!(out, "{}", serde_json::to_string(&answered)?)?;
        out.flush()?;
    }
    Ok(0)
}

fn with_threads(mut configuration: Configuration, threads: u32) -> anyhow::Result<Configuration> {
    for key in ["parallelism.default", "taskmanager.worker-threads"] {
        configuration.set(key, &threads.to_string(), Origin::Flag)?;
    }
    Ok(configuration)
}
