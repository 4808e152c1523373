//! A stream that is resumed with many more subtasks than it had: its state stays in the key groups that it has.

use crate::checkpoints;
use crate::process::{Running, wait_for};
use crate::stream::Stream;

const ROWS: u64 = 1_000_000;
const ROWS_PER_SECOND: u64 = 100_000;

/// Kills the run after a checkpoint that is newer than what was there.
fn kill_after_a_checkpoint(stream: &Stream, mut run: Running, former: &[std::path::PathBuf]) {
    wait_for("a checkpoint", || {
        run.assert_running();
        let jobs = checkpoints::jobs(&stream.checkpoints());
        jobs.into_iter().find(|job| !former.contains(job) && !checkpoints::of_job(job).is_empty())
    });
    run.kill();
}

#[test]
fn state_is_restored_at_any_parallelism_up_to_its_key_groups() {
    let mut stream = Stream::new(ROWS, ROWS_PER_SECOND);
    let run = stream.start(2, None, &[]);
    kill_after_a_checkpoint(&stream, run, &[]);
    let former = checkpoints::jobs(&stream.checkpoints());
    // By itself a job of so many subtasks would have 256 key groups.
    let run = stream.start(90, Some("latest"), &[]);
    kill_after_a_checkpoint(&stream, run, &former);
    let (status, report) = stream.start(129, Some("latest"), &[]).end();
    assert_eq!(status.code(), Some(1), "{report}");
    assert!(report.contains("parallelism 129") && report.contains("128"), "{report}");
    let (status, report) = stream.start(3, Some("latest"), &[]).end();
    assert!(status.success(), "{report}");
    stream.check();
}

#[test]
fn checkpoints_that_cannot_be_written_are_refused_at_once() {
    let mut stream = Stream::new(ROWS, ROWS_PER_SECOND);
    for (setting, parts) in [
        (
            "execution.checkpointing.dir=/proc/no/such/place",
            ["checkpoints cannot be written", "/proc/no/such/place", "execution.checkpointing.dir"],
        ),
        (
            "execution.checkpointing.dir=",
            ["execution.checkpointing.interval is set", "execution.checkpointing.dir is not", "set it to"],
        ),
    ] {
        let (status, report) = stream.start(2, None, &[setting]).end();
        assert_eq!(status.code(), Some(1), "{setting}: {report}");
        assert!(parts.iter().all(|part| report.contains(part)), "{setting}: {report}");
    }
}
