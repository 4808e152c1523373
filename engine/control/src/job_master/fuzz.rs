//! Seeded random life of a job: tasks, TaskExecutors, the checkpoint store and the clock do as they like; messages are
//! repeated, reordered and forged. The harness checks every action; here, that a job which is left alone finishes with
//! every split read exactly once, and that a cancelled one ends.
//!
//! Set `FLUMEN_SEED` to replay one seed.

use std::collections::{BTreeMap, VecDeque};

use flumen_core::failure::FailureKind;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, IntermediateDataSetId, LeaderEpoch, ResultPartitionId};
use flumen_gateway::{
    AcknowledgeCheckpoint, CheckpointMetrics, DeclineReason, Envelope, ExecutionState, FailureReport,
    JobMasterMessage as In, JobStatus, StateHandle, TaskExecutorMessage as Out, TaskStateChanged,
};
use flumen_io::{RandomSource, Rng};

use super::harness::Harness;
use super::*;
use crate::restart::FixedDelayOptions;
use crate::testing::{Shape, job};

const PARALLELISM: u32 = 3;
const SPLITS: u8 = 12;

#[derive(Debug)]
struct Task {
    attempt: ExecutionAttemptId,
    state: ExecutionState,
    /// Splits read: the state of a source.
    read: Vec<u8>,
    next_request: u64,
    waiting: Option<u64>,
    last: bool,
    end_of_data: bool,
    /// Checkpoints to take.
    barriers: VecDeque<CheckpointId>,
    newest_barrier: u64,
    /// The first checkpoint taken after the end of data.
    final_checkpoint: Option<CheckpointId>,
    may_finish: bool,
}

impl Task {
    fn is_source(&self) -> bool {
        self.attempt.execution_vertex.vertex.0 == 0
    }

    fn subtask(&self) -> u32 {
        self.attempt.execution_vertex.subtask.0
    }
}

struct World {
    h: Harness,
    rng: Rng,
    /// Messages on their way to each TaskExecutor, in order.
    to_executor: BTreeMap<TaskExecutorId, VecDeque<Out>>,
    /// Messages on their way to the JobMaster, in any order.
    to_master: Vec<(TaskExecutorId, Envelope<In>)>,
    tasks: BTreeMap<TaskExecutorId, Vec<Task>>,
    next_executor: u32,
    /// By checkpoint and source subtask: what had been read.
    stored: BTreeMap<CheckpointId, Vec<Vec<u8>>>,
    final_read: Vec<Vec<u8>>,
    calm: bool,
}

impl World {
    fn new(seed: u64, shape: Shape) -> Self {
        let interval = Some(Duration::from_secs(2));
        let checkpoints =
            CheckpointSettings { interval, tolerable_failures: 2, retained: 2, ..CheckpointSettings::default() };
        let fixed = FixedDelayOptions { attempts: u32::MAX, delay: Duration::from_millis(300) };
        let restart = Some(RestartStrategyOptions::FixedDelay(fixed));
        let options = JobMasterOptions { checkpoints, restart, ..JobMasterOptions::default() };
        let graph = job(&[PARALLELISM, PARALLELISM], &[(0, 1, shape)]);
        let mut world = Self {
            h: Harness::new(graph, options, None),
            rng: Rng::from_seed(seed),
            to_executor: BTreeMap::new(),
            to_master: Vec::new(),
            tasks: BTreeMap::new(),
            next_executor: 0,
            stored: BTreeMap::new(),
            final_read: vec![Vec::new(); PARALLELISM as usize],
            calm: false,
        };
        world.register();
        world.register();
        world.h.on(Event::Start);
        world
    }

    fn register(&mut self) {
        let executor = TaskExecutorId(self.next_executor);
        self.next_executor += 1;
        self.h.register(executor, 2);
        self.to_executor.insert(executor, VecDeque::new());
        self.tasks.insert(executor, Vec::new());
    }

    fn pick(&mut self, count: usize) -> usize {
        self.rng.below(count as u64) as usize
    }

    fn tell(&mut self, from: TaskExecutorId, message: In) {
        let envelope = self.h.outboxes.get_mut(&from).unwrap().wrap(message);
        self.to_master.push((from, envelope));
    }

    fn step(&mut self) {
        for (executor, message) in std::mem::take(&mut self.h.sent) {
            if let Some(queue) = self.to_executor.get_mut(&executor) {
                queue.push_back(message);
            }
        }
        match self.rng.below(100) {
            0..30 => self.deliver_to_executor(),
            30..55 => self.deliver_to_master(),
            55..85 => self.task_moves(),
            85..92 => {
                let millis = self.rng.below(400);
                self.h.advance(millis);
            }
            92..95 => self.finalize(),
            95..98 => self.h.create_enumerators(&(0..SPLITS).collect::<Vec<_>>()),
            _ if self.calm => {}
            98 => self.forge(),
            _ => self.lose_executor(),
        }
    }

    fn deliver_to_executor(&mut self) {
        let executors: Vec<_> = self.to_executor.keys().copied().collect();
        let executor = executors[self.pick(executors.len())];
        let Some(message) = self.to_executor.get_mut(&executor).unwrap().pop_front() else { return };
        let tasks = self.tasks.get_mut(&executor).unwrap();
        if let Out::SubmitTask(descriptor) = &message {
            let subtask = descriptor.subtask().0 as usize;
            let is_source = descriptor.attempt.execution_vertex.vertex.0 == 0;
            let read = match &descriptor.restore {
                Some(restore) if is_source => self.stored[&restore.checkpoint][subtask].clone(),
                _ => Vec::new(),
            };
            tasks.push(Task {
                attempt: descriptor.attempt,
                state: ExecutionState::Deploying,
                read,
                next_request: 0,
                waiting: None,
                last: false,
                end_of_data: false,
                barriers: VecDeque::new(),
                newest_barrier: 0,
                final_checkpoint: None,
                may_finish: false,
            });
            return;
        }
        let attempt = message.attempt();
        let Some(task) = tasks.iter_mut().find(|t| Some(t.attempt) == attempt) else {
            if let Out::CancelTask { attempt } = message {
                self.report(executor, attempt, ExecutionState::Canceled, None);
            }
            return;
        };
        match message {
            Out::CancelTask { attempt } => {
                tasks.retain(|t| t.attempt != attempt);
                self.report(executor, attempt, ExecutionState::Canceled, None);
            }
            Out::TriggerCheckpoint { barrier, .. } => {
                // Order matters: what was assigned before is in, what comes later is not.
                let id = barrier.id;
                assert!(!task.is_source() || id.0 > task.newest_barrier, "ids only grow");
                if id.0 <= task.newest_barrier {
                    // It came with a barrier from a producer before.
                    return;
                }
                task.newest_barrier = id.0;
                self.take_checkpoint(executor, attempt.unwrap(), id);
                for other in self.tasks.values_mut().flatten().filter(|t| !t.is_source()) {
                    if other.newest_barrier < id.0 {
                        other.newest_barrier = id.0;
                        other.barriers.push_back(id);
                    }
                }
            }
            Out::NotifyCheckpointComplete { checkpoint, .. } => {
                task.may_finish |= task.final_checkpoint.is_some_and(|own| own <= checkpoint);
            }
            Out::AssignSplits { request, splits, last, .. } if task.waiting == Some(request) => {
                task.waiting = None;
                task.read.extend(splits.iter().map(|s| s.payload[0]));
                task.last = last;
            }
            _ => {}
        }
    }

    fn take_checkpoint(&mut self, executor: TaskExecutorId, attempt: ExecutionAttemptId, id: CheckpointId) {
        let declines = !self.calm && self.rng.chance(0.05);
        let tasks = self.tasks.get_mut(&executor).unwrap();
        let Some(task) = tasks.iter_mut().find(|t| t.attempt == attempt) else { return };
        if task.end_of_data && task.final_checkpoint.is_none() {
            task.final_checkpoint = Some(id);
        }
        let state = StateHandle { operator: "uid-0".into(), payload: task.read.clone(), size_bytes: 1 };
        let finished = task.end_of_data;
        if declines {
            let (reason, message) = (DeclineReason::SnapshotFailed, "no".to_owned());
            let decline = flumen_gateway::DeclineCheckpoint { attempt, checkpoint: id, reason, message };
            return self.tell(executor, In::DeclineCheckpoint(decline));
        }
        let (handles, metrics) = (vec![state], CheckpointMetrics::default());
        let ack = AcknowledgeCheckpoint { attempt, checkpoint: id, handles, finished, metrics };
        self.tell(executor, In::AcknowledgeCheckpoint(ack));
    }

    fn report(
        &mut self,
        from: TaskExecutorId,
        attempt: ExecutionAttemptId,
        state: ExecutionState,
        failure: Option<FailureReport>,
    ) {
        self.tell(from, In::TaskStateChanged(TaskStateChanged { attempt, state, failure }));
    }

    fn deliver_to_master(&mut self) {
        if self.to_master.is_empty() {
            return;
        }
        let index = self.pick(self.to_master.len());
        let (from, envelope) =
            if self.rng.chance(0.3) { self.to_master[index].clone() } else { self.to_master.swap_remove(index) };
        self.h.on(Event::Message { from, envelope });
    }

    fn task_moves(&mut self) {
        let places: Vec<_> = self.tasks.iter().flat_map(|(e, tasks)| (0..tasks.len()).map(|i| (*e, i))).collect();
        if places.is_empty() {
            return;
        }
        let (executor, index) = places[self.pick(places.len())];
        let sources_ended = {
            let sources: Vec<_> = self.tasks.values().flatten().filter(|t| t.is_source()).collect();
            sources.iter().all(|t| t.end_of_data)
        };
        let fails = !self.calm && self.rng.chance(0.01);
        let task = &mut self.tasks.get_mut(&executor).unwrap()[index];
        let attempt = task.attempt;
        if fails {
            self.tasks.get_mut(&executor).unwrap().remove(index);
            self.fail_consumers(attempt);
            let failure = FailureReport::new(FailureKind::Transient, "fuzz");
            return self.report(executor, attempt, ExecutionState::Failed, Some(failure));
        }
        match task.state {
            ExecutionState::Deploying => {
                task.state = ExecutionState::Initializing;
                self.report(executor, attempt, ExecutionState::Initializing, None);
            }
            ExecutionState::Initializing => {
                task.state = ExecutionState::Running;
                self.report(executor, attempt, ExecutionState::Running, None);
            }
            _ => {
                if let Some(id) = task.barriers.pop_front() {
                    return self.take_checkpoint(executor, attempt, id);
                }
                if task.may_finish {
                    let task = self.tasks.get_mut(&executor).unwrap().remove(index);
                    if task.is_source() {
                        self.final_read[task.subtask() as usize].clone_from(&task.read);
                    }
                    return self.report(executor, attempt, ExecutionState::Finished, None);
                }
                if task.is_source() && !task.last && task.waiting.is_none() {
                    let request = task.next_request;
                    task.next_request += 1;
                    task.waiting = Some(request);
                    return self.tell(executor, In::RequestSplit { attempt, operator: "uid-0".into(), request });
                }
                if !task.end_of_data && (task.last || (!task.is_source() && sources_ended)) {
                    task.end_of_data = true;
                    self.tell(executor, In::EndOfData { attempt });
                }
            }
        }
    }

    /// Consumers of a producer that fails say so, also before it does, and also those that read from another one.
    fn fail_consumers(&mut self, producer: ExecutionAttemptId) {
        let partition = ResultPartitionId { data_set: IntermediateDataSetId(0), producer };
        for executor in self.tasks.keys().copied().collect::<Vec<_>>() {
            let rng = &mut self.rng;
            let tasks = self.tasks.get_mut(&executor).unwrap();
            let failed: Vec<_> = tasks.extract_if(.., |t| !t.is_source() && rng.chance(0.5)).collect();
            for task in failed {
                let failure = FailureReport::new(FailureKind::ProducerFailed, "fuzz");
                let failure = FailureReport { partition: Some(partition), ..failure };
                self.report(executor, task.attempt, ExecutionState::Failed, Some(failure));
            }
        }
    }

    fn finalize(&mut self) {
        if self.h.finalize.is_empty() {
            return;
        }
        let contents = self.h.finalize.remove(0);
        let id = contents.checkpoint;
        let sources = contents.vertices[0].subtasks.iter().enumerate();
        let read = |(subtask, snapshot): (usize, &crate::SubtaskSnapshot)| match snapshot.handles.first() {
            Some(handle) => handle.payload.clone(),
            // It had finished before, and what it read is committed.
            None => self.final_read[subtask].clone(),
        };
        let stored = sources.map(read).collect();
        let fails = !self.calm && self.rng.chance(0.2);
        let result = if fails {
            Err("store".to_owned())
        } else {
            self.stored.insert(id, stored);
            Ok((format!("/chk-{}", id.0), 1))
        };
        self.h.on(Event::CheckpointFinalized { checkpoint: id, result });
    }

    /// Messages that no honest peer of this leader would send.
    fn forge(&mut self) {
        let Some((from, envelope)) = self.to_master.first().cloned() else { return };
        let other = LeaderEpoch(envelope.epoch.0 ^ 1);
        self.h.on(Event::Message { from, envelope: Envelope { epoch: other, ..envelope.clone() } });
        self.h.on(Event::Message { from: TaskExecutorId(u32::MAX), envelope });
    }

    fn lose_executor(&mut self) {
        if !self.rng.chance(0.2) {
            return;
        }
        let executors: Vec<_> = self.to_executor.keys().copied().collect();
        let executor = executors[self.pick(executors.len())];
        self.to_executor.remove(&executor);
        self.tasks.remove(&executor);
        self.h.on(Event::TaskExecutorLost { executor, reason: "fuzz".to_owned() });
        self.register();
    }
}

/// Answers how many restarts and checkpoints there were, so that a fuzz that exercises nothing is noticed.
fn life(seed: u64, shape: Shape, cancel: bool) -> (u32, usize) {
    let mut world = World::new(seed, shape);
    let stormy = 200 + world.rng.below(1500);
    for _ in 0..stormy {
        world.step();
    }
    world.calm = true;
    if cancel {
        world.h.on(Event::Cancel);
    }
    for _ in 0..40_000 {
        if world.h.ended.is_some() {
            break;
        }
        world.step();
    }
    let (status, _) = world.h.ended.clone().unwrap_or_else(|| {
        panic!("the job did not end: {:?} {:?}", world.h.master.counts, world.tasks);
    });
    if cancel {
        assert!(matches!(status, JobStatus::Canceled | JobStatus::Finished));
    } else {
        assert_eq!(status, JobStatus::Finished);
    }
    if status == JobStatus::Finished {
        let mut read: Vec<u8> = world.final_read.concat();
        read.sort_unstable();
        assert_eq!(read, (0..SPLITS).collect::<Vec<_>>(), "every split once");
    }
    (world.h.master.restarts(), world.stored.len())
}

fn check(shape: Shape) {
    let replay = std::env::var("FLUMEN_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = replay.map_or(0..150, |seed: u64| seed..seed + 1);
    let (mut restarts, mut checkpoints) = (0, 0);
    for seed in seeds {
        for cancel in [false, true] {
            let run = std::panic::catch_unwind(|| life(seed, shape, cancel));
            let Ok((r, c)) = run else { panic!("replay with FLUMEN_SEED={seed} ({shape:?}, cancel: {cancel})") };
            restarts += r;
            checkpoints += c;
        }
    }
    assert!(
        replay.is_some() || (restarts > 300 && checkpoints > 300),
        "{restarts} restarts, {checkpoints} checkpoints"
    );
}

#[test]
fn one_region_survives_anything() {
    check(Shape::Pipelined);
}

#[test]
fn several_regions_survive_anything() {
    check(Shape::PipelinedPointwise);
}
