//! A damaged checkpoint: `latest` falls back to the one before and says so; a path is refused.

use std::path::{Path, PathBuf};

use flumen_io::{RandomSource, Rng};

use crate::checkpoints::{self, Complete};
use crate::process::{Running, wait_for};
use crate::stream::Stream;

const ROWS: u64 = 1_000_000;
const ROWS_PER_SECOND: u64 = 100_000;
const RETAINED: [&str; 1] = ["execution.checkpointing.num-retained=3"];

/// Kills the run when its job has three complete checkpoints; the last and the one before.
fn kill_with_checkpoints(stream: &Stream, mut run: Running, former: &[std::path::PathBuf]) -> (Complete, Complete) {
    let job = wait_for("three checkpoints", || {
        run.assert_running();
        let jobs = checkpoints::jobs(&stream.checkpoints());
        jobs.into_iter().find(|job| !former.contains(job) && checkpoints::of_job(job).len() >= 3)
    });
    run.kill();
    let mut complete = checkpoints::of_job(&job);
    let newest = complete.pop().unwrap();
    (newest, complete.pop().unwrap())
}

fn flip(file: &Path, rng: &mut Rng) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = rng.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << rng.below(8);
    std::fs::write(file, bytes).unwrap();
}

fn truncate(file: &Path, rng: &mut Rng) {
    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..rng.below(bytes.len() as u64) as usize]).unwrap();
}

/// A file of a checkpoint.
type FileOf = fn(&Path) -> PathBuf;
/// What happens to it.
type Damage = fn(&Path, &mut Rng);

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let mut rng = Rng::from_entropy();
    println!("seed {}", rng.seed());
    let mut stream = Stream::new(ROWS, ROWS_PER_SECOND);
    let mut run = stream.start(2, None, &RETAINED);
    let metadata: FileOf = |checkpoint| checkpoint.join("_metadata");
    let state: FileOf = |checkpoint| checkpoints::state_files(checkpoint).swap_remove(0);
    let damages: [(FileOf, Damage); 4] = [(metadata, flip), (state, truncate), (state, flip), (metadata, truncate)];
    let mut former = Vec::new();
    for (file, damage) in damages {
        let (newest, before) = kill_with_checkpoints(&stream, run, &former);
        former = checkpoints::jobs(&stream.checkpoints());
        let damaged = file(&newest.path);
        damage(&damaged, &mut rng);
        let named = newest.path.display().to_string();
        let (status, report) = stream.start(2, Some(&named), &RETAINED).end();
        assert_eq!(status.code(), Some(1), "{status}: {report}");
        assert!(report.contains(&damaged.display().to_string()), "{report}");
        run = stream.start(2, Some("latest"), &RETAINED);
        let warning = format!("warning: checkpoint file {} is damaged: ", damaged.display());
        let resumed = format!("resumed from {}\n", before.path.display());
        wait_for("the report of the resumed process", || {
            run.assert_running();
            run.report().contains(&resumed).then_some(())
        });
        assert!(run.report().contains(&warning), "{}", run.report());
    }
    let (status, report) = run.end();
    assert!(status.success(), "{status}: {report}");
    stream.check();
}

#[test]
fn without_a_checkpoint_there_is_nothing_to_resume_from() {
    let mut stream = Stream::new(ROWS, ROWS_PER_SECOND);
    let (status, report) = stream.start(2, Some("latest"), &[]).end();
    assert_eq!(status.code(), Some(1), "{report}");
    assert!(report.contains(&stream.checkpoints().display().to_string()), "{report}");
    let (status, report) = stream.start(2, Some("/no/such/place/chk-1"), &[]).end();
    assert_eq!(status.code(), Some(1), "{report}");
    assert!(report.contains("/no/such/place/chk-1"), "{report}");
}
