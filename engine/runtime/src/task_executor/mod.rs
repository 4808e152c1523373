//! The TaskExecutor: runs the tasks that a JobMaster sends, and tells it what becomes of them.
//!
//! Messages come in through [`TaskExecutorGateway`] from any thread; they are put in order and checked against the
//! leader's epoch (`inbox`), then act on the table of tasks. Nothing here waits: building a task (restoring, opening)
//! and writing its snapshots run on the blocking executor, and what they find comes back as mail or as a message to the
//! JobMaster.
//!
//! A task stands in the table from its submission until it has reported its end; a cancellation that arrives before the
//! submission is remembered for the life of the job.

mod deploy;
mod hooks;
mod inbox;
mod memory;
mod waiting;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, JobId, OperatorUid};
use flumen_core::key_group::KeyGroupRange;
use flumen_core::source::RuntimeFilter;
use flumen_core::waiting::{BlockingExecutor, TimerService};
use flumen_gateway::{
    Envelope, ExecutionState, FailureReport, JobMasterGateway, JobMasterMessage, RestoreDescriptor, StateHandle,
    TaskExecutorGateway, TaskExecutorMessage, TaskInformation, TaskStateChanged,
};
use flumen_io::Clock;
use flumen_kernels::expr::FunctionRegistry;
use flumen_memory::MemoryManager;
use flumen_network::{PartitionConfig, ShuffleEnvironment};
use flumen_operators::registry::OperatorRegistry;
use flumen_operators::spill::SpillSpace;
use flumen_state::{OperatorSnapshot, RestoredState};
use parking_lot::Mutex;

use crate::executor::TaskRunner;
use crate::metrics::OperatorMetrics;
use crate::task::{Mail, MailboxSender};
use inbox::Inbox;
pub use inbox::Outbox;
pub use memory::ReservationMeter;

/// Where snapshots are written and read; called on threads that may wait.
pub trait SnapshotStore: Send + Sync {
    /// Writes the state of one subtask and returns what the checkpoint's metadata will say of it.
    ///
    /// # Errors
    /// If it cannot be written.
    fn write(
        &self,
        task: &SnapshotTask,
        checkpoint: CheckpointId,
        snapshots: Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<Vec<StateHandle>, Failure>;

    /// Removes what was written of one subtask: its job ended meanwhile, and nobody will ask for it.
    fn withdraw(&self, task: &SnapshotTask, checkpoint: CheckpointId);

    /// Reads the state of one operator of one subtask; `None` if the checkpoint has none for it.
    ///
    /// # Errors
    /// If it cannot be read.
    fn restore(
        &self,
        task: &SnapshotTask,
        from: &RestoreDescriptor,
        operator: &OperatorUid,
    ) -> Result<Option<RestoredState>, Failure>;
}

/// Which subtask a snapshot is of.
#[derive(Clone, Debug)]
pub struct SnapshotTask {
    /// The job, the vertex, its configuration.
    pub information: Arc<TaskInformation>,
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// Key groups that it owns.
    pub key_groups: KeyGroupRange,
}

/// What a TaskExecutor is made of.
pub struct TaskExecutorServices {
    /// Steps the tasks.
    pub runner: Arc<dyn TaskRunner>,
    /// Runs what waits.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// Wakes tasks at a time.
    pub timers: Arc<dyn TimerService>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Operators by kind.
    pub operators: Arc<OperatorRegistry>,
    /// Functions by name.
    pub functions: Arc<FunctionRegistry>,
    /// Partitions and gates.
    pub shuffle: Arc<ShuffleEnvironment>,
    /// Snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Managed memory.
    pub memory: MemoryManager,
    /// Where operators spill to.
    pub spill: SpillSpace,
    /// Seed of what is random in partitioners.
    pub seed: u64,
}

/// How the tasks of one job are to be run; from the job's configuration.
#[derive(Clone, Debug)]
pub struct TaskOptions {
    /// Rows of a batch at most.
    pub batch_rows: usize,
    /// Sizes of partitions.
    pub partition: PartitionConfig,
}

/// Reads [`TaskOptions`] from a job's configuration.
pub type ReadTaskOptions = dyn Fn(&TaskInformation) -> Result<TaskOptions, Failure> + Send + Sync;

struct TaskEntry {
    mailbox: MailboxSender,
    metrics: Vec<(OperatorUid, String, Arc<OperatorMetrics>)>,
    /// By source: the number of the split request that an answer is awaited for.
    requests: HashMap<OperatorUid, u64>,
}

/// Ordered where it is walked, so that what follows from a walk happens in the same order in every run.
#[derive(Default)]
struct Tasks {
    live: BTreeMap<ExecutionAttemptId, TaskEntry>,
    /// What joins have published, for tasks that are submitted later: a build side may be complete before the last task
    /// of its job is there.
    filters: BTreeMap<JobId, Vec<(u32, RuntimeFilter)>>,
    /// Submitted at some time: a repeated submission is ignored.
    known: HashSet<ExecutionAttemptId>,
    /// Counters of tasks that are over, kept for the jobs that ended last.
    finished: BTreeMap<ExecutionAttemptId, Vec<(OperatorUid, String, Arc<OperatorMetrics>)>>,
    forgotten: VecDeque<JobId>,
}

impl Tasks {
    fn begin(&mut self, attempt: ExecutionAttemptId, entry: TaskEntry) {
        if attempt.attempt.0 > 0 {
            // What is tried again may give other rows than those that the filters were made of.
            self.filters.remove(&attempt.job);
        }
        for (id, filter) in self.filters.get(&attempt.job).into_iter().flatten() {
            entry.mailbox.send(Mail::RuntimeFilter(*id, filter.clone()));
        }
        self.live.insert(attempt, entry);
    }

    fn publish(&mut self, job: JobId, id: u32, filter: &RuntimeFilter) {
        let published = self.filters.entry(job).or_default();
        published.retain(|(known, _)| *known != id);
        published.push((id, filter.clone()));
        for (_, entry) in self.live.iter().filter(|(attempt, _)| attempt.job == job) {
            entry.mailbox.send(Mail::RuntimeFilter(id, filter.clone()));
        }
    }
}

/// Ended jobs whose counters are kept.
const ENDED_JOBS_KEPT: usize = 16;

pub(crate) struct Shared {
    services: TaskExecutorServices,
    options: Box<ReadTaskOptions>,
    job_masters: Mutex<HashMap<JobId, Arc<Outbox>>>,
    inbox: Mutex<Inbox>,
    tasks: Mutex<Tasks>,
    expiry: waiting::Expiry,
}

/// Runs tasks. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct TaskExecutor {
    shared: Arc<Shared>,
}

impl TaskExecutor {
    /// A TaskExecutor without tasks.
    pub fn new(
        services: TaskExecutorServices,
        options: impl Fn(&TaskInformation) -> Result<TaskOptions, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                services,
                options: Box::new(options),
                job_masters: Mutex::default(),
                inbox: Mutex::default(),
                tasks: Mutex::default(),
                expiry: waiting::Expiry::default(),
            }),
        }
    }

    /// From now on tells this JobMaster of the job's tasks.
    pub fn connect(&self, job: JobId, epoch: flumen_core::ids::LeaderEpoch, job_master: Arc<dyn JobMasterGateway>) {
        self.shared.job_masters.lock().insert(job, Arc::new(Outbox::new(job, epoch, job_master)));
    }

    /// Forgets a job whose tasks have all ended, and releases what is left of its partitions.
    pub fn forget(&self, job: JobId) {
        self.shared.job_masters.lock().remove(&job);
        self.shared.inbox.lock().forget(job);
        let mut tasks = self.shared.tasks.lock();
        tasks.known.retain(|a| a.job != job);
        tasks.filters.remove(&job);
        tasks.forgotten.push_back(job);
        if tasks.forgotten.len() > ENDED_JOBS_KEPT
            && let Some(oldest) = tasks.forgotten.pop_front()
        {
            tasks.finished.retain(|a, _| a.job != oldest);
        }
        drop(tasks);
        self.shared.services.shuffle.registry().release_job(job);
    }

    /// Tasks that have not reported their end.
    #[must_use]
    pub fn live_tasks(&self) -> usize {
        self.shared.tasks.lock().live.len()
    }

    /// Attempts whose tasks have not reported their end, in order.
    #[must_use]
    pub fn attempts(&self) -> Vec<ExecutionAttemptId> {
        self.shared.tasks.lock().live.keys().copied().collect()
    }

    /// Ends a task with a failure that was found outside of it; `false` if there is no such task (any more).
    pub fn fail_task(&self, attempt: ExecutionAttemptId, failure: Failure) -> bool {
        let tasks = self.shared.tasks.lock();
        let entry = tasks.live.get(&attempt);
        entry.inspect(|entry| entry.mailbox.send(Mail::Fail(failure))).is_some()
    }

    /// What the operators of a job's tasks did so far: attempt, operator, its name, counters.
    #[must_use]
    pub fn operator_counts(
        &self,
        job: JobId,
    ) -> Vec<(ExecutionAttemptId, OperatorUid, String, crate::metrics::OperatorCounts)> {
        let tasks = self.shared.tasks.lock();
        let live = tasks.live.iter().map(|(attempt, entry)| (attempt, &entry.metrics));
        live.chain(tasks.finished.iter())
            .filter(|(attempt, _)| attempt.job == job)
            .flat_map(|(attempt, metrics)| {
                metrics.iter().map(|(uid, name, counters)| (*attempt, uid.clone(), name.clone(), counters.counts()))
            })
            .collect()
    }
}

impl TaskExecutorGateway for TaskExecutor {
    fn send(&self, message: Envelope<TaskExecutorMessage>) {
        // Accepting and acting are one step, so that two senders' threads cannot swap messages in between.
        let mut inbox = self.shared.inbox.lock();
        if !self.shared.job_masters.lock().contains_key(&message.job) {
            // A late message to a job that is over; it must not begin an inbox that nobody forgets.
            return;
        }
        for message in inbox.accept(message) {
            self.shared.act(message);
        }
    }
}

impl Shared {
    fn act(self: &Arc<Self>, message: TaskExecutorMessage) {
        let mail = |attempt: ExecutionAttemptId, mail: Mail| {
            if let Some(entry) = self.tasks.lock().live.get(&attempt) {
                entry.mailbox.send(mail);
            }
        };
        match message {
            TaskExecutorMessage::SubmitTask(descriptor) => {
                let attempt = descriptor.attempt;
                if !self.tasks.lock().known.insert(attempt) {
                    return;
                }
                if let Err(failure) = deploy::deploy(self, *descriptor) {
                    self.ended(attempt, ExecutionState::Failed, Some(FailureReport::from(&failure)));
                }
                waiting::watch(self);
            }
            TaskExecutorMessage::CancelTask { attempt } => {
                let mut tasks = self.tasks.lock();
                if let Some(entry) = tasks.live.get(&attempt) {
                    entry.mailbox.send(Mail::Cancel);
                } else if tasks.known.insert(attempt) {
                    drop(tasks);
                    self.report(attempt, ExecutionState::Canceled, None);
                }
            }
            TaskExecutorMessage::TriggerCheckpoint { attempt, barrier } => {
                mail(attempt, Mail::TriggerCheckpoint(barrier))
            }
            TaskExecutorMessage::NotifyCheckpointComplete { attempt, checkpoint } => {
                mail(attempt, Mail::CheckpointComplete(checkpoint));
            }
            TaskExecutorMessage::NotifyCheckpointAborted { attempt, checkpoint, .. } => {
                mail(attempt, Mail::CheckpointAborted(checkpoint));
            }
            TaskExecutorMessage::ReleasePartitions { partitions } => {
                for partition in partitions {
                    self.services.shuffle.registry().release(partition);
                }
            }
            TaskExecutorMessage::AssignSplits { attempt, operator, request, splits, last } => {
                let mut tasks = self.tasks.lock();
                if let Some(entry) = tasks.live.get_mut(&attempt)
                    && entry.requests.get(&operator) == Some(&request)
                {
                    entry.requests.remove(&operator);
                    entry.mailbox.send(Mail::AssignSplits { uid: operator, splits, last });
                }
            }
            _ => tracing::error!("a message of a newer version was ignored"),
        }
    }

    /// Tells the JobMaster; false if the job is over.
    fn tell(&self, job: JobId, message: JobMasterMessage) -> bool {
        let outbox = self.job_masters.lock().get(&job).map(Arc::clone);
        outbox.map(|outbox| outbox.send(message)).is_some()
    }

    fn report(&self, attempt: ExecutionAttemptId, state: ExecutionState, failure: Option<FailureReport>) {
        self.tell(attempt.job, JobMasterMessage::TaskStateChanged(TaskStateChanged { attempt, state, failure }));
    }

    /// The task is over.
    fn ended(&self, attempt: ExecutionAttemptId, state: ExecutionState, failure: Option<FailureReport>) {
        let mut tasks = self.tasks.lock();
        if let Some(entry) = tasks.live.remove(&attempt) {
            tasks.finished.insert(attempt, entry.metrics);
        }
        drop(tasks);
        self.report(attempt, state, failure);
        // After the report: what consumers say of it is then known to be a consequence. Pipelined results that nobody
        // reads to their end would stay, and their memory, until the job ends.
        if state != ExecutionState::Finished {
            self.services.shuffle.registry().release_attempt(attempt);
        }
    }

    fn request_split(&self, attempt: ExecutionAttemptId, operator: &OperatorUid, request: u64) {
        if let Some(entry) = self.tasks.lock().live.get_mut(&attempt) {
            entry.requests.insert(operator.clone(), request);
        }
        self.tell(attempt.job, JobMasterMessage::RequestSplit { attempt, operator: operator.clone(), request });
    }
}

pub(crate) type WeakShared = Weak<Shared>;
