//! Stored partitions: BLOCKING, HYBRID_FULL and HYBRID_SELECTIVE.
//!
//! Elements of a subpartition are a list of entries: control elements, and batches that are in memory, on file, or
//! both while they are being written. One write at a time takes every batch that is in memory only, subpartition by
//! subpartition (so a reader's data is contiguous within a region), encodes and writes them on an I/O thread, and then
//! drops them from memory. What differs:
//!
//! | | written | read | kept |
//! |---|---|---|---|
//! | blocking | from half the budget on, the rest at the end | after the producer finished, any number of times | until released |
//! | full | from half the budget on; the rest too, if anything was | any time, any number of times | until released |
//! | selective | what is left unread at half the budget | any time, once | until read |
//!
//! The producer waits only for the disk: it is available while less than the budget is in memory. A budget that the
//! meter refuses to grow counts as reached. In a partition of the hybrid kinds a reader takes what is in memory without
//! touching the disk.
//!
//! Locks: one mutex for a partition; no I/O, listener or waker under it. I/O closures hold the partition alive and
//! report back through [`Completion`], also when they panic.

mod read;
mod state;
mod write;

use std::sync::Arc;
use std::task::Waker;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::graph::ResultPartitionType;
use flumen_core::ids::ResultPartitionId;
use flumen_core::waiting::BlockingExecutor;
use parking_lot::Mutex;

use super::{ChannelReader, DataListener, PartitionStore, check_subpartition};
use crate::budget::Targets;
use crate::charge::MemoryCharge;
use crate::error::{NetworkError, Result};
use crate::spill::SpillUser;
use read::StoredReader;
use state::State;

/// What a stored partition is built from.
pub(crate) struct StoredOptions {
    pub(crate) id: ResultPartitionId,
    pub(crate) partition_type: ResultPartitionType,
    pub(crate) subpartitions: u32,
    pub(crate) memory_bytes: usize,
    pub(crate) compress: bool,
    pub(crate) charge: MemoryCharge,
    pub(crate) spill: SpillUser,
    pub(crate) blocking: Arc<dyn BlockingExecutor>,
}

/// See the module.
pub(crate) struct StoredPartition {
    id: ResultPartitionId,
    partition_type: ResultPartitionType,
    memory_bytes_max: usize,
    compress: bool,
    spill: SpillUser,
    blocking: Arc<dyn BlockingExecutor>,
    /// Itself, for the closures that it hands to I/O threads.
    this: std::sync::Weak<Self>,
    state: Mutex<State>,
}

impl StoredPartition {
    pub(crate) fn new(options: StoredOptions) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id: options.id,
            partition_type: options.partition_type,
            memory_bytes_max: options.memory_bytes.max(1),
            compress: options.compress,
            spill: options.spill,
            blocking: options.blocking,
            this: this.clone(),
            state: Mutex::new(State::new(options.subpartitions as usize, options.charge)),
        })
    }

    fn is_selective(&self) -> bool {
        self.partition_type == ResultPartitionType::HybridSelective
    }

    fn is_blocking(&self) -> bool {
        self.partition_type == ResultPartitionType::Blocking
    }

    /// Ends the partition: drops what it holds and tells both ends. Readers get the error; the producer gets it unless
    /// the partition was released, which only means that nothing more is wanted.
    fn end(&self, error: NetworkError, released: bool) {
        let (waker, listeners, dropped) = {
            let mut state = self.state.lock();
            state.failure.get_or_insert(error);
            state.released |= released;
            let dropped = state.drop_entries();
            (state.take_waker(), state.all_listeners(), dropped)
        };
        drop(dropped);
        if let Some(waker) = waker {
            waker.wake();
        }
        for listener in listeners {
            listener.data_available();
        }
    }
}

impl PartitionStore for StoredPartition {
    fn id(&self) -> ResultPartitionId {
        self.id
    }

    fn subpartitions(&self) -> u32 {
        self.state.lock().subpartitions.len() as u32
    }

    fn append(&self, subpartition: u32, element: StreamElement) -> Result<()> {
        let (listeners, work) = {
            let mut state = self.state.lock();
            if let Some(failure) = state.producer_failure() {
                return Err(failure.clone());
            }
            if !state.push(subpartition as usize, element) {
                return Ok(());
            }
            let listeners = if self.is_blocking() { Vec::new() } else { state.listeners(subpartition as usize) };
            let due = state.memory_bytes >= self.memory_bytes_max.div_ceil(2) || state.refused;
            let work = if due { state.start_write() } else { None };
            (listeners, work)
        };
        for listener in listeners {
            listener.data_available();
        }
        if let Some(work) = work {
            self.spawn_write(work);
        }
        Ok(())
    }

    fn append_priority(&self, subpartition: u32, element: StreamElement) -> Result<()> {
        // Nothing is to be overtaken in data that is at rest.
        self.append(subpartition, element)
    }

    fn is_available(&self, _targets: Targets) -> bool {
        let mut state = self.state.lock();
        // A failed partition takes the next call, so that its error is seen.
        let room = state.memory_bytes < self.memory_bytes_max && !(state.refused && state.writing);
        let available = room || state.failure.is_some() || !state.writing;
        state.waiting |= !available;
        available
    }

    fn set_producer_waker(&self, waker: Waker) {
        self.state.lock().waker = Some(waker);
    }

    fn is_starving(&self, subpartition: u32) -> bool {
        !self.is_blocking() && self.state.lock().subpartitions[subpartition as usize].starving
    }

    fn is_closed(&self) -> bool {
        let state = self.state.lock();
        state.released || (self.is_selective() && state.subpartitions.iter().all(|sub| sub.closed))
    }

    fn finish(&self) -> Result<()> {
        let work = {
            let mut state = self.state.lock();
            if let Some(failure) = state.producer_failure() {
                return Err(failure.clone());
            }
            state.finished = true;
            if state.released {
                return Ok(());
            }
            state.flush_at_end = self.is_blocking() || (!self.is_selective() && state.has_written);
            if state.flush_at_end { state.start_write() } else { None }
        };
        if let Some(work) = work {
            self.spawn_write(work);
        }
        Ok(())
    }

    fn is_settled(&self) -> Result<bool> {
        let mut state = self.state.lock();
        if let Some(failure) = state.producer_failure() {
            return Err(failure.clone());
        }
        let settled = !self.is_blocking() || state.released || state.is_written();
        state.waiting |= !settled;
        Ok(settled)
    }

    fn fail(&self, cause: &str) {
        self.end(NetworkError::ProducerFailed { partition: self.id, cause: cause.into() }, false);
    }

    fn release(&self) {
        self.end(NetworkError::PartitionNotFound { partition: self.id }, true);
    }

    fn open(self: Arc<Self>, subpartition: u32, listener: Arc<dyn DataListener>) -> Result<Box<dyn ChannelReader>> {
        check_subpartition(self.id, subpartition, self.subpartitions())?;
        let reader = {
            let mut state = self.state.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if self.is_blocking() && !(state.finished && state.is_written()) {
                return Err(NetworkError::NotFinished { partition: self.id });
            }
            let sub = &mut state.subpartitions[subpartition as usize];
            if self.is_selective() && sub.opened {
                return Err(NetworkError::AlreadyConsumed { partition: self.id, subpartition });
            }
            sub.open(Arc::clone(&listener))
        };
        listener.data_available();
        Ok(Box::new(StoredReader::new(self, subpartition, reader, listener)))
    }

    fn in_flight(&self, _subpartition: u32) -> Vec<Batch> {
        // Stored partitions belong to bounded jobs, which take no unaligned checkpoints.
        Vec::new()
    }

    fn usage(&self) -> f32 {
        self.state.lock().memory_bytes as f32 / self.memory_bytes_max as f32
    }
}
