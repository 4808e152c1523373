//! PIPELINED (bounded): elements wait in memory until their consumer takes them, once.
//!
//! A subpartition is a queue behind a mutex; the [`OutputBudget`] of the partition counts the segments in all of them.
//! Elements that arrive before the consumer connects wait like any others. A consumer that goes away in peace closes
//! its subpartition: what is sent there later is dropped. One that breaks off fails the producer.
//!
//! The partition leaves the registry by itself once the producer has finished and every consumer is done.
//! Locks: `subpartitions[i]` before the budget's; never two subpartitions at once; none while listeners are called.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::ids::ResultPartitionId;
use flumen_memory::LocalBufferPool;
use parking_lot::Mutex;

use super::{ChannelReader, DataListener, PartitionStore, PieceLimit, Polled, check_subpartition};
use crate::budget::{OutputBudget, Targets};
use crate::error::{NetworkError, Result};
use crate::size::batch_bytes;

struct Queued {
    element: StreamElement,
    /// What it holds of the budget; 0 for control elements.
    segments: u32,
}

#[derive(Default)]
struct Subpartition {
    queue: VecDeque<Queued>,
    /// Segments of all queued elements.
    segments: u64,
    /// How many elements at the front overtake.
    priority: usize,
    listener: Option<Arc<dyn DataListener>>,
    /// A reader was opened; there is only ever one.
    opened: bool,
    /// The reader is gone.
    closed: bool,
    /// The reader found nothing and waits.
    starving: bool,
}

impl Subpartition {
    /// Divides the first element in two, so that the first part is within the limit. Charges what the parts take beyond
    /// the whole, and returns what they take less, to be given back without the lock.
    fn divide_first(&mut self, limit: PieceLimit, partition: &PipelinedPartition, index: u32) -> u64 {
        if self.priority > 0 {
            return 0;
        }
        let Some(Queued { element: StreamElement::Batch(batch), segments }) = self.queue.front() else { return 0 };
        let Some(rows) = limit.rows_within(batch.num_rows(), batch_bytes(batch)) else { return 0 };
        let (before, parts) =
            (u64::from(*segments), [batch.slice(0, rows), batch.slice(rows, batch.num_rows() - rows)]);
        let parts = parts.map(|part| {
            let element = StreamElement::Batch(part);
            Queued { segments: partition.cost(&element), element }
        });
        let after: u32 = parts.iter().map(|part| part.segments).sum();
        self.queue.pop_front();
        parts.into_iter().rev().for_each(|part| self.queue.push_front(part));
        self.segments = self.segments + u64::from(after) - before;
        if u64::from(after) > before {
            partition.budget.charge(index, after - before as u32);
        }
        before.saturating_sub(u64::from(after))
    }
}

/// See the module.
pub(crate) struct PipelinedPartition {
    id: ResultPartitionId,
    segment_bytes: usize,
    subpartitions: Vec<Mutex<Subpartition>>,
    budget: OutputBudget,
    /// Why nothing more can be had, for consumers.
    failure: Mutex<Option<NetworkError>>,
    /// A consumer broke off; the producer's next call fails with this.
    broken: Mutex<Option<NetworkError>>,
    finished: AtomicBool,
    /// Readers that are not gone, or not come yet.
    open_readers: AtomicU32,
    /// Called once when the producer has finished and all consumers are done.
    on_consumed: Box<dyn Fn(ResultPartitionId) + Send + Sync>,
}

impl PipelinedPartition {
    pub(crate) fn new(
        id: ResultPartitionId,
        subpartitions: u32,
        segment_bytes: usize,
        buffers: LocalBufferPool,
        per_subpartition_segments: u64,
        on_consumed: Box<dyn Fn(ResultPartitionId) + Send + Sync>,
    ) -> Self {
        Self {
            id,
            segment_bytes,
            subpartitions: (0..subpartitions).map(|_| Mutex::default()).collect(),
            budget: OutputBudget::new(subpartitions as usize, buffers, per_subpartition_segments),
            failure: Mutex::new(None),
            broken: Mutex::new(None),
            finished: AtomicBool::new(false),
            open_readers: AtomicU32::new(subpartitions),
            on_consumed,
        }
    }

    fn cost(&self, element: &StreamElement) -> u32 {
        match element {
            StreamElement::Batch(batch) => {
                u32::try_from(batch_bytes(batch).div_ceil(self.segment_bytes)).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    fn add(&self, subpartition: u32, element: StreamElement, overtakes: bool) -> Result<()> {
        if let Some(broken) = self.broken.lock().clone() {
            return Err(broken);
        }
        let segments = self.cost(&element);
        let listener = {
            let mut sub = self.subpartitions[subpartition as usize].lock();
            if sub.closed {
                return Ok(());
            }
            // Charged under the queue's lock, so that the reader cannot give it back before.
            if segments > 0 {
                self.budget.charge(subpartition, segments);
            }
            sub.segments += u64::from(segments);
            sub.starving = false;
            let queued = Queued { element, segments };
            if overtakes {
                let position = sub.priority;
                sub.queue.insert(position, queued);
                sub.priority += 1;
            } else {
                sub.queue.push_back(queued);
            }
            sub.listener.clone()
        };
        if let Some(listener) = listener {
            if overtakes { listener.priority_available() } else { listener.data_available() }
        }
        Ok(())
    }

    /// Empties every queue, gives the budget back and tells the readers.
    fn drop_all(&self) {
        for index in 0..self.subpartitions.len() {
            let (segments, listener, dropped) = {
                let mut sub = self.subpartitions[index].lock();
                sub.priority = 0;
                (std::mem::take(&mut sub.segments), sub.listener.clone(), std::mem::take(&mut sub.queue))
            };
            drop(dropped);
            self.budget.refund(index as u32, segments);
            if let Some(listener) = listener {
                listener.data_available();
            }
        }
    }

    fn close_reader(&self, subpartition: u32) {
        let (segments, dropped) = {
            let mut sub = self.subpartitions[subpartition as usize].lock();
            if sub.closed {
                return;
            }
            sub.closed = true;
            sub.listener = None;
            sub.priority = 0;
            (std::mem::take(&mut sub.segments), std::mem::take(&mut sub.queue))
        };
        drop(dropped);
        self.budget.refund(subpartition, segments);
        self.open_readers.fetch_sub(1, Ordering::AcqRel);
        self.budget.wake();
        self.leave_if_consumed();
    }

    fn leave_if_consumed(&self) {
        if self.finished.load(Ordering::Acquire) && self.open_readers.load(Ordering::Acquire) == 0 {
            (self.on_consumed)(self.id);
        }
    }
}

impl PartitionStore for PipelinedPartition {
    fn id(&self) -> ResultPartitionId {
        self.id
    }

    fn subpartitions(&self) -> u32 {
        self.subpartitions.len() as u32
    }

    fn append(&self, subpartition: u32, element: StreamElement) -> Result<()> {
        self.add(subpartition, element, false)
    }

    fn append_priority(&self, subpartition: u32, element: StreamElement) -> Result<()> {
        self.add(subpartition, element, true)
    }

    fn is_available(&self, targets: Targets) -> bool {
        // A broken partition takes the next call, so that its error is seen.
        self.budget.is_available(targets) || self.broken.lock().is_some()
    }

    fn set_producer_waker(&self, waker: Waker) {
        self.budget.set_waker(waker);
    }

    fn is_starving(&self, subpartition: u32) -> bool {
        self.subpartitions[subpartition as usize].lock().starving
    }

    fn is_closed(&self) -> bool {
        self.open_readers.load(Ordering::Acquire) == 0
    }

    fn finish(&self) -> Result<()> {
        self.finished.store(true, Ordering::Release);
        self.leave_if_consumed();
        match self.broken.lock().clone() {
            Some(broken) => Err(broken),
            None => Ok(()),
        }
    }

    fn is_settled(&self) -> Result<bool> {
        Ok(true)
    }

    fn fail(&self, cause: &str) {
        let error = NetworkError::ProducerFailed { partition: self.id, cause: cause.into() };
        self.failure.lock().get_or_insert(error);
        self.drop_all();
    }

    fn release(&self) {
        self.failure.lock().get_or_insert(NetworkError::PartitionNotFound { partition: self.id });
        self.broken.lock().get_or_insert(NetworkError::Released { partition: self.id });
        self.drop_all();
        self.budget.wake();
    }

    fn open(self: Arc<Self>, subpartition: u32, listener: Arc<dyn DataListener>) -> Result<Box<dyn ChannelReader>> {
        check_subpartition(self.id, subpartition, self.subpartitions())?;
        {
            let mut sub = self.subpartitions[subpartition as usize].lock();
            if sub.opened {
                return Err(NetworkError::AlreadyConsumed { partition: self.id, subpartition });
            }
            sub.opened = true;
            sub.listener = Some(Arc::clone(&listener));
        }
        listener.data_available();
        Ok(Box::new(PipelinedReader { partition: self, subpartition }))
    }

    fn in_flight(&self, subpartition: u32) -> Vec<Batch> {
        let sub = self.subpartitions[subpartition as usize].lock();
        sub.queue
            .iter()
            .filter_map(|q| if let StreamElement::Batch(b) = &q.element { Some(b.clone()) } else { None })
            .collect()
    }

    fn usage(&self) -> f32 {
        let (used, limit) = self.budget.usage();
        used as f32 / limit as f32
    }
}

struct PipelinedReader {
    partition: Arc<PipelinedPartition>,
    subpartition: u32,
}

impl ChannelReader for PipelinedReader {
    fn poll(&mut self, priority_only: bool) -> Result<Option<Polled>> {
        let polled = {
            let mut sub = self.partition.subpartitions[self.subpartition as usize].lock();
            if priority_only && sub.priority == 0 {
                return Ok(None);
            }
            match sub.queue.pop_front() {
                Some(queued) => {
                    sub.priority = sub.priority.saturating_sub(1);
                    sub.segments -= u64::from(queued.segments);
                    let backlog = u32::try_from(sub.segments).unwrap_or(u32::MAX);
                    Some((queued, !sub.queue.is_empty(), backlog))
                }
                None => {
                    sub.starving = true;
                    None
                }
            }
        };
        match polled {
            Some((queued, more, backlog)) => {
                if queued.segments > 0 {
                    self.partition.budget.refund(self.subpartition, u64::from(queued.segments));
                }
                Ok(Some(Polled { element: queued.element, more, backlog }))
            }
            // What was produced before a failure is not worth reading, but a failure is never hidden by an empty queue.
            None => match self.partition.failure.lock().clone() {
                Some(failure) => Err(failure),
                None => Ok(None),
            },
        }
    }

    fn poll_piece(&mut self, limit: PieceLimit) -> Result<Option<Polled>> {
        let freed = {
            let mut sub = self.partition.subpartitions[self.subpartition as usize].lock();
            sub.divide_first(limit, &self.partition, self.subpartition)
        };
        if freed > 0 {
            self.partition.budget.refund(self.subpartition, freed);
        }
        self.poll(false)
    }

    fn queued(&self) -> usize {
        self.partition.subpartitions[self.subpartition as usize].lock().queue.len()
    }

    fn break_connection(&mut self, cause: &str) {
        let error = NetworkError::ConnectionBroken {
            partition: self.partition.id,
            subpartition: self.subpartition,
            cause: cause.into(),
        };
        self.partition.broken.lock().get_or_insert(error);
        self.partition.budget.wake();
    }
}

impl Drop for PipelinedReader {
    fn drop(&mut self) {
        self.partition.close_reader(self.subpartition);
    }
}
