//! One thread, a seeded order, simulated time: whole clusters in a test.
//!
//! Everything that could happen next (a ready task, a closure that waits for an I/O thread, a mail for control) is an
//! item in one list; a seeded generator picks one, it runs, and so on. When nothing is ready the simulated clock jumps to
//! the next timer. The same seed makes the same choices; the trace hash over all choices proves it.
//!
//! By default work takes no time and closures may run at once. With [`Pace`] every step costs a little simulated time, so
//! that timers also come while tasks are busy, and closures may be late, as they are on a slow disk or a loaded thread.
//! A closure that panics loses its answer, as on an I/O thread.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use flumen_core::waiting::{BlockingExecutor, TimerService};
use flumen_io::{Clock, MonotonicTime, RandomSource, Rng, SimulatedClock};
use parking_lot::Mutex;

use super::{Runnable, TaskRunner, TaskStep};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const NOTIFIED: u8 = 3;
const DONE: u8 = 4;

struct Cell {
    id: u64,
    state: AtomicU8,
    task: Mutex<Option<Box<dyn Runnable>>>,
    shared: Arc<Shared>,
}

impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One thread: no other store comes between load and store.
        match self.state.load(Ordering::Relaxed) {
            IDLE => {
                self.state.store(QUEUED, Ordering::Relaxed);
                self.shared.push(Item::Task(Arc::clone(self)));
            }
            RUNNING => self.state.store(NOTIFIED, Ordering::Relaxed),
            _ => {}
        }
    }
}

enum Item {
    Task(Arc<Cell>),
    Work { id: u64, work: Box<dyn FnOnce() + Send> },
}

/// What happens at a time.
enum Due {
    Wake(Waker),
    Work(Box<dyn FnOnce() + Send>),
}

struct Timer {
    at: MonotonicTime,
    id: u64,
    due: Due,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.id) == (other.at, other.id)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.id).cmp(&(other.at, other.id))
    }
}

#[derive(Default)]
struct State {
    ready: Vec<Item>,
    timers: BinaryHeap<Reverse<Timer>>,
    next_id: u64,
    /// Tasks that are not finished; a task holds its own waker, hence its cell.
    live: BTreeMap<u64, Weak<Cell>>,
    /// The executor is gone: what comes now is dropped.
    stopped: bool,
}

/// How fast the simulated machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Simulated time that a step takes at most.
    pub step_max: Duration,
    /// By how much a closure for an I/O thread may be late; every other one is.
    pub work_delay_max: Duration,
}

struct Shared {
    state: Mutex<State>,
    pace: Pace,
    /// Apart from the choices: how late closures are.
    delays: Mutex<Rng>,
}

impl Shared {
    fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.stopped {
            // What it holds may call back when it is dropped.
            drop(state);
            return drop(item);
        }
        state.ready.push(item);
    }

    fn push_timer(&self, at: MonotonicTime, due: Due) {
        let mut state = self.state.lock();
        if state.stopped {
            drop(state);
            return drop(due);
        }
        state.next_id += 1;
        let id = state.next_id;
        state.timers.push(Reverse(Timer { at, id, due }));
    }

    fn next_id(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_id += 1;
        state.next_id
    }
}

/// What [`DeterministicExecutor::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something ran.
    Ran,
    /// Nothing was ready; time went on to the next timer.
    TimeAdvanced,
    /// Nothing is ready and no timer is set.
    Stuck,
}

/// Runs everything in one thread, in a seeded order.
pub struct DeterministicExecutor {
    shared: Arc<Shared>,
    clock: Arc<SimulatedClock>,
    rng: Mutex<Rng>,
    trace: Mutex<u64>,
}

impl DeterministicExecutor {
    /// An executor whose choices follow from the seed.
    #[must_use]
    pub fn new(seed: u64, clock: Arc<SimulatedClock>) -> Self {
        Self::with_pace(seed, clock, Pace::default())
    }

    /// An executor on which work takes time.
    #[must_use]
    pub fn with_pace(seed: u64, clock: Arc<SimulatedClock>, pace: Pace) -> Self {
        let delays = Mutex::new(Rng::stream(seed, "delays of closures"));
        Self {
            shared: Arc::new(Shared { state: Mutex::default(), pace, delays }),
            clock,
            rng: Mutex::new(Rng::from_seed(seed)),
            trace: Mutex::new(0xcbf2_9ce4_8422_2325),
        }
    }

    /// What tasks are given to.
    #[must_use]
    pub fn runner(&self) -> Arc<dyn TaskRunner> {
        Arc::new(Handle { shared: Arc::clone(&self.shared), clock: Arc::clone(&self.clock) })
    }

    /// What work that waits is given to.
    #[must_use]
    pub fn blocking(&self) -> Arc<dyn BlockingExecutor> {
        Arc::new(Handle { shared: Arc::clone(&self.shared), clock: Arc::clone(&self.clock) })
    }

    /// What calls wakers at a simulated time.
    #[must_use]
    pub fn timers(&self) -> Arc<dyn TimerService> {
        Arc::new(Handle { shared: Arc::clone(&self.shared), clock: Arc::clone(&self.clock) })
    }

    /// Tasks that are not finished.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.shared.state.lock().live.len()
    }

    /// Hash over all choices so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        *self.trace.lock()
    }

    /// Adds an event of the caller's to the trace.
    pub fn note(&self, event: u64) {
        let mut trace = self.trace.lock();
        *trace = (*trace ^ event).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Runs one item, or moves time on.
    pub fn step(&self) -> Progress {
        self.pass_time();
        let item = {
            let mut state = self.shared.state.lock();
            if state.ready.is_empty() {
                let Some(Reverse(timer)) = state.timers.pop() else { return Progress::Stuck };
                drop(state);
                self.clock.advance_to(timer.at);
                self.fire(timer);
                self.fire_due();
                return Progress::TimeAdvanced;
            }
            let choice = (self.rng.lock().next_u64() % state.ready.len() as u64) as usize;
            state.ready.swap_remove(choice)
        };
        match item {
            Item::Work { id, work } => {
                self.note(id << 1);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            }
            Item::Task(cell) => {
                self.note((cell.id << 1) | 1);
                self.run_task(cell);
            }
        }
        Progress::Ran
    }

    /// Lets a step's time pass.
    fn pass_time(&self) {
        let most = u64::try_from(self.shared.pace.step_max.as_nanos()).unwrap_or(u64::MAX);
        if most == 0 {
            return;
        }
        self.clock.advance(Duration::from_nanos(self.rng.lock().below(most + 1)));
        self.fire_due();
    }

    /// Fires the timers whose time has come.
    fn fire_due(&self) {
        let now = self.clock.now();
        loop {
            let timer = {
                let mut state = self.shared.state.lock();
                if state.timers.peek().is_none_or(|Reverse(timer)| timer.at > now) {
                    return;
                }
                state.timers.pop()
            };
            if let Some(Reverse(timer)) = timer {
                self.fire(timer);
            }
        }
    }

    fn fire(&self, timer: Timer) {
        self.note(timer.at.as_nanos());
        match timer.due {
            Due::Wake(waker) => waker.wake(),
            Due::Work(work) => self.shared.push(Item::Work { id: timer.id, work }),
        }
    }

    fn run_task(&self, cell: Arc<Cell>) {
        cell.state.store(RUNNING, Ordering::Relaxed);
        // A budget that varies finds what leans on where steps end.
        let budget = 1 + (self.rng.lock().next_u64() % 8) as usize;
        let step = match cell.task.lock().as_mut() {
            Some(task) => task.step(budget),
            None => return,
        };
        match step {
            TaskStep::Blocked if cell.state.load(Ordering::Relaxed) == RUNNING => {
                cell.state.store(IDLE, Ordering::Relaxed)
            }
            TaskStep::Ran | TaskStep::Blocked => {
                cell.state.store(QUEUED, Ordering::Relaxed);
                self.shared.push(Item::Task(cell));
            }
            TaskStep::Finished => {
                cell.state.store(DONE, Ordering::Relaxed);
                let task = cell.task.lock().take();
                drop(task);
                self.shared.state.lock().live.remove(&cell.id);
            }
        }
    }
}

impl Drop for DeterministicExecutor {
    /// Drops tasks, closures and timers as they are, like a process that is killed.
    fn drop(&mut self) {
        let state = {
            let mut state = self.shared.state.lock();
            std::mem::replace(&mut *state, State { stopped: true, ..State::default() })
        };
        for cell in state.live.values().filter_map(Weak::upgrade) {
            let task = cell.task.lock().take();
            drop(task);
        }
    }
}

struct Handle {
    shared: Arc<Shared>,
    clock: Arc<SimulatedClock>,
}

impl TaskRunner for Handle {
    fn spawn(&self, build: Box<dyn FnOnce(Waker) -> Box<dyn Runnable>>) {
        let cell = Arc::new(Cell {
            id: self.shared.next_id(),
            state: AtomicU8::new(NOTIFIED),
            task: Mutex::new(None),
            shared: Arc::clone(&self.shared),
        });
        let task = build(Waker::from(Arc::clone(&cell)));
        *cell.task.lock() = Some(task);
        cell.state.store(QUEUED, Ordering::Relaxed);
        self.shared.state.lock().live.insert(cell.id, Arc::downgrade(&cell));
        self.shared.push(Item::Task(cell));
    }
}

impl BlockingExecutor for Handle {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let most = u64::try_from(self.shared.pace.work_delay_max.as_nanos()).unwrap_or(u64::MAX);
        let late = if most == 0 {
            0
        } else {
            let mut delays = self.shared.delays.lock();
            if delays.chance(0.5) { delays.below(most) + 1 } else { 0 }
        };
        if late > 0 {
            return self.shared.push_timer(self.clock.now() + Duration::from_nanos(late), Due::Work(work));
        }
        let id = self.shared.next_id();
        self.shared.push(Item::Work { id, work });
    }
}

impl TimerService for Handle {
    fn wake_at(&self, at: MonotonicTime, waker: Waker) {
        if at <= self.clock.now() {
            return waker.wake();
        }
        self.shared.push_timer(at, Due::Wake(waker));
    }
}
