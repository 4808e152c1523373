//! A few seconds of cases of every format, always the same ones.

use std::time::Duration;

use flumen_io::{Clock as _, SystemClock};

use super::{Format, run};

const SEED: u64 = 20_240_229;
const CASES: u64 = 1_500;
/// A slow machine runs fewer.
const TIME_MAX: Duration = Duration::from_secs(2);

#[test]
fn damaged_files_are_errors_or_answers() {
    // Panics that a reader contains would only fill the log.
    std::panic::set_hook(Box::new(|_| {}));
    let outcomes = Format::ALL.map(|format| {
        let began = SystemClock.now();
        run(format, SEED, 0, |tally| tally.cases < CASES && SystemClock.now() - began < TIME_MAX)
    });
    let _ = std::panic::take_hook();
    for outcome in outcomes {
        let tally = outcome.unwrap_or_else(|fault| panic!("{fault}"));
        assert!(tally.cases > 0 && tally.answers > 0 && tally.answers < tally.cases, "{tally:?}");
    }
}
