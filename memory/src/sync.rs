//! The locks and atomics of the free list, taken from `std` or, under `--cfg loom`, from loom.
//!
//! loom replaces every primitive by a model and runs a test under all interleavings that can differ. Only the arena
//! goes through this module: its free list, magazines and reference count are the crate's only lock-order and
//! memory-order reasoning. The rest of the crate (pools, budgets, spill) is plain mutexes and is compiled out under
//! loom. Run the models with
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p flumen-memory --release --lib loom_
//! ```

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};
use std::sync::PoisonError;
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering, fence},
};

/// A mutex without poisoning.
///
/// Critical sections of this crate run no caller's code, so a panic inside one is a broken invariant of the crate that
/// has already been reported; other threads may still return their memory.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
