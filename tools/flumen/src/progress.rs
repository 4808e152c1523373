//! One line on a terminal while a statement runs: after half a second, ten times a second, gone at the end.

use std::io::Write;
use std::time::{Duration, Instant};

use flumen_cluster::{ExpectedRows, StatementProgress};
use unicode_width::UnicodeWidthChar;

use crate::terminal::Terminal;

/// How long a statement may run before progress is shown.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Between two lines.
const EVERY: Duration = Duration::from_millis(100);

/// Writes the line, and takes it away again.
pub(crate) struct ProgressLine {
    started: Instant,
    /// When the line that stands there was written.
    shown: Option<Duration>,
    is_enabled: bool,
    width: usize,
}

impl ProgressLine {
    /// For a statement that starts now.
    #[allow(clippy::disallowed_methods, reason = "the terminal's clock, not the engine's")]
    pub(crate) fn start(terminal: &Terminal, wanted: bool) -> Self {
        let width = terminal.width.unwrap_or(80);
        Self { started: Instant::now(), shown: None, is_enabled: wanted && terminal.moves, width }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows the line if it is due. How far the statement is, and how many rows it will read, is only asked for then.
    pub(crate) fn show(
        &mut self,
        progress: impl FnOnce() -> StatementProgress,
        expected: impl FnOnce() -> Option<ExpectedRows>,
    ) {
        let elapsed = self.elapsed();
        if !self.is_enabled || !is_due(elapsed, self.shown) {
            return;
        }
        let line = describe(&progress(), expected(), elapsed);
        self.shown = Some(elapsed);
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", cut(&line, self.width));
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn is_due(elapsed: Duration, shown: Option<Duration>) -> bool {
    match shown {
        None => elapsed >= QUIET_FOR,
        Some(at) => elapsed >= at + EVERY,
    }
}

/// The line. A share and a remaining time are given only where the total is known.
fn describe(progress: &StatementProgress, expected: Option<ExpectedRows>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-3);
    let rate = progress.rows_read as f64 / seconds;
    let mut parts = vec![format!("{seconds:.1} s")];
    let mut remaining = None;
    parts.push(match expected {
        Some(ExpectedRows::Exactly(total)) if total > 0 && progress.rows_read <= total => {
            let share = progress.rows_read * 100 / total;
            let left = (total - progress.rows_read) as f64 / rate;
            remaining = (rate > 0.0).then(|| format!("{left:.0} s left"));
            format!("{share} % of {} rows", count(total))
        }
        Some(ExpectedRows::AtMost(total)) if progress.rows_read <= total => {
            format!("{} of at most {} rows", count(progress.rows_read), count(total))
        }
        _ => format!("{} rows read", count(progress.rows_read)),
    });
    parts.push(format!("{} rows/s", count(rate as u64)));
    if progress.bytes_read > 0 {
        parts.push(format!(
            "{}, {}/s",
            bytes(progress.bytes_read),
            bytes((progress.bytes_read as f64 / seconds) as u64)
        ));
    }
    parts.push(format!("{} rows out", count(progress.rows_out)));
    parts.push(format!("memory {}", bytes(progress.memory_bytes)));
    parts.extend(remaining);
    parts.join(" · ")
}

/// As much of a line as stays on it.
fn cut(line: &str, width: usize) -> &str {
    let mut used = 0;
    let end = line.char_indices().find(|(_, character)| {
        used += character.width().unwrap_or(0);
        // The last place is left free: some terminals wrap as soon as it is taken.
        used >= width
    });
    end.map_or(line, |(end, _)| &line[..end])
}

/// A count for people: `59.9 M`.
pub(crate) fn count(value: u64) -> String {
    match value {
        0..=9_999 => value.to_string(),
        10_000..=999_999 => format!("{:.1} k", value as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} M", value as f64 / 1e6),
        _ => format!("{:.2} G", value as f64 / 1e9),
    }
}

/// A size for people: `1.1 GiB`.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = value as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        assert_eq!([count(9_999), count(12_345), count(59_900_000)], ["9999", "12.3 k", "59.9 M"]);
        assert_eq!([bytes(12), bytes(2048), bytes(3 << 30)], ["12 B", "2.0 KiB", "3.0 GiB"]);
    }

    #[test]
    fn the_line_comes_late_and_not_too_often() {
        let due =
            |elapsed: u64, shown: Option<u64>| is_due(Duration::from_millis(elapsed), shown.map(Duration::from_millis));
        assert_eq!([due(499, None), due(500, None)], [false, true]);
        assert_eq!([due(599, Some(500)), due(600, Some(500))], [false, true]);
    }

    #[test]
    fn shares_are_told_only_of_known_totals() {
        let progress =
            StatementProgress { rows_read: 25_000_000, rows_out: 3, bytes_read: 512 << 20, ..Default::default() };
        let line = |expected| describe(&progress, expected, Duration::from_secs(5));
        assert_eq!(
            line(Some(ExpectedRows::Exactly(100_000_000))),
            "5.0 s · 25 % of 100.0 M rows · 5.0 M rows/s · 512.0 MiB, 102.4 MiB/s · 3 rows out · memory 0 B · 15 s left"
        );
        assert!(line(Some(ExpectedRows::AtMost(100_000_000))).contains("· 25.0 M of at most 100.0 M rows ·"));
        // More came than was expected: the expectation was wrong.
        for expected in [None, Some(ExpectedRows::Exactly(1)), Some(ExpectedRows::Exactly(0))] {
            let line = line(expected);
            assert!(line.contains("· 25.0 M rows read ·") && !line.contains('%') && !line.contains("left"), "{line}");
        }
        let nothing = describe(&StatementProgress::default(), Some(ExpectedRows::Exactly(5)), Duration::ZERO);
        assert!(nothing.contains("0 % of 5 rows") && !nothing.contains("left"), "{nothing}");
    }

    #[test]
    fn the_line_is_one_line() {
        assert_eq!([cut("5.0 s · 25 %", 9), cut("5.0 s", 6), cut("5.0 s", 5)], ["5.0 s · ", "5.0 s", "5.0 "]);
    }
}
