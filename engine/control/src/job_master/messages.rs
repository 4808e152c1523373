//! What tasks report. Everything is checked before it counts: the epoch, the order, that the attempt is a current one,
//! and that it comes from where the attempt was placed.

use flumen_core::failure::{Failure, FailureKind};
use flumen_core::graph::DistributionPattern;
use flumen_core::ids::{ExecutionAttemptId, OperatorUid};
use flumen_core::source::SplitEnumerator;
use flumen_gateway::{
    Envelope, ExecutionState, FailureReport, JobMasterMessage, TaskExecutorId, TaskExecutorMessage, TaskStateChanged,
};

use super::splits::Assignment;
use super::{Action, ENUMERATOR_POLL, JobMaster, Now};
use crate::execution_graph::{Execution, TaskIndex};

impl JobMaster {
    pub(super) fn message(&mut self, from: TaskExecutorId, envelope: Envelope<JobMasterMessage>, now: Now) {
        let stale = envelope.job != self.graph.job_graph().job
            || self.epoch.exactly(envelope.epoch).is_err()
            || !self.pool.knows(from);
        if stale {
            return;
        }
        if self.ended {
            self.discard_late(&envelope.message);
            return;
        }
        let Some(inbox) = self.inboxes.get_mut(&from) else { return };
        match inbox.accept(envelope.request, envelope.message) {
            Ok(messages) => messages.into_iter().for_each(|message| self.in_order(from, message, now)),
            Err(lost) => self.executor_lost(from, &format!("too many of its messages are missing: {lost}"), now),
        }
    }

    fn in_order(&mut self, from: TaskExecutorId, message: JobMasterMessage, now: Now) {
        let attempt = message.attempt();
        if self.discard_late(&message) {
            return;
        }
        let Some((task, execution)) = self.graph.find_current(attempt) else { return };
        if execution.slot.is_none_or(|slot| slot.executor != from) {
            return;
        }
        match message {
            JobMasterMessage::TaskStateChanged(change) => self.task_state_changed(task, change, now),
            JobMasterMessage::EndOfData { .. } if execution.is_live() && !execution.end_of_data => {
                self.graph.end_of_data(attempt);
                self.at_end_of_data += 1;
            }
            JobMasterMessage::AcknowledgeCheckpoint(ack) => {
                let action = self.coordinator.acknowledge(&self.graph, task, ack);
                self.apply_checkpoint_actions(action, now);
            }
            JobMasterMessage::DeclineCheckpoint(decline) => {
                let message = format!("{} declined: {}", self.task_name(task), decline.message);
                let action = self.coordinator.decline(decline.checkpoint, decline.reason, message, now.time);
                self.apply_checkpoint_actions(action, now);
            }
            JobMasterMessage::RequestSplit { operator, request, .. }
                if execution.is_live() && execution.state() != ExecutionState::Canceling =>
            {
                self.split_requested(task, &operator, request, now);
            }
            JobMasterMessage::TaskMetrics { metrics, .. } => self.metrics[task.0 as usize] = metrics,
            // Late or repeated; and hybrid consumers are scheduled when their producers are deployed, so nothing waits for this.
            _ => {}
        }
    }

    /// Deletes again what was stored, perhaps by a former attempt, after its checkpoint had been given up and deleted;
    /// whether that is what the message tells of.
    fn discard_late(&mut self, message: &JobMasterMessage) -> bool {
        let JobMasterMessage::AcknowledgeCheckpoint(ack) = message else { return false };
        let late = self.coordinator.was_aborted(ack.checkpoint);
        if late {
            self.actions.push(Action::DiscardCheckpoint { checkpoint: ack.checkpoint, location: None });
        }
        late
    }

    /// The subtask's name for people.
    pub(super) fn task_name(&self, task: TaskIndex) -> String {
        let vertex = self.graph.job_vertex_of(task);
        format!("{} ({}/{})", vertex.name, self.graph.subtask_of(task) + 1, vertex.parallelism)
    }

    fn task_state_changed(&mut self, task: TaskIndex, change: TaskStateChanged, now: Now) {
        let attempt = change.attempt;
        let before = self.graph.find_current(attempt).map(|(_, execution)| execution.state());
        match change.state {
            ExecutionState::Initializing | ExecutionState::Running => {
                self.transition(attempt, change.state);
            }
            ExecutionState::Finished => {
                if self.transition(attempt, ExecutionState::Finished) {
                    self.task_finished(task, attempt, now);
                }
            }
            ExecutionState::Canceled if before == Some(ExecutionState::Canceling) => {
                self.transition(attempt, ExecutionState::Canceled);
            }
            ExecutionState::Canceled => {
                let report = FailureReport::new(FailureKind::Transient, "the task was cancelled without being asked");
                self.attempt_failed(task, attempt, report, now);
            }
            ExecutionState::Failed => {
                let unknown = || FailureReport::new(FailureKind::Bug, "the task failed without saying why");
                self.attempt_failed(task, attempt, change.failure.unwrap_or_else(unknown), now);
            }
            // These are the JobMaster's own to decide.
            ExecutionState::Created
            | ExecutionState::Scheduled
            | ExecutionState::Deploying
            | ExecutionState::Canceling => {}
        }
    }

    fn task_finished(&mut self, task: TaskIndex, winner: ExecutionAttemptId, now: Now) {
        let racing: Vec<_> = self.graph.task(task).attempts().iter().filter(|e| e.number != winner.attempt).collect();
        let racing: Vec<_> = racing.into_iter().filter(|e| e.is_live()).map(|e| (e.number, e.slot)).collect();
        for (number, slot) in racing {
            self.cancel_attempt(ExecutionAttemptId { attempt: number, ..winner }, slot);
        }
        let name = self.task_name(task);
        let actions = self.coordinator.task_ended(task, &name, now.time);
        self.apply_checkpoint_actions(actions, now);
        self.release_consumed(task);
    }

    /// Frees the results that nobody will read any more, now that a consumer has finished.
    fn release_consumed(&mut self, consumer: TaskIndex) {
        let vertex = self.graph.vertex_of(consumer);
        for position in 0..self.graph.inputs(vertex).len() {
            let input = self.graph.inputs(vertex)[position];
            let exchange = self.graph.exchanges()[input].clone();
            self.consumers_finished[input] += 1;
            if exchange.partition_type.must_be_pipelined() {
                continue;
            }
            let finished =
                |c: u32| self.graph.state(self.graph.task_at(exchange.consumer, c)) == ExecutionState::Finished;
            let consumers = self.graph.job_graph().vertices[exchange.consumer].parallelism;
            let done: Vec<u32> = match exchange.distribution {
                DistributionPattern::AllToAll if self.consumers_finished[input] < consumers => continue,
                DistributionPattern::AllToAll => exchange.producers_of(0).collect(),
                DistributionPattern::Pointwise => {
                    let producers = exchange.producers_of(self.graph.subtask_of(consumer));
                    producers.filter(|p| exchange.consumers_of(*p).all(finished)).collect()
                }
            };
            self.release_partitions(input, &done);
        }
    }

    fn split_requested(&mut self, task: TaskIndex, operator: &OperatorUid, request: u64, now: Now) {
        let (vertex, subtask) = (self.graph.vertex_of(task), self.graph.subtask_of(task));
        let had_waiting = self.sources.has_waiting_readers();
        let answer = self.sources.request(operator, vertex, subtask, request);
        self.assign(answer.map(|a| a.into_iter().collect()), now);
        if !had_waiting {
            self.next_poll = now.time + ENUMERATOR_POLL;
        }
    }

    pub(super) fn poll_enumerators(&mut self, now: Now) {
        if self.sources.has_waiting_readers() && now.time >= self.next_poll {
            self.next_poll = now.time + ENUMERATOR_POLL;
            let assignments = self.sources.poll();
            self.assign(assignments, now);
        }
    }

    pub(super) fn enumerator_created(
        &mut self,
        operator: &OperatorUid,
        generation: u64,
        result: Result<Box<dyn SplitEnumerator>, FailureReport>,
        now: Now,
    ) {
        if self.ended || !self.sources.is_expecting(operator, generation) {
            return;
        }
        match result {
            Ok(enumerator) => {
                let assignments = self.sources.created(operator, generation, enumerator);
                self.assign(assignments, now);
            }
            Err(report) => self.fail_globally(report, now),
        }
    }

    fn assign(&mut self, assignments: Result<Vec<Assignment>, Failure>, now: Now) {
        let assignments = match assignments {
            Ok(assignments) => assignments,
            Err(failure) => return self.fail_globally(FailureReport::from(&failure), now),
        };
        for assignment in assignments {
            let task = self.graph.task_at(assignment.vertex, assignment.subtask);
            let execution: &Execution = self.graph.task(task).primary();
            let attempt = self.graph.attempt_id(task, execution);
            let Some(slot) = execution.slot.filter(|_| execution.is_live()) else { continue };
            let Assignment { operator, request, splits, last, .. } = assignment;
            self.send(slot.executor, TaskExecutorMessage::AssignSplits { attempt, operator, request, splits, last });
        }
    }
}
