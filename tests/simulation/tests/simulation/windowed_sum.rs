//! The job: a keyed windowed sum over made-up rows, from SQL, into CSV files.
//!
//! Row `r` of `rows` has key `r mod keys`, value `r` and time `r * step` milliseconds; a window is a second. What a key
//! and window must sum to follows from that by arithmetic. The sink may write a result more than once (what lies between
//! a checkpoint and a failure is written again), but never another value than this one, since the sums' state and the
//! source's place are restored as one.

use std::collections::BTreeMap;
use std::path::Path;

use flumen_io::{FileSystem, read_file};

/// Length of a window.
const WINDOW_MS: u64 = 1000;
/// Where the results go.
pub(crate) const OUT: &str = "/out";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowedSum {
    pub(crate) rows: u64,
    pub(crate) rows_per_second: u64,
    pub(crate) keys: u64,
    pub(crate) step_ms: u64,
}

/// Sum and number of the values of a key and window.
type Sums = BTreeMap<(u64, u64), (u64, u64)>;

impl WindowedSum {
    /// The statements.
    pub(crate) fn sql(&self) -> String {
        let Self { rows, rows_per_second, keys, step_ms } = self;
        let last = rows - 1;
        format!(
            "CREATE TABLE events (k BIGINT, v BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (
               'connector' = 'datagen', 'number-of-rows' = '{rows}', 'rows-per-second' = '{rows_per_second}',
               'fields.k.kind' = 'modulo', 'fields.k.modulo' = '{keys}',
               'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '{last}',
               'fields.ts.kind' = 'sequence', 'fields.ts.start' = '0', 'fields.ts.step-ms' = '{step_ms}');
             CREATE TABLE windows (k BIGINT, window_start TIMESTAMP(3), total BIGINT, n BIGINT) WITH (
               'connector' = 'filesystem', 'path' = '{OUT}', 'format' = 'csv');
             INSERT INTO windows SELECT k, window_start, CAST(SUM(v) AS BIGINT), COUNT(*)
               FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end"
        )
    }

    /// What there must be.
    fn closed_form(&self) -> Sums {
        let mut sums = Sums::new();
        let windows = ((self.rows - 1) * self.step_ms) / WINDOW_MS + 1;
        for window in 0..windows {
            let first = (window * WINDOW_MS).div_ceil(self.step_ms);
            let end = ((window + 1) * WINDOW_MS).div_ceil(self.step_ms).min(self.rows);
            for key in 0..self.keys {
                let low = first + (key + self.keys - first % self.keys) % self.keys;
                if low < end {
                    let n = (end - 1 - low) / self.keys + 1;
                    let high = low + (n - 1) * self.keys;
                    sums.insert((key, window), ((low + high) * n / 2, n));
                }
            }
        }
        sums
    }

    /// Checks every line that is there, and that no result is missing. Answers how many lines there are.
    pub(crate) fn check(&self, files: &dyn FileSystem) -> Result<usize, String> {
        let expected = self.closed_form();
        let mut found = Sums::new();
        let mut lines = 0;
        for entry in files.list(Path::new(OUT)).map_err(|e| e.to_string())? {
            // Faults that were ordered and not met yet still come.
            let mut read = (0..20).map(|_| read_file(files, &entry.path, 1 << 30));
            let bytes = read.find_map(Result::ok).ok_or_else(|| format!("{} cannot be read", entry.name))?;
            let text = std::str::from_utf8(&bytes).map_err(|e| format!("{}: {e}", entry.name))?;
            for (number, line) in text.split_inclusive('\n').enumerate() {
                // A write that was torn ends its file: the task failed and its successor began another.
                let Some(line) = line.strip_suffix('\n') else { break };
                if number == 0 && line.starts_with("k,") {
                    continue;
                }
                let place = || format!("{} line {}: {line:?}", entry.name, number + 1);
                let (key, sums) = parse(line).ok_or_else(place)?;
                if expected.get(&key) != Some(&sums) {
                    return Err(format!("{} where {:?} is right", place(), expected.get(&key)));
                }
                found.insert(key, sums);
                lines += 1;
            }
        }
        match expected.keys().find(|key| !found.contains_key(*key)) {
            Some((key, window)) => Err(format!(
                "{} of {} results are missing, the first is key {key}, window {window}",
                expected.len() - found.len(),
                expected.len()
            )),
            None => Ok(lines),
        }
    }
}

/// `key,1970-01-01 00:00:17,total,count`.
fn parse(line: &str) -> Option<((u64, u64), (u64, u64))> {
    let mut cells = line.split(',');
    let key = cells.next()?.parse().ok()?;
    let time = cells.next()?.strip_prefix("1970-01-01")?.trim_start_matches([' ', 'T']);
    let mut parts = time.trim_end_matches('Z').split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds = parts.next()?;
    let seconds: u64 = seconds.split_once('.').map_or(seconds, |(whole, _)| whole).parse().ok()?;
    let window = ((hours * 60 + minutes) * 60 + seconds) * 1000 / WINDOW_MS;
    let sums = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
    cells.next().is_none().then_some(((key, window), sums))
}

#[test]
fn the_closed_form_is_what_adding_up_gives() {
    for (rows, keys, step_ms) in [(1, 1, 1), (2400, 7, 8), (6000, 40, 3), (999, 1000, 17), (50, 3, 1500)] {
        let job = WindowedSum { rows, rows_per_second: 1, keys, step_ms };
        let mut sums = Sums::new();
        for row in 0..rows {
            let (sum, n) = sums.entry((row % keys, row * step_ms / WINDOW_MS)).or_default();
            *sum += row;
            *n += 1;
        }
        assert_eq!(job.closed_form(), sums, "{job:?}");
    }
}
