//! Elements from memory and from the file.
//!
//! A reader has a position of its own. From memory it takes entries one by one; of entries on file it asks for as many
//! as follow each other and fit into [`READ_BYTES_MAX`] at once, read and decoded on an I/O thread, and gives nothing
//! until they are there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};

use arrow_buffer::{Buffer, MutableBuffer};
use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::ids::ResultPartitionId;
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats_ipc::{DecodeOptions, FrameDecoder};

use super::StoredPartition;
use super::state::{Entry, Location, Place};
use crate::error::{NetworkError, Result};
use crate::partition::{ChannelReader, DataListener, Polled};

/// Bytes of frames that are read ahead at once.
const READ_BYTES_MAX: usize = 1 << 20;

pub(super) struct StoredReader {
    partition: Arc<StoredPartition>,
    subpartition: usize,
    /// Its number among the subpartition's readers.
    number: u64,
    /// Position of the next element it gives.
    position: u64,
    /// Batches from the file, the next one first.
    ready: VecDeque<Batch>,
    pending: Option<Pending<Result<VecDeque<Batch>>>>,
    failure: Option<NetworkError>,
    waker: Waker,
}

/// Wakes through the listener: what was read is data that became available.
struct Notify(Arc<dyn DataListener>);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.data_available();
    }
}

enum Next {
    Element(StreamElement, bool),
    Read(Vec<Location>),
    Nothing,
}

impl StoredReader {
    pub(super) fn new(
        partition: Arc<StoredPartition>,
        subpartition: u32,
        number: u64,
        listener: Arc<dyn DataListener>,
    ) -> Self {
        Self {
            partition,
            subpartition: subpartition as usize,
            number,
            position: 0,
            ready: VecDeque::new(),
            pending: None,
            failure: None,
            waker: Arc::new(Notify(listener)).into(),
        }
    }

    /// Looks at the entry at the reader's position, and moves on if it can be given at once.
    fn next(&mut self) -> Result<Next> {
        let selective = self.partition.is_selective();
        let mut state = self.partition.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let sub = &mut state.subpartitions[self.subpartition];
        let element = match sub.entry(self.position) {
            None => {
                sub.starving = true;
                return Ok(Next::Nothing);
            }
            Some(Entry::Control(control)) => control.clone(),
            Some(Entry::Batch(Place::Memory { batch, .. })) => StreamElement::Batch(batch.clone()),
            Some(Entry::Batch(Place::File(_))) => {
                let mut locations = Vec::new();
                let mut bytes = 0;
                let mut position = self.position;
                while let Some(Entry::Batch(Place::File(location))) = sub.entry(position) {
                    bytes += location.length;
                    if !locations.is_empty() && bytes > READ_BYTES_MAX {
                        break;
                    }
                    locations.push(location.clone());
                    position += 1;
                }
                return Ok(Next::Read(locations));
            }
        };
        self.position += 1;
        let more = sub.entry(self.position).is_some();
        if selective {
            state.drop_first(self.subpartition);
            let waker = state.take_waker();
            drop(state);
            // What was read is no longer held: the producer may go on.
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Ok(Next::Element(element, more))
    }

    /// Moves past a batch that came from the file. Released data is not given, also if it was read in time.
    fn advance(&mut self) -> Result<bool> {
        let mut state = self.partition.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        self.position += 1;
        if self.partition.is_selective() {
            state.drop_first(self.subpartition);
        }
        Ok(state.subpartitions[self.subpartition].entry(self.position).is_some())
    }

    fn spawn_read(&mut self, locations: Vec<Location>) {
        let id = self.partition.id;
        let read = move || locations.iter().map(|location| read_batch(id, location)).collect();
        self.pending = Some(Pending::spawn(self.partition.blocking.as_ref(), self.waker.clone(), read));
    }

    fn poll_ready(&mut self) -> Result<Option<Polled>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                let more = self.advance()?;
                return Ok(Some(Polled { element: StreamElement::Batch(batch), more, backlog: 0 }));
            }
            if let Some(pending) = &mut self.pending {
                match pending.poll() {
                    Outcome::Waiting => return Ok(None),
                    Outcome::Ready(batches) => {
                        self.pending = None;
                        self.ready = batches?;
                        continue;
                    }
                    Outcome::Lost => return Err(NetworkError::WorkLost { partition: self.partition.id }),
                }
            }
            match self.next()? {
                Next::Element(element, more) => return Ok(Some(Polled { element, more, backlog: 0 })),
                Next::Nothing => return Ok(None),
                Next::Read(locations) => self.spawn_read(locations),
            }
        }
    }
}

fn read_batch(partition: ResultPartitionId, location: &Location) -> Result<Batch> {
    let mut bytes = MutableBuffer::from_len_zeroed(location.length);
    location
        .region
        .read(location.offset, &mut bytes)
        .map_err(|source| NetworkError::Spill { partition, source: Arc::new(source) })?;
    FrameDecoder::new(DecodeOptions::default())
        .decode(&Buffer::from(bytes))
        .map_err(|source| NetworkError::Frame { partition, source: Arc::new(source) })
}

impl ChannelReader for StoredReader {
    fn poll(&mut self, priority_only: bool) -> Result<Option<Polled>> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if priority_only {
            return Ok(None);
        }
        self.poll_ready().inspect_err(|error| self.failure = Some(error.clone()))
    }

    fn queued(&self) -> usize {
        let state = self.partition.state.lock();
        let sub = &state.subpartitions[self.subpartition];
        let end = sub.first + sub.entries.len() as u64;
        usize::try_from(end.saturating_sub(self.position)).unwrap_or(usize::MAX)
    }

    fn break_connection(&mut self, cause: &str) {
        // What is stored stays: the consumer alone restarts, or finds that it cannot read again.
        self.failure.get_or_insert(NetworkError::ConnectionBroken {
            partition: self.partition.id,
            subpartition: self.subpartition as u32,
            cause: cause.into(),
        });
    }
}

impl Drop for StoredReader {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.partition.state.lock();
            state.subpartitions[self.subpartition].forget_reader(self.number);
            if self.partition.is_selective() {
                state.subpartitions[self.subpartition].closed = true;
                while !state.subpartitions[self.subpartition].entries.is_empty() {
                    state.drop_first(self.subpartition);
                }
            }
            state.take_waker()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
