//! What a JobMaster is told.

use std::fmt;

use flumen_core::element::SnapshotKind;
use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_core::source::SplitEnumerator;
use flumen_gateway::{Envelope, FailureReport, JobMasterMessage, TaskExecutorId, TriggerId};
use flumen_io::MonotonicTime;

/// The time of an event, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For intervals and deadlines.
    pub time: MonotonicTime,
    /// For people and barriers, in milliseconds since the epoch.
    pub wall_ms: i64,
}

/// Something that happened.
pub enum Event {
    /// Begin. TaskExecutors that are known should be registered before. Ignored the second time.
    Start,
    /// A client wants the job to stop. Ignored if it is ending.
    Cancel,
    /// The JobMaster has lost its leadership: it says nothing more, and another one goes on.
    Suspend,
    /// A TaskExecutor offers slots `0..slots`.
    TaskExecutorRegistered {
        /// Its id; every process that registers gets a new one.
        executor: TaskExecutorId,
        /// How many slots.
        slots: u32,
    },
    /// A TaskExecutor is gone: its attempts have failed and its partitions are lost.
    TaskExecutorLost {
        /// Its id.
        executor: TaskExecutorId,
        /// How that was found out.
        reason: String,
    },
    /// A message came in.
    Message {
        /// From this TaskExecutor.
        from: TaskExecutorId,
        /// The message.
        envelope: Envelope<JobMasterMessage>,
    },
    /// The answer to `Action::CreateEnumerator` with the same operator and generation.
    EnumeratorCreated {
        /// The source.
        operator: OperatorUid,
        /// As in the action.
        generation: u64,
        /// The enumerator, or why there is none.
        result: Result<Box<dyn SplitEnumerator>, FailureReport>,
    },
    /// The answer to `Action::FinalizeCheckpoint`; there must be one, whatever happens.
    CheckpointFinalized {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Where it is (the directory that holds its metadata) and its size in bytes, or why it could not be written.
        result: Result<(String, u64), String>,
    },
    /// A client asks for a checkpoint or savepoint. Answered by `ClientEvent::CheckpointTriggered`.
    TriggerCheckpoint {
        /// The client's number.
        trigger: TriggerId,
        /// Which.
        kind: SnapshotKind,
    },
    /// The time that [`JobMaster::next_deadline`](super::JobMaster::next_deadline) named has come. Harmless at any other.
    Tick,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("Start"),
            Self::Cancel => f.write_str("Cancel"),
            Self::Suspend => f.write_str("Suspend"),
            Self::TaskExecutorRegistered { executor, slots } => {
                write!(f, "TaskExecutorRegistered({executor}, {slots})")
            }
            Self::TaskExecutorLost { executor, reason } => write!(f, "TaskExecutorLost({executor}, {reason:?})"),
            Self::Message { from, envelope } => write!(f, "Message({from}, {envelope:?})"),
            Self::EnumeratorCreated { operator, generation, result } => {
                write!(f, "EnumeratorCreated({operator}, {generation}, {:?})", result.as_ref().err())
            }
            Self::CheckpointFinalized { checkpoint, result } => {
                write!(f, "CheckpointFinalized({checkpoint}, {result:?})")
            }
            Self::TriggerCheckpoint { trigger, kind } => write!(f, "TriggerCheckpoint({trigger:?}, {kind:?})"),
            Self::Tick => f.write_str("Tick"),
        }
    }
}
