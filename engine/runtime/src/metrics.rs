//! What operators did, as counters that anyone may read while they run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_operators::spill::SpilledBytes;

/// Counters of one operator of one subtask. Written by the worker that steps the task, read by anyone; relaxed, since
/// each counter stands for itself.
#[derive(Debug, Default)]
pub struct OperatorMetrics {
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    batches_out: AtomicU64,
    busy_nanos: AtomicU64,
    spilled: SpilledBytes,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorCounts {
    /// Rows taken.
    pub rows_in: u64,
    /// Rows given.
    pub rows_out: u64,
    /// Batches given.
    pub batches_out: u64,
    /// Time inside the operator's calls.
    pub busy: Duration,
    /// Bytes written to spill files, as stored there.
    pub spilled_bytes: u64,
}

impl OperatorMetrics {
    pub(crate) fn add_rows_in(&self, rows: usize) {
        self.rows_in.fetch_add(rows as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_batch_out(&self, rows: usize) {
        self.rows_out.fetch_add(rows as u64, Ordering::Relaxed);
        self.batches_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_busy(&self, time: Duration) {
        self.busy_nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The counter that the operator's spill space counts with.
    pub(crate) fn spilled(&self) -> SpilledBytes {
        self.spilled.clone()
    }

    /// The counters now.
    #[must_use]
    pub fn counts(&self) -> OperatorCounts {
        OperatorCounts {
            rows_in: self.rows_in.load(Ordering::Relaxed),
            rows_out: self.rows_out.load(Ordering::Relaxed),
            batches_out: self.batches_out.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed)),
            spilled_bytes: self.spilled.get(),
        }
    }
}
