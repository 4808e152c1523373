//! In-flight batches as frames, for unaligned snapshots.

use arrow_buffer::Buffer;
use flumen_core::batch::Batch;
use flumen_core::ids::ResultPartitionId;
use flumen_formats_ipc::{EncodeOptions, FrameEncoder};
use std::sync::Arc;

use crate::error::{NetworkError, Result};

/// Each batch as a frame of its own, readable without the others.
pub(crate) fn encode_frames(partition: ResultPartitionId, batches: &[Batch]) -> Result<Vec<Buffer>> {
    let options = EncodeOptions::default();
    batches
        .iter()
        .map(|batch| {
            FrameEncoder::new(options)
                .encode(batch)
                .map_err(|source| NetworkError::Frame { partition, source: Arc::new(source) })
        })
        .collect()
}
