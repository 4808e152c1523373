//! One line on a terminal while a statement runs: after half a second, ten times a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use flumen_cluster::StatementProgress;

/// How long a statement may run before progress is shown.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// Between two lines.
const EVERY: Duration = Duration::from_millis(100);

/// Writes the line, and takes it away again.
pub(crate) struct ProgressLine {
    started: Instant,
    shown: Option<Instant>,
    enabled: bool,
}

impl ProgressLine {
    /// For a statement that starts now.
    #[allow(clippy::disallowed_methods, reason = "the terminal's clock, not the engine's")]
    pub(crate) fn start(quiet: bool) -> Self {
        Self { started: Instant::now(), shown: None, enabled: !quiet && std::io::stderr().is_terminal() }
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows the line if it is due.
    #[allow(clippy::disallowed_methods, reason = "the terminal's clock, not the engine's")]
    pub(crate) fn show(&mut self, progress: &StatementProgress) {
        let elapsed = self.started.elapsed();
        if !self.enabled || elapsed < QUIET_FOR || self.shown.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        let seconds = elapsed.as_secs_f64();
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{:.1} s · {} rows read, {}/s · {} rows out · {}",
            seconds,
            count(progress.rows_read),
            count((progress.rows_read as f64 / seconds) as u64),
            count(progress.rows_out),
            bytes(progress.memory_bytes),
        );
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
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
}
