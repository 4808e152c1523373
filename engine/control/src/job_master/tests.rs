use flumen_core::element::SnapshotKind;
use flumen_core::failure::FailureKind;
use flumen_core::ids::{CheckpointId, LeaderEpoch, ResultPartitionId};
use flumen_core::key_group::KeyGroupRange;
use flumen_gateway::{
    CheckpointOutcome, DeclineReason, Envelope, ExecutionState, JobStatus, RequestId, TaskExecutorMessage as Out,
    TaskStateChanged, TriggerId,
};

use super::harness::{EPOCH, EXECUTOR, Harness};
use super::*;
use crate::restart::FixedDelayOptions;
use crate::testing::{Shape, job};

fn restarting(attempts: u32) -> JobMasterOptions {
    let fixed = FixedDelayOptions { attempts, delay: Duration::from_secs(1) };
    JobMasterOptions {
        restart: Some(RestartStrategyOptions::FixedDelay(fixed)),
        slot_request_timeout: Duration::ZERO,
        ..JobMasterOptions::default()
    }
}

fn checkpointed(attempts: u32) -> JobMasterOptions {
    let interval = Some(Duration::from_secs(10));
    let checkpoints = CheckpointSettings { interval, ..CheckpointSettings::default() };
    JobMasterOptions { checkpoints, ..restarting(attempts) }
}

fn pipeline() -> Arc<JobGraph> {
    job(&[2, 3], &[(0, 1, Shape::Pipelined)])
}

fn batch() -> Arc<JobGraph> {
    job(&[2, 2], &[(0, 1, Shape::Blocking)])
}

#[test]
fn a_job_runs_from_start_to_end() {
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[]);
    let submitted = h.take_submitted();
    assert_eq!(submitted.len(), 5);
    let consumer = &submitted[4];
    assert_eq!(consumer.attempt, h.attempt(1, 2));
    assert_eq!(consumer.key_groups, KeyGroupRange::of_subtask(2, 3, 128));
    assert_eq!(consumer.inputs[0].subpartitions, 2..3);
    let read: Vec<_> = consumer.inputs[0].partitions().collect();
    let data_set = consumer.inputs[0].data_set;
    let written: Vec<_> = submitted[..2].iter().map(|d| d.result_partition(data_set)).collect();
    assert_eq!(read, written);
    assert_eq!(submitted[0].results[0].subpartitions(), 3);
    assert_eq!(
        (submitted[0].results[0].consumer_parallelism, submitted[0].results[0].consumer_max_parallelism),
        (3, 128)
    );
    assert_eq!(submitted[0].slot, submitted[2].slot, "subtask 0 of both vertices share a slot");
    assert!(Arc::ptr_eq(&submitted[2].inputs[0].producers, &submitted[4].inputs[0].producers));
    h.run_all();
    for attempt in h.attempts_in(ExecutionState::Running) {
        assert!(h.ended.is_none());
        h.state(attempt, ExecutionState::Finished);
    }
    assert_eq!(h.ended, Some((JobStatus::Finished, None)));
    assert_eq!(h.master.next_deadline(), None);
}

#[test]
fn pointwise_descriptors_name_the_block() {
    for (producers, consumers) in [(4_u32, 2_u32), (2, 4), (2, 2), (3, 5)] {
        let graph = job(&[producers, consumers], &[(0, 1, Shape::PipelinedPointwise)]);
        let mut h = Harness::started(graph, restarting(0), 5, &[]);
        let submitted = h.take_submitted();
        let mut pairs = 0;
        for consumer in submitted.iter().filter(|d| !d.inputs.is_empty()) {
            let gate = &consumer.inputs[0];
            for producer in gate.producer_range.clone() {
                let writer = submitted.iter().find(|d| d.attempt == gate.producers.attempt(producer)).unwrap();
                let served = writer.results[0].consumers.clone();
                assert_eq!(served.start + gate.subpartitions.start, consumer.subtask().0);
                assert!(gate.subpartitions.end <= writer.results[0].subpartitions());
                pairs += 1;
            }
        }
        assert_eq!(pairs, producers.max(consumers));
    }
}

#[test]
fn what_is_stale_changes_nothing() {
    let mut h = Harness::started(pipeline(), restarting(5), 3, &[]);
    let former = h.attempt(0, 0);
    h.run_all();
    h.fail_transient(former);
    h.cancel_all();
    h.advance(1000);
    assert_eq!(h.attempt(0, 0).attempt.0, 1);
    h.take_sent();
    h.state(former, ExecutionState::Running);
    h.state(former, ExecutionState::Finished);
    h.fail_transient(former);
    assert_eq!(h.attempts_in(ExecutionState::Deploying).len(), 5);
    let current = h.attempt(0, 0);
    let job = h.master.graph().job_graph().job;
    let failed = TaskStateChanged { attempt: current, state: ExecutionState::Failed, failure: None };
    for (from, job, epoch) in [
        (EXECUTOR, job, LeaderEpoch(EPOCH.0 - 1)),
        (EXECUTOR, job, LeaderEpoch(EPOCH.0 + 1)),
        (EXECUTOR, flumen_core::ids::JobId(99), EPOCH),
        (TaskExecutorId(9), job, EPOCH),
    ] {
        let message = JobMasterMessage::TaskStateChanged(failed.clone());
        for request in 0..100 {
            let envelope = Envelope { job, epoch, request: RequestId(request), message: message.clone() };
            h.on(Event::Message { from, envelope });
        }
    }
    // From a TaskExecutor on which it does not run.
    h.register(TaskExecutorId(2), 0);
    h.tell_from(TaskExecutorId(2), JobMasterMessage::TaskStateChanged(failed));
    assert_eq!(h.attempts_in(ExecutionState::Deploying).len(), 5);
    assert!(h.sent.is_empty());
}

#[test]
fn messages_are_taken_in_order_and_once() {
    let mut h = Harness::started(job(&[1], &[]), restarting(5), 1, &[]);
    let attempt = h.attempt(0, 0);
    let mut outbox = h.outboxes.remove(&EXECUTOR).unwrap();
    let mut wrap =
        |state| outbox.wrap(JobMasterMessage::TaskStateChanged(TaskStateChanged { attempt, state, failure: None }));
    let (running, finished) = (wrap(ExecutionState::Running), wrap(ExecutionState::Finished));
    for _ in 0..2 {
        h.on(Event::Message { from: EXECUTOR, envelope: finished.clone() });
        assert_eq!(h.attempts_in(ExecutionState::Deploying), [attempt]);
    }
    h.on(Event::Message { from: EXECUTOR, envelope: running.clone() });
    assert_eq!(h.ended, Some((JobStatus::Finished, None)));
    h.on(Event::Message { from: EXECUTOR, envelope: running });
}

#[test]
fn a_transient_failure_restarts_after_the_delay() {
    let mut h = Harness::started(pipeline(), restarting(1), 3, &[]);
    h.run_all();
    h.take_sent();
    let failed = h.attempt(1, 1);
    h.fail_transient(failed);
    assert_eq!(h.master.status(), JobStatus::Restarting);
    let cancelled = h.take_sent();
    assert_eq!(cancelled.len(), 4);
    assert!(cancelled.iter().all(|m| matches!(m, Out::CancelTask { attempt } if *attempt != failed)));
    h.advance(1000);
    assert!(h.sent.is_empty(), "attempts that live are waited for");
    h.cancel_all();
    let submitted = h.take_submitted();
    assert_eq!(submitted.len(), 5);
    assert!(submitted.iter().all(|d| d.attempt.attempt.0 == 1 && d.restore.is_none()));
    assert_eq!(h.master.status(), JobStatus::Running);
    assert_eq!(h.master.exceptions()[0].attempt, Some(failed));
    // The second failure is one too many.
    h.run_all();
    let failed = h.attempt(0, 0);
    h.fail_transient(failed);
    assert_eq!(h.master.status(), JobStatus::Failing);
    h.cancel_all();
    let (status, failure) = h.ended.clone().unwrap();
    assert_eq!(status, JobStatus::Failed);
    let message = failure.unwrap().message;
    assert!(message.contains("v0 (1/2): the disk is gone") && message.contains("fixed-delay"), "{message}");
}

#[test]
fn faults_of_user_and_engine_are_not_tried_again() {
    for kind in [FailureKind::User, FailureKind::Bug] {
        let mut h = Harness::started(pipeline(), restarting(9), 3, &[]);
        h.run_all();
        let failed = h.attempt(0, 0);
        h.fail(failed, FailureReport::new(kind, "division by zero"));
        // A failure that follows from the cancellation does not replace the cause.
        let other = h.attempt(0, 1);
        h.fail(other, FailureReport::new(FailureKind::Transient, "connection reset"));
        h.cancel_all();
        let (status, failure) = h.ended.clone().unwrap();
        assert_eq!(status, JobStatus::Failed);
        assert_eq!(failure.unwrap().message, "v0 (1/2): division by zero");
    }
}

#[test]
fn failures_during_a_restart_join_it() {
    let graph = job(&[2, 2], &[(0, 1, Shape::PipelinedPointwise)]);
    let mut h = Harness::started(graph, restarting(2), 2, &[]);
    h.run_all();
    h.take_sent();
    let first = h.attempt(0, 0);
    h.fail_transient(first);
    assert_eq!(h.master.status(), JobStatus::Running, "the other region goes on");
    h.advance(500);
    let second = h.attempt(0, 1);
    h.fail_transient(second);
    assert_eq!(h.master.status(), JobStatus::Restarting);
    h.cancel_all();
    h.advance(500);
    assert!(h.take_submitted().is_empty(), "the later delay counts");
    assert_eq!(h.master.next_deadline(), Some(h.now + Duration::from_millis(500)));
    h.advance(500);
    assert_eq!(h.take_submitted().len(), 4);
    assert_eq!(h.master.restarts(), 1);
}

#[test]
fn too_few_slots_are_an_error_with_numbers() {
    let h = Harness::started(pipeline(), restarting(9), 2, &[]);
    let (status, failure) = h.ended.clone().unwrap();
    assert_eq!(status, JobStatus::Failed);
    let message = failure.unwrap().message;
    assert!(message.contains("needs 3 (slot sharing group \"default\": 3), 2 are available"), "{message}");
    // With time to wait, another TaskExecutor helps.
    let options = JobMasterOptions { slot_request_timeout: Duration::from_secs(5), ..restarting(0) };
    let mut h = Harness::started(pipeline(), options, 2, &[]);
    assert_eq!(h.master.next_deadline(), Some(h.now + Duration::from_secs(5)));
    h.advance(4999);
    h.register(TaskExecutorId(2), 1);
    assert_eq!(h.take_submitted().len(), 5);
}

#[test]
fn batch_regions_share_few_slots_one_after_the_other() {
    let mut h = Harness::started(job(&[5], &[]), restarting(0), 2, &[]);
    let mut order = Vec::new();
    while h.ended.is_none() {
        let submitted = h.take_submitted();
        assert!(!submitted.is_empty() && h.attempts_in(ExecutionState::Deploying).len() <= 2);
        for descriptor in submitted {
            order.push(descriptor.subtask().0);
            h.state(descriptor.attempt, ExecutionState::Finished);
        }
    }
    assert_eq!(order, [0, 1, 2, 3, 4]);
}

#[test]
fn a_lost_executor_restarts_what_ran_there() {
    let mut h = Harness::started(pipeline(), restarting(1), 2, &[]);
    assert!(h.ended.is_some());
    let options = JobMasterOptions { slot_request_timeout: Duration::from_secs(60), ..restarting(1) };
    h = Harness::started(pipeline(), options, 2, &[]);
    h.register(TaskExecutorId(2), 1);
    h.take_sent();
    h.on(Event::TaskExecutorLost { executor: TaskExecutorId(2), reason: "no heartbeat".to_owned() });
    assert_eq!(h.take_sent().len(), 4, "the rest of the region is cancelled");
    h.cancel_all();
    h.advance(1000);
    assert!(h.take_submitted().is_empty());
    h.register(TaskExecutorId(3), 1);
    assert_eq!(h.take_submitted().len(), 5);
}

#[test]
fn a_missing_partition_brings_its_producer_back() {
    let mut h = Harness::started(batch(), restarting(3), 2, &[]);
    let data_set = h.take_submitted()[0].results[0].data_set;
    h.run_all();
    let producers = [h.attempt(0, 0), h.attempt(0, 1)];
    producers.iter().for_each(|p| h.state(*p, ExecutionState::Finished));
    assert_eq!(h.take_submitted().len(), 2);
    h.run_all();
    // A failed consumer restarts alone ...
    let failed = h.attempt(1, 0);
    h.fail_transient(failed);
    h.advance(1000);
    let submitted = h.take_submitted();
    assert_eq!(submitted.len(), 1);
    assert_eq!(submitted[0].inputs[0].producers.attempt(0), producers[0]);
    // ... unless its input is gone.
    let partition = Some(ResultPartitionId { data_set, producer: producers[1] });
    let failed = h.attempt(1, 0);
    h.fail(failed, FailureReport { kind: FailureKind::PartitionMissing, message: "gone".to_owned(), partition });
    h.cancel_all();
    h.advance(1000);
    let submitted = h.take_submitted();
    assert_eq!(submitted.iter().map(|d| d.attempt).collect::<Vec<_>>(), [h.attempt(0, 1)]);
    let again = h.attempt(0, 1);
    assert_eq!(again.attempt.0, 1);
    h.state(again, ExecutionState::Finished);
    let submitted = h.take_submitted();
    assert_eq!(submitted.len(), 2);
    assert_eq!(submitted[0].inputs[0].producers.attempt(1), again);
}

/// A consumer's report that a producer failed.
fn follows_from(h: &mut Harness, producer: ExecutionAttemptId) -> FailureReport {
    let data_set = h.master.graph().job_graph().vertices[0].produced[0].id;
    let partition = Some(ResultPartitionId { data_set, producer });
    FailureReport { partition, ..FailureReport::new(FailureKind::ProducerFailed, "its producer failed") }
}

#[test]
fn the_cause_is_told_and_not_what_follows_from_it() {
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[]);
    h.run_all();
    let (producer, consumer) = (h.attempt(0, 1), h.attempt(1, 2));
    let report = follows_from(&mut h, producer);
    h.fail(consumer, report);
    assert_eq!(h.master.status(), JobStatus::Running);
    assert!(h.attempts_in(ExecutionState::Canceling).is_empty(), "nothing is known yet");
    h.fail(producer, FailureReport::new(FailureKind::Bug, "it panicked"));
    h.cancel_all();
    let (status, failure) = h.ended.clone().unwrap();
    assert_eq!(status, JobStatus::Failed);
    assert!(failure.unwrap().message.ends_with("it panicked"));
    assert_eq!(h.master.exceptions().len(), 1);
}

#[test]
fn what_follows_from_a_failure_starts_again_with_it() {
    let mut h = Harness::started(pipeline(), restarting(1), 3, &[]);
    h.run_all();
    let (producer, consumers) = (h.attempt(0, 1), [h.attempt(1, 0), h.attempt(1, 2)]);
    for consumer in consumers {
        let report = follows_from(&mut h, producer);
        h.fail(consumer, report);
    }
    h.fail_transient(producer);
    h.take_sent();
    h.cancel_all();
    h.advance(1000);
    assert_eq!((h.take_submitted().len(), h.master.restarts()), (5, 1), "one failure, one restart");
    h.run_all();
    for attempt in h.attempts_in(ExecutionState::Running) {
        h.state(attempt, ExecutionState::Finished);
    }
    assert_eq!(h.ended, Some((JobStatus::Finished, None)));
}

#[test]
fn a_lost_producer_is_a_cause_too() {
    let options = JobMasterOptions { slot_request_timeout: Duration::from_secs(60), ..restarting(1) };
    let mut h = Harness::started(pipeline(), options, 1, &[]);
    h.register(TaskExecutorId(2), 2);
    h.run_all();
    let lost = h.master.graph().task_indices().find_map(|task| {
        let graph = h.master.graph();
        let execution = graph.task(task).primary();
        let there = execution.slot.is_some_and(|slot| slot.executor == TaskExecutorId(2));
        (there && graph.vertex_of(task) == 0).then(|| graph.primary_id(task))
    });
    if let Some(producer) = lost {
        let consumer = h.attempt(1, 0);
        let report = follows_from(&mut h, producer);
        h.fail(consumer, report);
    }
    h.on(Event::TaskExecutorLost { executor: TaskExecutorId(2), reason: "no heartbeat".to_owned() });
    assert!(lost.is_some() && h.master.exceptions()[0].failure.message.contains("no heartbeat"));
}

#[test]
fn a_producer_that_ends_well_leaves_the_failure_to_its_consumer() {
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[]);
    h.run_all();
    let (producer, consumer) = (h.attempt(0, 1), h.attempt(1, 2));
    let report = follows_from(&mut h, producer);
    h.fail(consumer, report.clone());
    h.state(producer, ExecutionState::Finished);
    h.cancel_all();
    let (status, failure) = h.ended.clone().unwrap();
    assert_eq!((status, failure.unwrap().partition), (JobStatus::Failed, report.partition));
    // Of a producer that is over already nothing more is to be heard.
    let mut h = Harness::started(batch(), restarting(0), 2, &[]);
    let producers = [h.attempt(0, 0), h.attempt(0, 1)];
    producers.iter().for_each(|p| h.state(*p, ExecutionState::Finished));
    let (report, consumer) = (follows_from(&mut h, producers[0]), h.attempt(1, 0));
    h.fail(consumer, report);
    assert_eq!(h.master.status(), JobStatus::Failing);
}

#[test]
fn results_are_released_when_all_consumers_have_read_them() {
    let mut h = Harness::started(batch(), restarting(0), 2, &[]);
    let releases = |h: &mut Harness| {
        let released = |m| if let Out::ReleasePartitions { partitions } = m { partitions } else { Vec::new() };
        h.take_sent().into_iter().flat_map(released).map(|p| p.producer).collect::<Vec<_>>()
    };
    let producers = [h.attempt(0, 0), h.attempt(0, 1)];
    producers.iter().for_each(|p| h.state(*p, ExecutionState::Finished));
    let consumers = [h.attempt(1, 0), h.attempt(1, 1)];
    h.state(consumers[0], ExecutionState::Finished);
    assert!(releases(&mut h).is_empty());
    h.state(consumers[1], ExecutionState::Finished);
    assert_eq!(releases(&mut h), producers);
    // A cancelled job releases what is left.
    let mut h = Harness::started(batch(), restarting(0), 2, &[]);
    producers.iter().for_each(|p| h.state(*p, ExecutionState::Finished));
    h.on(Event::Cancel);
    h.cancel_all();
    assert_eq!(releases(&mut h), producers);
    assert_eq!(h.ended, Some((JobStatus::Canceled, None)));
}

#[test]
fn cancel_ends_the_job_from_every_state() {
    let mut h = Harness::new(pipeline(), restarting(0), None);
    h.on(Event::Cancel);
    assert_eq!(h.ended, Some((JobStatus::Canceled, None)));
    for prepare in [
        |_: &mut Harness| {},
        Harness::run_all,
        |h: &mut Harness| {
            let failed = h.attempt(0, 0);
            h.fail_transient(failed);
        },
    ] {
        let mut h = Harness::started(pipeline(), restarting(1), 3, &[]);
        prepare(&mut h);
        h.on(Event::Cancel);
        h.on(Event::Cancel);
        h.cancel_all();
        assert_eq!(h.ended, Some((JobStatus::Canceled, None)));
    }
    let mut h = Harness::started(pipeline(), restarting(1), 3, &[]);
    h.on(Event::Suspend);
    assert_eq!(h.ended, Some((JobStatus::Suspended, None)));
}

#[test]
fn a_checkpoint_goes_through_its_life() {
    let mut h = Harness::started(pipeline(), checkpointed(0), 3, &[1, 2, 3]);
    let deadline = h.now + Duration::from_secs(10);
    h.advance(10_000);
    h.take_sent();
    h.run_all();
    let triggered = h.take_sent();
    let sources = [h.attempt(0, 0), h.attempt(0, 1)];
    let ids: Vec<_> = triggered.iter().map(|m| m.attempt().unwrap()).collect();
    assert_eq!(ids, sources, "triggered as soon as all run, at the sources");
    assert_eq!(deadline, h.now);
    let running = h.attempts_in(ExecutionState::Running);
    for attempt in &running[1..] {
        h.acknowledge(*attempt, 1, false);
        h.acknowledge(*attempt, 1, false);
    }
    h.acknowledge(running[0], 7, false);
    assert!(h.finalize.is_empty());
    h.acknowledge(running[0], 1, false);
    let contents = &h.finalize[0];
    assert_eq!(contents.enumerators[&"uid-0".into()].as_ref(), [1, 2, 3]);
    assert_eq!(contents.vertices.iter().map(|v| v.subtasks.len()).collect::<Vec<_>>(), [2, 3]);
    assert!(h.take_sent().is_empty());
    h.finalized(1);
    h.finalized(1);
    let complete = h.take_sent();
    assert_eq!(complete.len(), 5);
    let id = CheckpointId(1);
    assert!(
        complete.iter().all(|m| matches!(m, Out::NotifyCheckpointComplete { checkpoint, .. } if *checkpoint == id))
    );
    h.advance(10_000);
    h.complete(2);
    assert_eq!(h.discarded, [(CheckpointId(1), Some("/chk-1".to_owned()))]);
    h.on(Event::Cancel);
    h.cancel_all();
    assert_eq!(h.discarded[1], (CheckpointId(2), Some("/chk-2".to_owned())));
}

#[test]
fn a_restart_restores_the_latest_checkpoint_and_waits_for_one_being_written() {
    let mut h = Harness::started(pipeline(), checkpointed(9), 3, &[1, 2, 3]);
    h.run_all();
    let reader = h.attempt(0, 0);
    h.request_split(reader, 0);
    h.advance(10_000);
    h.complete(1);
    h.request_split(reader, 1);
    h.advance(10_000);
    for attempt in h.attempts_in(ExecutionState::Running) {
        h.acknowledge(attempt, 2, false);
    }
    h.fail_transient(reader);
    h.cancel_all();
    h.take_sent();
    h.advance(1000);
    assert!(h.take_sent().is_empty());
    assert_eq!(h.master.next_deadline(), None);
    h.finalized(2);
    let submitted = h.take_submitted();
    assert_eq!(submitted.len(), 5);
    assert!(submitted.iter().all(|d| d.restore.as_ref().is_some_and(|r| r.location == "/chk-2")));
    assert_eq!(h.create, [("uid-0".into(), 2, Some(vec![3]))]);
    // Ids go on where they were.
    h.create_enumerators(&[]);
    h.run_all();
    h.advance(10_000);
    assert_eq!(h.master.checkpoints().pending().next().unwrap().id(), CheckpointId(3));
}

#[test]
fn a_restored_job_continues_the_ids() {
    let point = RestorePoint {
        checkpoint: CheckpointId(41),
        location: "/old".to_owned(),
        enumerators: BTreeMap::from([("uid-0".into(), Arc::from([9_u8].as_slice()))]),
        finished_vertices: vec![true, false],
    };
    let mut h = Harness::new(pipeline(), checkpointed(9), Some(point));
    h.register(EXECUTOR, 3);
    h.on(Event::Start);
    assert_eq!(h.create[0].2, Some(vec![9]));
    h.create_enumerators(&[]);
    let submitted = h.take_submitted();
    assert!(submitted.iter().all(|d| d.restore.as_ref().is_some_and(|r| r.checkpoint == CheckpointId(41))));
    assert_eq!(submitted.iter().map(|d| d.finished_before).collect::<Vec<_>>(), [true, true, false, false, false]);
    h.run_all();
    h.advance(10_000);
    h.complete(42);
    assert!(h.discarded.is_empty(), "what the job was started from is the user's");
}

#[test]
fn failed_checkpoints_are_counted_as_flink_does() {
    // Not counted: the job goes on.
    for reason in [DeclineReason::TaskNotReady, DeclineReason::Subsumed, DeclineReason::InputEnded] {
        let mut h = Harness::started(pipeline(), checkpointed(0), 3, &[]);
        h.run_all();
        h.advance(10_000);
        h.take_sent();
        let attempt = h.attempt(1, 1);
        h.decline(attempt, 1, reason);
        h.decline(attempt, 1, reason);
        assert_eq!(h.take_sent().len(), 5, "all are told that it was aborted");
        assert_eq!(h.discarded, [(CheckpointId(1), None)]);
        let attempt = h.attempt(0, 0);
        h.acknowledge(attempt, 1, false);
        assert_eq!(h.discarded, vec![(CheckpointId(1), None); 2], "what was stored too late is deleted again");
        assert_eq!(h.master.status(), JobStatus::Running);
        h.advance(10_000);
        h.complete(2);
    }
    // Counted: more than is tolerated in a row, and the restart strategy is asked.
    let mut options = checkpointed(0);
    options.checkpoints.tolerable_failures = 1;
    let mut h = Harness::started(pipeline(), options, 3, &[]);
    h.run_all();
    for (checkpoint, complete) in [(1, false), (2, true), (3, false)] {
        h.advance(10_000);
        let attempt = h.attempt(1, 1);
        if complete {
            h.complete(checkpoint)
        } else {
            h.decline(attempt, checkpoint, DeclineReason::UploadFailed)
        }
        assert_eq!(h.master.status(), JobStatus::Running, "{checkpoint}");
    }
    h.advance(10_000);
    let result = Err("no space left".to_owned());
    for attempt in h.attempts_in(ExecutionState::Running) {
        h.acknowledge(attempt, 4, false);
    }
    h.on(Event::CheckpointFinalized { checkpoint: CheckpointId(4), result });
    assert_eq!(h.master.status(), JobStatus::Failing);
    h.cancel_all();
    assert!(h.ended.clone().unwrap().1.unwrap().message.contains("no space left"));
}

#[test]
fn a_checkpoint_that_takes_too_long_is_given_up() {
    let mut h = Harness::started(pipeline(), checkpointed(9), 3, &[]);
    h.run_all();
    h.advance(10_000);
    assert_eq!(h.master.next_deadline(), Some(h.now + Duration::from_secs(600)));
    h.advance(599_999);
    assert_eq!(h.master.checkpoints().pending().count(), 1);
    h.advance(1);
    assert_eq!(h.master.status(), JobStatus::Restarting, "expiry counts, and none is tolerated");
}

#[test]
fn a_checkpoint_asked_for_is_answered() {
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[]);
    let savepoint = SnapshotKind::Savepoint { stop: None };
    h.on(Event::TriggerCheckpoint { trigger: TriggerId(3), kind: savepoint });
    assert_eq!(h.master.checkpoints().pending().count(), 0, "not all tasks run");
    h.run_all();
    h.complete(1);
    let answer = |h: &Harness| {
        h.notified.iter().rev().find_map(|e| match e {
            ClientEvent::CheckpointTriggered { trigger, outcome, .. } => Some((*trigger, outcome.clone())),
            _ => None,
        })
    };
    assert!(matches!(answer(&h), Some((TriggerId(3), CheckpointOutcome::Completed(s))) if s.location == "/chk-1"));
    h.on(Event::TriggerCheckpoint { trigger: TriggerId(4), kind: savepoint });
    h.on(Event::Cancel);
    h.cancel_all();
    assert!(matches!(answer(&h), Some((TriggerId(4), CheckpointOutcome::Failed { .. }))));
    assert!(h.discarded.iter().all(|(_, location)| location.is_none()), "savepoints are the user's");
    let mut h = Harness::started(batch(), restarting(0), 3, &[]);
    h.on(Event::TriggerCheckpoint { trigger: TriggerId(5), kind: savepoint });
    assert!(matches!(answer(&h), Some((TriggerId(5), CheckpointOutcome::Failed { .. }))));
}

#[test]
fn tasks_without_producers_left_are_triggered_and_ended_ones_recorded() {
    let graph = job(&[2, 2], &[(0, 1, Shape::PipelinedPointwise)]);
    let mut h = Harness::started(graph, checkpointed(0), 2, &[]);
    h.run_all();
    let ended = h.attempt(0, 0);
    h.state(ended, ExecutionState::Finished);
    h.take_sent();
    h.advance(10_000);
    let triggered: Vec<_> = h.take_sent().iter().filter_map(Out::attempt).collect();
    assert_eq!(triggered, [h.attempt(0, 1), h.attempt(1, 0)]);
    // One that ends before it acknowledged takes the checkpoint with it; that is nobody's fault.
    let ended = h.attempt(0, 1);
    h.state(ended, ExecutionState::Finished);
    assert_eq!(h.discarded, [(CheckpointId(1), None)]);
    assert_eq!(h.master.status(), JobStatus::Running);
    h.advance(10_000);
    h.complete(2);
    let finished: Vec<_> = h.finalize[0].vertices[0].subtasks.iter().map(|s| s.finished).collect();
    assert_eq!(finished, [true, true]);
    assert!(h.finalize[0].vertices[1].subtasks.iter().all(|s| !s.finished));
}

#[test]
fn the_last_checkpoint_is_taken_when_all_data_has_ended() {
    let mut h = Harness::started(pipeline(), checkpointed(0), 3, &[]);
    assert!(h.take_submitted().iter().all(|d| d.task.waits_for_final_checkpoint));
    h.run_all();
    let running = h.attempts_in(ExecutionState::Running);
    for attempt in &running {
        assert_eq!(h.master.checkpoints().pending().count(), 0);
        h.tell(JobMasterMessage::EndOfData { attempt: *attempt });
        h.tell(JobMasterMessage::EndOfData { attempt: *attempt });
    }
    assert_eq!(h.master.checkpoints().pending().count(), 1, "without waiting for the interval");
    running.iter().for_each(|attempt| h.acknowledge(*attempt, 1, true));
    h.finalized(1);
    running.iter().for_each(|attempt| h.state(*attempt, ExecutionState::Finished));
    assert_eq!(h.ended, Some((JobStatus::Finished, None)));
    // Without checkpoints nobody waits.
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[]);
    assert!(h.take_submitted().iter().all(|d| !d.task.waits_for_final_checkpoint));
}

fn assigned(h: &mut Harness) -> Vec<(u64, Vec<u8>, bool)> {
    let assignment = |m| match m {
        Out::AssignSplits { request, splits, last, .. } => {
            Some((request, splits.iter().map(|s| s.payload[0]).collect(), last))
        }
        _ => None,
    };
    h.take_sent().into_iter().filter_map(assignment).collect()
}

#[test]
fn splits_are_handed_out_on_demand_and_once() {
    let mut h = Harness::new(pipeline(), restarting(0), None);
    h.register(EXECUTOR, 3);
    h.on(Event::Start);
    h.run_all();
    let (a, b) = (h.attempt(0, 0), h.attempt(0, 1));
    h.request_split(a, 0);
    assert!(assigned(&mut h).is_empty(), "there is no enumerator yet");
    h.create_enumerators(&[1, 2]);
    assert_eq!(assigned(&mut h), [(0, vec![1], false)]);
    // A repeated request gets the same answer; one from the future none.
    h.request_split(a, 0);
    h.request_split(a, 2);
    assert_eq!(assigned(&mut h), [(0, vec![1], false)]);
    h.request_split(b, 0);
    h.request_split(a, 1);
    assert_eq!(assigned(&mut h), [(0, vec![2], false), (1, vec![], true)]);
}

#[test]
fn a_reader_that_waits_is_answered_later() {
    let mut h = Harness::started(pipeline(), restarting(0), 3, &[254, 7]);
    h.run_all();
    let reader = h.attempt(0, 0);
    h.request_split(reader, 0);
    h.request_split(reader, 0);
    assert!(assigned(&mut h).is_empty());
    assert_eq!(h.master.next_deadline(), Some(h.now + ENUMERATOR_POLL));
    h.advance(100);
    assert_eq!(assigned(&mut h), [(0, vec![7], false)]);
}

#[test]
fn splits_of_a_failed_reader_go_back_as_of_its_checkpoint() {
    let graph = job(&[2, 2], &[(0, 1, Shape::PipelinedPointwise)]);
    let mut h = Harness::started(graph, checkpointed(9), 2, &[1, 2, 3, 4]);
    h.run_all();
    let (a, b) = (h.attempt(0, 0), h.attempt(0, 1));
    h.request_split(a, 0);
    h.advance(10_000);
    h.complete(1);
    h.request_split(a, 1);
    h.request_split(b, 0);
    // Split 2 is handed out before the snapshot of a checkpoint that never completes.
    h.advance(10_000);
    h.fail_transient(a);
    h.cancel_all();
    h.advance(1000);
    assert!(h.create.is_empty(), "the other region goes on, and so does the enumerator");
    h.run_all();
    assigned(&mut h);
    h.request_split(b, 1);
    h.request_split(b, 2);
    h.request_split(b, 3);
    assert_eq!(assigned(&mut h), [(1, vec![4], false), (2, vec![2], false), (3, vec![], true)]);
}

#[test]
fn a_broken_enumerator_fails_the_job_as_a_whole() {
    let mut h = Harness::started(pipeline(), restarting(1), 3, &[255]);
    h.run_all();
    let reader = h.attempt(0, 0);
    h.request_split(reader, 0);
    assert_eq!(h.master.status(), JobStatus::Restarting);
    h.cancel_all();
    h.advance(1000);
    // An answer to the request before the restart is dropped.
    let stale: Result<Box<dyn flumen_core::source::SplitEnumerator>, _> =
        Err(FailureReport::new(FailureKind::User, "too late"));
    h.on(Event::EnumeratorCreated { operator: "uid-0".into(), generation: 1, result: stale });
    assert_eq!(h.master.status(), JobStatus::Running);
    h.create_enumerators(&[1]);
    assert_eq!(h.master.restarts(), 1);
}
