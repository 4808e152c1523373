//! What a writer is built from.

use std::time::Duration;

use flumen_core::batch::DEFAULT_BATCH_ROWS;
use flumen_core::graph::{Partitioner, ResultPartitionType};
use flumen_core::ids::ResultPartitionId;
use flumen_core::types::SchemaRef;

/// Which partition to make.
#[derive(Clone, Debug)]
pub struct PartitionDescriptor {
    /// Its id.
    pub id: ResultPartitionId,
    /// How it is kept.
    pub partition_type: ResultPartitionType,
    /// How rows find their subpartition.
    pub partitioner: Partitioner,
    /// How many subpartitions: the consumers this producer talks to.
    pub subpartitions: u32,
    /// Key groups of the consumer.
    pub max_parallelism: u32,
    /// What its batches look like.
    pub schema: SchemaRef,
    /// The producer's subtask index: a rescale starts at a place of its own.
    pub producer_subtask: u32,
}

/// Sizes and times of one partition; every field has Flumen's default.
#[derive(Clone, Debug)]
pub struct PartitionConfig {
    /// Rows at which a builder is flushed.
    pub batch_rows: usize,
    /// Bytes at which a builder is flushed; what one channel is sure to get credit for.
    pub batch_bytes: usize,
    /// How long a row may wait in a builder; `None` until it is full (`execution.buffer-timeout.interval`).
    pub buffer_timeout: Option<Duration>,
    /// Bytes of a segment, the unit of credits.
    pub segment_bytes: usize,
    /// Segments that every subpartition may hold for itself.
    pub segments_per_subpartition: u32,
    /// Segments that any subpartition may hold beyond its own.
    pub floating_segments: u32,
    /// Segments at which one subpartition makes the producer wait.
    pub segments_per_subpartition_max: u32,
    /// Bytes that a BLOCKING or HYBRID partition keeps in memory before it writes to its file.
    pub store_memory_bytes: usize,
    /// Whether frames on file are compressed with LZ4.
    pub compress: bool,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            batch_rows: DEFAULT_BATCH_ROWS,
            batch_bytes: 256 << 10,
            buffer_timeout: Some(Duration::from_millis(100)),
            segment_bytes: 64 << 10,
            segments_per_subpartition: 4,
            floating_segments: 8,
            segments_per_subpartition_max: 10,
            store_memory_bytes: 32 << 20,
            compress: true,
        }
    }
}

impl PartitionConfig {
    /// Segments that the whole partition may hold.
    #[must_use]
    pub(crate) fn limit_segments(&self, subpartitions: u32) -> u64 {
        u64::from(subpartitions) * u64::from(self.segments_per_subpartition) + u64::from(self.floating_segments)
    }
}
