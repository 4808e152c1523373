//! One job: its ExecutionGraph, and everything that moves it.
//!
//! A pure state machine: [`JobMaster::on`] takes an event and the time, and answers with actions. It has no thread, reads
//! no clock, does no I/O; the actor around it carries actions out, in order, and calls [`Event::Tick`] when
//! [`JobMaster::next_deadline`] has come. Enumerators are created elsewhere (that may read metadata) and then called here.
//!
//! Invariants: a subtask has one attempt that lives, unless attempts race on purpose; nothing is sent for an attempt that
//! is not current; messages of other epochs, jobs, TaskExecutors and former attempts change nothing; checkpoint ids only
//! grow; after a cancellation the job ends as soon as its TaskExecutors have answered or are lost.
//!
//! | file | holds |
//! |---|---|
//! | [`events`], [`actions`] | the two ends |
//! | `deploy` | slots, descriptors, submissions |
//! | `messages` | what tasks report |
//! | `recovery` | failures, restarts, cancellation, the end |
//! | `consequence` | failures that follow from another |
//! | `checkpoints` | between coordinator and tasks |
//! | `splits` | source splits |

pub mod actions;
mod checkpoints;
mod consequence;
mod deploy;
pub mod events;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod harness;
mod messages;
mod recovery;
mod splits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, LeaderEpoch};
use flumen_core::spec::OperatorPayload;
use flumen_core::spec::connector::SinkSpec;
use flumen_gateway::{
    ClientEvent, EpochGuard, ExecutionState, FailureReport, InOrder, JobMasterMessage, JobStatus, Outbox,
    ProducerGroup, TaskExecutorId, TaskExecutorMessage, TaskInformation, TaskMetrics,
};
use flumen_io::{MonotonicTime, RandomSource};

pub use actions::Action;
pub use events::{Event, Now};
pub use recovery::{EXCEPTION_HISTORY, ExceptionRecord};

use crate::checkpoint_coordinator::{CheckpointCoordinator, CheckpointSettings, RestorePoint};
use crate::execution_graph::{ExecutionGraph, TaskIndex};
use crate::failover::{FailoverStrategy, PartitionTracker};
use crate::restart::{RestartStrategy, RestartStrategyOptions};
use crate::scheduler::PipelinedRegionScheduler;
use crate::slots::pool::SlotPool;
use crate::slots::sharing::SlotSharing;
use consequence::Consequence;
use recovery::PendingRestart;
use splits::SplitCoordinator;

/// How often enumerators are asked whether something came up for readers that wait.
const ENUMERATOR_POLL: Duration = Duration::from_millis(100);
/// Messages of one TaskExecutor that are held back while an earlier one is missing.
const INBOX_WINDOW: usize = 4096;

/// Settings of a job, read once.
#[derive(Clone, Debug)]
pub struct JobMasterOptions {
    /// Checkpoints. Without an interval none are taken but those asked for.
    pub checkpoints: CheckpointSettings,
    /// Restarts; `None` means the default ([`RestartStrategyOptions::default_for`]).
    pub restart: Option<RestartStrategyOptions>,
    /// Which subtasks restart.
    pub failover: FailoverStrategy,
    /// How long to wait for slots that are not there; zero gives up at once.
    pub slot_request_timeout: Duration,
    /// What tasks are given as the job's configuration.
    pub configuration: BTreeMap<String, String>,
}

impl Default for JobMasterOptions {
    fn default() -> Self {
        Self {
            checkpoints: CheckpointSettings::default(),
            restart: None,
            failover: FailoverStrategy::Region,
            slot_request_timeout: Duration::from_secs(300),
            configuration: BTreeMap::new(),
        }
    }
}

/// See the module.
pub struct JobMaster {
    graph: ExecutionGraph,
    options: JobMasterOptions,
    epoch: EpochGuard,
    status: JobStatus,
    ended: bool,
    scheduler: PipelinedRegionScheduler,
    pool: SlotPool,
    sharing: SlotSharing,
    slots_missing_since: Option<MonotonicTime>,
    executors_lost: u32,
    partitions: PartitionTracker,
    /// By exchange: consumers that have finished.
    consumers_finished: Vec<u32>,
    restart_strategy: Box<dyn RestartStrategy>,
    pending_restart: Option<PendingRestart>,
    restarts: u32,
    root_cause: Option<FailureReport>,
    exceptions: VecDeque<ExceptionRecord>,
    consequences: Vec<Consequence>,
    /// Whether the exchanges of the job let barriers pass.
    checkpointable: bool,
    coordinator: CheckpointCoordinator,
    sources: SplitCoordinator,
    next_poll: MonotonicTime,
    /// By vertex.
    task_information: Vec<Arc<TaskInformation>>,
    /// By vertex; built when needed, dropped when an attempt changes.
    producer_groups: Vec<Option<Arc<ProducerGroup>>>,
    outboxes: BTreeMap<TaskExecutorId, Outbox>,
    inboxes: BTreeMap<TaskExecutorId, InOrder<JobMasterMessage>>,
    /// By state of the primary attempt.
    counts: [u32; 9],
    live_attempts: u32,
    at_end_of_data: u32,
    metrics: Vec<TaskMetrics>,
    actions: Vec<Action>,
}

impl JobMaster {
    /// A job that has not started. `restore` is what to start from, if anything; checkpoint ids begin after
    /// `last_checkpoint` and after it.
    #[must_use]
    pub fn new(
        graph: Arc<JobGraph>,
        epoch: LeaderEpoch,
        options: JobMasterOptions,
        restore: Option<RestorePoint>,
        last_checkpoint: Option<CheckpointId>,
        rng: Box<dyn RandomSource>,
    ) -> Self {
        let restored = restore.as_ref().map(|r| r.checkpoint);
        let first = CheckpointId(restored.max(last_checkpoint).map_or(1, |id| id.0 + 1));
        let checkpointable =
            graph.vertices.iter().flat_map(|v| &v.produced).all(|d| d.partition_type.must_be_pipelined());
        let periodic = checkpointable && options.checkpoints.interval.is_some();
        let has_sinks = graph.vertices.iter().flat_map(|v| &v.operators).any(|o| o.spec.kind == SinkSpec::KIND);
        let configuration = Arc::new(options.configuration.clone());
        let information = |vertex: &flumen_core::graph::JobVertex| {
            Arc::new(TaskInformation {
                job: graph.job,
                job_name: graph.name.clone(),
                vertex: vertex.clone(),
                configuration: Arc::clone(&configuration),
                checkpointing: periodic,
                waits_for_final_checkpoint: periodic && has_sinks && options.checkpoints.after_tasks_finish,
            })
        };
        let task_information: Vec<_> = graph.vertices.iter().map(information).collect();
        let strategy = options.restart.clone().unwrap_or_else(|| RestartStrategyOptions::default_for(periodic));
        let sharing = SlotSharing::new(&graph);
        let sources = SplitCoordinator::new(&graph);
        let graph = ExecutionGraph::new(graph);
        let mut counts = [0; 9];
        counts[ExecutionState::Created as usize] = graph.task_count() as u32;
        Self {
            scheduler: PipelinedRegionScheduler::new(&graph),
            partitions: PartitionTracker::new(&graph),
            consumers_finished: vec![0; graph.exchanges().len()],
            coordinator: CheckpointCoordinator::new(options.checkpoints.clone(), first, restore),
            restart_strategy: strategy.build(rng),
            producer_groups: vec![None; task_information.len()],
            metrics: vec![TaskMetrics::default(); graph.task_count()],
            epoch: EpochGuard::new(epoch),
            status: JobStatus::Created,
            ended: false,
            pool: SlotPool::default(),
            sharing,
            slots_missing_since: None,
            executors_lost: 0,
            pending_restart: None,
            restarts: 0,
            root_cause: None,
            exceptions: VecDeque::new(),
            consequences: Vec::new(),
            checkpointable,
            sources,
            next_poll: MonotonicTime::ZERO,
            task_information,
            outboxes: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            counts,
            live_attempts: 0,
            at_end_of_data: 0,
            actions: Vec::new(),
            graph,
            options,
        }
    }

    /// Something happened.
    pub fn on(&mut self, event: Event, now: Now) -> Vec<Action> {
        match event {
            Event::Start => self.start(now),
            Event::Cancel => self.cancel(now),
            Event::Suspend => self.suspend(now),
            Event::TaskExecutorRegistered { executor, slots } => self.executor_registered(executor, slots),
            Event::TaskExecutorLost { executor, reason } => self.executor_lost(executor, &reason, now),
            Event::Message { from, envelope } => self.message(from, envelope, now),
            Event::EnumeratorCreated { operator, generation, result } => {
                self.enumerator_created(&operator, generation, result, now);
            }
            Event::CheckpointFinalized { checkpoint, result } => self.checkpoint_finalized(checkpoint, result, now),
            Event::TriggerCheckpoint { trigger, kind } => self.checkpoint_requested(trigger, kind),
            Event::Tick => {}
        }
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Event::Tick`] is to be sent, if no event comes before. Ask after every event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicTime> {
        if self.ended || self.status == JobStatus::Created {
            return None;
        }
        let slots = self.slots_missing_since.map(|since| since + self.options.slot_request_timeout);
        let restart = self.pending_restart.as_ref().filter(|r| r.live == 0).map(|r| r.at);
        let restart = restart.filter(|_| !self.coordinator.is_finalizing());
        let checkpoint = self.coordinator.next_deadline(self.is_ready_for_checkpoint(), self.all_at_end_of_data());
        let poll = self.sources.has_waiting_readers().then_some(self.next_poll);
        [slots, restart, checkpoint, poll].into_iter().flatten().min()
    }

    /// Where the job is.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.status
    }

    /// Its subtasks.
    #[must_use]
    pub fn graph(&self) -> &ExecutionGraph {
        &self.graph
    }

    /// Its checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> &CheckpointCoordinator {
        &self.coordinator
    }

    /// Failures, oldest first; at most [`EXCEPTION_HISTORY`].
    #[must_use]
    pub fn exceptions(&self) -> &VecDeque<ExceptionRecord> {
        &self.exceptions
    }

    /// How often the job, or a part of it, has started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How many subtasks there are in a state.
    #[must_use]
    pub fn count(&self, state: ExecutionState) -> u32 {
        self.counts[state as usize]
    }

    /// The last counters that a subtask reported.
    #[must_use]
    pub fn metrics(&self, task: TaskIndex) -> &TaskMetrics {
        &self.metrics[task.0 as usize]
    }

    fn start(&mut self, now: Now) {
        if self.status != JobStatus::Created {
            return;
        }
        self.set_status(JobStatus::Running);
        let states = self.coordinator.completed().latest().map(|r| r.enumerators.clone());
        let create = self.sources.create_all(self.graph.job_graph(), states.as_ref());
        self.actions.extend(create);
        self.coordinator.start(now.time);
    }

    /// Everything that follows from the state itself, whatever the event was.
    fn advance(&mut self, now: Now) {
        if self.ended || self.status == JobStatus::Created {
            return;
        }
        self.expire_checkpoints(now);
        self.settle_consequences(now);
        self.poll_enumerators(now);
        self.finish_restart(now);
        self.schedule(now);
        self.check_slots(now);
        self.trigger_checkpoint(now);
        self.finish_job(now);
    }

    fn set_status(&mut self, status: JobStatus) {
        if self.status != status {
            self.status = status;
            let failure = match status {
                JobStatus::Failing | JobStatus::Failed | JobStatus::Restarting => self.root_cause.clone(),
                _ => None,
            };
            let job = self.graph.job_graph().job;
            self.actions.push(Action::Notify(ClientEvent::JobStatusChanged { job, status, failure }));
        }
    }

    /// Moves an attempt on and keeps all counts; false if the attempt is stale or the state does not follow.
    fn transition(&mut self, id: ExecutionAttemptId, state: ExecutionState) -> bool {
        let Some((task, execution)) = self.graph.find_current(id) else { return false };
        let (was_live, at_end, slot) = (execution.is_live(), execution.end_of_data, execution.slot);
        let before = self.graph.state(task);
        if !self.graph.advance(id, state) {
            return false;
        }
        let after = self.graph.state(task);
        self.counts[before as usize] -= 1;
        self.counts[after as usize] += 1;
        let is_live = !state.is_terminal() && state != ExecutionState::Created;
        if is_live && !was_live {
            self.live_attempts += 1;
        }
        if was_live && !is_live {
            self.live_attempts -= 1;
            self.at_end_of_data -= u32::from(at_end);
            if let Some(restart) = &mut self.pending_restart
                && restart.members[task.0 as usize]
            {
                restart.live -= 1;
            }
            if slot.is_some() {
                let key = self.sharing.key(self.graph.vertex_of(task), self.graph.subtask_of(task));
                self.sharing.release(key, &mut self.pool);
            }
        }
        self.scheduler.update(&self.graph, task);
        true
    }

    /// Sends to a TaskExecutor, unless it is gone.
    fn send(&mut self, executor: TaskExecutorId, message: TaskExecutorMessage) {
        if self.pool.knows(executor)
            && let Some(outbox) = self.outboxes.get_mut(&executor)
        {
            let envelope = outbox.wrap(message);
            self.actions.push(Action::Send { executor, envelope });
        }
    }

    fn executor_registered(&mut self, executor: TaskExecutorId, slots: u32) {
        if self.pool.knows(executor) || self.outboxes.contains_key(&executor) {
            return;
        }
        self.pool.offer(executor, slots);
        self.outboxes.insert(executor, Outbox::new(self.graph.job_graph().job, self.epoch.current()));
        self.inboxes.insert(executor, InOrder::new(INBOX_WINDOW));
    }
}
