//! Counters, gauges and histograms: atomics that their owner holds and others read as a snapshot.
//!
//! The idea: a component asks its [`MetricScope`] for a metric once, when it is built, and keeps the `Arc`; from then on
//! an update is one relaxed atomic operation, done per batch, and never a lookup. Readers (the UI, a reporter, tests)
//! take a [`MetricSnapshot`] of all scopes at any time.
//!
//! Names are `snake_case` and end in their unit (`_bytes`, `_rows`, `_ms`, ...); scopes carry labels such as
//! `job=..., vertex=..., subtask=...`. A scope and its metrics leave the registry when the last handle of the scope is
//! dropped, so a job that has ended leaves nothing behind.
//!
//! Threading: everything may be used from any thread. Each metric has a cache line (two, for the prefetcher) of its
//! own, so that tasks on different cores do not slow each other down. Relaxed ordering is enough: metrics order nothing.

mod histogram;
mod registry;

pub use self::histogram::{Histogram, HistogramSnapshot};
pub use self::registry::{MetricRegistry, MetricScope, MetricSnapshot, MetricValue, ScopeSnapshot};

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `change`, which may be negative.
    pub fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Raises the value to `value` if it is less: a high-water mark.
    pub fn raise(&self, value: i64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
