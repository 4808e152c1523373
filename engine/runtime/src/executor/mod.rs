//! Steps the tasks of a process.
//!
//! A task is a resumable machine: [`Runnable::step`] does a bounded amount of work and says whether it ran, is blocked,
//! or is finished. Whatever can unblock it (input, credit, I/O, mail, a timer) calls its waker. Slots are accounting;
//! tasks are stepped by one worker thread per core ([`threaded`]), or one after another in a seeded order by the
//! deterministic executor ([`deterministic`]).
//!
//! A task is stepped by one worker at a time. A wake-up during a step is not lost: the task is queued again after it.

pub mod deterministic;
pub mod threaded;

use std::sync::Arc;

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum TaskStep {
    /// It used its budget and can go on at once.
    Ran,
    /// It cannot go on until its waker is called.
    Blocked,
    /// It is over; it is dropped.
    Finished,
}

/// A resumable task.
pub trait Runnable: Send {
    /// Does at most `budget` operator calls. Does not panic: a task turns panics of its operators into its failure.
    fn step(&mut self, budget: usize) -> TaskStep;

    /// Whether it reads from the outside. Such tasks run when no other is ready: what has been read is worked off
    /// before more is read, which bounds memory.
    fn is_source(&self) -> bool;
}

/// Runs tasks.
pub trait TaskRunner: Send + Sync {
    /// Takes a task, built with the waker that it is to be woken by, and queues it.
    fn spawn(&self, build: Box<dyn FnOnce(std::task::Waker) -> Box<dyn Runnable>>);
}

/// A shared task runner.
pub type TaskRunnerRef = Arc<dyn TaskRunner>;
