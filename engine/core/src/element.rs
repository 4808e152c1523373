//! What flows on a stream. Control is never a row: it is an element of its own between batches.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::ids::{CheckpointId, SubtaskIndex};
use crate::time::{Watermark, WatermarkStatus};

/// One element of a stream.
#[derive(Clone, Debug)]
pub enum StreamElement {
    /// Rows.
    Batch(Batch),
    /// A promise about event time.
    Watermark(Watermark),
    /// Whether this stream takes part in the watermark of its consumer.
    WatermarkStatus(WatermarkStatus),
    /// Divides what belongs to a checkpoint from what follows it.
    Barrier(CheckpointBarrier),
    /// Measures the way from a source.
    LatencyMarker(LatencyMarker),
    /// No more rows follow; state is still kept for the final checkpoint.
    EndOfData(StopMode),
    /// Nothing at all follows on this channel.
    EndOfPartition,
}

/// How the end of data came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopMode {
    /// The input ended, or the job is stopped for good: timers fire, results are flushed.
    Drain,
    /// The job is stopped to be resumed: nothing fires.
    NoDrain,
}

/// A checkpoint barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointBarrier {
    /// The checkpoint.
    pub id: CheckpointId,
    /// When the coordinator triggered it, in wall-clock milliseconds.
    pub timestamp_ms: i64,
    /// How it is to be taken.
    pub options: CheckpointOptions,
}

/// How a checkpoint is to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointOptions {
    /// Checkpoint or savepoint.
    pub kind: SnapshotKind,
    /// What barriers do at gates.
    pub alignment: Alignment,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self { kind: SnapshotKind::Checkpoint, alignment: Alignment::Aligned }
    }
}

/// Who owns the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// The engine; it may be deleted when a newer one completes.
    Checkpoint,
    /// The user; self-contained.
    Savepoint {
        /// The job stops once it is complete.
        stop: Option<StopMode>,
    },
}

/// What a barrier does at a gate with several channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alignment {
    /// A channel is not read past its barrier until all barriers are there (exactly once).
    Aligned,
    /// Channels are read on; state may count rows twice after a restore (at least once).
    AtLeastOnce,
    /// The barrier overtakes buffered data, which becomes part of the snapshot.
    Unaligned,
    /// Aligned first; unaligned once the alignment has lasted this long.
    AlignedWithTimeout {
        /// Milliseconds.
        timeout_ms: u64,
    },
}

/// Sent by sources to measure the way through the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LatencyMarker {
    /// When it was sent, in wall-clock milliseconds.
    pub marked_ms: i64,
    /// Which source subtask sent it.
    pub source: SubtaskIndex,
}
