//! After a job, however it ended, the process is what it was before: threads, descriptors, temporary files, pool.
//!
//! One test in a process of its own, since threads and descriptors are the process's. Every case is run and then waited
//! for, by condition: threads that wait for I/O stay a moment for the next one.
#![allow(clippy::disallowed_methods, reason = "deadlines are those of the machine's clock")]

mod census;
mod faulty;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use census::Census;
use flumen_cluster::{EmbeddedCluster, Extensions, Outcome, Polled, Session, SessionError};
use flumen_testkit::configuration;
use parquet::arrow::ArrowWriter;

/// How a job is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finished,
    /// Cancelled once it has read rows.
    Cancelled,
    /// Its client goes away once it has read rows.
    Dropped,
    /// Failed, with this in the message.
    Failed(&'static str),
}

/// A stream that goes on for hours, in case nobody stops it.
const ENDLESS: &str = "CREATE TABLE endless (k BIGINT, v BIGINT, ts TIMESTAMP(3), \
    WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'datagen', 'rows-per-second' = '400000', \
    'fields.k.kind' = 'modulo', 'fields.k.modulo' = '1000', 'fields.v.kind' = 'sequence', \
    'fields.ts.kind' = 'sequence', 'fields.ts.step-ms' = '1')";
/// As long, but bounded, so that its exchanges may be stored.
const LONG: &str = "CREATE TABLE long (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', \
    'number-of-rows' = '4000000000', 'rows-per-second' = '400000', \
    'fields.k.kind' = 'modulo', 'fields.k.modulo' = '1000000', 'fields.v.kind' = 'sequence')";
const SHORT: &str = "CREATE TABLE short (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', \
    'number-of-rows' = '300000', 'fields.k.kind' = 'modulo', 'fields.k.modulo' = '1000', \
    'fields.v.kind' = 'sequence')";
const NOWHERE: &str = "CREATE TABLE nowhere (k BIGINT, v BIGINT) WITH ('connector' = 'blackhole')";

struct Case {
    sql: String,
    settings: &'static [(&'static str, &'static str)],
    end: End,
    /// It has to have spilled something before it is stopped.
    spills: bool,
}

fn case(sql: impl Into<String>, end: End) -> Case {
    Case { sql: sql.into(), settings: &[], end, spills: false }
}

fn spilling(sql: impl Into<String>, end: End) -> Case {
    Case { spills: true, ..case(sql, end) }
}

fn with(settings: &'static [(&'static str, &'static str)], sql: impl Into<String>, end: End) -> Case {
    Case { settings, ..case(sql, end) }
}

const BLOCKING: &[(&str, &str)] = &[("execution.batch-shuffle-mode", "all-exchanges-blocking")];
const HYBRID_FULL: &[(&str, &str)] = &[("execution.batch-shuffle-mode", "all-exchanges-hybrid-full")];
const HYBRID_SELECTIVE: &[(&str, &str)] = &[("execution.batch-shuffle-mode", "all-exchanges-hybrid-selective")];

fn cases(directory: &Path) -> Vec<Case> {
    use End::{Cancelled, Dropped, Failed, Finished};
    let grouped = |table: &str| format!("SELECT k, count(*), sum(v) FROM {table} GROUP BY k");
    let windows = "SELECT k, window_start, sum(v) FROM \
        TABLE(TUMBLE(TABLE endless, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end";
    let files = format!("{}/*.parquet", directory.display());
    vec![
        case(grouped("short"), Finished),
        case("INSERT INTO nowhere SELECT k, v FROM short", Finished),
        case("INSERT INTO durable SELECT k, sum(v) FROM short GROUP BY k", Finished),
        case(format!("SELECT count(*) FROM '{}/0.parquet'", directory.display()), Finished),
        with(BLOCKING, grouped("short"), Finished),
        with(HYBRID_FULL, grouped("short"), Finished),
        with(HYBRID_SELECTIVE, grouped("short"), Finished),
        // Cancelled in the middle.
        case(windows, Cancelled),
        case("INSERT INTO nowhere SELECT k, v FROM endless", Cancelled),
        case("INSERT INTO durable SELECT k, v FROM endless", Cancelled),
        case(grouped("long"), Cancelled),
        with(BLOCKING, grouped("long"), Cancelled),
        with(HYBRID_FULL, grouped("long"), Cancelled),
        with(HYBRID_SELECTIVE, grouped("long"), Cancelled),
        case("SELECT a.k, count(*) FROM long a JOIN long b ON a.v = b.v GROUP BY a.k", Cancelled),
        // The client has not read what waits for it.
        case("SELECT k, v FROM endless", Cancelled),
        case("SELECT k, v FROM endless", Dropped),
        case(windows, Dropped),
        // Failed in the middle.
        case("SELECT sum(1 / (v - 250000)) FROM short", Failed("zero")),
        case("SELECT k, sum(1 / (v - 250000)) FROM short GROUP BY k", Failed("zero")),
        with(BLOCKING, "SELECT k, sum(1 / (v - 250000)) FROM short GROUP BY k", Failed("zero")),
        with(HYBRID_FULL, "SELECT k, sum(1 / (v - 250000)) FROM short GROUP BY k", Failed("zero")),
        case("SELECT sum(CAST(CASE WHEN v = 250000 THEN 'x' ELSE '1' END AS BIGINT)) FROM short", Failed("\"x\"")),
        case("INSERT INTO durable SELECT k, 1 / (v - 250000) FROM short", Failed("zero")),
        case(format!("SELECT sum(n) FROM '{files}'"), Failed("7.parquet")),
        // Panics of a connector, wherever it is called.
        case("SELECT sum(x) FROM panics_enumerator", Failed("panicked")),
        case("SELECT sum(x) FROM panics_request", Failed("panicked")),
        case("SELECT sum(x) FROM panics_reader", Failed("panicked")),
        case("SELECT x % 10, sum(x) FROM panics_poll GROUP BY x % 10", Failed("panicked")),
        case("INSERT INTO panics_open SELECT v FROM endless", Failed("panicked")),
        case("INSERT INTO panics_write SELECT v FROM endless", Failed("panicked")),
        case("INSERT INTO panics_flush SELECT v FROM short", Failed("panicked")),
        with(
            &[("execution.checkpointing.interval", "20 ms")],
            "INSERT INTO nowhere SELECT x, x FROM panics_snapshot",
            Failed("panicked"),
        ),
    ]
}

/// Jobs that do not fit into [`LITTLE_MEMORY`].
fn spilling_cases() -> Vec<Case> {
    use End::{Cancelled, Dropped, Failed, Finished};
    let grouped = |table: &str| format!("SELECT v, count(*), min(k) FROM {table} GROUP BY v");
    let sorted = |table: &str| format!("SELECT v, k FROM {table} ORDER BY k, v");
    let joined = |table: &str| format!("SELECT a.v, b.k FROM {table} a JOIN {table} b ON a.v = b.v");
    let numbered = |table: &str| format!("SELECT v, row_number() OVER (PARTITION BY k ORDER BY v) FROM {table}");
    let mut cases = Vec::new();
    for query in [&grouped as &dyn Fn(&str) -> String, &sorted, &joined, &numbered] {
        cases.push(spilling(query("short"), Finished));
        cases.push(spilling(query("long"), Cancelled));
        cases.push(spilling(query("long"), Dropped));
    }
    let failing = "SELECT v, sum(1 / (v - 250000)) FROM short GROUP BY v";
    cases.push(spilling(failing, Failed("zero")));
    cases.push(spilling("SELECT 1 / (max(v) - max(v)) FROM (SELECT v FROM short GROUP BY v) g", Failed("zero")));
    cases
}

/// Managed memory of those.
const LITTLE_MEMORY: &str = "4 mb";

/// Ten files, of which number 7 ends too early in the middle of its data.
fn write_files(directory: &Path) {
    for file in 0..10_i64 {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(file * 50_000..(file + 1) * 50_000));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        if file == 7 {
            // The footer stays as it is, so that the file fails when its rows are read.
            let middle = bytes.len() / 2;
            bytes[10..middle].fill(0xff);
        }
        std::fs::write(directory.join(format!("{file}.parquet")), bytes).unwrap();
    }
}

fn session(directory: &Path, managed_size: Option<&str>) -> Session {
    let checkpoints = directory.join("checkpoints").display().to_string();
    let mut settings = vec![
        ("parallelism.default", "2"),
        ("taskmanager.worker-threads", "2"),
        ("execution.checkpointing.dir", checkpoints.as_str()),
        ("execution.checkpointing.interval", "50 ms"),
    ];
    settings.extend(managed_size.map(|size| ("taskmanager.memory.managed.size", size)));
    let configuration = configuration(&settings);
    let extensions = Extensions { connectors: Some(Arc::new(faulty::register)), ..Extensions::default() };
    let cluster = EmbeddedCluster::start_with(&configuration, |_| extensions).unwrap();
    let mut session = Session::on(cluster, configuration);
    let durable = format!(
        "CREATE TABLE durable (k BIGINT, v BIGINT) WITH ('connector' = 'filesystem', 'format' = 'csv', 'path' = '{}')",
        directory.join("durable").display()
    );
    let faulty = ["enumerator", "request", "reader", "poll", "snapshot", "open", "write", "flush"].map(|place| {
        format!("CREATE TABLE panics_{place} (x BIGINT) WITH ('connector' = 'faulty', 'panics-in' = '{place}')")
    });
    for sql in [ENDLESS, LONG, SHORT, NOWHERE, &durable].into_iter().chain(faulty.iter().map(String::as_str)) {
        execute(&mut session, sql).unwrap();
    }
    session
}

fn execute(session: &mut Session, sql: &str) -> Result<Outcome, SessionError> {
    let statements = session.parse(sql)?;
    assert_eq!(statements.len(), 1);
    session.execute(&statements[0])
}

/// Nothing here takes longer, even on a machine with other work.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// A job reads this many rows before it is stopped.
const ROWS_IN_THE_MIDDLE: u64 = 100_000;

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a job to the end that the case asks for; an error if it ended otherwise.
fn run(session: &mut Session, case: &Case) -> Result<(), String> {
    let result = match execute(session, &case.sql).map_err(|e| e.render())? {
        Outcome::Rows(mut rows) => {
            if matches!(case.end, End::Cancelled | End::Dropped) {
                wait_until("the job is in the middle", || {
                    let progress = rows.progress();
                    progress.rows_read > ROWS_IN_THE_MIDDLE && (progress.spilled_bytes > 0 || !case.spills)
                });
            }
            match case.end {
                End::Dropped => return Ok(()),
                End::Cancelled => rows.cancel_handle().cancel(),
                _ => {}
            }
            loop {
                match rows.next_within(DEADLINE) {
                    Ok(Polled::Batch(_)) => {}
                    Ok(Polled::Waiting) => panic!("{}: it does not end", case.sql),
                    Ok(Polled::End) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        }
        Outcome::Job(mut job) => {
            if case.end == End::Cancelled {
                wait_until("the job is in the middle", || job.progress().rows_read > ROWS_IN_THE_MIDDLE);
                job.cancel_handle().cancel();
            }
            job.wait_within(DEADLINE).map(|ended| assert!(ended, "{}: it does not end", case.sql))
        }
        Outcome::Table(_) | Outcome::Text(_) | Outcome::Done(_) => panic!("{} is not a job", case.sql),
    };
    match (case.end, result) {
        (End::Finished, Ok(())) | (End::Cancelled, Err(SessionError::Cancelled)) => Ok(()),
        (End::Failed(part), Err(error)) if error.render().contains(part) => Ok(()),
        (_, Ok(())) => Err("it finished".to_owned()),
        (_, Err(error)) => Err(error.render()),
    }
}

/// Runs the cases, each of which must leave the process as it was before.
fn check(directory: &Path, cases: Vec<Case>, managed_size: Option<&str>) {
    let mut session = session(directory, managed_size);
    let before = Census::take();
    for case in cases {
        let name = format!("{} {:?} {:?}", case.sql, case.settings, case.end);
        for (key, value) in case.settings {
            execute(&mut session, &format!("SET '{key}' = '{value}'")).unwrap();
        }
        let spilled = session.process().spilled_bytes();
        if let Err(problem) = run(&mut session, &case) {
            panic!("{name}: {problem}");
        }
        assert_eq!(session.process().spilled_bytes() > spilled, case.spills, "{name}");
        for (key, _) in case.settings {
            execute(&mut session, &format!("RESET '{key}'")).unwrap();
        }
        before.wait_for_return(&name, || {
            session.process().verify_empty().map_err(|e| format!("{e:#}"))?;
            // Checkpoints go with their job, unless they are to stay.
            let jobs = std::fs::read_dir(directory.join("checkpoints")).into_iter().flatten().flatten();
            let left: Vec<_> = jobs.map(|job| job.path()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("checkpoints are left: {left:?}")) }
        });
    }
}

#[test]
fn every_way_to_end_leaves_nothing() {
    faulty::silence();
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path());
    let before = Census::take();
    check(directory.path(), cases(directory.path()), None);
    before.wait_for_return("the cluster", || Ok(()));
    check(directory.path(), spilling_cases(), Some(LITTLE_MEMORY));
    before.wait_for_return("the cluster with little memory", || Ok(()));
}
