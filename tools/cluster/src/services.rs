//! The world of a real process: tokio carries what waits and what has its time, on its own threads, so that neither
//! heartbeats nor timers ever wait for a hash join.

use std::sync::Arc;
use std::time::Duration;

use flumen_core::waiting::{BlockingExecutor, TimerService, Waker};
use flumen_io::{Clock, MonotonicTime};
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that may block at most; more work waits in tokio's queue, which holds what tasks have under way.
const BLOCKING_THREADS_MAX: usize = 16;
/// How long such a thread stays without work: long enough to be there for the next read of the same job, short enough
/// that an idle process holds none.
const BLOCKING_THREAD_STAYS: Duration = Duration::from_secs(1);

/// The runtime for I/O and control, and handles to it.
pub(crate) struct IoRuntime {
    /// `None` once shut down.
    runtime: Option<Runtime>,
    clock: Arc<dyn Clock>,
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
        Ok(Self { runtime: Some(runtime), clock })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("taken on drop only").handle().clone()
    }

    pub(crate) fn blocking(&self) -> Arc<dyn BlockingExecutor> {
        Arc::new(Blocking(self.handle()))
    }

    pub(crate) fn timers(&self) -> Arc<dyn TimerService> {
        Arc::new(Timers { handle: self.handle(), clock: Arc::clone(&self.clock) })
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Work under way (a write) is finished; timers are dropped.
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

struct Blocking(Handle);

impl BlockingExecutor for Blocking {
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        // The work leaves its answer by itself; a panic is seen there as a lost answer.
        drop(self.0.spawn_blocking(work));
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
