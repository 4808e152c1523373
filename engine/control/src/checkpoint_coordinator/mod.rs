//! When checkpoints are taken, and what becomes of them (reference: flink 5.2).
//!
//! Life of a checkpoint:
//! 1. It is due ([`CheckpointCoordinator::due`]): periodically, on request, or because all tasks have reached the end of
//!    their data and wait for a last one. The JobMaster checks that all tasks run (or have finished) and lets the source
//!    enumerators snapshot; assignments sent later are behind the triggers in every task's mail.
//! 2. [`CheckpointCoordinator::begin`] gives it an id, which only grows, also over restarts. Triggers are sent.
//! 3. Tasks acknowledge ([`CheckpointCoordinator::acknowledge`]) or decline. When the last one has acknowledged, its
//!    metadata is written by an I/O thread; from then on it cannot be aborted, only answered for.
//! 4. [`CheckpointCoordinator::finalized`]: it is complete, older ones beyond the number to retain are subsumed, tasks are
//!    told. Or it was given up: by timeout, decline, failure of a task, or the store.
//!
//! Some failures count against `tolerable-failed-checkpoints` ([`AbortReason::is_counted`]); more in a row fail the job.
//! A pure state machine; owned by the JobMaster.

mod completed;
mod failure_counter;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use flumen_core::element::{Alignment, CheckpointBarrier, CheckpointOptions, SnapshotKind};
use flumen_core::ids::CheckpointId;
use flumen_gateway::{AcknowledgeCheckpoint, CheckpointSummary, DeclineReason, TriggerId};
use flumen_io::MonotonicTime;

use crate::execution_graph::{ExecutionGraph, TaskIndex};
pub use completed::{
    CheckpointContents, CompletedStore, RestorePoint, StoredCheckpoint, SubtaskSnapshot, VertexSnapshot,
};
pub use failure_counter::FailureCounter;
pub use pending::{CheckpointPlan, PendingCheckpoint};

/// Requests that wait at most; more are refused.
const MAX_REQUESTS: usize = 16;
/// A last checkpoint that failed is tried again after this long, or the interval if that is shorter.
const FINAL_CHECKPOINT_RETRY: Duration = Duration::from_secs(1);
/// Checkpoints that were given up and are remembered, for parts that are still being written.
const ABORTED_KEPT: usize = 32;

/// Settings of checkpoints (`execution.checkpointing.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// Time between triggers; `None` turns periodic checkpoints off.
    pub interval: Option<Duration>,
    /// Time between the end of one and the start of the next; more than zero means one at a time.
    pub min_pause: Duration,
    /// A checkpoint that takes longer is given up.
    pub timeout: Duration,
    /// How many may be under way.
    pub max_concurrent: u32,
    /// Failures in a row that do not fail the job.
    pub tolerable_failures: u32,
    /// Complete checkpoints kept.
    pub retained: u32,
    /// What barriers do at gates.
    pub alignment: Alignment,
    /// Tasks stay after the end of their data until a last checkpoint is complete.
    pub after_tasks_finish: bool,
    /// Whether complete checkpoints outlive the job.
    pub retention: CheckpointRetention,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            interval: None,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            max_concurrent: 1,
            tolerable_failures: 0,
            retained: 1,
            alignment: Alignment::Aligned,
            after_tasks_finish: true,
            retention: CheckpointRetention::NoExternalized,
        }
    }
}

/// Whether complete checkpoints outlive a job that ended (`execution.checkpointing.externalized-checkpoint-retention`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRetention {
    /// They go with the job, however it ended.
    NoExternalized,
    /// They stay if the job failed.
    DeleteOnCancellation,
    /// They stay if the job failed or was cancelled.
    RetainOnCancellation,
}

/// Why a checkpoint was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// It took too long.
    Expired,
    /// A task declined.
    Declined(DeclineReason),
    /// An enumerator could not snapshot.
    EnumeratorFailed,
    /// Metadata could not be written.
    FinalizeFailed,
    /// A newer one was complete first.
    Subsumed,
    /// A task it waited for ended or failed.
    TaskEnded,
    /// The job restarts or ends.
    JobStopped,
}

impl AbortReason {
    /// Whether it counts against the tolerable failures.
    #[must_use]
    pub fn is_counted(self) -> bool {
        match self {
            Self::Expired | Self::EnumeratorFailed | Self::FinalizeFailed => true,
            Self::Declined(reason) => matches!(reason, DeclineReason::SnapshotFailed | DeclineReason::UploadFailed),
            Self::Subsumed | Self::TaskEnded | Self::JobStopped => false,
        }
    }
}

/// A checkpoint that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerRequest {
    /// The client's number.
    pub trigger: TriggerId,
    /// Checkpoint or savepoint.
    pub kind: SnapshotKind,
}

/// What the JobMaster has to do.
#[derive(Debug)]
pub enum CoordinatorAction {
    /// Write the metadata, and answer.
    Finalize(Box<CheckpointContents>),
    /// Tell tasks and client that it is complete.
    Complete {
        /// The checkpoint.
        summary: CheckpointSummary,
        /// Who asked for it.
        trigger: Option<TriggerId>,
    },
    /// Tell tasks and client that it was given up, and delete what it wrote.
    Abort {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why, for people.
        message: String,
        /// Who asked for it.
        trigger: Option<TriggerId>,
        /// The job has to fail: too many failures in a row, or a savepoint that was to stop the job.
        fail_job: bool,
    },
    /// Delete it: it is complete, but no longer needed.
    Discard(StoredCheckpoint),
}

/// See the module.
#[derive(Debug)]
pub struct CheckpointCoordinator {
    settings: CheckpointSettings,
    next_id: u64,
    pending: BTreeMap<CheckpointId, PendingCheckpoint>,
    completed: CompletedStore,
    /// The last that were given up.
    aborted: VecDeque<CheckpointId>,
    failures: FailureCounter,
    next_periodic: Option<MonotonicTime>,
    not_before: MonotonicTime,
    final_not_before: MonotonicTime,
    requests: VecDeque<TriggerRequest>,
}

impl CheckpointCoordinator {
    /// Nothing is due before [`CheckpointCoordinator::start`]. Ids begin with `first`.
    #[must_use]
    pub fn new(settings: CheckpointSettings, first: CheckpointId, restored: Option<RestorePoint>) -> Self {
        let completed = CompletedStore::new(settings.retained, restored);
        let failures = FailureCounter::new(settings.tolerable_failures);
        Self {
            settings,
            next_id: first.0,
            pending: BTreeMap::new(),
            completed,
            aborted: VecDeque::new(),
            failures,
            next_periodic: None,
            not_before: MonotonicTime::ZERO,
            final_not_before: MonotonicTime::ZERO,
            requests: VecDeque::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &CheckpointSettings {
        &self.settings
    }

    /// The complete checkpoints.
    #[must_use]
    pub fn completed(&self) -> &CompletedStore {
        &self.completed
    }

    /// Checkpoints that are under way.
    pub fn pending(&self) -> impl Iterator<Item = &PendingCheckpoint> {
        self.pending.values()
    }

    /// Metadata of some checkpoint is being written. A restart waits for the answer, so that what it restores is the
    /// newest there will be.
    #[must_use]
    pub fn is_finalizing(&self) -> bool {
        self.pending.values().any(PendingCheckpoint::is_finalizing)
    }

    /// The job runs (again): periods begin now.
    pub fn start(&mut self, now: MonotonicTime) {
        self.next_periodic = self.settings.interval.map(|interval| now + interval);
    }

    /// Asks for a checkpoint.
    ///
    /// # Errors
    /// If too many requests wait.
    pub fn request(&mut self, request: TriggerRequest) -> Result<(), String> {
        if self.requests.len() >= MAX_REQUESTS {
            return Err(format!("{MAX_REQUESTS} checkpoints were asked for and wait; try again later"));
        }
        self.requests.push_back(request);
        Ok(())
    }

    /// Requests that were not begun; for when the job ends.
    pub fn take_requests(&mut self) -> Vec<TriggerRequest> {
        self.requests.drain(..).collect()
    }

    /// What is to be begun now, given that the tasks are ready: a request, or (`Some(None)`) a periodic or last
    /// checkpoint. `all_at_end` says that all tasks have reached the end of their data.
    #[must_use]
    pub fn due(&self, now: MonotonicTime, all_at_end: bool) -> Option<Option<TriggerRequest>> {
        if !self.has_room() {
            return None;
        }
        if let Some(request) = self.requests.front() {
            return Some(Some(*request));
        }
        if all_at_end && self.settings.after_tasks_finish && now >= self.final_not_before {
            return Some(None);
        }
        let periodic = self.next_periodic.is_some_and(|at| now >= at) && now >= self.not_before;
        periodic.then_some(None)
    }

    fn has_room(&self) -> bool {
        let concurrent = if self.settings.min_pause > Duration::ZERO { 1 } else { self.settings.max_concurrent.max(1) };
        self.pending.len() < concurrent as usize
    }

    /// When to look again, if nothing else happens: the next timeout and, if tasks are ready for a checkpoint, the next
    /// period.
    #[must_use]
    pub fn next_deadline(&self, ready: bool, all_at_end: bool) -> Option<MonotonicTime> {
        let timeouts =
            self.pending.values().filter(|p| !p.is_finalizing()).map(|p| p.started() + self.settings.timeout);
        let room = ready && self.has_room();
        let periodic = self.next_periodic.filter(|_| room).map(|at| at.max(self.not_before));
        let last = (room && all_at_end && self.settings.after_tasks_finish).then_some(self.final_not_before);
        timeouts.chain(periodic).chain(last).min()
    }

    /// The id that the next checkpoint will have.
    #[must_use]
    pub fn next_id(&self) -> CheckpointId {
        CheckpointId(self.next_id)
    }

    /// Begins a checkpoint that was due. The answer is the barrier for the tasks to be triggered.
    pub fn begin(
        &mut self,
        request: Option<TriggerRequest>,
        plan: CheckpointPlan,
        now: MonotonicTime,
        wall_ms: i64,
    ) -> CheckpointBarrier {
        let id = CheckpointId(self.next_id);
        self.next_id += 1;
        if request.is_some() {
            self.requests.pop_front();
        } else if let (Some(interval), Some(at)) = (self.settings.interval, self.next_periodic) {
            // A period that was missed is not made up for.
            self.next_periodic = Some(if at + interval > now { at + interval } else { now + interval });
        }
        let kind = request.map_or(SnapshotKind::Checkpoint, |r| r.kind);
        let options = CheckpointOptions { kind, alignment: self.settings.alignment };
        let barrier = CheckpointBarrier { id, timestamp_ms: wall_ms, options };
        self.pending.insert(id, PendingCheckpoint::new(&barrier, plan, request.map(|r| r.trigger), now));
        barrier
    }

    /// The checkpoint that was due could not even be begun: an enumerator failed. Uses up the id.
    pub fn refuse(
        &mut self,
        request: Option<TriggerRequest>,
        message: String,
        now: MonotonicTime,
    ) -> CoordinatorAction {
        let barrier = self.begin(request, CheckpointPlan::default(), now, 0);
        self.abort(barrier.id, AbortReason::EnumeratorFailed, message, now).expect("begun just now")
    }

    /// A task has stored its part. Repetitions and parts of checkpoints that are over are ignored.
    pub fn acknowledge(
        &mut self,
        graph: &ExecutionGraph,
        task: TaskIndex,
        ack: AcknowledgeCheckpoint,
    ) -> Option<CoordinatorAction> {
        let pending = self.pending.get_mut(&ack.checkpoint)?;
        if !pending.acknowledge(task, ack) || !pending.is_fully_acknowledged() {
            return None;
        }
        Some(CoordinatorAction::Finalize(Box::new(pending.finalize(graph))))
    }

    /// Whether it was given up, so that parts which are stored after that are to be deleted again. Known for the last
    /// few; of others, which may be complete and the user's, nothing is said.
    #[must_use]
    pub fn was_aborted(&self, checkpoint: CheckpointId) -> bool {
        self.aborted.contains(&checkpoint)
    }

    /// A task will not deliver its part.
    pub fn decline(
        &mut self,
        checkpoint: CheckpointId,
        reason: DeclineReason,
        message: String,
        now: MonotonicTime,
    ) -> Option<CoordinatorAction> {
        self.abort(checkpoint, AbortReason::Declined(reason), message, now)
    }

    /// Gives up what has taken too long.
    pub fn expire(&mut self, now: MonotonicTime) -> Vec<CoordinatorAction> {
        let timeout = self.settings.timeout;
        let late = |p: &&PendingCheckpoint| !p.is_finalizing() && now >= p.started() + timeout;
        let late: Vec<_> = self.pending.values().filter(late).map(|p| (p.id(), p.missing_count())).collect();
        let message = |missing| format!("not complete after {timeout:?}; {missing} tasks have not acknowledged");
        late.into_iter()
            .filter_map(|(id, missing)| self.abort(id, AbortReason::Expired, message(missing), now))
            .collect()
    }

    /// A task ended without its part: checkpoints that still wait for it cannot complete.
    pub fn task_ended(&mut self, task: TaskIndex, name: &str, now: MonotonicTime) -> Vec<CoordinatorAction> {
        let waiting = self.pending.values().filter(|p| p.waits_for(task));
        let waiting: Vec<_> = waiting.map(PendingCheckpoint::id).collect();
        let message = format!("{name} ended before it acknowledged");
        waiting.into_iter().filter_map(|id| self.abort(id, AbortReason::TaskEnded, message.clone(), now)).collect()
    }

    /// Gives up everything that is not being finalized.
    pub fn abort_all(&mut self, reason: AbortReason, message: &str, now: MonotonicTime) -> Vec<CoordinatorAction> {
        let ids: Vec<_> = self.pending.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.abort(id, reason, message.to_owned(), now)).collect()
    }

    fn abort(
        &mut self,
        checkpoint: CheckpointId,
        reason: AbortReason,
        message: String,
        now: MonotonicTime,
    ) -> Option<CoordinatorAction> {
        if self.pending.get(&checkpoint)?.is_finalizing() && reason != AbortReason::FinalizeFailed {
            return None;
        }
        let pending = self.pending.remove(&checkpoint)?;
        if self.aborted.len() == ABORTED_KEPT {
            self.aborted.pop_front();
        }
        self.aborted.push_back(checkpoint);
        self.ended(now);
        self.final_not_before =
            now + self.settings.interval.unwrap_or(FINAL_CHECKPOINT_RETRY).min(FINAL_CHECKPOINT_RETRY);
        let too_many = reason.is_counted() && self.failures.failed(checkpoint);
        let stopping = matches!(pending.kind(), SnapshotKind::Savepoint { stop: Some(_) });
        let fail_job = too_many || (stopping && matches!(reason, AbortReason::Declined(_)));
        Some(CoordinatorAction::Abort { checkpoint, message, trigger: pending.trigger(), fail_job })
    }

    fn ended(&mut self, now: MonotonicTime) {
        self.not_before = now + self.settings.min_pause;
    }

    /// The metadata of a checkpoint is written (with its location and size), or could not be.
    pub fn finalized(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(String, u64), String>,
        now: MonotonicTime,
    ) -> Vec<CoordinatorAction> {
        if !self.pending.get(&checkpoint).is_some_and(PendingCheckpoint::is_finalizing) {
            return Vec::new();
        }
        let (location, size_bytes) = match result {
            Ok(stored) => stored,
            Err(message) => {
                return self.abort(checkpoint, AbortReason::FinalizeFailed, message, now).into_iter().collect();
            }
        };
        let pending = self.pending.remove(&checkpoint).expect("looked up just now");
        self.ended(now);
        self.failures.succeeded();
        let duration_ms = u64::try_from((now - pending.started()).as_millis()).unwrap_or(u64::MAX);
        let summary = CheckpointSummary { checkpoint, location: location.clone(), size_bytes, duration_ms };
        let mut actions = vec![CoordinatorAction::Complete { summary, trigger: pending.trigger() }];
        let is_savepoint = pending.kind() != SnapshotKind::Checkpoint;
        let subsumed = self.completed.add(pending.into_restore_point(location), is_savepoint);
        actions.extend(subsumed.into_iter().map(CoordinatorAction::Discard));
        if !is_savepoint {
            let older: Vec<_> = self.pending.range(..checkpoint).map(|(id, _)| *id).collect();
            let message = format!("{checkpoint} was complete first");
            let aborted =
                older.into_iter().filter_map(|id| self.abort(id, AbortReason::Subsumed, message.clone(), now));
            actions.extend(aborted.collect::<Vec<_>>());
        }
        actions
    }

    /// Complete checkpoints to be deleted with the job.
    pub fn dispose(&mut self, cancelled: bool, failed: bool) -> Vec<StoredCheckpoint> {
        let keep = match self.settings.retention {
            CheckpointRetention::NoExternalized => false,
            CheckpointRetention::DeleteOnCancellation => failed,
            CheckpointRetention::RetainOnCancellation => failed || cancelled,
        };
        if keep { Vec::new() } else { self.completed.take_owned() }
    }
}
