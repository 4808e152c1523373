//! Rows of batches into one builder for each subpartition: the kernels' one-pass scatter, and when it is flushed.
//!
//! A builder is flushed when it is full; all of them when together they hold more than [`Scatter`]'s limit, so that
//! many targets with few rows each stay bounded.

use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::types::SchemaRef;
use flumen_kernels::scatter::{PartitionBuilders, PartitionLimits, PartitionedRows};

use super::config::PartitionConfig;

/// Batches with the subpartitions that they go to.
pub(super) type Flushed = Vec<(usize, Batch)>;

/// See the module.
pub(super) struct Scatter {
    builders: PartitionBuilders,
    targets: usize,
    /// Bytes that all builders may hold.
    bytes_max: usize,
}

impl Scatter {
    pub(super) fn new(schema: SchemaRef, targets: u32, hashed: Option<Arc<[usize]>>, config: &PartitionConfig) -> Self {
        let limits = PartitionLimits { rows_max: config.batch_rows.max(1), bytes_max: config.batch_bytes.max(1) };
        let segments = usize::try_from(config.limit_segments(targets)).unwrap_or(usize::MAX);
        Self {
            builders: PartitionBuilders::new(schema, targets as usize, hashed, limits),
            targets: targets as usize,
            bytes_max: segments.saturating_mul(config.segment_bytes),
        }
    }

    pub(super) fn rows(&self, target: u32) -> usize {
        self.builders.rows(target as usize)
    }

    /// Adds the rows of a batch; what is thereby full goes to `flushed`.
    pub(super) fn push(&mut self, batch: &Batch, rows: &PartitionedRows, flushed: &mut Flushed) -> Result<(), String> {
        self.builders.append(batch, rows, flushed).map_err(|error| error.to_string())?;
        if self.builders.memory_size() > self.bytes_max {
            self.builders.finish_all(flushed).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Empties one builder.
    pub(super) fn flush(&mut self, target: u32, flushed: &mut Flushed) -> Result<(), String> {
        self.builders.finish_into(target as usize, flushed).map_err(|error| error.to_string())
    }

    /// Empties all builders.
    pub(super) fn flush_all(&mut self, flushed: &mut Flushed) -> Result<(), String> {
        if (0..self.targets).all(|target| self.builders.rows(target) == 0) {
            return Ok(());
        }
        self.builders.finish_all(flushed).map_err(|error| error.to_string())
    }
}
