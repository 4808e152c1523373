//! One job: the actor around its JobMaster.
//!
//! The JobMaster is a pure state machine; the actor feeds it events and carries out its actions, in order. Events are
//! posted from any thread: whoever finds the queue unattended works it off, so that a message costs no thread switch and
//! two threads never act at once. Nothing in an action waits: creating enumerators and writing metadata go to threads
//! that may, and come back as events.
//!
//! The queue is bounded by what tasks report: a state change for each of an attempt's few states, one acknowledgement per
//! checkpoint, one request per split.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Duration;

use flumen_control::{Action, Event, JobMaster, Now};
use flumen_core::failure::Failure;
use flumen_core::graph::JobGraph;
use flumen_core::ids::{JobId, LeaderEpoch};
use flumen_core::spec::connector::SourceSpec;
use flumen_gateway::{
    ClientEvent, Envelope, FailureReport, JobMasterGateway, JobMasterMessage, JobStatus, TaskExecutorGateway,
    TaskExecutorId,
};
use flumen_io::MonotonicTime;
use parking_lot::{Condvar, Mutex};

use crate::extensions::Courier;
use crate::process::Process;

/// The one TaskExecutor of an embedded cluster.
pub(crate) const LOCAL: TaskExecutorId = TaskExecutorId(0);

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// FINISHED, FAILED or CANCELED.
    pub status: JobStatus,
    /// With FAILED: the root cause.
    pub failure: Option<FailureReport>,
}

struct Queue {
    events: VecDeque<Event>,
    attended: bool,
}

/// A job that was submitted.
pub struct Job {
    id: JobId,
    name: String,
    checkpoint_directory: Option<String>,
    process: Arc<Process>,
    queue: Mutex<Queue>,
    /// Locked by whoever attends the queue.
    master: Mutex<JobMaster>,
    alarm: Mutex<Option<MonotonicTime>>,
    end: Mutex<Option<JobEnd>>,
    ended: Condvar,
    history: Mutex<VecDeque<ClientEvent>>,
    listener: Box<dyn Fn(&ClientEvent) + Send + Sync>,
    me: Weak<Self>,
}

/// Client events kept for those who ask later.
const HISTORY: usize = 256;

impl Job {
    /// Starts a job.
    pub(crate) fn start(
        process: &Arc<Process>,
        graph: &Arc<JobGraph>,
        master: JobMaster,
        epoch: LeaderEpoch,
        slots: u32,
        checkpoint_directory: Option<String>,
        listener: Box<dyn Fn(&ClientEvent) + Send + Sync>,
    ) -> Arc<Self> {
        let job = Arc::new_cyclic(|me| Self {
            id: graph.job,
            name: graph.name.clone(),
            checkpoint_directory,
            process: Arc::clone(process),
            queue: Mutex::new(Queue { events: VecDeque::new(), attended: false }),
            master: Mutex::new(master),
            alarm: Mutex::new(None),
            end: Mutex::new(None),
            ended: Condvar::new(),
            history: Mutex::default(),
            listener,
            me: Weak::clone(me),
        });
        let courier = process.extensions().courier.clone();
        let gateway = Arc::new(Gateway { job: Arc::downgrade(&job), courier });
        process.task_executor().connect(graph.job, epoch, gateway);
        job.post(Event::TaskExecutorRegistered { executor: LOCAL, slots });
        job.post(Event::Start);
        job
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks it to stop; it ends as CANCELED unless it ends otherwise first.
    pub fn cancel(&self) {
        self.post(Event::Cancel);
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<JobEnd> {
        self.end.lock().clone()
    }

    /// Waits for its end, for at most so long.
    #[must_use]
    pub fn wait_within(&self, timeout: Duration) -> Option<JobEnd> {
        let mut end = self.end.lock();
        if end.is_none() {
            let _ = self.ended.wait_for(&mut end, timeout);
        }
        end.clone()
    }

    /// What its clients were told lately.
    #[must_use]
    pub fn history(&self) -> Vec<ClientEvent> {
        self.history.lock().iter().cloned().collect()
    }

    fn post(&self, event: Event) {
        let mut queue = self.queue.lock();
        queue.events.push_back(event);
        if std::mem::replace(&mut queue.attended, true) {
            return;
        }
        let mut master = self.master.lock();
        loop {
            let Some(event) = queue.events.pop_front() else {
                queue.attended = false;
                return;
            };
            drop(queue);
            let now = self.now();
            let observer = self.process.extensions().observer.as_ref();
            observer.inspect(|observer| observer.event(self.id, &event));
            for action in master.on(event, now) {
                observer.inspect(|observer| observer.action(self.id, &action));
                self.act(action);
            }
            self.set_alarm(master.next_deadline());
            queue = self.queue.lock();
        }
    }

    fn now(&self) -> Now {
        let clock = self.process.clock();
        Now { time: clock.now(), wall_ms: clock.wall_millis() }
    }

    fn act(&self, action: Action) {
        match action {
            Action::Send { envelope, .. } => match &self.process.extensions().courier {
                None => self.process.task_executor().send(envelope),
                Some(courier) => {
                    let executor = self.process.task_executor().clone();
                    courier.carry(Box::new(move || executor.send(envelope)));
                }
            },
            Action::CreateEnumerator { operator, generation, spec, parallelism, state } => {
                let (me, process) = (Weak::clone(&self.me), Arc::clone(&self.process));
                self.process.blocking().spawn_blocking(Box::new(move || {
                    let create = || {
                        let source: SourceSpec = spec.payload()?;
                        let connector = process.connectors().source(&source.connector).ok_or_else(|| {
                            Failure::user(format!("there is no source connector named {:?}", source.connector))
                        })?;
                        connector.create_enumerator(&source, parallelism, state.as_deref())
                    };
                    let created = std::panic::catch_unwind(std::panic::AssertUnwindSafe(create))
                        .unwrap_or_else(|_| Err(Failure::bug("the source panicked while it was listed")));
                    if let Some(job) = me.upgrade() {
                        let result = created.map_err(|failure| FailureReport::from(&failure));
                        job.post(Event::EnumeratorCreated { operator, generation, result });
                    }
                }));
            }
            Action::FinalizeCheckpoint(contents) => {
                let directory = self.checkpoint_directory.clone();
                // Kept until the answer is there: a job that ends meanwhile still has to delete what was written.
                let (job, process) = (self.me.upgrade(), Arc::clone(&self.process));
                self.process.blocking().spawn_blocking(Box::new(move || {
                    let checkpoint = contents.checkpoint;
                    let finalize = || {
                        process.snapshots().finalize(&contents, directory.as_ref()).map_err(|failure| failure.chain())
                    };
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(finalize))
                        .unwrap_or_else(|_| Err("writing the metadata panicked".to_owned()));
                    if let Some(job) = job {
                        job.post(Event::CheckpointFinalized { checkpoint, result });
                    }
                }));
            }
            Action::DiscardCheckpoint { checkpoint, .. } => {
                let directory = self.checkpoint_directory.clone();
                let (process, id, me) = (Arc::clone(&self.process), self.id, Weak::clone(&self.me));
                self.process.blocking().spawn_blocking(Box::new(move || {
                    if let Err(failure) = process.snapshots().discard(id, checkpoint, directory.as_ref()) {
                        tracing::warn!(job = %id, %checkpoint, cause = %failure.chain(), "checkpoint was not deleted");
                    }
                    // This may be the last of it: the end of the job and this deletion come in either order, and
                    // whichever is later removes the directory.
                    if me.upgrade().is_none_or(|job| job.end().is_some()) {
                        process.snapshots().job_ended(id, directory.as_ref());
                    }
                }));
            }
            Action::Notify(event) => {
                (self.listener)(&event);
                let mut history = self.history.lock();
                if history.len() == HISTORY {
                    history.pop_front();
                }
                history.push_back(event);
            }
            Action::JobEnded { status, failure } => {
                self.process.task_executor().forget(self.id);
                *self.end.lock() = Some(JobEnd { status, failure });
                self.ended.notify_all();
                if let Some(directory) = self.checkpoint_directory.clone() {
                    let (process, id) = (Arc::clone(&self.process), self.id);
                    self.process.blocking().spawn_blocking(Box::new(move || {
                        process.snapshots().job_ended(id, Some(&directory));
                    }));
                }
                self.process.job_ended(self.id);
            }
        }
    }

    fn set_alarm(&self, deadline: Option<MonotonicTime>) {
        let Some(deadline) = deadline else { return };
        let mut alarm = self.alarm.lock();
        if alarm.is_some_and(|alarm| alarm <= deadline && alarm > self.process.clock().now()) {
            return;
        }
        *alarm = Some(deadline);
        drop(alarm);
        self.process.timers().wake_at(deadline, Arc::new(Alarm(Weak::clone(&self.me))).into());
    }
}

struct Alarm(Weak<Job>);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(job) = self.0.upgrade() {
            *job.alarm.lock() = None;
            job.post(Event::Tick);
        }
    }
}

/// The TaskExecutor's way to a job.
struct Gateway {
    job: Weak<Job>,
    courier: Option<Arc<dyn Courier>>,
}

impl JobMasterGateway for Gateway {
    fn send(&self, envelope: Envelope<JobMasterMessage>) {
        let post = |job: &Weak<Job>, envelope| {
            if let Some(job) = job.upgrade() {
                job.post(Event::Message { from: LOCAL, envelope });
            }
        };
        match &self.courier {
            None => post(&self.job, envelope),
            Some(courier) => {
                let job = Weak::clone(&self.job);
                courier.carry(Box::new(move || post(&job, envelope)));
            }
        }
    }
}
