//! What a benchmark came to: as data, as lines, as a Markdown table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flumen_config::{Configuration, Origin};
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::measure::Run;
use super::suite::Suite;

/// Of the JSON.
const FORMAT_VERSION: u32 = 1;

/// Above [`Measured::line`].
pub(super) const HEADINGS: &str = "query threads       rows   cold ms    hot ms hot CPU ms     MiB  answer";

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// With the answer that is known.
    Right,
    /// With an answer that nothing is known of at this size.
    Unchecked,
    /// The engine refused the statement.
    Unsupported,
    /// With another answer.
    Wrong,
    /// With an error.
    Failed,
}

impl Outcome {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Unchecked => "not checked",
            Self::Unsupported => "not supported",
            Self::Wrong => "WRONG",
            Self::Failed => "FAILED",
        }
    }

    /// Whether its times count.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Right | Self::Unchecked)
    }
}

/// A query at a number of threads. Times are 0 where they do not count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) query: String,
    pub(super) threads: u32,
    pub(super) outcome: Outcome,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    pub(super) rows: u64,
    pub(super) cold_s: f64,
    pub(super) cold_cpu_s: f64,
    /// Medians.
    pub(super) hot_s: f64,
    pub(super) hot_cpu_s: f64,
    pub(super) hot_all_s: Vec<f64>,
    pub(super) hot_all_cpu_s: Vec<f64>,
    /// The most managed memory in use at once.
    pub(super) peak_memory_mib: f64,
}

impl Measured {
    pub(super) fn new(query: &str, threads: u32) -> Self {
        Self {
            query: query.to_owned(),
            threads,
            outcome: Outcome::Unchecked,
            message: None,
            rows: 0,
            cold_s: 0.0,
            cold_cpu_s: 0.0,
            hot_s: 0.0,
            hot_cpu_s: 0.0,
            hot_all_s: Vec::new(),
            hot_all_cpu_s: Vec::new(),
            peak_memory_mib: 0.0,
        }
    }

    /// Takes the times of a cold run and of the hot ones after it.
    pub(super) fn take(&mut self, runs: &[Run]) {
        let Some((cold, hot)) = runs.split_first() else { return };
        (self.cold_s, self.cold_cpu_s) = (cold.wall.as_secs_f64(), cold.cpu.as_secs_f64());
        self.hot_all_s = hot.iter().map(|run| run.wall.as_secs_f64()).collect();
        self.hot_all_cpu_s = hot.iter().map(|run| run.cpu.as_secs_f64()).collect();
        (self.hot_s, self.hot_cpu_s) = (median(&self.hot_all_s), median(&self.hot_all_cpu_s));
        let peak = runs.iter().map(|run| run.peak_memory_bytes).max().unwrap_or(0);
        self.peak_memory_mib = peak as f64 / 1_048_576.0;
    }

    /// Ends it without times.
    pub(super) fn ended(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// For people who wait.
    pub(super) fn line(&self) -> String {
        let head = format!("{:>5} {:>7} {:>10}", self.query, self.threads, self.rows);
        if !self.outcome.counts() {
            let why = self.message.as_deref().and_then(|message| message.lines().next()).unwrap_or_default();
            return format!("{head} {:>9} {:>9} {:>10} {:>7}  {}: {why}", "-", "-", "-", "-", self.outcome.text());
        }
        format!(
            "{head} {:>9.1} {:>9.1} {:>10.1} {:>7.1}  {}",
            self.cold_s * 1e3,
            self.hot_s * 1e3,
            self.hot_cpu_s * 1e3,
            self.peak_memory_mib,
            self.outcome.text()
        )
    }
}

/// The one in the middle; of an even number the larger of the two, 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) format_version: u32,
    pub(super) suite: String,
    pub(super) size: String,
    /// Of flumen.
    pub(super) version: String,
    pub(super) host: Host,
    /// Settings that are not at their defaults.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) results: Vec<Measured>,
}

impl Report {
    pub(super) fn new(suite: &Suite, configuration: &Configuration) -> Self {
        let changed = configuration.effective().into_iter().filter(|value| value.origin != Origin::Default);
        Self {
            format_version: FORMAT_VERSION,
            suite: suite.name.to_owned(),
            size: suite.size.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: Host::of_process(),
            settings: changed.map(|value| (value.key.to_owned(), value.text)).collect(),
            results: Vec::new(),
        }
    }

    /// Numbers of threads, in the order of the runs.
    pub(super) fn threads(&self) -> Vec<u32> {
        let mut threads: Vec<u32> = Vec::new();
        for result in &self.results {
            if !threads.contains(&result.threads) {
                threads.push(result.threads);
            }
        }
        threads
    }

    /// Sums over the queries whose times count, and how many do not, for each number of threads.
    pub(super) fn summary(&self) -> String {
        let line = |threads: u32| {
            let of = || self.results.iter().filter(move |result| result.threads == threads);
            let counted = || of().filter(|result| result.outcome.counts());
            let mut text = format!(
                "{} of {} queries at {threads} thread{}: hot {:.1} ms, CPU {:.1} ms",
                counted().count(),
                of().count(),
                if threads == 1 { "" } else { "s" },
                counted().map(|result| result.hot_s).sum::<f64>() * 1e3,
                counted().map(|result| result.hot_cpu_s).sum::<f64>() * 1e3,
            );
            for outcome in [Outcome::Unsupported, Outcome::Wrong, Outcome::Failed] {
                let names: Vec<&str> = of().filter(|r| r.outcome == outcome).map(|r| r.query.as_str()).collect();
                if !names.is_empty() {
                    let _ = write!(text, "; {}: {}", outcome.text(), names.join(", "));
                }
            }
            text
        };
        self.threads().into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// What stands above tables and charts.
    pub(super) fn title(&self) -> String {
        format!("flumen {}: {} at {}", self.version, self.suite, self.size)
    }

    /// A page of Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", self.title(), self.host);
        for (key, value) in &self.settings {
            let _ = writeln!(text, "\n`{key}` = `{value}`");
        }
        text.push_str("\n| query | threads | rows | cold ms | hot ms | hot CPU ms | peak MiB | answer |\n");
        text.push_str("|---|---:|---:|---:|---:|---:|---:|---|\n");
        for result in &self.results {
            let time = |seconds: f64| {
                if result.outcome.counts() { format!("{:.1}", seconds * 1e3) } else { "-".to_owned() }
            };
            let why = result.message.as_deref().and_then(|message| message.lines().next());
            let answer = match why {
                Some(why) => format!("{}: {}", result.outcome.text(), why.replace('|', "\\|")),
                None => result.outcome.text().to_owned(),
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {:.1} | {answer} |",
                result.query,
                result.threads,
                result.rows,
                time(result.cold_s),
                time(result.hot_s),
                time(result.hot_cpu_s),
                result.peak_memory_mib,
            );
        }
        let _ = writeln!(text, "\n{}", self.summary().replace('\n', "\n\n"));
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report with one query of each outcome, at one and at two threads.
    pub(crate) fn report(hot_ms: f64) -> Report {
        let of = |query: &str, threads: u32, outcome: Outcome, message: Option<&str>| {
            let mut measured = Measured::new(query, threads).ended(outcome);
            measured.rows = 3;
            measured.message = message.map(str::to_owned);
            if outcome.counts() {
                measured.cold_s = 0.5;
                measured.hot_all_s = vec![hot_ms * 0.99e-3, hot_ms * 1e-3, hot_ms * 1.01e-3];
                measured.hot_all_cpu_s = measured.hot_all_s.clone();
                (measured.hot_s, measured.hot_cpu_s) = (hot_ms * 1e-3, hot_ms * 1e-3);
            }
            measured
        };
        let results = [1, 2].into_iter().flat_map(|threads| {
            [
                of("q1", threads, Outcome::Right, None),
                of("q2", threads, Outcome::Unchecked, None),
                of("q3", threads, Outcome::Unsupported, Some("not supported yet: <a|b> & c\n  at line 1")),
                of("q4", threads, Outcome::Wrong, Some("3 rows instead of 4")),
            ]
        });
        Report {
            format_version: FORMAT_VERSION,
            suite: "h2o".to_owned(),
            size: "1e6".to_owned(),
            version: "0.1.0".to_owned(),
            host: Host { system: "linux x86_64".to_owned(), cpu: "a CPU".to_owned(), cores: 2, memory_mib: 1024 },
            settings: BTreeMap::from([("pipeline.name".to_owned(), "x".to_owned())]),
            results: results.collect(),
        }
    }

    #[test]
    fn a_report_survives_json() {
        let report = report(100.0);
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert!(text.contains("\"outcome\":\"unsupported\""), "{text}");
    }

    #[test]
    fn nothing_is_left_out_of_the_tables() {
        let report = report(100.0);
        let markdown = report.markdown();
        assert!(markdown.contains("| q1 | 1 | 3 | 500.0 | 100.0 | 100.0 | 0.0 | right |"), "{markdown}");
        assert!(markdown.contains("| q3 | 2 | 3 | - | - | - | 0.0 | not supported: not supported yet: <a\\|b> & c |"));
        assert!(markdown.contains("WRONG: 3 rows instead of 4") && markdown.contains("`pipeline.name` = `x`"));
        let first = "2 of 4 queries at 1 thread: hot 200.0 ms, CPU 200.0 ms; not supported: q3; WRONG: q4";
        assert!(report.summary().starts_with(first), "{}", report.summary());
        assert_eq!(report.summary().lines().count(), 2);
        assert_eq!(report.results[0].line().find("  right"), HEADINGS.find("  answer"));
        assert!(report.results[3].line().ends_with("WRONG: 3 rows instead of 4"));
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[1.0, 2.0]), median(&[])], [2.0, 2.0, 0.0]);
    }
}
