//! The stream under test, a keyed windowed sum, and what its output must be.
//!
//! Row `n` has key `n mod KEYS`, value `n`, a seeded random number, and time `n` milliseconds. So a window holds, of each
//! key, the rows `first + KEYS * i`, whose values have a closed sum; that of the random numbers follows from the formula
//! that the documentation of `datagen` gives, which is written down here a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::process::Running;

const KEYS: u64 = 1_000;
const WINDOW_MS: u64 = 50_000;
/// Rows of one key in one window.
const ROWS_EACH: u64 = WINDOW_MS / KEYS;
const SEED: u64 = 20_261_121;
const NOISE_MAX: i64 = 1_000_000;

/// Sum of values, sum of random numbers, count.
type Sums = (i64, i64, u64);

/// One stream in a directory of its own, through all its runs.
pub(crate) struct Stream {
    directory: tempfile::TempDir,
    rows: u64,
    script: PathBuf,
    /// Files of the sink, by the run that wrote them.
    written: Vec<BTreeSet<PathBuf>>,
}

impl Stream {
    /// A stream that lasts `rows / rows_per_second` seconds.
    pub(crate) fn new(rows: u64, rows_per_second: u64) -> Self {
        assert!(rows.is_multiple_of(WINDOW_MS) && WINDOW_MS.is_multiple_of(KEYS));
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("stream.sql");
        let text = format!(
            "CREATE TABLE events (k BIGINT, v BIGINT, noise BIGINT, ts TIMESTAMP(3),\n\
               WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (\n\
               'connector' = 'datagen', 'number-of-rows' = '{rows}', 'rows-per-second' = '{rows_per_second}',\n\
               'seed' = '{SEED}',\n\
               'fields.k.kind' = 'modulo', 'fields.k.modulo' = '{KEYS}',\n\
               'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '{last}',\n\
               'fields.noise.min' = '-{NOISE_MAX}', 'fields.noise.max' = '{NOISE_MAX}',\n\
               'fields.ts.kind' = 'sequence', 'fields.ts.start' = '0', 'fields.ts.step-ms' = '1');\n\
             CREATE TABLE windows (k BIGINT, window_start TIMESTAMP(3), total BIGINT, noise BIGINT, n BIGINT) WITH (\n\
               'connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv');\n\
             INSERT INTO windows\n\
               SELECT k, window_start, CAST(SUM(v) AS BIGINT), CAST(SUM(noise) AS BIGINT), COUNT(*)\n\
               FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '{seconds}' SECOND))\n\
               GROUP BY k, window_start, window_end;\n",
            last = rows - 1,
            path = directory.path().join("windows").display(),
            seconds = WINDOW_MS / 1_000,
        );
        std::fs::write(&script, text).unwrap();
        Self { directory, rows, script, written: Vec::new() }
    }

    /// Where its checkpoints go.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.directory.path().join("checkpoints")
    }

    /// Starts it, anew or from a checkpoint.
    pub(crate) fn start(&mut self, parallelism: u32, recovery: Option<&str>, settings: &[&str]) -> Running {
        self.note_files();
        let checkpoints = format!("execution.checkpointing.dir={}", self.checkpoints().display());
        let parallelism = format!("parallelism.default={parallelism}");
        let recovery = recovery.map(|path| format!("execution.state-recovery.path={path}"));
        let interval = "execution.checkpointing.interval=200ms";
        let all = [checkpoints.as_str(), interval, parallelism.as_str()].into_iter().chain(recovery.as_deref());
        let set = all.chain(settings.iter().copied()).flat_map(|s| ["--set".to_owned(), s.to_owned()]);
        let arguments: Vec<String> =
            ["-f".to_owned(), self.script.display().to_string()].into_iter().chain(set).collect();
        Running::start(&arguments, &self.directory.path().join(format!("run-{}.stderr", self.written.len())))
    }

    /// The files that are there now and were not when the last run began are the last run's.
    fn note_files(&mut self) {
        let files = std::fs::read_dir(self.directory.path().join("windows")).into_iter().flatten();
        let mut new: BTreeSet<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        new.retain(|file| self.written.iter().all(|run| !run.contains(file)));
        self.written.push(new);
    }

    /// Compares the last value written for each key and window with the closed form.
    pub(crate) fn check(mut self) {
        self.note_files();
        let mut written: BTreeMap<(u64, u64), Sums> = BTreeMap::new();
        for file in self.written.iter().flatten() {
            read(file, &mut written);
        }
        let expected = expected(self.rows);
        let missing: Vec<_> = expected.keys().filter(|key| !written.contains_key(key)).take(5).collect();
        assert!(missing.is_empty(), "windows are missing, as (window, key): {missing:?}, ...");
        let wrong = written.iter().find(|(key, sums)| expected.get(key) != Some(sums));
        if let Some((key, sums)) = wrong {
            panic!("(window, key) {key:?}: {sums:?}, expected {:?}", expected.get(key));
        }
    }
}

/// Reads a file that may end in the middle of a line, where its process was killed.
fn read(file: &Path, written: &mut BTreeMap<(u64, u64), Sums>) {
    let text = std::fs::read_to_string(file).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines().skip(1) {
        let row = parse(line).unwrap_or_else(|| panic!("{}: {line:?} is not a row", file.display()));
        written.insert(row.0, row.1);
    }
}

fn parse(line: &str) -> Option<((u64, u64), Sums)> {
    let cells: Vec<&str> = line.split(',').collect();
    let [key, start, total, noise, count] = cells[..] else { return None };
    // All of the stream is on the first day.
    let clock = start.strip_prefix("1970-01-01")?.get(1..)?;
    let mut parts = clock.trim_end_matches('Z').split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds = parts.next().unwrap_or("0").parse::<f64>().ok()?;
    let start_ms = (hours * 60 + minutes) * 60_000 + (seconds * 1e3) as u64;
    let sums = (total.parse().ok()?, noise.parse().ok()?, count.parse().ok()?);
    (start_ms.is_multiple_of(WINDOW_MS)).then_some(((start_ms / WINDOW_MS, key.parse().ok()?), sums))
}

/// By window and key.
fn expected(rows: u64) -> BTreeMap<(u64, u64), Sums> {
    let mut all = BTreeMap::new();
    for window in 0..rows / WINDOW_MS {
        for key in 0..KEYS {
            let first = window * WINDOW_MS + key;
            let total = ROWS_EACH * first + KEYS * ROWS_EACH * (ROWS_EACH - 1) / 2;
            let noise = (0..ROWS_EACH).map(|i| noise(first + KEYS * i)).sum();
            all.insert((window, key), (i64::try_from(total).unwrap(), noise, ROWS_EACH));
        }
    }
    all
}

/// The random number of a row, as `datagen` documents it.
fn noise(row: u64) -> i64 {
    let fnv = b"noise".iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    let steps = (row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = mix(mix(SEED ^ fnv).wrapping_add(steps));
    let span = u128::from((2 * NOISE_MAX + 1).unsigned_abs());
    i64::try_from((u128::from(word) * span) >> 64).unwrap() - NOISE_MAX
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
