//! The world of a real process: tokio carries what waits and what has its time, on its own threads, so that neither
//! heartbeats nor timers ever wait for a hash join.

use std::sync::Arc;
use std::time::Duration;

use flumen_core::waiting::{BlockingExecutor, TimerService, Waker};
use flumen_io::{Clock, MonotonicTime};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that may block at most; more work waits in tokio's queue, which holds what tasks have under way.
const BLOCKING_THREADS_MAX: usize = 16;
/// How long such a thread stays without work: long enough to be there for the next read of the same job, short enough
/// that an idle process holds none.
const BLOCKING_THREAD_STAYS: Duration = Duration::from_secs(1);

/// How long the end of a cluster waits for work that was handed out.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// The runtime for I/O and control, and handles to it.
pub(crate) struct IoRuntime {
    /// `None` once shut down.
    runtime: Option<Runtime>,
    clock: Arc<dyn Clock>,
    blocking: Arc<Blocking>,
}

impl IoRuntime {
    /// Starts one thread for control and timers; threads for blocking work come and go.
    pub(crate) fn start(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_keep_alive(BLOCKING_THREAD_STAYS)
            .thread_name("flumen-io")
            .enable_time()
            .build()?;
        let blocking = Blocking { handle: runtime.handle().clone(), work: Arc::default() };
        Ok(Self { runtime: Some(runtime), clock, blocking: Arc::new(blocking) })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("taken on drop only").handle().clone()
    }

    pub(crate) fn blocking(&self) -> Arc<dyn BlockingExecutor> {
        Arc::<Blocking>::clone(&self.blocking)
    }

    pub(crate) fn timers(&self) -> Arc<dyn TimerService> {
        Arc::new(Timers { handle: self.handle(), clock: Arc::clone(&self.clock) })
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What was handed out is finished, begun or not: the checkpoints of a job that has ended are deleted there,
            // and one that stayed would be taken for the newest later. Timers are dropped.
            self.blocking.work.wait_until_done(SHUTDOWN_MAX);
            runtime.shutdown_timeout(SHUTDOWN_MAX);
        }
    }
}

struct Blocking {
    handle: Handle,
    work: Arc<Outstanding>,
}

/// Counts work that is not done.
#[derive(Default)]
struct Outstanding {
    count: Mutex<usize>,
    none: Condvar,
}

impl Outstanding {
    fn wait_until_done(&self, timeout: Duration) {
        let mut count = self.count.lock();
        let _ = self.none.wait_while_for(&mut count, |count| *count > 0, timeout);
    }
}

/// One piece of work; dropped when it is done, has panicked, or was never begun.
struct Piece(Arc<Outstanding>);

impl Piece {
    fn of(work: &Arc<Outstanding>) -> Self {
        *work.count.lock() += 1;
        Self(Arc::clone(work))
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut count = self.0.count.lock();
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

impl BlockingExecutor for Blocking {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        let piece = Piece::of(&self.work);
        // The work leaves its answer by itself; a panic is seen there as a lost answer.
        drop(self.handle.spawn_blocking(move || {
            let _piece = piece;
            work();
        }));
    }
}

struct Timers {
    handle: Handle,
    clock: Arc<dyn Clock>,
}

impl TimerService for Timers {
    fn wake_at(&self, at: MonotonicTime, waker: Waker) {
        let now = self.clock.now();
        if at <= now {
            return waker.wake();
        }
        let wait = at - now;
        drop(self.handle.spawn(async move {
            tokio::time::sleep(wait).await;
            waker.wake();
        }));
    }
}
