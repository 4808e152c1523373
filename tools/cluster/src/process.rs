//! What the jobs of one process share, whatever steps their tasks.
//!
//! An embedded cluster puts worker threads, tokio and the machine's files and clock under it; tests put the deterministic
//! executor, simulated files and a simulated clock there and run the same code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_config::Configuration;
use flumen_connectors::print::PrintTarget;
use flumen_connectors::{CollectRegistry, ConnectorEnvironment, MemoryTables};
use flumen_control::{JobMaster, JobMasterOptions};
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::failure::Failure;
use flumen_core::graph::JobGraph;
use flumen_core::ids::{JobId, LeaderEpoch};
use flumen_core::waiting::{BlockingExecutor, TimerService};
use flumen_gateway::{ClientEvent, TaskInformation};
use flumen_io::{Clock, FileSystem, Rng};
use flumen_kernels::expr::FunctionRegistry;
use flumen_memory::{
    Arena, ArenaOptions, ConsumerWeights, DirectoryStorage, ExtentPool, ExtentPoolOptions, MemoryLayout, MemoryManager,
    MemoryOptions, NetworkBufferPool,
};
use flumen_network::{EnvironmentOptions, PartitionConfig, PartitionRegistry, ShuffleEnvironment};
use flumen_operators::registry::OperatorRegistry;
use flumen_operators::spill::SpillSpace;
use flumen_runtime::executor::TaskRunner;
use flumen_runtime::task_executor::{ReservationMeter, TaskExecutor, TaskExecutorServices, TaskOptions};
use parking_lot::Mutex;

use crate::extensions::Extensions;
use crate::job::Job;
use crate::metered::MeteredFileSystem;
use crate::options;
use crate::snapshots::Snapshots;

/// What a process stands on.
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub file_system: Arc<dyn FileSystem>,
    /// Steps tasks.
    pub runner: Arc<dyn TaskRunner>,
    /// Runs what waits.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// Wakes at a time.
    pub timers: Arc<dyn TimerService>,
    /// Bytes of memory that the machine has.
    pub machine_memory_bytes: u64,
    /// Where exchanges and operators spill.
    pub spill_directory: PathBuf,
    /// Lines of the `print` connector.
    pub print: PrintTarget,
    /// What is to be different from a process alone.
    pub extensions: Extensions,
}

/// See the module.
pub struct Process {
    world: World,
    arena: Arena,
    memory: MemoryManager,
    connectors: Arc<ConnectorRegistry>,
    tables: MemoryTables,
    collect: CollectRegistry,
    bytes_read: Arc<AtomicU64>,
    shuffle: Arc<ShuffleEnvironment>,
    task_executor: TaskExecutor,
    spill: SpillSpace,
    snapshots: Arc<Snapshots>,
    jobs: Mutex<BTreeMap<JobId, Arc<Job>>>,
    slots: u32,
}

impl Process {
    /// Assembles a process from its configuration and the world it stands on.
    ///
    /// # Errors
    /// If the memory cannot be laid out.
    pub fn assemble(world: World, configuration: &Configuration) -> anyhow::Result<Arc<Self>> {
        let layout =
            MemoryLayout::compute(&MemoryOptions::from_configuration(configuration, world.machine_memory_bytes))?;
        let arena = Arena::new(ArenaOptions::new(layout.arena_bytes()))?;
        let weights = ConsumerWeights::from_configuration(configuration)?;
        let memory = MemoryManager::with_weights(arena.clone(), layout.managed_bytes, weights)?;
        let exchange = EnvironmentOptions::new(
            world.spill_directory.clone(),
            Arc::clone(&world.file_system),
            Arc::clone(&world.blocking),
            NetworkBufferPool::new(arena.clone(), layout.network_buffers())?,
        );
        let shuffle = Arc::new(match &world.extensions.transport {
            None => ShuffleEnvironment::local(exchange),
            Some(make) => {
                let registry = PartitionRegistry::new();
                ShuffleEnvironment::with_transport(exchange, Arc::clone(&registry), make(registry))
            }
        });
        let collect = CollectRegistry::default();
        let kept = memory.budget("tables in memory", memory.limit_bytes()).reserve("rows");
        let tables = MemoryTables::new(Arc::new(ReservationMeter::new(kept)));
        let mut connectors = ConnectorRegistry::new();
        let metered = MeteredFileSystem::new(Arc::clone(&world.file_system));
        let bytes_read = metered.bytes_read();
        let environment = ConnectorEnvironment {
            files: Arc::new(metered),
            collect: collect.clone(),
            tables: tables.clone(),
            print: world.print.clone(),
        };
        flumen_connectors::register_connectors(&mut connectors, &environment);
        if let Some(extend) = &world.extensions.connectors {
            extend(&mut connectors);
        }
        let connectors = Arc::new(connectors);
        let mut functions = FunctionRegistry::new();
        flumen_sql::register_datafusion_functions(&mut functions)?;
        let mut operators = OperatorRegistry::default();
        flumen_operators::register_builtin(&mut operators);
        flumen_connectors::operators::register_operators(&mut operators, &connectors);
        if let Some(extend) = &world.extensions.operators {
            extend(&mut operators);
        }
        let snapshots = Arc::new(Snapshots::new(Arc::clone(&world.file_system)));
        let extents = DirectoryStorage::new(Arc::clone(&world.file_system), world.spill_directory.clone());
        let spill = SpillSpace::new(ExtentPool::new(Box::new(extents), ExtentPoolOptions::default()));
        let services = TaskExecutorServices {
            runner: Arc::clone(&world.runner),
            blocking: Arc::clone(&world.blocking),
            timers: Arc::clone(&world.timers),
            clock: Arc::clone(&world.clock),
            operators: Arc::new(operators),
            functions: Arc::new(functions),
            shuffle: Arc::clone(&shuffle),
            snapshots: Arc::<Snapshots>::clone(&snapshots),
            memory: memory.clone(),
            spill: spill.clone(),
            seed: configuration.get(&options::SEED),
        };
        let task_executor = TaskExecutor::new(services, task_options);
        let slots = configuration.get(&options::SLOTS);
        Ok(Arc::new(Self {
            world,
            arena,
            memory,
            connectors,
            tables,
            collect,
            bytes_read,
            shuffle,
            task_executor,
            spill,
            snapshots,
            jobs: Mutex::default(),
            slots,
        }))
    }

    /// Starts a job. `restore` is a checkpoint to start from.
    ///
    /// # Errors
    /// If the checkpoint cannot be read or does not fit the job.
    pub fn submit(
        self: &Arc<Self>,
        graph: JobGraph,
        job_options: JobMasterOptions,
        restore: Option<&str>,
        seed: u64,
        listener: impl Fn(&ClientEvent) + Send + Sync + 'static,
    ) -> Result<Arc<Job>, Failure> {
        let graph = Arc::new(graph);
        let restore = restore.map(|location| self.snapshots.restore_point(location, &graph)).transpose()?;
        let epoch = LeaderEpoch(1);
        let directory = job_options.configuration.get(options::CHECKPOINT_DIRECTORY.key()).cloned();
        let rng = Box::new(Rng::stream(seed, &graph.job.to_string()));
        let master = JobMaster::new(Arc::clone(&graph), epoch, job_options, restore, None, rng);
        let job = Job::start(self, &graph, master, epoch, self.slots, directory, Box::new(listener));
        self.jobs.lock().insert(graph.job, Arc::clone(&job));
        // A short job may have ended before it stood in the table.
        if job.end().is_some() {
            self.job_ended(graph.job);
        }
        Ok(job)
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().values().map(Arc::clone).collect()
    }

    /// Forgets all jobs without a word to anyone, as a process does that is killed: what they have under way goes with
    /// the executors that run it. Jobs and process hold each other, so without this neither would be dropped.
    pub fn abandon(&self) {
        let jobs = std::mem::take(&mut *self.jobs.lock());
        drop(jobs);
    }

    /// Whether nothing is left of any job: tasks, partitions, managed memory, results.
    ///
    /// # Errors
    /// With what is left.
    pub fn verify_empty(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.task_executor.live_tasks() == 0, "{} tasks are left", self.task_executor.live_tasks());
        anyhow::ensure!(self.shuffle.is_empty(), "partitions are left: {:?}", self.shuffle.registry().partitions());
        self.memory.verify_empty()?;
        self.spill.verify_empty()?;
        self.arena.verify_empty()?;
        Ok(())
    }

    pub(crate) fn job_ended(&self, job: JobId) {
        let job = self.jobs.lock().remove(&job);
        // Dropped outside the lock: it may be the last share.
        drop(job);
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.world.clock
    }

    pub(crate) fn blocking(&self) -> &Arc<dyn BlockingExecutor> {
        &self.world.blocking
    }

    pub(crate) fn timers(&self) -> &Arc<dyn TimerService> {
        &self.world.timers
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.world.extensions
    }

    pub(crate) fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// Runs the tasks.
    #[must_use]
    pub fn task_executor(&self) -> &TaskExecutor {
        &self.task_executor
    }

    /// Connectors by name.
    #[must_use]
    pub fn connectors(&self) -> &Arc<ConnectorRegistry> {
        &self.connectors
    }

    /// Tables in memory.
    pub(crate) fn tables(&self) -> &MemoryTables {
        &self.tables
    }

    /// Results on their way to clients.
    #[must_use]
    pub fn collect(&self) -> &CollectRegistry {
        &self.collect
    }

    /// Bytes that connectors have read from files so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Bytes that operators have spilled so far, as stored.
    #[must_use]
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.spilled_bytes()
    }

    /// Managed memory.
    #[must_use]
    pub fn memory(&self) -> &MemoryManager {
        &self.memory
    }
}

/// Reads what tasks need from the job's configuration, which travels with it.
fn task_options(task: &TaskInformation) -> Result<TaskOptions, Failure> {
    let mut configuration = crate::configuration().map_err(Failure::bug)?;
    for (key, value) in task.configuration.iter() {
        configuration.set(key, value, flumen_config::Origin::Program).map_err(Failure::user)?;
    }
    let batch_rows = configuration.get(&options::BATCH_ROWS) as usize;
    let partition = PartitionConfig {
        batch_rows,
        buffer_timeout: Some(configuration.get(&options::BUFFER_TIMEOUT)),
        ..PartitionConfig::default()
    };
    Ok(TaskOptions { batch_rows, partition })
}
