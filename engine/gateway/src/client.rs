//! What a client of a job is told.

use flumen_core::ids::{CheckpointId, JobId};
use serde::{Deserialize, Serialize};

use crate::job_master::FailureReport;
use crate::state::JobStatus;

/// Number that a client gives to a checkpoint it asks for, to recognize the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TriggerId(pub u64);

/// A complete checkpoint or savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointSummary {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Where it is.
    pub location: String,
    /// Size of its state.
    pub size_bytes: u64,
    /// From trigger to completion, in milliseconds.
    pub duration_ms: u64,
}

/// How a checkpoint that was asked for ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointOutcome {
    /// It is complete.
    Completed(CheckpointSummary),
    /// It could not be taken.
    Failed {
        /// Why.
        message: String,
    },
}

/// Something a client may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The job is in another state.
    JobStatusChanged {
        /// The job.
        job: JobId,
        /// The state now.
        status: JobStatus,
        /// With FAILING, FAILED and RESTARTING: the root cause.
        failure: Option<FailureReport>,
    },
    /// A part of the job, or all of it, starts again.
    Restarting {
        /// The job.
        job: JobId,
        /// How many subtasks.
        tasks: u32,
        /// After how long, in milliseconds.
        delay_ms: u64,
        /// Which restart this is, from 1.
        number: u32,
        /// The checkpoint it starts from, if any.
        restore: Option<CheckpointId>,
        /// Why.
        cause: FailureReport,
    },
    /// A checkpoint is complete.
    CheckpointCompleted {
        /// The job.
        job: JobId,
        /// The checkpoint.
        summary: CheckpointSummary,
    },
    /// A checkpoint was given up.
    CheckpointAborted {
        /// The job.
        job: JobId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        message: String,
    },
    /// A checkpoint that a client asked for has ended.
    CheckpointTriggered {
        /// The job.
        job: JobId,
        /// The number the client gave.
        trigger: TriggerId,
        /// How it ended.
        outcome: CheckpointOutcome,
    },
}

/// Sends to one client. Never waits.
pub trait ClientGateway: Send + Sync {
    /// Sends.
    fn send(&self, event: ClientEvent);
}
