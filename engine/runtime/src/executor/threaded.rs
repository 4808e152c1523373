//! One worker thread per core.
//!
//! Ready tasks wait in one of two queues: tasks that hold data downstream first, sources when there are none. The
//! queues are bounded by the number of tasks, since a task is queued at most once. Queue operations are per step (a
//! step is up to a millisecond of work), so one lock for both is enough: at 2 workers and 1000 steps a second it is
//! taken for less than 0.1 % of the time.
//!
//! State of a task: `IDLE -> QUEUED -> RUNNING -> (IDLE | QUEUED | DONE)`, and `RUNNING -> NOTIFIED` by a wake-up during
//! a step, which leads back to `QUEUED`. Whoever moves a task to `QUEUED` puts it into a queue, exactly once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::{Runnable, TaskRunner, TaskStep};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const NOTIFIED: u8 = 3;
const DONE: u8 = 4;

/// Operator calls in one step: at 8192 rows and 5 ns a row about a millisecond.
const STEP_BUDGET: usize = 32;

struct Cell {
    id: u64,
    state: AtomicU8,
    is_source: std::sync::OnceLock<bool>,
    /// Locked by the worker that steps it; never contended, since the state lets only one in.
    task: Mutex<Option<Box<dyn Runnable>>>,
    shared: Arc<Shared>,
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let next = match state {
                IDLE => QUEUED,
                RUNNING => NOTIFIED,
                _ => return,
            };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if next == QUEUED => return self.shared.push(Arc::clone(self)),
                Ok(_) => return,
                Err(current) => state = current,
            }
        }
    }
}

#[derive(Default)]
struct Queues {
    working: VecDeque<Arc<Cell>>,
    sources: VecDeque<Arc<Cell>>,
    sleeping: usize,
    stopped: bool,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    ready: Condvar,
    next_id: AtomicU64,
    /// Tasks that are not finished. A task holds its own waker, hence its cell; this is how a stopped executor finds
    /// the blocked ones and drops them.
    live: Mutex<HashMap<u64, Weak<Cell>>>,
}

impl Shared {
    fn push(&self, cell: Arc<Cell>) {
        let mut queues = self.queues.lock();
        if cell.is_source.get().copied().unwrap_or(false) {
            queues.sources.push_back(cell);
        } else {
            queues.working.push_back(cell);
        }
        if queues.sleeping > 0 {
            self.ready.notify_one();
        }
    }

    /// The next ready task; waits for one. `None` once stopped.
    fn pop(&self) -> Option<Arc<Cell>> {
        let mut queues = self.queues.lock();
        loop {
            if queues.stopped {
                return None;
            }
            if let Some(cell) = queues.working.pop_front() {
                return Some(cell);
            }
            if let Some(cell) = queues.sources.pop_front() {
                return Some(cell);
            }
            queues.sleeping += 1;
            self.ready.wait(&mut queues);
            queues.sleeping -= 1;
        }
    }
}

/// A fixed set of worker threads. Dropping it stops them after their current step and drops the tasks that are left.
pub struct ThreadedExecutor {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl ThreadedExecutor {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn start(workers: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut executor = Self { shared, workers: Vec::new() };
        for index in 0..workers.max(1) {
            let shared = Arc::clone(&executor.shared);
            let thread =
                std::thread::Builder::new().name(format!("flumen-worker-{index}")).spawn(move || work(&shared))?;
            executor.workers.push(thread);
        }
        Ok(executor)
    }

    /// Tasks that are not finished.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.shared.live.lock().len()
    }

    /// What tasks are given to; may outlive the executor, and then drops what it is given.
    #[must_use]
    pub fn runner(&self) -> Arc<dyn TaskRunner> {
        Arc::new(Runner { shared: Arc::clone(&self.shared) })
    }
}

impl Drop for ThreadedExecutor {
    fn drop(&mut self) {
        self.shared.queues.lock().stopped = true;
        self.shared.ready.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its tasks; a panic of its own has been printed by the hook.
            let _ = worker.join();
        }
        let (working, sources) = {
            let mut queues = self.shared.queues.lock();
            (std::mem::take(&mut queues.working), std::mem::take(&mut queues.sources))
        };
        drop((working, sources));
        let live = std::mem::take(&mut *self.shared.live.lock());
        for cell in live.into_values().filter_map(|c| c.upgrade()) {
            cell.state.store(DONE, Ordering::Release);
            let task = cell.task.lock().take();
            drop(task);
        }
    }
}

struct Runner {
    shared: Arc<Shared>,
}

impl TaskRunner for Runner {
    fn spawn(&self, build: Box<dyn FnOnce(Waker) -> Box<dyn Runnable>>) {
        let cell = Arc::new(Cell {
            id: self.shared.next_id.fetch_add(1, Ordering::Relaxed),
            // Wake-ups while the task is being built only note that it has to run, which it will anyway.
            state: AtomicU8::new(NOTIFIED),
            is_source: std::sync::OnceLock::new(),
            task: Mutex::new(None),
            shared: Arc::clone(&self.shared),
        });
        let task = build(Waker::from(Arc::clone(&cell)));
        let _ = cell.is_source.set(task.is_source());
        *cell.task.lock() = Some(task);
        if self.shared.queues.lock().stopped {
            cell.task.lock().take();
            return;
        }
        self.shared.live.lock().insert(cell.id, Arc::downgrade(&cell));
        cell.state.store(QUEUED, Ordering::Release);
        self.shared.push(cell);
    }
}

fn work(shared: &Shared) {
    while let Some(cell) = shared.pop() {
        cell.state.store(RUNNING, Ordering::Release);
        let mut slot = cell.task.lock();
        let step = match slot.as_mut() {
            Some(task) => task.step(STEP_BUDGET),
            None => continue,
        };
        match step {
            TaskStep::Ran => {
                drop(slot);
                cell.state.store(QUEUED, Ordering::Release);
                shared.push(cell);
            }
            TaskStep::Blocked => {
                drop(slot);
                if cell.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    cell.state.store(QUEUED, Ordering::Release);
                    shared.push(cell);
                }
            }
            TaskStep::Finished => {
                cell.state.store(DONE, Ordering::Release);
                let task = slot.take();
                drop(slot);
                drop(task);
                shared.live.lock().remove(&cell.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Counts down; every other step it blocks and has itself woken from another thread.
    struct Countdown {
        left: u32,
        waker: Waker,
        done: mpsc::Sender<u32>,
        id: u32,
    }

    impl Runnable for Countdown {
        fn step(&mut self, _budget: usize) -> TaskStep {
            if self.left == 0 {
                self.done.send(self.id).unwrap();
                return TaskStep::Finished;
            }
            self.left -= 1;
            if self.left.is_multiple_of(2) {
                let waker = self.waker.clone();
                std::thread::spawn(move || waker.wake());
                TaskStep::Blocked
            } else {
                TaskStep::Ran
            }
        }

        fn is_source(&self) -> bool {
            self.id.is_multiple_of(2)
        }
    }

    #[test]
    fn every_task_finishes_and_no_wake_up_is_lost() {
        let executor = ThreadedExecutor::start(2).unwrap();
        let runner = executor.runner();
        let (done, finished) = mpsc::channel();
        for id in 0..20 {
            let done = done.clone();
            runner.spawn(Box::new(move |waker| Box::new(Countdown { left: 50, waker, done, id })));
        }
        let mut ids: Vec<u32> = (0..20).map(|_| finished.recv().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..20).collect::<Vec<_>>());
        while executor.live_tasks() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn dropping_the_executor_drops_blocked_and_queued_tasks() {
        struct Forever {
            _alive: Arc<()>,
            blocks: bool,
            _waker: Waker,
        }
        impl Runnable for Forever {
            fn step(&mut self, _budget: usize) -> TaskStep {
                if self.blocks { TaskStep::Blocked } else { TaskStep::Ran }
            }
            fn is_source(&self) -> bool {
                false
            }
        }
        let alive = Arc::new(());
        let executor = ThreadedExecutor::start(1).unwrap();
        for blocks in [false, true] {
            let _alive = Arc::clone(&alive);
            executor.runner().spawn(Box::new(move |_waker| Box::new(Forever { _alive, blocks, _waker })));
        }
        drop(executor);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
