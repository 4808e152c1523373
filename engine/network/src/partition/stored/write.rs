//! Batches to the file, on an I/O thread.

use std::sync::Arc;

use flumen_formats_ipc::{EncodeOptions, FrameEncoder};

use super::StoredPartition;
use super::state::{Location, WriteWork};
use crate::error::{NetworkError, Result};

/// Where the batches of a write went, in the order of the work.
type Written = Vec<(usize, u64, Location)>;

impl StoredPartition {
    /// Hands the work to an I/O thread; `State::start_write` has marked it.
    pub(super) fn spawn_write(&self, work: WriteWork) {
        let Some(partition) = self.this.upgrade() else { return };
        let completion = Completion { partition, answer: None };
        self.blocking.spawn_blocking(Box::new(move || {
            let mut completion = completion;
            completion.answer = Some(completion.partition.write(work));
        }));
    }

    /// Every frame stands by itself: a reader of a hybrid partition may have had the ones before it from memory.
    fn write(&self, work: WriteWork) -> Result<Written> {
        if self.state.lock().failure.is_some() {
            return Ok(Vec::new());
        }
        let spilled = |source| NetworkError::Spill { partition: self.id, source: Arc::new(source) };
        let mut encoder = FrameEncoder::new(EncodeOptions { compress: self.compress, hashes: true });
        let mut region = self.spill.region();
        let mut places = Vec::with_capacity(work.len());
        for (subpartition, position, batch) in work {
            encoder.reset();
            let frame = encoder
                .encode(&batch)
                .map_err(|source| NetworkError::Frame { partition: self.id, source: Arc::new(source) })?;
            places.push((subpartition, position, region.append(&frame).map_err(spilled)?, frame.len()));
        }
        let region = region.finish();
        let located = places.into_iter().map(|(subpartition, position, offset, length)| {
            (subpartition, position, Location { region: Arc::clone(&region), offset, length })
        });
        Ok(located.collect())
    }

    fn write_done(&self, answer: Result<Written>) {
        let written = match answer {
            Ok(written) => written,
            Err(error) => {
                self.state.lock().writing = false;
                return self.end(error, false);
            }
        };
        let (waker, next) = {
            let mut state = self.state.lock();
            state.writing = false;
            if state.failure.is_none() {
                for (subpartition, position, location) in written {
                    state.written(subpartition, position, location);
                }
            }
            let over = state.memory_bytes >= self.memory_bytes_max.div_ceil(2) || state.refused;
            let next = if over || state.flush_at_end { state.start_write() } else { None };
            (state.take_waker(), next)
        };
        if let Some(work) = next {
            self.spawn_write(work);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Reports the end of a write, also if it panicked.
struct Completion {
    partition: Arc<StoredPartition>,
    answer: Option<Result<Written>>,
}

impl Drop for Completion {
    fn drop(&mut self) {
        let lost = NetworkError::WorkLost { partition: self.partition.id };
        self.partition.write_done(self.answer.take().unwrap_or(Err(lost)));
    }
}
