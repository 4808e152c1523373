//! What a JobMaster is told by TaskExecutors.

use flumen_core::failure::{Failure, FailureKind};
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, OperatorUid, ResultPartitionId};
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::state::ExecutionState;

/// Why a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// How it is to be treated.
    pub kind: FailureKind,
    /// The chain of causes, outermost first.
    pub message: String,
    /// The partition that could not be read, if that was it; its producer runs again first, or is the one that failed.
    pub partition: Option<ResultPartitionId>,
}

impl FailureReport {
    /// A report without a partition.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), partition: None }
    }
}

impl From<&Failure> for FailureReport {
    fn from(failure: &Failure) -> Self {
        Self { partition: failure.partition(), ..Self::new(failure.failure_kind(), failure.chain()) }
    }
}

/// A task has changed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStateChanged {
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// INITIALIZING, RUNNING, FINISHED, CANCELED or FAILED.
    pub state: ExecutionState,
    /// With FAILED: why.
    pub failure: Option<FailureReport>,
}

/// The state of one operator of one subtask in one checkpoint, as `flumen-state` wrote it. Opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHandle {
    /// The operator.
    pub operator: OperatorUid,
    /// Where its state is, in `flumen-state`'s own versioned form.
    pub payload: Vec<u8>,
    /// Size of the state.
    pub size_bytes: u64,
}

/// How long a subtask's part of a checkpoint took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMetrics {
    /// From the first barrier to the last, in microseconds.
    pub alignment_us: u64,
    /// Part during which the task could not process rows, in microseconds.
    pub sync_us: u64,
    /// From the end of that part to the state being stored, in microseconds.
    pub async_us: u64,
    /// From the trigger to the first barrier, in microseconds of wall-clock time.
    pub start_delay_us: u64,
}

/// A subtask's part of a checkpoint is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeCheckpoint {
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Its state, by operator; operators without state are left out.
    pub handles: Vec<StateHandle>,
    /// The barrier came after the end of data and `finish`: a restore has nothing left to do here.
    pub finished: bool,
    /// How long it took.
    pub metrics: CheckpointMetrics,
}

/// Why a task cannot take part in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeclineReason {
    /// It is not running yet, or not any more. Not counted as a failure.
    TaskNotReady,
    /// A newer barrier came first. Not counted.
    Subsumed,
    /// An input ended during alignment. Not counted.
    InputEnded,
    /// Taking the snapshot failed in the task.
    SnapshotFailed,
    /// Storing the snapshot failed afterwards.
    UploadFailed,
}

/// A subtask cannot take part in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclineCheckpoint {
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Why, for counting.
    pub reason: DeclineReason,
    /// Why, for people.
    pub message: String,
}

/// Counters of a task since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// Rows read from inputs.
    pub rows_in: u64,
    /// Rows written to results.
    pub rows_out: u64,
    /// Bytes read from inputs.
    pub bytes_in: u64,
    /// Bytes written to results.
    pub bytes_out: u64,
    /// Time spent working, in microseconds.
    pub busy_us: u64,
    /// Time spent without credit, in microseconds.
    pub backpressured_us: u64,
    /// Time spent without input, in microseconds.
    pub idle_us: u64,
}

/// A message to a JobMaster. What names a former attempt is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JobMasterMessage {
    /// A task has changed its state.
    TaskStateChanged(TaskStateChanged),
    /// A task has seen the end of its data and called `finish`; it may still be waiting for a last checkpoint.
    EndOfData {
        /// The attempt.
        attempt: ExecutionAttemptId,
    },
    /// A part of a checkpoint is stored.
    AcknowledgeCheckpoint(AcknowledgeCheckpoint),
    /// A part of a checkpoint will not come.
    DeclineCheckpoint(DeclineCheckpoint),
    /// A source wants work.
    RequestSplit {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The source in its chain.
        operator: OperatorUid,
        /// Counted from 0 by attempt and operator; the answer repeats it. No second request before an answer.
        request: u64,
    },
    /// A hybrid partition can be read, though it is not complete.
    PartitionDataAvailable {
        /// The partition.
        partition: ResultPartitionId,
    },
    /// Counters, now and then, and once before the end.
    TaskMetrics {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The counters.
        metrics: TaskMetrics,
    },
}

impl JobMasterMessage {
    /// The attempt it comes from.
    #[must_use]
    pub fn attempt(&self) -> ExecutionAttemptId {
        match self {
            Self::TaskStateChanged(change) => change.attempt,
            Self::AcknowledgeCheckpoint(ack) => ack.attempt,
            Self::DeclineCheckpoint(decline) => decline.attempt,
            Self::EndOfData { attempt } | Self::RequestSplit { attempt, .. } | Self::TaskMetrics { attempt, .. } => {
                *attempt
            }
            Self::PartitionDataAvailable { partition } => partition.producer,
        }
    }
}

/// Sends to one JobMaster. Never waits; order as for [`TaskExecutorGateway`](crate::TaskExecutorGateway).
pub trait JobMasterGateway: Send + Sync {
    /// Sends.
    fn send(&self, message: Envelope<JobMasterMessage>);
}
