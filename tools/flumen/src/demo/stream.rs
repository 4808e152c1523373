//! The stream of the demo: a keyed windowed sum that is killed and resumes.
//!
//! Row n of the stream has key `n mod 100`, value `n` and time `n` milliseconds. So window w (10 seconds long) of key k
//! holds the rows `n = k + 100 i` with `10000 w <= n < 10000 (w + 1)`: 100 of them, whose sum is a closed form.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

const ROWS: i64 = 600_000;
const KEYS: i64 = 100;
const WINDOW_MS: i64 = 10_000;

fn statements(directory: &Path) -> String {
    let output = directory.join("windows");
    format!(
        "CREATE TABLE events (k BIGINT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (\n\
           'connector' = 'datagen', 'number-of-rows' = '{ROWS}', 'rows-per-second' = '100000',\n\
           'fields.k.kind' = 'modulo', 'fields.k.modulo' = '{KEYS}',\n\
           'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '{last}',\n\
           'fields.ts.kind' = 'sequence', 'fields.ts.start' = '0', 'fields.ts.step-ms' = '1');\n\
         CREATE TABLE windows (k BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), total BIGINT, n BIGINT) WITH (\n\
           'connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv');\n\
         INSERT INTO windows SELECT k, window_start, window_end, CAST(SUM(v) AS BIGINT), COUNT(*)\n\
           FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY k, window_start, window_end;",
        last = ROWS - 1,
        path = output.display().to_string().replace('\'', "''"),
    )
}

/// Runs the stream, kills it, resumes it, checks its output.
#[allow(clippy::disallowed_methods, reason = "the demo waits for another process")]
pub(crate) fn run(directory: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = statements(directory);
    let checkpoints = directory.join("checkpoints");
    writeln!(out, "\n{text}\n")?;
    let mut child = spawn(&text, &checkpoints, false)?;
    let started = Instant::now();
    while complete_checkpoints(&checkpoints) < 3 {
        ensure!(started.elapsed() < Duration::from_secs(60), "no checkpoint was completed within a minute");
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("the stream ended early: {status}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    writeln!(
        out,
        "   killed after {:.1} s with {} complete checkpoints on disk",
        started.elapsed().as_secs_f64(),
        complete_checkpoints(&checkpoints)
    )?;
    let status = spawn(&text, &checkpoints, true)?.wait()?;
    ensure!(status.success(), "the resumed stream failed: {status}");
    let windows = check(&directory.join("windows"))?;
    writeln!(out, "   resumed from the latest one; all {windows} windows of all keys are right, none is missing")?;
    Ok(())
}

fn spawn(text: &str, checkpoints: &Path, resume: bool) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["sql", "--quiet", "-c", text]);
    command.arg("--set").arg(format!("execution.checkpointing.dir={}", checkpoints.display()));
    command.args(["--set", "execution.checkpointing.interval=200 ms", "--set", "parallelism.default=2"]);
    if resume {
        command.args(["--set", "execution.state-recovery.path=latest"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("cannot start the stream's process")
}

/// Complete checkpoints: those whose metadata is there.
fn complete_checkpoints(directory: &Path) -> usize {
    let list =
        |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let newest = |path: &Path| {
        path.file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix("chk-"))
            .and_then(|n| n.parse::<usize>().ok())
            .filter(|_| path.join("_metadata").exists())
    };
    list(directory).iter().flat_map(|job| list(job)).filter_map(|c| newest(&c)).max().unwrap_or(0)
}

/// Compares the last value written for each key and window with the closed form; the number of windows.
fn check(output: &Path) -> anyhow::Result<usize> {
    let mut written: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
    for entry in std::fs::read_dir(output).with_context(|| format!("cannot read {}", output.display()))? {
        let path = entry?.path();
        for line in std::fs::read_to_string(&path)?.lines() {
            let cells: Vec<&str> = line.split(',').collect();
            if cells.len() != 5 || cells[0] == "k" {
                continue;
            }
            let number = |cell: &str| cell.parse::<i64>().with_context(|| format!("{}: {line}", path.display()));
            written.insert((number(cells[0])?, cells[1].replace('T', " ")), (number(cells[3])?, number(cells[4])?));
        }
    }
    let windows = ROWS / WINDOW_MS;
    ensure!(
        written.len() as i64 == windows * KEYS,
        "{} windows were written, {} expected",
        written.len(),
        windows * KEYS
    );
    let mut by_key: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for ((key, _), value) in &written {
        // Window starts are ISO 8601 and sort as text.
        by_key.entry(*key).or_default().push(*value);
    }
    for (key, values) in by_key {
        for (window, value) in values.into_iter().enumerate() {
            let per_window = WINDOW_MS / KEYS;
            let first = window as i64 * WINDOW_MS + key;
            let total = per_window * first + KEYS * per_window * (per_window - 1) / 2;
            ensure!(
                value == (total, per_window),
                "key {key}, window {window}: {value:?}, expected {:?}",
                (total, per_window)
            );
        }
    }
    Ok(written.len())
}
