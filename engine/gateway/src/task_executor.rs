//! What a TaskExecutor is told.

use std::fmt;

use flumen_core::element::CheckpointBarrier;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, OperatorUid, ResultPartitionId, SlotId};
use flumen_core::source::SourceSplit;
use serde::{Deserialize, Serialize};

use crate::deployment::TaskDeploymentDescriptor;
use crate::envelope::Envelope;

/// A TaskExecutor; a new number for every process that registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskExecutorId(pub u32);

impl fmt::Display for TaskExecutorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task-executor-{}", self.0)
    }
}

/// One slot of one TaskExecutor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotAddress {
    /// The TaskExecutor.
    pub executor: TaskExecutorId,
    /// Which of its slots.
    pub slot: SlotId,
}

impl fmt::Display for SlotAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.executor, self.slot)
    }
}

/// A message to a TaskExecutor. All are idempotent: what names an unknown or ended attempt is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskExecutorMessage {
    /// Run this attempt. Ignored if it is or was already here. Answered by state changes.
    SubmitTask(Box<TaskDeploymentDescriptor>),
    /// Stop it. Answered by CANCELED, or by FINISHED or FAILED if that came first; an attempt that is not here is
    /// answered by CANCELED at once, and is not started if its submission arrives later.
    CancelTask {
        /// The attempt.
        attempt: ExecutionAttemptId,
    },
    /// Begin a checkpoint here. Sent to sources, which take it at once, and to tasks whose producers have all finished,
    /// which take it after they have read their inputs to the end. Answered by acknowledge or decline.
    TriggerCheckpoint {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The barrier.
        barrier: CheckpointBarrier,
    },
    /// The checkpoint and all before it are complete: what waited for them may be committed.
    NotifyCheckpointComplete {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The checkpoint will not complete; alignment on it ends.
    NotifyCheckpointAborted {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The newest complete checkpoint, if any; a lost notification is made up for by it.
        latest_completed: Option<CheckpointId>,
    },
    /// Nobody will read these any more; free what they hold. Unknown ones are ignored.
    ReleasePartitions {
        /// The partitions.
        partitions: Vec<ResultPartitionId>,
    },
    /// The answer to a [`RequestSplit`](crate::JobMasterMessage::RequestSplit) with the same number. A task ignores
    /// answers to numbers that it is not waiting for.
    AssignSplits {
        /// The attempt.
        attempt: ExecutionAttemptId,
        /// The source in its chain.
        operator: OperatorUid,
        /// The number of the request.
        request: u64,
        /// What to read.
        splits: Vec<SourceSplit>,
        /// No split follows.
        last: bool,
    },
}

impl TaskExecutorMessage {
    /// The attempt it concerns, if it concerns one.
    #[must_use]
    pub fn attempt(&self) -> Option<ExecutionAttemptId> {
        match self {
            Self::SubmitTask(descriptor) => Some(descriptor.attempt),
            Self::CancelTask { attempt }
            | Self::TriggerCheckpoint { attempt, .. }
            | Self::NotifyCheckpointComplete { attempt, .. }
            | Self::NotifyCheckpointAborted { attempt, .. }
            | Self::AssignSplits { attempt, .. } => Some(*attempt),
            Self::ReleasePartitions { .. } => None,
        }
    }
}

/// Sends to one TaskExecutor. Never waits; messages of one sender arrive in the order of their request ids or not at all
/// (then the connection is lost, and the sender learns of it as the loss of the TaskExecutor).
pub trait TaskExecutorGateway: Send + Sync {
    /// Sends.
    fn send(&self, message: Envelope<TaskExecutorMessage>);
}
