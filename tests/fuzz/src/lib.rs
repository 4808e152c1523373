//! Damaged files, read as queries read them: an error or an answer, never a panic, an abort, a hang or memory out of
//! proportion.
//!
//! Samples are made by code ([`samples`]), damaged by a seeded generator ([`mutate`]) and read whole through the file
//! connector over a disk in memory ([`read`]): schema, splits, rows. A case is known by format, seed and number, and each
//! number is a generator of its own, so that any one can be run alone:
//!
//! ```sh
//! cargo run -p flumen-fuzz-tests --bin fuzz -- --format csv --minutes 15 --seed 1
//! cargo run -p flumen-fuzz-tests --bin fuzz -- --format csv --seed 1 --case 4711
//! ```
//!
//! The suite runs a fixed number of cases of each format from one seed.

pub mod mutate;
pub mod read;
pub mod samples;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use flumen_io::{Clock as _, SystemClock};

pub use mutate::Random;
pub use samples::Format;

/// A case may take so long.
pub const CASE_MAX: Duration = Duration::from_secs(5);
/// The process may hold so much more than before the first case.
pub const MEMORY_MAX: u64 = 256 << 20;

/// What cases of a format came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Cases that were run.
    pub cases: u64,
    /// Cases that gave rows, or none, without an error.
    pub answers: u64,
    /// The longest case.
    pub slowest: Duration,
    /// Most memory held beyond that before the first case.
    pub memory: u64,
}

/// The bytes of a case.
#[must_use]
pub fn case(format: Format, seeds: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((format as u64) << 56));
    mutate::mutate(&mut random, seeds)
}

/// Runs cases of a format while `goes_on` says so; what is wrong with the first that fails.
///
/// # Errors
/// A sentence with the number of the case.
pub fn run(format: Format, seed: u64, first: u64, mut goes_on: impl FnMut(&Tally) -> bool) -> Result<Tally, String> {
    let seeds = samples::of(format);
    let mut tally = Tally::default();
    // One round over whole samples, so that what is allocated once counts as idle.
    for sample in &seeds {
        read::read(format, sample).map_err(|e| format!("a whole sample of {} cannot be read: {e}", format.name()))?;
    }
    let idle = resident();
    reset_peak();
    let mut number = first;
    while goes_on(&tally) {
        let bytes = case(format, &seeds, seed, number);
        let began = SystemClock.now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read::read(format, &bytes)));
        let took = SystemClock.now() - began;
        let fault = |what: &str| Err(format!("{} case {number} of seed {seed}: {what}", format.name()));
        match outcome {
            Err(_) => return fault("it panicked"),
            Ok(Ok(_)) => tally.answers += 1,
            Ok(Err(_)) => {}
        }
        tally.slowest = tally.slowest.max(took);
        if took > CASE_MAX {
            return fault(&format!("it took {took:?}"));
        }
        // Looked at now and then, for it costs as much as a case.
        if number.is_multiple_of(64) || took > Duration::from_millis(50) {
            tally.memory = tally.memory.max(peak().saturating_sub(idle));
            if tally.memory > MEMORY_MAX {
                return fault(&format!("it, or one of 64 before it, held {} MiB", tally.memory >> 20));
            }
        }
        tally.cases += 1;
        number += 1;
    }
    Ok(tally)
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn resident() -> u64 {
    status("VmRSS:")
}

fn peak() -> u64 {
    status("VmHWM:")
}

fn reset_peak() {
    // Where it cannot be reset, the peak is that of the whole process, which is no less strict.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
