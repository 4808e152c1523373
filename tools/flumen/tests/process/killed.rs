//! Ten SIGKILLs at random moments, and other parallelisms each time. And an interrupt, which is no accident.

use std::time::{Duration, Instant};

use flumen_io::{RandomSource, Rng};

use crate::checkpoints;
use crate::process::wait_for;
use crate::stream::Stream;

const ROWS: u64 = 10_000_000;
const ROWS_PER_SECOND: u64 = 200_000;
/// One for each run; a kill between any two.
const PARALLELISMS: [u32; 11] = [2, 5, 3, 1, 4, 7, 2, 1, 6, 3, 5];
/// One kill falls into each of these parts of the test, which together are shorter than the stream.
const PART: Duration = Duration::from_millis(4_200);
/// Set this to the seed that a failed run has printed.
const SEED_VARIABLE: &str = "FLUMEN_TEST_SEED";

#[test]
fn a_stream_that_is_killed_ten_times_loses_and_repeats_nothing() {
    let seed = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    let mut rng = seed.map_or_else(Rng::from_entropy, Rng::from_seed);
    println!("{SEED_VARIABLE}={}", rng.seed());
    let mut stream = Stream::new(ROWS, ROWS_PER_SECOND);
    let started = Instant::now();
    let mut run = stream.start(PARALLELISMS[0], None, &[]);
    let mut former = None;
    for (kill, &parallelism) in PARALLELISMS[1..].iter().enumerate() {
        let moment = PART * kill as u32 + PART.mul_f64(rng.unit_f64());
        // A complete checkpoint says that all tasks run: none is begun before.
        let grown = wait_for("a checkpoint that is newer than the last kill", || {
            run.assert_running();
            checkpoints::newest(&stream.checkpoints()).filter(|newest| former.is_none_or(|former| newest.id > former))
        });
        wait_for("the moment of the kill", || (started.elapsed() >= moment).then_some(()));
        run.kill();
        let newest = checkpoints::newest(&stream.checkpoints()).unwrap();
        println!(
            "kill {kill} after {:?}: checkpoint {} (first seen {}), on with parallelism {parallelism}",
            started.elapsed(),
            newest.id,
            grown.id
        );
        let path = newest.path.display().to_string();
        // Each third time the checkpoint is named.
        let recovery = if kill % 3 == 1 { path.as_str() } else { "latest" };
        run = stream.start(parallelism, Some(recovery), &[]);
        let resumed = format!("resumed from {path}\n");
        wait_for("the report of the resumed process", || {
            run.assert_running();
            run.report().contains(&resumed).then_some(())
        });
        former = Some(newest.id);
    }
    let (status, report) = run.end();
    assert!(status.success(), "{status}: {report}");
    println!("done after {:?}", started.elapsed());
    stream.check();
}

/// Left behind, it would be taken for the newest when something else resumes from `latest`.
#[test]
fn an_interrupted_stream_takes_its_checkpoints_with_it() {
    for _ in 0..5 {
        let mut stream = Stream::new(1_000_000, 100_000);
        let mut run = stream.start(2, None, &[]);
        wait_for("a checkpoint", || {
            run.assert_running();
            checkpoints::newest(&stream.checkpoints())
        });
        let (status, report) = run.interrupt();
        assert_eq!(status.code(), Some(130), "{report}");
        assert_eq!(checkpoints::newest(&stream.checkpoints()), None);
    }
}
