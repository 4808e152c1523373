//! What a stored partition knows, under its lock: entries, sizes, who waits. No I/O, no calls out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;

use crate::charge::MemoryCharge;
use crate::error::NetworkError;
use crate::partition::DataListener;
use crate::size::batch_bytes;
use crate::spill::Region;

/// Where a batch lies on file.
#[derive(Clone)]
pub(super) struct Location {
    pub(super) region: Arc<Region>,
    pub(super) offset: u64,
    pub(super) length: usize,
}

pub(super) enum Place {
    /// In memory; `writing` while a copy is on its way to the file.
    Memory {
        batch: Batch,
        bytes: usize,
        writing: bool,
    },
    File(Location),
}

pub(super) enum Entry {
    Control(StreamElement),
    Batch(Place),
}

#[derive(Default)]
pub(super) struct Subpartition {
    pub(super) entries: VecDeque<Entry>,
    /// Position of the first entry: how many a selective partition has dropped.
    pub(super) first: u64,
    readers: Vec<(u64, Arc<dyn DataListener>)>,
    next_reader: u64,
    /// A reader was opened.
    pub(super) opened: bool,
    /// The one reader of a selective partition is gone.
    pub(super) closed: bool,
    /// A reader has taken everything and waits.
    pub(super) starving: bool,
}

impl Subpartition {
    /// A new reader; returns its number.
    pub(super) fn open(&mut self, listener: Arc<dyn DataListener>) -> u64 {
        let number = self.next_reader;
        self.next_reader += 1;
        self.opened = true;
        self.readers.push((number, listener));
        number
    }

    pub(super) fn forget_reader(&mut self, number: u64) {
        self.readers.retain(|(other, _)| *other != number);
    }

    pub(super) fn entry(&self, position: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }
}

/// What one write takes: batches with their subpartition and position, in file order.
pub(super) type WriteWork = Vec<(usize, u64, Batch)>;

pub(super) struct State {
    pub(super) subpartitions: Vec<Subpartition>,
    /// Bytes of all batches in memory.
    pub(super) memory_bytes: usize,
    /// Batches that are in memory only.
    unwritten: usize,
    /// A write is under way.
    pub(super) writing: bool,
    /// Something is on file, or was.
    pub(super) has_written: bool,
    pub(super) finished: bool,
    /// Nobody will read it: what is appended is dropped, and the producer may end.
    pub(super) released: bool,
    /// What is in memory is written because the producer finished.
    pub(super) flush_at_end: bool,
    /// The meter refused; what is in memory has to go to the file.
    pub(super) refused: bool,
    pub(super) failure: Option<NetworkError>,
    pub(super) waiting: bool,
    pub(super) waker: Option<Waker>,
    charge: MemoryCharge,
}

impl State {
    pub(super) fn new(subpartitions: usize, charge: MemoryCharge) -> Self {
        Self {
            subpartitions: (0..subpartitions).map(|_| Subpartition::default()).collect(),
            memory_bytes: 0,
            unwritten: 0,
            writing: false,
            has_written: false,
            finished: false,
            released: false,
            flush_at_end: false,
            refused: false,
            failure: None,
            waiting: false,
            waker: None,
            charge,
        }
    }

    /// Adds an element; `false` if nobody wants it.
    pub(super) fn push(&mut self, subpartition: usize, element: StreamElement) -> bool {
        let sub = &mut self.subpartitions[subpartition];
        if sub.closed || self.released {
            return false;
        }
        sub.starving = false;
        match element {
            StreamElement::Batch(batch) => {
                let bytes = batch_bytes(&batch);
                sub.entries.push_back(Entry::Batch(Place::Memory { batch, bytes, writing: false }));
                self.unwritten += 1;
                self.resize(self.memory_bytes + bytes);
            }
            control => sub.entries.push_back(Entry::Control(control)),
        }
        true
    }

    /// What the producer is told: a released partition takes everything and keeps nothing.
    pub(super) fn producer_failure(&self) -> Option<&NetworkError> {
        if self.released { None } else { self.failure.as_ref() }
    }

    fn resize(&mut self, bytes: usize) {
        self.memory_bytes = bytes;
        // A refusal is answered by writing; the batch is here all the same.
        self.refused = self.charge.try_resize(bytes).is_err();
    }

    /// Marks every batch that is in memory only as being written, and returns them; `None` if there are none or a
    /// write is under way.
    pub(super) fn start_write(&mut self) -> Option<WriteWork> {
        if self.writing || self.unwritten == 0 {
            return None;
        }
        let mut work = Vec::with_capacity(self.unwritten);
        for (index, sub) in self.subpartitions.iter_mut().enumerate() {
            let first = sub.first;
            for (offset, entry) in sub.entries.iter_mut().enumerate() {
                if let Entry::Batch(Place::Memory { batch, writing, .. }) = entry {
                    *writing = true;
                    work.push((index, first + offset as u64, batch.clone()));
                }
            }
        }
        self.unwritten = 0;
        self.writing = true;
        Some(work)
    }

    /// A batch is on file: its memory is free, unless it was read and dropped meanwhile.
    pub(super) fn written(&mut self, subpartition: usize, position: u64, location: Location) {
        let sub = &mut self.subpartitions[subpartition];
        let Some(offset) = position.checked_sub(sub.first) else { return };
        let Some(entry) = sub.entries.get_mut(offset as usize) else { return };
        if let Entry::Batch(Place::Memory { bytes, .. }) = entry {
            let freed = *bytes;
            *entry = Entry::Batch(Place::File(location));
            self.has_written = true;
            self.resize(self.memory_bytes - freed);
        }
    }

    /// Drops the first entry of a subpartition: it has been read for good.
    pub(super) fn drop_first(&mut self, subpartition: usize) {
        let sub = &mut self.subpartitions[subpartition];
        sub.first += 1;
        if let Some(Entry::Batch(Place::Memory { bytes, writing, .. })) = sub.entries.pop_front() {
            self.unwritten -= usize::from(!writing);
            self.resize(self.memory_bytes - bytes);
        }
    }

    /// Drops everything; the caller lets go of it without the lock.
    pub(super) fn drop_entries(&mut self) -> Vec<VecDeque<Entry>> {
        self.unwritten = 0;
        self.resize(0);
        self.subpartitions
            .iter_mut()
            .map(|sub| {
                sub.first += sub.entries.len() as u64;
                std::mem::take(&mut sub.entries)
            })
            .collect()
    }

    /// Whether no batch is in memory.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten == 0 && !self.writing
    }

    pub(super) fn listeners(&self, subpartition: usize) -> Vec<Arc<dyn DataListener>> {
        self.subpartitions[subpartition].readers.iter().map(|(_, listener)| Arc::clone(listener)).collect()
    }

    pub(super) fn all_listeners(&self) -> Vec<Arc<dyn DataListener>> {
        (0..self.subpartitions.len()).flat_map(|index| self.listeners(index)).collect()
    }

    /// The producer's waker, if it waits.
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        if std::mem::take(&mut self.waiting) { self.waker.clone() } else { None }
    }
}
