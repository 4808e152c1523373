//! Failures, restarts, cancellation, the end.
//!
//! A failure by the user's or the engine's fault (`User`, `Bug`) fails the job: trying again gives the same. All others
//! ask the restart strategy. A restart names the subtasks that start again, cancels those that live, and waits until
//! all of them are over, its delay has passed, and no checkpoint is being finalized. Failures in the meantime add to it.

use std::collections::BTreeMap;

use flumen_core::failure::FailureKind;
use flumen_core::ids::{ExecutionAttemptId, ResultPartitionId};
use flumen_gateway::{
    ClientEvent, ExecutionState, FailureReport, JobStatus, SlotAddress, TaskExecutorId, TaskExecutorMessage,
};
use flumen_io::MonotonicTime;

use super::{Action, JobMaster, Now};
use crate::checkpoint_coordinator::AbortReason;
use crate::execution_graph::TaskIndex;
use crate::failover::FailoverStrategy;
use crate::restart::RestartDecision;

/// How many failures are remembered (Flink: `web.exception-history-size`).
pub const EXCEPTION_HISTORY: usize = 16;

/// A failure, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionRecord {
    /// When, in wall-clock milliseconds.
    pub wall_ms: i64,
    /// The attempt that failed; `None` if the failure was not one task's.
    pub attempt: Option<ExecutionAttemptId>,
    /// Its name for people.
    pub task: Option<String>,
    /// What went wrong.
    pub failure: FailureReport,
}

/// A restart that is planned.
#[derive(Clone, Debug)]
pub(super) struct PendingRestart {
    /// By subtask.
    pub(super) members: Vec<bool>,
    /// Attempts of members that live.
    pub(super) live: u32,
    /// Not before.
    pub(super) at: MonotonicTime,
    count: u32,
}

impl JobMaster {
    /// An attempt failed. It is over, whatever else follows.
    pub(super) fn attempt_failed(
        &mut self,
        task: TaskIndex,
        attempt: ExecutionAttemptId,
        report: FailureReport,
        now: Now,
    ) {
        let was_canceling =
            self.graph.find_current(attempt).is_some_and(|(_, e)| e.state() == ExecutionState::Canceling);
        if !self.transition(attempt, ExecutionState::Failed) {
            return;
        }
        self.graph.record_failure(task, report.clone());
        if report.kind != FailureKind::ProducerFailed
            && let Some(partition) = report.partition
        {
            self.partition_missing(partition);
        }
        // What a task says while it is being stopped is a consequence, not a cause.
        if was_canceling || !matches!(self.status, JobStatus::Running | JobStatus::Restarting) {
            return;
        }
        if self.graph.task(task).attempts().iter().any(|e| e.is_live()) {
            // Another attempt of the same subtask still races.
            return;
        }
        if let Some(report) = self.defer_to_producer(task, attempt, report) {
            self.task_failed(task, attempt, report, now);
        }
    }

    /// A subtask has failed of itself.
    pub(super) fn task_failed(
        &mut self,
        task: TaskIndex,
        attempt: ExecutionAttemptId,
        report: FailureReport,
        now: Now,
    ) {
        let name = self.task_name(task);
        self.record_exception(Some((attempt, name.clone())), &report, now);
        let report = FailureReport { message: format!("{name}: {}", report.message), ..report };
        let tasks = self.options.failover.tasks_to_restart(&self.graph, &self.partitions, task);
        self.recover(tasks, report, now);
    }

    /// Something failed that all tasks depend on.
    pub(super) fn fail_globally(&mut self, report: FailureReport, now: Now) {
        if !matches!(self.status, JobStatus::Running | JobStatus::Restarting) {
            return;
        }
        self.record_exception(None, &report, now);
        let tasks = self.graph.task_indices().collect();
        self.recover(tasks, report, now);
    }

    fn record_exception(&mut self, attempt: Option<(ExecutionAttemptId, String)>, report: &FailureReport, now: Now) {
        if self.exceptions.len() == EXCEPTION_HISTORY {
            self.exceptions.pop_front();
        }
        let (attempt, task) = attempt.unzip();
        self.exceptions.push_back(ExceptionRecord { wall_ms: now.wall_ms, attempt, task, failure: report.clone() });
    }

    pub(super) fn partition_missing(&mut self, partition: ResultPartitionId) {
        // Only the current attempt's result can be missing; that of a former one is missing for a reason.
        let Some((producer, _)) = self.graph.find_current(partition.producer) else { return };
        let outputs = self.graph.outputs(self.graph.vertex_of(producer));
        let of_data_set = |o: &&usize| self.graph.data_set(&self.graph.exchanges()[**o]).id == partition.data_set;
        if let Some(&exchange) = outputs.iter().find(of_data_set) {
            self.partitions.lose(exchange, self.graph.subtask_of(producer));
        }
    }

    fn recover(&mut self, tasks: Vec<TaskIndex>, report: FailureReport, now: Now) {
        if matches!(report.kind, FailureKind::User | FailureKind::Bug) {
            return self.fail_job(report, now);
        }
        match self.restart_strategy.on_failure(now.time) {
            RestartDecision::GiveUp { reason } => {
                let message = format!("{} ({reason})", report.message);
                self.fail_job(FailureReport { message, ..report }, now);
            }
            RestartDecision::After(delay) => {
                let actions = self.coordinator.abort_all(AbortReason::TaskEnded, &report.message, now.time);
                self.apply_checkpoint_actions(actions, now);
                self.plan_restart(&tasks, now.time + delay);
                self.root_cause = Some(report.clone());
                let count = self.pending_restart.as_ref().map_or(0, |r| r.count);
                if count as usize == self.graph.task_count() {
                    self.set_status(JobStatus::Restarting);
                }
                self.actions.push(Action::Notify(ClientEvent::Restarting {
                    job: self.graph.job_graph().job,
                    tasks: count,
                    delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                    number: self.restarts + 1,
                    restore: self.coordinator.completed().latest().map(|p| p.checkpoint),
                    cause: report,
                }));
            }
        }
    }

    fn plan_restart(&mut self, tasks: &[TaskIndex], at: MonotonicTime) {
        let task_count = self.graph.task_count();
        let restart = self.pending_restart.get_or_insert_with(|| PendingRestart {
            members: vec![false; task_count],
            live: 0,
            at,
            count: 0,
        });
        restart.at = restart.at.max(at);
        let mut added = Vec::new();
        for &task in tasks {
            if !std::mem::replace(&mut restart.members[task.0 as usize], true) {
                restart.count += 1;
                restart.live += self.graph.task(task).attempts().iter().filter(|e| e.is_live()).count() as u32;
                added.push(task);
            }
        }
        added.into_iter().for_each(|task| self.cancel_task(task));
    }

    fn cancel_task(&mut self, task: TaskIndex) {
        let attempts = self.graph.task(task).attempts().iter().filter(|e| e.is_live());
        let attempts: Vec<_> = attempts.map(|e| (self.graph.attempt_id(task, e), e.slot)).collect();
        attempts.into_iter().for_each(|(attempt, slot)| self.cancel_attempt(attempt, slot));
    }

    pub(super) fn cancel_attempt(&mut self, attempt: ExecutionAttemptId, slot: Option<SlotAddress>) {
        if self.transition(attempt, ExecutionState::Canceling)
            && let Some(slot) = slot
        {
            self.send(slot.executor, TaskExecutorMessage::CancelTask { attempt });
        }
    }

    /// Starts the members of the planned restart again, if it is time.
    pub(super) fn finish_restart(&mut self, now: Now) {
        let ready = |r: &PendingRestart| r.live == 0 && now.time >= r.at;
        if !self.pending_restart.as_ref().is_some_and(ready) || self.coordinator.is_finalizing() {
            return;
        }
        let Some(restart) = self.pending_restart.take() else { return };
        self.restarts += 1;
        let is_global = restart.count as usize == self.graph.task_count();
        let point = self.coordinator.completed().latest().cloned();
        let members: Vec<_> = self.graph.task_indices().filter(|t| restart.members[t.0 as usize]).collect();
        let mut obsolete: BTreeMap<TaskExecutorId, Vec<ResultPartitionId>> = BTreeMap::new();
        for &task in &members {
            self.collect_partitions(task, &mut obsolete);
        }
        self.send_releases(obsolete);
        let mut restarted_regions = vec![false; self.graph.regions().count() as usize];
        for &task in &members {
            let vertex = self.graph.vertex_of(task);
            let before = self.graph.state(task);
            if before == ExecutionState::Finished {
                for &input in self.graph.inputs(vertex) {
                    self.consumers_finished[input] -= 1;
                }
            }
            self.graph.reset(task);
            self.counts[before as usize] -= 1;
            self.counts[ExecutionState::Created as usize] += 1;
            self.partitions.forget(&self.graph, task);
            self.producer_groups[vertex] = None;
            self.scheduler.update(&self.graph, task);
            restarted_regions[self.graph.regions().of(task).0 as usize] = true;
            if !is_global {
                self.sources.reset_reader(vertex, self.graph.subtask_of(task), point.as_ref().map(|p| p.checkpoint));
            }
        }
        for region in self.graph.regions().iter().filter(|r| restarted_regions[r.0 as usize]) {
            self.scheduler.reset(region);
        }
        if is_global {
            let create = self.sources.create_all(self.graph.job_graph(), point.as_ref().map(|p| &p.enumerators));
            self.actions.extend(create);
        }
        self.coordinator.start(now.time);
        self.set_status(JobStatus::Running);
    }

    /// The results that a subtask's current attempt keeps and that are not gone yet.
    fn collect_partitions(&self, task: TaskIndex, into: &mut BTreeMap<TaskExecutorId, Vec<ResultPartitionId>>) {
        let execution = self.graph.task(task).primary();
        let Some(slot) = execution.slot else { return };
        for &output in self.graph.outputs(self.graph.vertex_of(task)) {
            let exchange = &self.graph.exchanges()[output];
            let producer = self.graph.subtask_of(task);
            if exchange.partition_type.is_released_by_scheduler() && !self.partitions.is_gone(output, producer) {
                into.entry(slot.executor).or_default().push(self.graph.partition(exchange, producer));
            }
        }
    }

    fn send_releases(&mut self, partitions: BTreeMap<TaskExecutorId, Vec<ResultPartitionId>>) {
        for (executor, partitions) in partitions {
            self.send(executor, TaskExecutorMessage::ReleasePartitions { partitions });
        }
    }

    /// Frees results that all their consumers have read.
    pub(super) fn release_partitions(&mut self, exchange: usize, producers: &[u32]) {
        let mut partitions: BTreeMap<TaskExecutorId, Vec<ResultPartitionId>> = BTreeMap::new();
        for &producer in producers {
            if self.partitions.is_gone(exchange, producer) {
                continue;
            }
            let task = self.graph.task_at(self.graph.exchanges()[exchange].producer, producer);
            if let Some(slot) = self.graph.task(task).primary().slot {
                let partition = self.graph.partition(&self.graph.exchanges()[exchange], producer);
                partitions.entry(slot.executor).or_default().push(partition);
            }
            self.partitions.lose(exchange, producer);
        }
        self.send_releases(partitions);
    }

    pub(super) fn executor_lost(&mut self, executor: TaskExecutorId, reason: &str, now: Now) {
        if !self.pool.remove(executor) {
            return;
        }
        self.executors_lost += 1;
        // The inbox and outbox go; the id is not used again.
        self.inboxes.remove(&executor);
        let mut failed: Vec<(TaskIndex, ExecutionAttemptId)> = Vec::new();
        for task in self.graph.task_indices() {
            for execution in self.graph.task(task).attempts() {
                if execution.slot.is_some_and(|slot| slot.executor == executor) {
                    if execution.is_live() {
                        failed.push((task, self.graph.attempt_id(task, execution)));
                    }
                    self.partitions.lose_all_of(&self.graph, task);
                }
            }
        }
        // Attempts that were to stop have stopped. The others failed together: the strategy is asked once, for the job
        // as it is after all of them are over.
        let mut first = None;
        for (task, attempt) in failed {
            let canceling =
                self.graph.find_current(attempt).is_some_and(|(_, e)| e.state() == ExecutionState::Canceling);
            let over = if canceling { ExecutionState::Canceled } else { ExecutionState::Failed };
            if self.transition(attempt, over) && !canceling {
                let report = FailureReport::new(FailureKind::Transient, format!("{executor} is lost: {reason}"));
                self.graph.record_failure(task, report.clone());
                first.get_or_insert((task, attempt, report, Vec::new())).3.push(task);
            }
        }
        let Some((task, attempt, report, all)) = first else { return };
        if !matches!(self.status, JobStatus::Running | JobStatus::Restarting) {
            return;
        }
        let name = self.task_name(task);
        self.record_exception(Some((attempt, name)), &report, now);
        let mut restart: Vec<TaskIndex> = Vec::new();
        let mut covered = vec![false; self.graph.task_count()];
        for task in all {
            if !covered[task.0 as usize] {
                let tasks = self.options.failover.tasks_to_restart(&self.graph, &self.partitions, task);
                tasks.iter().for_each(|t| covered[t.0 as usize] = true);
                restart.extend(tasks);
                if self.options.failover == FailoverStrategy::Full {
                    break;
                }
            }
        }
        self.recover(restart, report, now);
    }

    /// The job has failed for good; its tasks are stopped.
    fn fail_job(&mut self, report: FailureReport, now: Now) {
        self.root_cause = Some(report);
        self.stop_everything(JobStatus::Failing, "the job failed", now);
    }

    pub(super) fn cancel(&mut self, now: Now) {
        if matches!(self.status, JobStatus::Created | JobStatus::Running | JobStatus::Restarting) {
            self.stop_everything(JobStatus::Cancelling, "the job was cancelled", now);
            if !self.ended {
                self.finish_job(now);
            }
        }
    }

    fn stop_everything(&mut self, status: JobStatus, why: &str, now: Now) {
        self.pending_restart = None;
        self.slots_missing_since = None;
        self.consequences.clear();
        self.set_status(status);
        let actions = self.coordinator.abort_all(AbortReason::JobStopped, why, now.time);
        self.apply_checkpoint_actions(actions, now);
        self.graph.task_indices().for_each(|task| self.cancel_task(task));
    }

    /// Ends the job if all that is left to do is done.
    pub(super) fn finish_job(&mut self, now: Now) {
        let status = match self.status {
            JobStatus::Running if self.pending_restart.is_none() && !self.coordinator.is_finalizing() => {
                if self.counts[ExecutionState::Finished as usize] as usize != self.graph.task_count() {
                    return;
                }
                JobStatus::Finished
            }
            JobStatus::Failing if self.live_attempts == 0 => JobStatus::Failed,
            JobStatus::Cancelling if self.live_attempts == 0 => JobStatus::Canceled,
            _ => return,
        };
        let actions = self.coordinator.abort_all(AbortReason::JobStopped, "the job ended", now.time);
        self.apply_checkpoint_actions(actions, now);
        self.refuse_checkpoint_requests("the job ended");
        let mut partitions = BTreeMap::new();
        for task in self.graph.task_indices() {
            self.collect_partitions(task, &mut partitions);
        }
        self.send_releases(partitions);
        self.set_status(status);
        self.dispose_checkpoints();
        let failure = self.root_cause.clone().filter(|_| status == JobStatus::Failed);
        self.actions.push(Action::JobEnded { status, failure });
        self.ended = true;
    }

    pub(super) fn suspend(&mut self, now: Now) {
        if self.ended {
            return;
        }
        // Nothing is sent: tasks hear of it from the next leader, or from the loss of this one.
        self.refuse_checkpoint_requests("the JobMaster lost its leadership");
        let _ = self.coordinator.abort_all(AbortReason::JobStopped, "suspended", now.time);
        self.pending_restart = None;
        self.set_status(JobStatus::Suspended);
        self.actions.push(Action::JobEnded { status: JobStatus::Suspended, failure: None });
        self.ended = true;
    }
}
