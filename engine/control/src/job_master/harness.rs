//! A JobMaster with TaskExecutors that a test moves by hand; every action is checked as it comes out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_core::failure::{Failure, FailureKind};
use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, LeaderEpoch, OperatorUid, SubtaskIndex};
use flumen_core::source::{SourceSplit, SplitEnumerator, SplitResponse};
use flumen_gateway::{
    AcknowledgeCheckpoint, CheckpointMetrics, ClientEvent, DeclineCheckpoint, DeclineReason, ExecutionState,
    FailureReport, JobMasterMessage, JobStatus, Outbox, TaskDeploymentDescriptor, TaskExecutorId, TaskExecutorMessage,
    TaskStateChanged,
};
use flumen_io::{MonotonicTime, Rng};

use super::*;
use crate::checkpoint_coordinator::CheckpointContents;

pub(super) const EPOCH: LeaderEpoch = LeaderEpoch(5);
pub(super) const EXECUTOR: TaskExecutorId = TaskExecutorId(1);

/// Hands out numbered splits; its state is what is left.
pub(super) struct Numbers {
    pub(super) left: VecDeque<u8>,
}

impl SplitEnumerator for Numbers {
    fn request_split(&mut self, _reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        Ok(match self.left.pop_front() {
            Some(255) => return Err(Failure::transient("the source is broken")),
            Some(254) => {
                self.left.push_front(254);
                SplitResponse::Wait
            }
            Some(number) => SplitResponse::Assign(vec![SourceSplit { id: number.to_string(), payload: vec![number] }]),
            None => SplitResponse::NoMoreSplits,
        })
    }

    fn add_splits_back(&mut self, splits: Vec<SourceSplit>) {
        self.left.extend(splits.into_iter().map(|s| s.payload[0]));
    }

    fn poll(&mut self) -> Result<Vec<(SubtaskIndex, SplitResponse)>, Failure> {
        self.left.retain(|n| *n != 254);
        Ok(vec![(SubtaskIndex(0), self.request_split(SubtaskIndex(0))?)])
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        Ok(self.left.iter().copied().collect())
    }
}

pub(super) struct Harness {
    pub(super) master: JobMaster,
    pub(super) now: MonotonicTime,
    /// What was sent and not looked at.
    pub(super) sent: Vec<(TaskExecutorId, TaskExecutorMessage)>,
    pub(super) notified: Vec<ClientEvent>,
    pub(super) finalize: Vec<CheckpointContents>,
    pub(super) create: Vec<(OperatorUid, u64, Option<Vec<u8>>)>,
    pub(super) discarded: Vec<(CheckpointId, Option<String>)>,
    pub(super) ended: Option<(JobStatus, Option<FailureReport>)>,
    pub(super) outboxes: BTreeMap<TaskExecutorId, Outbox>,
    expected_request: BTreeMap<TaskExecutorId, u64>,
    last_checkpoint: u64,
}

impl Harness {
    pub(super) fn new(graph: Arc<JobGraph>, options: JobMasterOptions, restore: Option<RestorePoint>) -> Self {
        let last_checkpoint = restore.as_ref().map_or(0, |r| r.checkpoint.0);
        let master = JobMaster::new(graph, EPOCH, options, restore, None, Box::new(Rng::from_seed(1)));
        Self {
            master,
            now: MonotonicTime::from_nanos(1_000_000_000),
            sent: Vec::new(),
            notified: Vec::new(),
            finalize: Vec::new(),
            create: Vec::new(),
            discarded: Vec::new(),
            ended: None,
            outboxes: BTreeMap::new(),
            expected_request: BTreeMap::new(),
            last_checkpoint,
        }
    }

    /// With one TaskExecutor, started, with enumerators that hand out these numbers.
    pub(super) fn started(graph: Arc<JobGraph>, options: JobMasterOptions, slots: u32, splits: &[u8]) -> Self {
        let mut harness = Self::new(graph, options, None);
        harness.register(EXECUTOR, slots);
        harness.on(Event::Start);
        harness.create_enumerators(splits);
        harness
    }

    pub(super) fn register(&mut self, executor: TaskExecutorId, slots: u32) {
        let job = self.master.graph().job_graph().job;
        self.outboxes.insert(executor, Outbox::new(job, EPOCH));
        self.on(Event::TaskExecutorRegistered { executor, slots });
    }

    /// Answers all requests for enumerators; fresh ones hand out `splits`.
    pub(super) fn create_enumerators(&mut self, splits: &[u8]) {
        for (operator, generation, state) in std::mem::take(&mut self.create) {
            let left = state.unwrap_or_else(|| splits.to_vec()).into();
            let result: Result<Box<dyn SplitEnumerator>, _> = Ok(Box::new(Numbers { left }));
            self.on(Event::EnumeratorCreated { operator, generation, result });
        }
    }

    pub(super) fn on(&mut self, event: Event) {
        let shown = format!("{event:?}");
        let over = self.ended.is_some();
        let now = Now { time: self.now, wall_ms: 1_700_000_000_000 };
        for action in self.master.on(event, now) {
            match action {
                Action::Send { executor, envelope } => {
                    assert!(!over, "{shown} made an ended job send {envelope:?}");
                    let expected = self.expected_request.entry(executor).or_default();
                    assert_eq!((envelope.request.0, envelope.epoch), (*expected, EPOCH));
                    *expected += 1;
                    self.check_message(&envelope.message, &shown);
                    self.sent.push((executor, envelope.message));
                }
                Action::CreateEnumerator { operator, generation, state, .. } => {
                    self.create.push((operator, generation, state.map(|s| s.to_vec())));
                }
                Action::FinalizeCheckpoint(contents) => self.finalize.push(*contents),
                Action::DiscardCheckpoint { checkpoint, location } => self.discarded.push((checkpoint, location)),
                Action::Notify(event) => self.notified.push(event),
                Action::JobEnded { status, failure } => {
                    assert!(self.ended.is_none(), "a job ends once");
                    self.ended = Some((status, failure));
                }
            }
        }
        self.check_graph(&shown);
    }

    fn check_message(&mut self, message: &TaskExecutorMessage, event: &str) {
        if let Some(attempt) = message.attempt() {
            let current = self.master.graph().find_current(attempt);
            assert!(current.is_some(), "{event} acts on the stale attempt {attempt}: {message:?}");
        }
        if let TaskExecutorMessage::TriggerCheckpoint { barrier, .. } = message {
            assert!(barrier.id.0 >= self.last_checkpoint, "{event} goes back to {}", barrier.id);
            self.last_checkpoint = barrier.id.0;
        }
    }

    fn check_graph(&self, event: &str) {
        let graph = self.master.graph();
        let mut counts = [0; 9];
        let mut live = 0;
        for task in graph.task_indices() {
            let attempts = graph.task(task).attempts();
            let running = attempts.iter().filter(|e| e.is_live()).count();
            assert!(running <= 1, "{event}: {running} attempts of {task:?} live");
            live += running as u32;
            counts[graph.state(task) as usize] += 1;
        }
        assert_eq!((counts, live), (self.master.counts, self.master.live_attempts), "{event}");
        if self.ended.as_ref().is_some_and(|(status, _)| status.is_globally_terminal()) {
            assert_eq!(live, 0, "{event} ended the job with tasks alive");
            assert_eq!(self.master.pool.free(), self.master.pool.total(), "{event}: slots were kept");
        }
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.on(Event::Tick);
    }

    /// What was sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<TaskExecutorMessage> {
        std::mem::take(&mut self.sent).into_iter().map(|(_, message)| message).collect()
    }

    /// The submissions among what was sent; the rest is dropped.
    pub(super) fn take_submitted(&mut self) -> Vec<TaskDeploymentDescriptor> {
        let descriptor = |message| match message {
            TaskExecutorMessage::SubmitTask(descriptor) => Some(*descriptor),
            _ => None,
        };
        self.take_sent().into_iter().filter_map(descriptor).collect()
    }

    /// The current attempt of a subtask.
    pub(super) fn attempt(&self, vertex: usize, subtask: u32) -> ExecutionAttemptId {
        let graph = self.master.graph();
        graph.primary_id(graph.task_at(vertex, subtask))
    }

    pub(super) fn tell_from(&mut self, from: TaskExecutorId, message: JobMasterMessage) {
        let envelope = self.outboxes.get_mut(&from).expect("a registered TaskExecutor").wrap(message);
        self.on(Event::Message { from, envelope });
    }

    pub(super) fn tell(&mut self, message: JobMasterMessage) {
        self.tell_from(EXECUTOR, message);
    }

    pub(super) fn state(&mut self, attempt: ExecutionAttemptId, state: ExecutionState) {
        self.tell(JobMasterMessage::TaskStateChanged(TaskStateChanged { attempt, state, failure: None }));
    }

    pub(super) fn fail(&mut self, attempt: ExecutionAttemptId, report: FailureReport) {
        let state = ExecutionState::Failed;
        self.tell(JobMasterMessage::TaskStateChanged(TaskStateChanged { attempt, state, failure: Some(report) }));
    }

    pub(super) fn fail_transient(&mut self, attempt: ExecutionAttemptId) {
        self.fail(attempt, FailureReport::new(FailureKind::Transient, "the disk is gone"));
    }

    /// Every attempt that was deployed says that it runs.
    pub(super) fn run_all(&mut self) {
        for state in [ExecutionState::Deploying, ExecutionState::Initializing] {
            for attempt in self.attempts_in(state) {
                self.state(attempt, ExecutionState::Running);
            }
        }
    }

    /// Every attempt that was asked to stop has stopped.
    pub(super) fn cancel_all(&mut self) {
        for attempt in self.attempts_in(ExecutionState::Canceling) {
            self.state(attempt, ExecutionState::Canceled);
        }
    }

    pub(super) fn attempts_in(&self, state: ExecutionState) -> Vec<ExecutionAttemptId> {
        let graph = self.master.graph();
        graph.task_indices().filter(|t| graph.state(*t) == state).map(|t| graph.primary_id(t)).collect()
    }

    pub(super) fn acknowledge(&mut self, attempt: ExecutionAttemptId, checkpoint: u64, finished: bool) {
        self.tell(JobMasterMessage::AcknowledgeCheckpoint(AcknowledgeCheckpoint {
            attempt,
            checkpoint: CheckpointId(checkpoint),
            handles: Vec::new(),
            finished,
            metrics: CheckpointMetrics::default(),
        }));
    }

    pub(super) fn decline(&mut self, attempt: ExecutionAttemptId, checkpoint: u64, reason: DeclineReason) {
        self.tell(JobMasterMessage::DeclineCheckpoint(DeclineCheckpoint {
            attempt,
            checkpoint: CheckpointId(checkpoint),
            reason,
            message: "no".to_owned(),
        }));
    }

    pub(super) fn finalized(&mut self, checkpoint: u64) {
        let result = Ok((format!("/chk-{checkpoint}"), 10));
        self.on(Event::CheckpointFinalized { checkpoint: CheckpointId(checkpoint), result });
    }

    /// Takes the checkpoint that has been triggered to its end.
    pub(super) fn complete(&mut self, checkpoint: u64) {
        for attempt in self.attempts_in(ExecutionState::Running) {
            self.acknowledge(attempt, checkpoint, false);
        }
        self.finalized(checkpoint);
    }

    pub(super) fn request_split(&mut self, attempt: ExecutionAttemptId, request: u64) {
        self.tell(JobMasterMessage::RequestSplit { attempt, operator: "uid-0".into(), request });
    }
}
