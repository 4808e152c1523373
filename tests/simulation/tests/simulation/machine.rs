//! What processes stand on, and processes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flumen_cluster::Extensions;
use flumen_cluster::extensions::Courier;
use flumen_cluster::process::{Process, World};
use flumen_config::Configuration;
use flumen_connectors::print::PrintTarget;
use flumen_core::waiting::BlockingExecutor;
use flumen_io::{FileSystem, SimulatedClock};
use flumen_network::{HostileOptions, HostileTransport, PartitionRegistry, Transport};
use flumen_operators::registry::OperatorRegistry;
use flumen_runtime::executor::deterministic::{DeterministicExecutor, Pace, Progress};

use crate::operator_faults::OperatorFaults;
use crate::trace::Trace;

/// Memory of the machine: enough for a small job, and reserved rather than used.
const MEMORY_BYTES: u64 = 1 << 30;
/// Steps after which a process that only has to come to rest does not.
const REST_STEPS_MAX: u64 = 5_000_000;

/// What outlives a process.
pub(crate) struct Machine {
    pub(crate) clock: Arc<SimulatedClock>,
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) operator_faults: Arc<OperatorFaults>,
}

/// What a process is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    pub(crate) seed: u64,
    pub(crate) pace: Pace,
    /// `None` hands batches over in memory.
    pub(crate) hostile: Option<HostileOptions>,
    /// Messages between JobMaster and TaskExecutor travel like other work: late and out of order.
    pub(crate) late_messages: bool,
}

/// One process on a machine.
pub(crate) struct Incarnation {
    pub(crate) process: Arc<Process>,
    pub(crate) executor: DeterministicExecutor,
    hostile: Option<HostileTransport>,
}

/// Lets messages wait among the work for I/O threads.
struct LateCourier(Arc<dyn BlockingExecutor>);

impl Courier for LateCourier {
    fn carry(&self, deliver: Box<dyn FnOnce() + Send>) {
        self.0.spawn_blocking(deliver);
    }
}

impl Machine {
    pub(crate) fn new(clock: Arc<SimulatedClock>, files: Arc<dyn FileSystem>) -> Self {
        let trace = Arc::new(Trace::new(Arc::clone(&clock)));
        Self { clock, files, trace, operator_faults: Arc::default() }
    }

    /// Starts a process.
    pub(crate) fn start(&self, temper: Temper, configuration: &Configuration) -> Incarnation {
        let Temper { seed, pace, hostile: hostility, late_messages } = temper;
        let executor = DeterministicExecutor::with_pace(seed, Arc::clone(&self.clock), pace);
        let blocking = executor.blocking();
        let hostile: Arc<Mutex<Option<HostileTransport>>> = Arc::default();
        let mut extensions = Extensions { observer: Some(Arc::clone(&self.trace) as _), ..Extensions::default() };
        if let Some(options) = hostility {
            let (slot, blocking) = (Arc::clone(&hostile), Arc::clone(&blocking));
            extensions.transport = Some(Arc::new(move |registry: Arc<PartitionRegistry>| {
                let transport = HostileTransport::new(registry, seed, options);
                transport.run_on(Arc::clone(&blocking));
                *slot.lock().unwrap() = Some(transport.clone());
                Arc::new(transport) as Arc<dyn Transport>
            }));
        }
        if late_messages {
            extensions.courier = Some(Arc::new(LateCourier(Arc::clone(&blocking))));
        }
        let faults = Arc::clone(&self.operator_faults);
        extensions.operators = Some(Arc::new(move |registry: &mut OperatorRegistry| faults.wrap(registry)));
        let world = World {
            clock: Arc::clone(&self.clock) as _,
            file_system: Arc::clone(&self.files),
            runner: executor.runner(),
            blocking,
            timers: executor.timers(),
            machine_memory_bytes: MEMORY_BYTES,
            spill_directory: PathBuf::from("/spill"),
            print: PrintTarget::new(Arc::new(Mutex::new(std::io::sink()))),
            extensions,
        };
        let process = Process::assemble(world, configuration).unwrap();
        let hostile = hostile.lock().unwrap().take();
        Incarnation { process, executor, hostile }
    }
}

impl Incarnation {
    /// Breaks all connections, if there are any.
    pub(crate) fn break_connections(&self) {
        if let Some(hostile) = &self.hostile {
            hostile.break_all();
        }
    }

    /// Connections that were broken so far.
    pub(crate) fn broken_connections(&self) -> u64 {
        self.hostile.as_ref().map_or(0, HostileTransport::broken)
    }

    /// Runs until nothing is left to do, then checks that nothing is left of any job.
    pub(crate) fn come_to_rest(&self) -> Result<(), String> {
        let mut steps = 0;
        while self.executor.step() != Progress::Stuck {
            steps += 1;
            if steps > REST_STEPS_MAX {
                return Err("the process does not come to rest after its job".to_owned());
            }
        }
        self.process.verify_empty().map_err(|left| format!("after the job: {left:#}"))?;
        let tasks = self.executor.live_tasks();
        if tasks > 0 {
            return Err(format!("after the job: {tasks} tasks are left"));
        }
        match self.hostile.as_ref().map_or(0, HostileTransport::connections) {
            0 => Ok(()),
            connections => Err(format!("after the job: {connections} connections are left")),
        }
    }

    /// Ends the process as it is. Nothing of it may stay in memory.
    pub(crate) fn kill(self) -> Result<(), String> {
        let Self { process, executor, hostile } = self;
        drop(executor);
        drop(hostile);
        process.abandon();
        let weak = Arc::downgrade(&process);
        drop(process);
        match weak.strong_count() {
            0 => Ok(()),
            count => Err(format!("a process that was killed is still held in {count} places")),
        }
    }
}
