//! Work that must wait: reads, writes, uploads, user calls that block.
//!
//! Tasks never wait on their worker. They hand a closure to a [`BlockingExecutor`], return "blocked", and are woken by
//! the standard [`Waker`] they were given once the closure has left its answer. The deterministic executor runs the
//! closures itself, in seeded order.

use std::sync::Arc;
use std::sync::Mutex;
pub use std::task::Waker;

use flumen_io::MonotonicTime;

/// Runs closures on threads that may block. Queues are bounded by what the callers keep in flight.
pub trait BlockingExecutor: Send + Sync {
    /// Runs `work` later, on another thread or (deterministic executor) at another step.
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>);
}

/// Calls wakers when their time has come. A reader that has nothing to do until then asks for it and answers `Waiting`.
pub trait TimerService: Send + Sync {
    /// Calls `waker` once the clock reads `at` or later; at once if it already does.
    fn wake_at(&self, at: MonotonicTime, waker: Waker);
}

/// A place for one answer that arrives later.
///
/// If the work panics the answer is lost with it; [`Pending::poll`] then reports [`Outcome::Lost`].
pub struct Pending<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

enum Slot<T> {
    Waiting,
    Ready(T),
    Lost,
}

/// What [`Pending::poll`] finds.
pub enum Outcome<T> {
    /// Not yet.
    Waiting,
    /// The answer; given once.
    Ready(T),
    /// The work panicked or the answer was already taken.
    Lost,
}

impl<T: Send + 'static> Pending<T> {
    /// Runs `work` on `executor` and wakes `waker` when its answer is there.
    pub fn spawn(executor: &dyn BlockingExecutor, waker: Waker, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let slot = Arc::new(Mutex::new(Slot::Waiting));
        let guard = Completion { slot: Arc::clone(&slot), waker, answer: None };
        executor.spawn_blocking(Box::new(move || {
            let mut guard = guard;
            guard.answer = Some(work());
        }));
        Self { slot }
    }

    /// Takes the answer if it is there.
    pub fn poll(&mut self) -> Outcome<T> {
        let mut slot = self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match std::mem::replace(&mut *slot, Slot::Lost) {
            Slot::Ready(answer) => Outcome::Ready(answer),
            Slot::Lost => Outcome::Lost,
            Slot::Waiting => {
                *slot = Slot::Waiting;
                Outcome::Waiting
            }
        }
    }
}

/// Fills the slot when dropped, so that a panic in the work is seen by the waiting side too.
struct Completion<T> {
    slot: Arc<Mutex<Slot<T>>>,
    waker: Waker,
    answer: Option<T>,
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        let state = self.answer.take().map_or(Slot::Lost, Slot::Ready);
        *self.slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = state;
        self.waker.wake_by_ref();
    }
}

/// Runs the work at once on the calling thread; for tests and tools.
#[derive(Debug, Default)]
pub struct InlineExecutor;

impl BlockingExecutor for InlineExecutor {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Ignores every request; for tests and tools whose readers never wait for time.
#[derive(Debug, Default)]
pub struct NoTimers;

impl TimerService for NoTimers {
    fn wake_at(&self, _at: MonotonicTime, _waker: Waker) {}
}
