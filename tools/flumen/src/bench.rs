//! `flumen bench`: whole queries, timed from outside the engine, with their answers checked before a time counts.
//!
//! A query runs once cold (a fresh session: plan, footers) and then `runs` times hot in the same session. Wall time is
//! from the text to the last row; CPU time is that of the whole process.
//!
//! `flumen bench queries` lets a driver choose the queries and their order: it stays, answers a line with a line, and is
//! one of the engines that `benches/compare` takes turns with.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use cpu_time::ProcessTime;
use flumen::tpch;
use flumen_cluster::{Outcome, Polled, Session};
use flumen_config::{Configuration, Origin};
use serde::Serialize;

use crate::arguments::{QueriesArguments, TpchArguments};
use crate::run::configuration;

/// One measured query.
#[derive(Serialize)]
struct Measured {
    query: String,
    threads: u32,
    scale: f64,
    rows: usize,
    /// Whether there was a golden answer to check against; a wrong answer ends the run.
    checked: bool,
    cold_s: f64,
    hot_s: f64,
    hot_cpu_s: f64,
    hot_all_s: Vec<f64>,
    hot_all_cpu_s: Vec<f64>,
    peak_memory_mib: f64,
}

struct Run {
    wall: Duration,
    cpu: Duration,
    rows: Vec<Vec<String>>,
    peak_memory_bytes: u64,
}

/// Runs the TPC-H queries.
pub(crate) fn tpch(arguments: &TpchArguments) -> anyhow::Result<u8> {
    let temporary;
    let directory = match &arguments.dir {
        Some(directory) => directory.as_path(),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path()
        }
    };
    if !directory.join("lineitem.parquet").exists() {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        eprintln!("making TPC-H tables at scale factor {} in {}", arguments.scale, directory.display());
        tpch::generate(directory, arguments.scale)?;
    }
    let mut out = std::io::stdout();
    if !arguments.json {
        writeln!(
            out,
            "{:>5} {:>7} {:>8} {:>9} {:>9} {:>10} {:>7}  answer",
            "query", "threads", "rows", "cold ms", "hot ms", "hot CPU ms", "MiB"
        )?;
    }
    for threads in &arguments.threads {
        for (number, text) in tpch::QUERIES {
            if !arguments.queries.is_empty() && !arguments.queries.contains(&number) {
                continue;
            }
            let measured = measure(arguments, directory, *threads, number, text)?;
            if arguments.json {
                writeln!(out, "{}", serde_json::to_string(&measured)?)?;
            } else {
                writeln!(
                    out,
                    "{:>5} {:>7} {:>8} {:>9.1} {:>9.1} {:>10.1} {:>7.1}  {}",
                    measured.query,
                    threads,
                    measured.rows,
                    measured.cold_s * 1e3,
                    measured.hot_s * 1e3,
                    measured.hot_cpu_s * 1e3,
                    measured.peak_memory_mib,
                    if measured.checked { "right" } else { "not checked" }
                )?;
            }
        }
    }
    Ok(0)
}

/// One query that a driver asked for.
#[derive(Serialize)]
struct Answered<'a> {
    wall_s: f64,
    cpu_s: f64,
    rows: &'a [Vec<String>],
}

/// Answers queries from standard input in one session, until it ends. The first line names the version.
pub(crate) fn queries(arguments: &QueriesArguments) -> anyhow::Result<u8> {
    let mut session = Session::open(with_threads(configuration(&arguments.settings)?, arguments.threads)?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))?;
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?).context("a line of input is not a JSON string")?;
        let run = run(&mut session, &text)?;
        let answered = Answered { wall_s: run.wall.as_secs_f64(), cpu_s: run.cpu.as_secs_f64(), rows: &run.rows };
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

fn measure(
    arguments: &TpchArguments,
    directory: &Path,
    threads: u32,
    number: u32,
    text: &str,
) -> anyhow::Result<Measured> {
    let text = tpch::query_over(text, directory);
    let mut session = Session::open(with_threads(configuration(&arguments.settings)?, threads)?)?;
    let cold = run(&mut session, &text).with_context(|| format!("query {number}"))?;
    let expected = tpch::answer(number, arguments.scale);
    let check = |run: &Run| match &expected {
        Some(expected) => tpch::check_answer(expected, &run.rows)
            .map_err(|difference| anyhow::anyhow!("query {number}: {difference}")),
        None => Ok(()),
    };
    check(&cold)?;
    let mut hot = Vec::new();
    for _ in 0..arguments.runs.max(1) {
        let run = run(&mut session, &text)?;
        check(&run)?;
        hot.push(run);
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let walls: Vec<f64> = hot.iter().map(|r| r.wall.as_secs_f64()).collect();
    let cpus: Vec<f64> = hot.iter().map(|r| r.cpu.as_secs_f64()).collect();
    Ok(Measured {
        query: format!("q{number}"),
        threads,
        scale: arguments.scale,
        rows: cold.rows.len(),
        checked: expected.is_some(),
        cold_s: cold.wall.as_secs_f64(),
        hot_s: median(walls.clone()),
        hot_cpu_s: median(cpus.clone()),
        hot_all_s: walls,
        hot_all_cpu_s: cpus,
        peak_memory_mib: hot.iter().map(|r| r.peak_memory_bytes).max().unwrap_or(0) as f64 / 1048576.0,
    })
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures from outside the engine")]
fn run(session: &mut Session, text: &str) -> anyhow::Result<Run> {
    let (started, cpu) = (Instant::now(), ProcessTime::now());
    let mut rows = Vec::new();
    let mut peak_memory_bytes = 0;
    for statement in session.parse(text)? {
        let Outcome::Rows(mut stream) = session.execute(&statement)? else { continue };
        let options = FormatOptions::default();
        loop {
            match stream.next_within(Duration::from_secs(60))? {
                Polled::Batch(batch) => {
                    let cells: Vec<_> = batch
                        .columns()
                        .iter()
                        .map(|c| ArrayFormatter::try_new(c, &options))
                        .collect::<Result<_, _>>()?;
                    for row in 0..batch.num_rows() {
                        rows.push(cells.iter().map(|c| c.value(row).to_string()).collect());
                    }
                }
                Polled::Waiting => {}
                Polled::End => break,
            }
        }
        peak_memory_bytes = stream.progress().peak_memory_bytes;
    }
    Ok(Run { wall: started.elapsed(), cpu: cpu.elapsed(), rows, peak_memory_bytes })
}
