//! A cluster in this process: worker threads, tokio, the machine's files and clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_config::Configuration;
use flumen_connectors::print::PrintTarget;
use flumen_core::waiting::BlockingExecutor;
use flumen_io::{Clock, LocalFileSystem, SystemClock};
use flumen_memory::SPILL_DIRECTORIES;
use flumen_runtime::executor::threaded::ThreadedExecutor;

use crate::extensions::Extensions;
use crate::options;
use crate::process::{Process, World};
use crate::services::IoRuntime;

/// A running embedded cluster. Dropping it cancels what runs and gives everything back.
pub struct EmbeddedCluster {
    process: Arc<Process>,
    workers: u32,
    // Dropped after the jobs: first the threads that step tasks, then those that wait.
    executor: ThreadedExecutor,
    _io: IoRuntime,
    // Last of all: nothing spills any more.
    _spill: SpillDirectory,
}

impl EmbeddedCluster {
    /// Starts it.
    ///
    /// # Errors
    /// If the operating system refuses threads or memory, or the configuration cannot be met.
    pub fn start(configuration: &Configuration) -> anyhow::Result<Self> {
        Self::start_with(configuration, |_| Extensions::default())
    }

    /// Starts it with some parts replaced; they may use the threads that wait.
    ///
    /// # Errors
    /// As [`EmbeddedCluster::start`].
    pub fn start_with(
        configuration: &Configuration,
        extensions: impl FnOnce(&Arc<dyn BlockingExecutor>) -> Extensions,
    ) -> anyhow::Result<Self> {
        let workers = match configuration.get(&options::WORKERS) {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            workers => workers,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let io = IoRuntime::start(Arc::clone(&clock))?;
        let executor = ThreadedExecutor::start(workers as usize)?;
        let spill = SpillDirectory::name(&configuration.get(&SPILL_DIRECTORIES));
        let blocking = io.blocking();
        let extensions = extensions(&blocking);
        let world = World {
            clock,
            file_system: Arc::new(LocalFileSystem),
            runner: executor.runner(),
            blocking,
            timers: io.timers(),
            machine_memory_bytes: machine_memory_bytes(),
            spill_directory: spill.0.clone(),
            print: PrintTarget::new(Arc::new(std::sync::Mutex::new(std::io::stdout()))),
            extensions,
        };
        let process = Process::assemble(world, configuration)?;
        Ok(Self { process, workers, executor, _io: io, _spill: spill })
    }

    /// What the jobs share.
    #[must_use]
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Threads that step tasks.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// Tasks that are not finished.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.executor.live_tasks()
    }
}

impl Drop for EmbeddedCluster {
    fn drop(&mut self) {
        let jobs = self.process.jobs();
        jobs.iter().for_each(|job| job.cancel());
        for job in jobs {
            // A task answers between two operator calls; one that does not within this time is dropped with its worker.
            let _ = job.wait_within(std::time::Duration::from_secs(5));
        }
    }
}

/// Memory that the process may use: of its control group if that is limited, else of the machine.
fn machine_memory_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| read(path)?.trim().parse::<u64>().ok());
    let total = read("/proc/meminfo")
        .and_then(|text| {
            text.lines()
                .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        })
        .map(|kib| kib * 1024);
    limits.chain(total).min().unwrap_or(2 << 30)
}

/// A directory of this cluster alone, made when something spills, removed when the cluster is over. Spill files have no
/// names, so that after a kill an empty directory is all that is left.
struct SpillDirectory(PathBuf);

impl SpillDirectory {
    /// Below one of the configured directories; clusters of a process take turns.
    fn name(directories: &[PathBuf]) -> Self {
        static CLUSTERS: AtomicU64 = AtomicU64::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let turn = usize::try_from(number).unwrap_or(0) % directories.len().max(1);
        let parent = directories.get(turn).cloned().unwrap_or_else(std::env::temp_dir);
        Self(parent.join(format!("flumen-{}-{number}", std::process::id())))
    }
}

impl Drop for SpillDirectory {
    fn drop(&mut self) {
        // Nothing may have spilled; and a directory that cannot be removed is the system's to clean.
        let _ = std::fs::remove_dir(&self.0);
    }
}
