//! What a JobMaster wants done. Actions are carried out in order; none is answered but where it says so.

use std::sync::Arc;

use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_core::spec::OperatorSpec;
use flumen_gateway::{ClientEvent, Envelope, FailureReport, JobStatus, TaskExecutorId, TaskExecutorMessage};

use crate::checkpoint_coordinator::CheckpointContents;

/// Something to be done.
#[derive(Debug)]
pub enum Action {
    /// Send to a TaskExecutor. Messages to one TaskExecutor keep their order.
    Send {
        /// To whom.
        executor: TaskExecutorId,
        /// What.
        envelope: Envelope<TaskExecutorMessage>,
    },
    /// Create a source's enumerator (`SourceConnector::create_enumerator`), where waiting is allowed. Answered by
    /// `Event::EnumeratorCreated`.
    CreateEnumerator {
        /// The source.
        operator: OperatorUid,
        /// To be repeated in the answer; answers to earlier generations are dropped.
        generation: u64,
        /// Its spec, of kind `source`.
        spec: OperatorSpec,
        /// How many readers there are.
        parallelism: u32,
        /// State to restore, if any.
        state: Option<Arc<[u8]>>,
    },
    /// Write the metadata of a checkpoint, last of its files, where waiting is allowed. Answered by
    /// `Event::CheckpointFinalized`.
    FinalizeCheckpoint(Box<CheckpointContents>),
    /// Delete a checkpoint: a complete one at its location, or (`None`) whatever an unfinished one has written.
    DiscardCheckpoint {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Where it is, if it was complete.
        location: Option<String>,
    },
    /// Tell the clients.
    Notify(ClientEvent),
    /// The job is over, no attempt of it lives, and no action follows except in answer to late events. Sent once.
    JobEnded {
        /// How: FINISHED, FAILED, CANCELED, or SUSPENDED.
        status: JobStatus,
        /// With FAILED: the root cause.
        failure: Option<FailureReport>,
    },
}
