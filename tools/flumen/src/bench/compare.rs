//! Two reports, held against each other.
//!
//! A ratio is the second report's median of the hot runs by the first one's: below 1 the second is faster. The noise of a
//! ratio is what the runs of either side strayed, half of their range by their median, put together as independent errors
//! are; it is never taken for less than [`NOISE_MIN`]. Only what is beyond it is called faster or slower.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::report::{Measured, Report};
use crate::arguments::{CompareArguments, Measure};
use crate::say;

/// Machines are not quieter than this.
const NOISE_MIN: f64 = 0.02;

/// Prints the comparison; 1 if anything is slower or has no time any more.
pub(super) fn run(arguments: &CompareArguments) -> anyhow::Result<u8> {
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    anyhow::ensure!(
        (&before.suite, &before.size) == (&after.suite, &after.size),
        "{} at {} cannot be compared with {} at {}",
        before.suite,
        before.size,
        after.suite,
        after.size
    );
    if before.host != after.host {
        say::warning(&format!("the machines differ: {}; {}", before.host, after.host));
    }
    let compared = compare(&before, &after, arguments.by);
    write!(std::io::stdout(), "{}", compared.text)?;
    Ok(u8::from(compared.is_worse))
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not a report that bench wrote with --out", path.display()))
}

struct Compared {
    text: String,
    is_worse: bool,
}

/// The hot runs of a query.
fn times(measured: &Measured, by: Measure) -> (f64, &[f64]) {
    match by {
        Measure::Wall => (measured.hot_s, &measured.hot_all_s),
        Measure::Cpu => (measured.hot_cpu_s, &measured.hot_all_cpu_s),
    }
}

/// Half the range of the runs by their median.
fn strayed((median, all): (f64, &[f64])) -> f64 {
    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
    let most = all.iter().copied().fold(0.0, f64::max);
    if median > 0.0 && least.is_finite() { (most - least) / 2.0 / median } else { 0.0 }
}

fn compare(before: &Report, after: &Report, by: Measure) -> Compared {
    let name = match by {
        Measure::Wall => "hot ms",
        Measure::Cpu => "hot CPU ms",
    };
    let mut text =
        format!("| query | threads | {name}, A | {name}, B | B / A | noise | |\n|---|---:|---:|---:|---:|---:|---|\n");
    let (mut is_worse, mut logarithms) = (false, Vec::new());
    let key = |measured: &Measured| (measured.query.clone(), measured.threads);
    for a in &before.results {
        let Some(b) = after.results.iter().find(|b| key(b) == key(a)) else {
            let _ = writeln!(text, "| {} | {} | | | | | only in A |", a.query, a.threads);
            continue;
        };
        if !a.outcome.counts() || !b.outcome.counts() {
            let (was, is) = (a.outcome.text(), b.outcome.text());
            let _ = writeln!(text, "| {} | {} | | | | | {was}, then {is} |", a.query, a.threads);
            is_worse |= a.outcome.counts();
            continue;
        }
        let (was, is) = (times(a, by), times(b, by));
        let ratio = is.0.max(1e-9) / was.0.max(1e-9);
        let noise = strayed(was).hypot(strayed(is)).max(NOISE_MIN);
        let verdict = if ratio > 1.0 + noise {
            is_worse = true;
            "**slower**"
        } else if ratio < 1.0 / (1.0 + noise) {
            "faster"
        } else {
            "the same"
        };
        logarithms.push(ratio.ln());
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {ratio:.2} | ±{noise:.2} | {verdict} |",
            a.query,
            a.threads,
            was.0 * 1e3,
            is.0 * 1e3
        );
    }
    for b in after.results.iter().filter(|b| !before.results.iter().any(|a| key(a) == key(b))) {
        let _ = writeln!(text, "| {} | {} | | | | | only in B |", b.query, b.threads);
    }
    if !logarithms.is_empty() {
        let mean = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
        let _ = writeln!(text, "\nB / A over {} queries, geometric mean: {mean:.3}", logarithms.len());
    }
    Compared { text, is_worse }
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn differences_beyond_the_noise_are_told() {
        let check = |after: f64, verdict: &str, is_worse: bool| {
            let compared = compare(&report(100.0), &report(after), Measure::Wall);
            assert!(compared.text.contains(verdict), "{}", compared.text);
            assert_eq!(compared.is_worse, is_worse, "{}", compared.text);
        };
        // The runs of the reports stray by one per cent on either side.
        check(101.9, "| q1 | 1 | 100.0 | 101.9 | 1.02 | ±0.02 | the same |", false);
        check(103.0, "| q1 | 2 | 100.0 | 103.0 | 1.03 | ±0.02 | **slower** |", true);
        check(50.0, "| q2 | 1 | 100.0 | 50.0 | 0.50 | ±0.02 | faster |", false);
        check(50.0, "over 4 queries, geometric mean: 0.500", false);
        check(50.0, "| q3 | 1 | | | | | not supported, then not supported |", false);
        let mut noisy = report(150.0);
        noisy.results.iter_mut().for_each(|result| result.hot_all_s = vec![0.075, 0.150, 0.225]);
        let compared = compare(&report(100.0), &noisy, Measure::Wall);
        assert!(compared.text.contains("| 1.50 | ±0.50 | the same |"), "{}", compared.text);
        assert!(compare(&report(100.0), &noisy, Measure::Cpu).is_worse);
    }

    #[test]
    fn queries_that_fail_or_are_missing_are_told() {
        let mut after = report(100.0);
        after.results[0].outcome = Outcome::Wrong;
        after.results[1].query = "q9".to_owned();
        let compared = compare(&report(100.0), &after, Measure::Wall);
        assert!(compared.is_worse);
        for line in ["right, then WRONG |", "| q2 | 1 | | | | | only in A |", "| q9 | 1 | | | | | only in B |"] {
            assert!(compared.text.contains(line), "{line} is not in {}", compared.text);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("no.json");
        std::fs::write(&path, "[]").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("is not a report"));
    }
}
