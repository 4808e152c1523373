//! Between the checkpoint coordinator and the tasks.

use flumen_core::element::SnapshotKind;
use flumen_core::failure::FailureKind;
use flumen_core::graph::DistributionPattern;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId};
use flumen_gateway::{
    CheckpointOutcome, ClientEvent, ExecutionState, FailureReport, JobStatus, TaskExecutorMessage, TriggerId,
};

use super::{Action, JobMaster, Now};
use crate::checkpoint_coordinator::{CheckpointPlan, CoordinatorAction, TriggerRequest};
use crate::execution_graph::TaskIndex;

impl JobMaster {
    /// All tasks run or have finished, some run, and every source has its enumerator.
    pub(super) fn is_ready_for_checkpoint(&self) -> bool {
        let running = self.counts[ExecutionState::Running as usize];
        let finished = self.counts[ExecutionState::Finished as usize];
        self.checkpointable
            && self.status == JobStatus::Running
            && self.pending_restart.is_none()
            && running > 0
            && (running + finished) as usize == self.graph.task_count()
            && self.sources.is_complete()
    }

    /// All tasks that live have reached the end of their data, and wait for a last checkpoint.
    pub(super) fn all_at_end_of_data(&self) -> bool {
        self.live_attempts > 0
            && self.at_end_of_data == self.live_attempts
            && self.task_information.iter().any(|t| t.waits_for_final_checkpoint)
    }

    pub(super) fn checkpoint_requested(&mut self, trigger: TriggerId, kind: SnapshotKind) {
        let refused = if self.ended {
            Err("the job has ended".to_owned())
        } else if !self.checkpointable {
            Err("the job has blocking or hybrid exchanges, through which barriers do not pass".to_owned())
        } else {
            self.coordinator.request(TriggerRequest { trigger, kind })
        };
        if let Err(message) = refused {
            self.answer_trigger(Some(trigger), CheckpointOutcome::Failed { message });
        }
    }

    pub(super) fn refuse_checkpoint_requests(&mut self, why: &str) {
        for request in self.coordinator.take_requests() {
            self.answer_trigger(Some(request.trigger), CheckpointOutcome::Failed { message: why.to_owned() });
        }
    }

    fn answer_trigger(&mut self, trigger: Option<TriggerId>, outcome: CheckpointOutcome) {
        if let Some(trigger) = trigger {
            let job = self.graph.job_graph().job;
            self.actions.push(Action::Notify(ClientEvent::CheckpointTriggered { job, trigger, outcome }));
        }
    }

    /// Begins the checkpoints that are due.
    pub(super) fn trigger_checkpoint(&mut self, now: Now) {
        while self.is_ready_for_checkpoint()
            && let Some(request) = self.coordinator.due(now.time, self.all_at_end_of_data())
        {
            let enumerators = match self.sources.snapshot(self.coordinator.next_id()) {
                Ok(enumerators) => enumerators,
                Err(failure) => {
                    let action = self.coordinator.refuse(request, failure.chain(), now.time);
                    return self.apply_checkpoint_actions([action], now);
                }
            };
            let is_running = |task| self.graph.state(task) == ExecutionState::Running;
            let waits_for = self.graph.task_indices().map(is_running).collect();
            let plan = CheckpointPlan { waits_for, enumerators };
            let barrier = self.coordinator.begin(request, plan, now.time, now.wall_ms);
            for task in self.tasks_to_trigger() {
                let execution = self.graph.task(task).primary();
                let attempt = self.graph.attempt_id(task, execution);
                if let Some(slot) = execution.slot {
                    let barrier = barrier.clone();
                    self.send(slot.executor, TaskExecutorMessage::TriggerCheckpoint { attempt, barrier });
                }
            }
        }
    }

    /// Tasks that run and that no barrier reaches by itself: sources, and those whose producers have all finished.
    fn tasks_to_trigger(&self) -> Vec<TaskIndex> {
        let vertices = &self.graph.job_graph().vertices;
        let mut finished = vec![0_u32; vertices.len()];
        for task in self.graph.task_indices() {
            finished[self.graph.vertex_of(task)] += u32::from(self.graph.state(task) == ExecutionState::Finished);
        }
        let has_no_producer = |task: &TaskIndex| {
            self.graph.inputs(self.graph.vertex_of(*task)).iter().all(|&input| {
                let exchange = &self.graph.exchanges()[input];
                let producer = exchange.producer;
                let is_finished = |p| self.graph.state(self.graph.task_at(producer, p)) == ExecutionState::Finished;
                match exchange.distribution {
                    DistributionPattern::AllToAll => finished[producer] == vertices[producer].parallelism,
                    DistributionPattern::Pointwise => {
                        exchange.producers_of(self.graph.subtask_of(*task)).all(is_finished)
                    }
                }
            })
        };
        let running = self.graph.task_indices().filter(|t| self.graph.state(*t) == ExecutionState::Running);
        running.filter(has_no_producer).collect()
    }

    pub(super) fn expire_checkpoints(&mut self, now: Now) {
        let actions = self.coordinator.expire(now.time);
        self.apply_checkpoint_actions(actions, now);
    }

    pub(super) fn checkpoint_finalized(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(String, u64), String>,
        now: Now,
    ) {
        let actions = self.coordinator.finalized(checkpoint, result, now.time);
        self.apply_checkpoint_actions(actions, now);
        if self.ended {
            self.dispose_checkpoints();
        }
    }

    /// Deletes the complete checkpoints that are not to outlive the job.
    pub(super) fn dispose_checkpoints(&mut self) {
        // A suspended job goes on elsewhere, from these.
        if !self.status.is_globally_terminal() {
            return;
        }
        let (cancelled, failed) = (self.status == JobStatus::Canceled, self.status == JobStatus::Failed);
        for stored in self.coordinator.dispose(cancelled, failed) {
            let (checkpoint, location) = (stored.checkpoint, Some(stored.location));
            self.actions.push(Action::DiscardCheckpoint { checkpoint, location });
        }
    }

    pub(super) fn apply_checkpoint_actions(&mut self, actions: impl IntoIterator<Item = CoordinatorAction>, now: Now) {
        let job = self.graph.job_graph().job;
        let mut failed = None;
        for action in actions {
            match action {
                CoordinatorAction::Finalize(contents) => self.actions.push(Action::FinalizeCheckpoint(contents)),
                CoordinatorAction::Complete { summary, trigger } => {
                    let checkpoint = summary.checkpoint;
                    self.sources.complete(checkpoint);
                    self.tell_running_tasks(|attempt| TaskExecutorMessage::NotifyCheckpointComplete {
                        attempt,
                        checkpoint,
                    });
                    self.answer_trigger(trigger, CheckpointOutcome::Completed(summary.clone()));
                    self.actions.push(Action::Notify(ClientEvent::CheckpointCompleted { job, summary }));
                }
                CoordinatorAction::Abort { checkpoint, message, trigger, fail_job } => {
                    let latest_completed = self.coordinator.completed().latest().map(|p| p.checkpoint);
                    self.tell_running_tasks(|attempt| TaskExecutorMessage::NotifyCheckpointAborted {
                        attempt,
                        checkpoint,
                        latest_completed,
                    });
                    self.answer_trigger(trigger, CheckpointOutcome::Failed { message: message.clone() });
                    if fail_job {
                        failed = Some(format!("{checkpoint} failed, more than is tolerated: {message}"));
                    }
                    self.actions.push(Action::DiscardCheckpoint { checkpoint, location: None });
                    self.actions.push(Action::Notify(ClientEvent::CheckpointAborted { job, checkpoint, message }));
                }
                CoordinatorAction::Discard(stored) => {
                    let (checkpoint, location) = (stored.checkpoint, Some(stored.location));
                    self.actions.push(Action::DiscardCheckpoint { checkpoint, location });
                }
            }
        }
        if let Some(message) = failed {
            self.fail_globally(FailureReport::new(FailureKind::Transient, message), now);
        }
    }

    fn tell_running_tasks(&mut self, message: impl Fn(ExecutionAttemptId) -> TaskExecutorMessage) {
        for task in self.graph.task_indices() {
            let execution = self.graph.task(task).primary();
            let attempt = self.graph.attempt_id(task, execution);
            if let (ExecutionState::Running, Some(slot)) = (execution.state(), execution.slot) {
                self.send(slot.executor, message(attempt));
            }
        }
    }
}
