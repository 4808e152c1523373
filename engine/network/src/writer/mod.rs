//! The producer's end of one data set: rows in, elements on subpartitions out.
//!
//! A task owns one [`ResultPartitionWriter`] for each data set it produces and steps it from its own thread. Before a
//! batch it asks [`ResultPartitionWriter::is_available`]; without room it stops stepping and is woken through the waker
//! it gave. A batch that is emitted all the same is taken whole (so one bounded output of an operator never has to be
//! cut), which bounds what is in flight to the partition's limit plus one batch.
//!
//! Forward, rebalance, rescale, shuffle, broadcast and global pass batches on as they are. Keyed, range and custom
//! partitioners scatter rows in one pass into a builder for each subpartition (`scatter`); a builder is flushed when
//! it is full by rows or bytes, when its consumer waits and it is a quarter full, when the buffer timeout has passed
//! ([`ResultPartitionWriter::flush_due`]), when the task runs out of input ([`ResultPartitionWriter::flush`]), and
//! before every control element: a control element never overtakes rows, and no row survives a barrier in a builder.

mod config;
mod custom;
mod scatter;
mod selector;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use flumen_core::batch::Batch;
use flumen_core::element::{Alignment, StreamElement};
use flumen_core::ids::ResultPartitionId;
use flumen_core::types::SchemaRef;
use flumen_io::{MonotonicTime, Rng};

pub use config::{PartitionConfig, PartitionDescriptor};
pub use custom::{CustomPartitioner, PartitionerRegistry};

use crate::error::{NetworkError, Result};
use crate::partition::PartitionStore;
use crate::size::batch_bytes;
use scatter::{Flushed, Scatter};
use selector::{Selection, TargetSelector};

/// Whether the producer may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum WriterStatus {
    /// Another batch may be emitted.
    Available,
    /// There is no room; the waker will be called when there may be.
    Blocked,
}

/// Counters of one writer; read by metrics on any thread.
#[derive(Debug, Default)]
pub struct WriterCounters {
    /// Rows emitted.
    pub rows: AtomicU64,
    /// Batches handed to subpartitions.
    pub batches: AtomicU64,
    /// Bytes handed to subpartitions, as estimated for credits; a broadcast counts once for each.
    pub bytes: AtomicU64,
    /// How often the writer was asked and had no room.
    pub blocked: AtomicU64,
}

/// See the module.
pub struct ResultPartitionWriter {
    store: Arc<dyn PartitionStore>,
    selector: TargetSelector,
    scatter: Option<Scatter>,
    /// Scratch: batches on their way from builders to subpartitions.
    flushed: Flushed,
    config: PartitionConfig,
    counters: Arc<WriterCounters>,
    /// When builders are flushed next.
    flush_at: Option<MonotonicTime>,
    finished: bool,
}

impl std::fmt::Debug for ResultPartitionWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResultPartitionWriter").field("partition", &self.store.id()).finish_non_exhaustive()
    }
}

impl ResultPartitionWriter {
    /// Checks the partitioner before anything is registered.
    pub(crate) fn selector(
        descriptor: &PartitionDescriptor,
        partitioners: &PartitionerRegistry,
        rng: Rng,
    ) -> Result<TargetSelector> {
        TargetSelector::new(descriptor, partitioners, rng)
    }

    pub(crate) fn new(
        store: Arc<dyn PartitionStore>,
        selector: TargetSelector,
        schema: SchemaRef,
        config: PartitionConfig,
    ) -> Self {
        let targets = store.subpartitions();
        let scatter = selector.scatters().then(|| Scatter::new(schema, targets, selector.hashed(), &config));
        Self {
            store,
            selector,
            scatter,
            flushed: Vec::new(),
            config,
            counters: Arc::default(),
            flush_at: None,
            finished: false,
        }
    }

    /// The partition.
    #[must_use]
    pub fn id(&self) -> ResultPartitionId {
        self.store.id()
    }

    /// Whom to wake when [`ResultPartitionWriter::is_available`] may have become true.
    pub fn set_waker(&mut self, waker: Waker) {
        self.store.set_producer_waker(waker);
    }

    /// Whether there is room for at least one more batch on every subpartition that it may go to. If not, the waker is
    /// called when that may have changed.
    pub fn is_available(&mut self) -> bool {
        let available = self.selector.is_ready() && self.store.is_available(self.selector.next_targets());
        if !available {
            self.counters.blocked.fetch_add(1, Ordering::Relaxed);
        }
        available
    }

    /// Whether no consumer wants anything more; the producer may stop early.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.store.is_closed()
    }

    /// Counters, for metrics.
    #[must_use]
    pub fn counters(&self) -> Arc<WriterCounters> {
        Arc::clone(&self.counters)
    }

    /// Share of the output pool in use (Flink's `outPoolUsage`): 0 is idle, 1 is back-pressured, more is overdrawn.
    #[must_use]
    pub fn out_pool_usage(&self) -> f32 {
        self.store.usage()
    }

    /// Bounds of a range partitioner, ascending, one fewer than there are subpartitions; equal keys go to one
    /// subpartition. Until they are set the writer is not available.
    ///
    /// # Errors
    /// If the partitioner is another one, or the bounds do not fit.
    pub fn set_range_bounds(&mut self, bounds: &ArrayRef) -> Result<()> {
        self.selector.set_range_bounds(bounds)
    }

    /// Sends the selected rows of a batch on their way.
    ///
    /// # Errors
    /// If the partition failed, was released or a consumer broke off, or the rows cannot be divided.
    pub fn emit(&mut self, batch: Batch) -> Result<WriterStatus> {
        let rows = batch.num_rows();
        if rows > 0 {
            self.counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
            match self.selector.select(&batch)? {
                Selection::One(target) => self.append(target, batch)?,
                Selection::Every => {
                    for target in 0..self.store.subpartitions() {
                        self.append(target, batch.clone())?;
                    }
                }
                Selection::Rows(batch) => self.scatter_rows(&batch)?,
            }
        }
        Ok(if self.is_available() { WriterStatus::Available } else { WriterStatus::Blocked })
    }

    fn append(&self, target: u32, batch: Batch) -> Result<()> {
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(batch_bytes(&batch) as u64, Ordering::Relaxed);
        self.store.append(target, StreamElement::Batch(batch))
    }

    fn scatter_rows(&mut self, batch: &Batch) -> Result<()> {
        let Some(scatter) = &mut self.scatter else { return Ok(()) };
        let id = self.store.id();
        scatter.push(batch, self.selector.rows(), &mut self.flushed).map_err(|problem| batch_error(id, &problem))?;
        let idle_rows = (self.config.batch_rows / 4).max(1);
        for target in 0..self.store.subpartitions() {
            if scatter.rows(target) >= idle_rows && self.store.is_starving(target) {
                scatter.flush(target, &mut self.flushed).map_err(|problem| batch_error(id, &problem))?;
            }
        }
        self.hand_over()
    }

    /// Appends what builders gave.
    fn hand_over(&mut self) -> Result<()> {
        let mut flushed = std::mem::take(&mut self.flushed);
        let handed = flushed.drain(..).try_for_each(|(target, batch)| self.append(target as u32, batch));
        // The vector is used again.
        self.flushed = flushed;
        handed
    }

    /// Hands over what builders hold: the task has no input, or control is about to pass.
    ///
    /// # Errors
    /// As [`ResultPartitionWriter::emit`].
    pub fn flush(&mut self) -> Result<()> {
        let id = self.store.id();
        if let Some(scatter) = &mut self.scatter {
            scatter.flush_all(&mut self.flushed).map_err(|problem| batch_error(id, &problem))?;
        }
        self.hand_over()
    }

    /// Flushes if the buffer timeout has passed since it last did; returns when to call again, or `None` if batches
    /// leave only when full. A row waits at most one timeout.
    ///
    /// # Errors
    /// As [`ResultPartitionWriter::emit`].
    pub fn flush_due(&mut self, now: MonotonicTime) -> Result<Option<MonotonicTime>> {
        let Some(timeout) = self.config.buffer_timeout else { return Ok(None) };
        match self.flush_at {
            Some(at) if now < at => {}
            Some(_) => {
                self.flush()?;
                self.flush_at = Some(now + timeout);
            }
            None => self.flush_at = Some(now + timeout),
        }
        Ok(self.flush_at)
    }

    /// Sends a control element to every subpartition, behind all rows emitted so far; an unaligned barrier overtakes
    /// what waits in the subpartitions. Always taken, also without room. `EndOfPartition` is what
    /// [`ResultPartitionWriter::finish`] sends, and does the same.
    ///
    /// # Errors
    /// As [`ResultPartitionWriter::emit`].
    ///
    /// # Panics
    /// If the element is a batch.
    pub fn broadcast_event(&mut self, element: StreamElement) -> Result<()> {
        assert!(!matches!(element, StreamElement::Batch(_)), "batches are emitted, control is broadcast");
        if matches!(element, StreamElement::EndOfPartition) {
            return self.finish();
        }
        self.flush()?;
        let overtakes = matches!(&element, StreamElement::Barrier(b) if b.options.alignment == Alignment::Unaligned);
        for target in 0..self.store.subpartitions() {
            if overtakes {
                self.store.append_priority(target, element.clone())?;
            } else {
                self.store.append(target, element.clone())?;
            }
        }
        Ok(())
    }

    /// Flushes, sends `EndOfPartition` and closes the partition for writing. The task may end once
    /// [`ResultPartitionWriter::is_settled`].
    ///
    /// # Errors
    /// As [`ResultPartitionWriter::emit`].
    pub fn finish(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        self.flush()?;
        for target in 0..self.store.subpartitions() {
            self.store.append(target, StreamElement::EndOfPartition)?;
        }
        self.finished = true;
        self.store.finish()
    }

    /// After `finish`: whether everything is where consumers find it. Stored partitions write in the background; the
    /// waker is called when they are done.
    ///
    /// # Errors
    /// If storing failed.
    pub fn is_settled(&mut self) -> Result<bool> {
        self.store.is_settled()
    }

    /// The producer failed: consumers get an error in place of what they have not read.
    pub fn fail(&mut self, cause: &str) {
        self.finished = true;
        self.store.fail(cause);
    }

    /// What the builders and queues of one subpartition hold, as self-contained frames, for an unaligned snapshot.
    /// Builders are flushed first, so the frames are exactly what the barrier overtook.
    ///
    /// # Errors
    /// As [`ResultPartitionWriter::emit`], and if a batch cannot be encoded.
    pub fn snapshot_channel_state(&mut self, subpartition: u32) -> Result<Vec<Buffer>> {
        self.flush()?;
        crate::snapshot::encode_frames(self.store.id(), &self.store.in_flight(subpartition))
    }
}

impl Drop for ResultPartitionWriter {
    fn drop(&mut self) {
        // A task that ended without finishing must not leave its consumers waiting.
        if !self.finished {
            self.store.fail("its task ended before it finished");
        }
    }
}

fn batch_error(partition: ResultPartitionId, problem: &str) -> NetworkError {
    NetworkError::Batch { partition, problem: problem.into() }
}
