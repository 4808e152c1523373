//! Result partitions: what one attempt produces for one edge, kept for its consumers.
//!
//! A `PartitionStore` is the shared middle: the producer's writer appends to subpartitions, readers that a transport
//! opened take from them. Three kinds differ in what they keep (module of each). Order within a subpartition is the
//! order of appends, but for priority elements, which overtake.
//!
//! Threading: the producer's task appends, consumers' tasks or a transport's threads read; every method may be called
//! on any thread. Listeners and wakers are called without locks held and must only queue and wake.

pub(crate) mod pipelined;
pub(crate) mod stored;

use std::sync::Arc;
use std::task::Waker;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::ids::ResultPartitionId;

use crate::budget::Targets;
use crate::error::{NetworkError, Result};

/// Told that a channel has something to read. Called on any thread, often while nothing is new: it must be cheap.
pub trait DataListener: Send + Sync {
    /// There may be an element, or an error.
    fn data_available(&self);

    /// There may be an element that overtakes the others.
    fn priority_available(&self);
}

/// What a reader gives.
#[derive(Debug)]
pub struct Polled {
    /// The element.
    pub element: StreamElement,
    /// Whether another can be read at once; if not, the listener is told when there is one.
    pub more: bool,
    /// Segments that wait behind it, as far as is known: the backlog by which floating credits are assigned.
    pub backlog: u32,
}

/// How much of a batch is wanted at once; at least one row is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceLimit {
    /// Bytes.
    pub bytes: usize,
    /// Rows.
    pub rows: usize,
}

impl PieceLimit {
    /// Rows of a batch of this size that are within the limit, if not all are.
    pub(crate) fn rows_within(self, rows: usize, bytes: usize) -> Option<usize> {
        // Rows are taken to be about equally wide.
        let by_bytes =
            if bytes > self.bytes { (rows as u128 * self.bytes as u128 / bytes as u128) as usize } else { rows };
        let within = by_bytes.min(self.rows).max(1);
        (within < rows).then_some(within)
    }
}

/// One consumer's end of one subpartition. Dropping it says that nothing more is wanted.
pub trait ChannelReader: Send {
    /// The next element, or `None` until the listener is told. With `priority_only` nothing but an element that
    /// overtakes is given.
    ///
    /// # Errors
    /// If the producer failed, the connection broke or stored data cannot be read; every later call fails alike.
    fn poll(&mut self, priority_only: bool) -> Result<Option<Polled>>;

    /// As [`ChannelReader::poll`], but of a batch that is larger than `limit` only as many rows as fit, where the rest
    /// can stay behind. What a channel to another process has not sent is then still in the partition, where an
    /// unaligned snapshot finds it. Readers that cannot divide give the whole batch.
    ///
    /// # Errors
    /// As [`ChannelReader::poll`].
    fn poll_piece(&mut self, limit: PieceLimit) -> Result<Option<Polled>> {
        let _ = limit;
        self.poll(false)
    }

    /// Elements that are ready on this end.
    fn queued(&self) -> usize;

    /// Share of the channel's receive capacity in use, 0 to 1; 0 for readers that hold nothing themselves.
    fn usage(&self) -> f32 {
        0.0
    }

    /// Batches that have arrived on this end and are not consumed, in order, for an unaligned snapshot.
    ///
    /// # Errors
    /// If what arrived cannot be decoded.
    fn in_flight(&self) -> Result<Vec<Batch>> {
        Ok(Vec::new())
    }

    /// Ends the connection because of a failure; the producer learns of it. Dropping ends it in peace.
    fn break_connection(&mut self, cause: &str);
}

/// The shared part of a result partition. See the module.
pub(crate) trait PartitionStore: Send + Sync {
    fn id(&self) -> ResultPartitionId;

    fn subpartitions(&self) -> u32;

    /// Adds an element at the end of a subpartition. Fails if the partition failed; drops the element if the consumer
    /// wants nothing more.
    fn append(&self, subpartition: u32, element: StreamElement) -> Result<()>;

    /// Adds an element that overtakes all but earlier such elements.
    fn append_priority(&self, subpartition: u32, element: StreamElement) -> Result<()>;

    /// Whether the producer may emit a batch to `targets`; if not, its waker is called when that may have changed.
    fn is_available(&self, targets: Targets) -> bool;

    fn set_producer_waker(&self, waker: Waker);

    /// Whether the reader of the subpartition has taken everything and waits.
    fn is_starving(&self, subpartition: u32) -> bool;

    /// Whether no consumer wants anything more.
    fn is_closed(&self) -> bool;

    /// The producer has appended its last element. Storage may go on working; see `is_durable`.
    fn finish(&self) -> Result<()>;

    /// Whether everything that was appended is where consumers can find it; the producer's task ends only then.
    fn is_settled(&self) -> Result<bool>;

    /// The producer failed: consumers get an error, buffered data is dropped.
    fn fail(&self, cause: &str);

    /// Drops all data; readers get an error.
    fn release(&self);

    /// A reader of one subpartition.
    fn open(self: Arc<Self>, subpartition: u32, listener: Arc<dyn DataListener>) -> Result<Box<dyn ChannelReader>>;

    /// Batches of a subpartition that no reader has taken, in order, for an unaligned snapshot.
    fn in_flight(&self, subpartition: u32) -> Vec<Batch>;

    /// Share of the output pool in use, 0 to 1 and more while overdrawn.
    fn usage(&self) -> f32;
}

/// Checks that a subpartition exists.
pub(crate) fn check_subpartition(partition: ResultPartitionId, subpartition: u32, subpartitions: u32) -> Result<()> {
    if subpartition < subpartitions {
        Ok(())
    } else {
        Err(NetworkError::SubpartitionOutOfRange { partition, subpartition, subpartitions })
    }
}
