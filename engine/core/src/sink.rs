//! Sinks: a writer in every subtask, and a committer for those that publish atomically (Flink's Sink V2).
//!
//! Before a barrier the writer hands over committables, which become part of the checkpoint; when the checkpoint is
//! complete they are committed. A notification may be lost and a commit repeated, so committing is idempotent and
//! cumulative: everything up to the completed checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::failure::Failure;
use crate::ids::{CheckpointId, JobId, SubtaskIndex};
use crate::meter::MemoryMeter;
use crate::spec::connector::SinkSpec;
use crate::types::Schema;
use crate::waiting::{BlockingExecutor, TimerService, Waker};

/// Something written but not yet visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committable {
    /// The connector's own description; versioned by the connector.
    pub payload: Vec<u8>,
}

/// A connector that writes; registered by name.
pub trait SinkConnector: Send + Sync {
    /// Name in `'connector' = '...'`.
    fn name(&self) -> &'static str;

    /// Checks the options of a table definition.
    ///
    /// # Errors
    /// If an option is unknown, missing or malformed.
    fn validate(&self, options: &BTreeMap<String, String>, schema: &Schema) -> Result<(), Failure>;

    /// Whether one subtask has to write everything, because what is written is one thing: one file, say.
    fn is_single(&self, options: &BTreeMap<String, String>) -> bool {
        let _ = options;
        false
    }

    /// A writer for one subtask.
    ///
    /// # Errors
    /// If it cannot be set up.
    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure>;
}

/// What a writer is given.
#[derive(Clone)]
pub struct WriterContext {
    /// The job.
    pub job: JobId,
    /// Which subtask it writes for.
    pub subtask: SubtaskIndex,
    /// How many there are.
    pub parallelism: u32,
    /// Where writes that wait are run.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// Makes the task runnable again after [`WriterStatus::Waiting`].
    pub waker: Waker,
    /// Wall clock and monotonic time.
    pub clock: Arc<dyn flumen_io::Clock>,
    /// Calls the waker when a time has come.
    pub timers: Arc<dyn TimerService>,
    /// Charged for what the writer holds.
    pub memory: Arc<dyn MemoryMeter>,
    /// State that this subtask wrote before, if the job was restored; entries of any former parallelism, dealt out.
    pub restored: Vec<Vec<u8>>,
    /// Whether `restored` comes from a checkpoint at all (else the job is fresh).
    pub is_restored: bool,
}

/// Whether a writer can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterStatus {
    /// It can.
    Ready,
    /// Its queue is full; the waker is called when that changes. What was given has been taken.
    Waiting,
}

/// Writes batches. Never waits.
pub trait SinkWriter: Send {
    /// Takes a batch.
    ///
    /// # Errors
    /// If writing fails.
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure>;

    /// Whether it can take a batch; asked after `write` said `Waiting`, until it says `Ready`.
    ///
    /// # Errors
    /// If writing failed.
    fn poll_ready(&mut self) -> Result<WriterStatus, Failure> {
        Ok(WriterStatus::Ready)
    }

    /// Whether all that was taken is out of the writer's hands (in a file or at the peer). Called before a barrier is
    /// acknowledged and at the end of input, until it says `Ready`.
    ///
    /// # Errors
    /// If writing failed.
    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure>;

    /// What has been written since the last call and is to be committed with this checkpoint. After `flush`.
    ///
    /// # Errors
    /// If it cannot be prepared.
    fn prepare_commit(&mut self, checkpoint: CheckpointId) -> Result<Vec<Committable>, Failure> {
        let _ = checkpoint;
        Ok(Vec::new())
    }

    /// State entries to find again after a restore.
    ///
    /// # Errors
    /// If it cannot be written.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<Vec<u8>>, Failure> {
        let _ = checkpoint;
        Ok(Vec::new())
    }

    /// Publishes what was prepared for this and earlier checkpoints; may be repeated.
    ///
    /// # Errors
    /// If publishing fails.
    fn commit(&mut self, committables: Vec<Committable>) -> Result<WriterStatus, Failure> {
        let _ = committables;
        Ok(WriterStatus::Ready)
    }
}
