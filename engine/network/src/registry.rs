//! The partitions of one TaskManager, and the consumers that wait for one to appear.
//!
//! A pipelined or hybrid consumer may ask before its producer is deployed: it waits, and is told when the partition is
//! registered. [`PartitionRegistry::expire_waiting`] turns requests that waited too long into `PartitionNotFound`. A
//! blocking partition has to be there and finished. Lock order: the registry's lock is never held while a store's or a
//! listener is called.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::ids::{ExecutionAttemptId, JobId, ResultPartitionId};
use parking_lot::Mutex;

use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, DataListener, PartitionStore};
use crate::transport::ChannelRequest;

/// Ordered, so that what follows from a walk happens in the same order in every run of a simulation.
#[derive(Default)]
struct State {
    partitions: BTreeMap<ResultPartitionId, Arc<dyn PartitionStore>>,
    waiting: BTreeMap<ResultPartitionId, Waiting>,
    round: u64,
}

#[derive(Default)]
struct Waiting {
    listeners: Vec<Arc<dyn DataListener>>,
    /// The round of expiry in which the first of them asked.
    round: u64,
    expired: bool,
}

/// What a request finds.
pub(crate) enum Lookup {
    Found(Arc<dyn PartitionStore>),
    /// Not there yet; the listener will be told.
    Waiting,
    Missing(NetworkError),
}

/// See the module.
#[derive(Default)]
pub struct PartitionRegistry {
    state: Mutex<State>,
}

impl PartitionRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn register(&self, store: Arc<dyn PartitionStore>) -> Result<()> {
        let id = store.id();
        let listeners = {
            let mut state = self.state.lock();
            if state.partitions.contains_key(&id) {
                return Err(NetworkError::DuplicatePartition { partition: id });
            }
            state.partitions.insert(id, store);
            state.waiting.remove(&id).map(|w| w.listeners).unwrap_or_default()
        };
        for listener in listeners {
            listener.data_available();
        }
        Ok(())
    }

    pub(crate) fn lookup(&self, request: &ChannelRequest, listener: &Arc<dyn DataListener>) -> Lookup {
        let id = request.partition;
        let mut state = self.state.lock();
        if let Some(store) = state.partitions.get(&id) {
            return Lookup::Found(Arc::clone(store));
        }
        let round = state.round;
        if request.partition_type.must_be_finished() {
            return Lookup::Missing(NetworkError::PartitionNotFound { partition: id });
        }
        let waiting = state.waiting.entry(id).or_insert_with(|| Waiting { round, ..Waiting::default() });
        if waiting.expired {
            return Lookup::Missing(NetworkError::PartitionNotFound { partition: id });
        }
        if !waiting.listeners.iter().any(|l| Arc::ptr_eq(l, listener)) {
            waiting.listeners.push(Arc::clone(listener));
        }
        Lookup::Waiting
    }

    pub(crate) fn stop_waiting(&self, id: ResultPartitionId, listener: &Arc<dyn DataListener>) {
        let mut state = self.state.lock();
        if let Some(waiting) = state.waiting.get_mut(&id) {
            waiting.listeners.retain(|l| !Arc::ptr_eq(l, listener));
            if waiting.listeners.is_empty() {
                state.waiting.remove(&id);
            }
        }
    }

    /// Fails the requests that were already waiting at the previous call; call it every 10 s while
    /// [`PartitionRegistry::is_waiting`].
    pub fn expire_waiting(&self) {
        let listeners: Vec<_> = {
            let mut state = self.state.lock();
            let round = state.round;
            state.round += 1;
            let expired = state.waiting.values_mut().filter(|w| w.round < round);
            expired
                .flat_map(|w| {
                    w.expired = true;
                    w.listeners.clone()
                })
                .collect()
        };
        for listener in listeners {
            listener.data_available();
        }
    }

    /// Whether a consumer waits for a partition.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// A reader of one subpartition of a registered partition: the producing end of a transport.
    ///
    /// # Errors
    /// [`NetworkError::PartitionNotFound`], and what the partition refuses.
    pub fn open(
        &self,
        partition: ResultPartitionId,
        subpartition: u32,
        listener: Arc<dyn DataListener>,
    ) -> Result<Box<dyn ChannelReader>> {
        let store = self.state.lock().partitions.get(&partition).cloned();
        store.ok_or(NetworkError::PartitionNotFound { partition })?.open(subpartition, listener)
    }

    /// Whether the partition is registered.
    #[must_use]
    pub fn contains(&self, partition: ResultPartitionId) -> bool {
        self.state.lock().partitions.contains_key(&partition)
    }

    /// Releases a partition: memory and file space are given back, readers get an error. Not an error if unknown.
    pub fn release(&self, partition: ResultPartitionId) {
        let store = self.state.lock().partitions.remove(&partition);
        if let Some(store) = store {
            store.release();
        }
    }

    /// Releases what one attempt produced: it failed or was cancelled, and its readers are told so.
    pub fn release_attempt(&self, attempt: ExecutionAttemptId) {
        for store in self.take_where(|id| id.producer == attempt) {
            store.fail("its task ended before it finished");
            store.release();
        }
    }

    /// Releases everything of a job: it has ended.
    pub fn release_job(&self, job: JobId) {
        self.take_where(|id| id.producer.job == job).iter().for_each(|store| store.release());
    }

    fn take_where(&self, matches: impl Fn(&ResultPartitionId) -> bool) -> Vec<Arc<dyn PartitionStore>> {
        self.state.lock().partitions.extract_if(.., |id, _| matches(id)).map(|(_, store)| store).collect()
    }

    /// Forgets a partition that has been consumed.
    pub(crate) fn remove_consumed(&self, partition: ResultPartitionId) {
        self.state.lock().partitions.remove(&partition);
    }

    /// Partitions that are registered, for leak reports.
    #[must_use]
    pub fn partitions(&self) -> Vec<ResultPartitionId> {
        self.state.lock().partitions.keys().copied().collect()
    }

    /// Whether nothing is registered and nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.partitions.is_empty() && state.waiting.is_empty()
    }
}
