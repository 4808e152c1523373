//! 200 seeds of the windowed sum, and that a seed means one run.
//!
//! The seeds are four tests, so that they use what cores there are; each run has one thread.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::streaming::{Report, Sabotage, run};

/// Seeds in all.
const SEEDS: u64 = 200;
/// Names the seed that alone is to be run.
const SEED: &str = "FLUMEN_SIM_SEED";

fn only_seed() -> Option<u64> {
    std::env::var(SEED).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED} is {text:?}, not a number")))
}

/// Runs a seed; what went wrong, with the line that repeats it.
fn checked(seed: u64, sabotage: Sabotage) -> Result<Report, String> {
    let result = catch_unwind(AssertUnwindSafe(|| run(seed, sabotage)));
    result.unwrap_or_else(|_| Err("the run panicked".to_owned())).map_err(|problem| {
        format!("seed {seed}: {problem}\n  replay: {SEED}={seed} cargo test --workspace --locked --test simulation")
    })
}

/// Runs every fourth seed from `part` on.
fn part(part: u64) {
    if let Some(seed) = only_seed() {
        if seed % 4 == part {
            let report = checked(seed, Sabotage::None).unwrap_or_else(|problem| panic!("{problem}"));
            eprintln!("seed {seed}: {report:?}");
        }
        return;
    }
    let mut failed = Vec::new();
    let mut total = Report::default();
    for seed in (part..SEEDS).step_by(4) {
        match checked(seed, Sabotage::None) {
            Ok(report) => {
                eprintln!("seed {seed}: {report:?}");
                total.counts.restarts += report.counts.restarts;
                total.counts.restores += report.counts.restores;
                total.counts.checkpoints += report.counts.checkpoints;
                total.counts.checkpoints_aborted += report.counts.checkpoints_aborted;
                total.troubles += report.troubles;
                total.storage_faults += report.storage_faults;
                total.broken_connections += report.broken_connections;
                total.machine_stops += report.machine_stops;
                total.jobs_failed += report.jobs_failed;
                total.jobs_cancelled += report.jobs_cancelled;
                total.resumed += report.resumed;
                total.steps += report.steps;
            }
            Err(problem) => {
                eprintln!("{problem}");
                failed.push(seed);
            }
        }
    }
    eprintln!("all: {total:?}");
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}; see above for the lines that replay them", failed.len());
    // Runs to which nothing happens would prove nothing.
    let happened = [
        ("restarts from a checkpoint", u64::from(total.counts.restores)),
        ("checkpoints given up", u64::from(total.counts.checkpoints_aborted)),
        ("faults of storage", total.storage_faults),
        ("connections that broke", total.broken_connections),
        ("machines that stopped", u64::from(total.machine_stops)),
        ("jobs that failed by a panic", u64::from(total.jobs_failed)),
        ("jobs that were cancelled", u64::from(total.jobs_cancelled)),
        ("jobs that went on from the latest checkpoint", u64::from(total.resumed)),
    ];
    for (what, count) in happened {
        assert!(count > 0, "no seed had {what}: {total:?}");
    }
}

#[test]
fn seeds_first_quarter() {
    part(0);
}

#[test]
fn seeds_second_quarter() {
    part(1);
}

#[test]
fn seeds_third_quarter() {
    part(2);
}

#[test]
fn seeds_last_quarter() {
    part(3);
}

#[test]
fn a_seed_is_one_run_and_another_seed_is_another() {
    if only_seed().is_some() {
        return;
    }
    let mut hashes = BTreeSet::new();
    let seeds = 0..16;
    for seed in seeds.clone() {
        let (first, second) = (checked(seed, Sabotage::None), checked(seed, Sabotage::None));
        match (first, second) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first, second, "two runs of seed {seed} differ");
                hashes.insert(first.hash);
            }
            (first, second) => assert_eq!(first, second, "two runs of seed {seed} differ"),
        }
    }
    assert_eq!(hashes.len(), seeds.count(), "two seeds made the same run");
}

/// Seeds that a bug has to be found by at least one of.
const SABOTAGED_SEEDS: u64 = 32;

/// Whether one of the first seeds finds a bug by wrong or missing results.
fn is_found(sabotage: Sabotage) -> bool {
    let is_result = |problem: &String| problem.contains("is right") || problem.contains("are missing");
    (0..SABOTAGED_SEEDS).any(|seed| checked(seed, sabotage).err().as_ref().is_some_and(is_result))
}

/// Beside the next two: what they change, but for the bug, does no harm.
#[test]
fn restoring_often_does_no_harm() {
    if only_seed().is_none() {
        (0..8).for_each(|seed| assert_eq!(checked(seed, Sabotage::Nothing).err(), None));
    }
}

#[test]
fn state_that_is_not_restored_is_found() {
    if only_seed().is_none() {
        assert!(is_found(Sabotage::StateIsForgotten));
    }
}

#[test]
fn barriers_that_do_not_align_are_found() {
    if only_seed().is_none() {
        assert!(is_found(Sabotage::BarriersDoNotAlign));
    }
}
