//! The windowed sum under failures: submitted as SQL, restarted by its JobMaster, and submitted again from the latest
//! checkpoint, at another parallelism, whenever that cannot help.

use std::sync::Arc;
use std::time::Duration;

use flumen_cluster::job::Job;
use flumen_cluster::{Outcome, Session};
use flumen_config::{Configuration, Origin};
use flumen_core::failure::Failure;
use flumen_gateway::JobStatus;
use flumen_io::{Clock, FaultPlan, MonotonicTime, RandomSource, Rng, SimulatedClock, SimulatedFileSystem};
use flumen_network::HostileOptions;
use flumen_runtime::executor::deterministic::{Pace, Progress};

use crate::agenda::{Agenda, Trouble};
use crate::machine::{Incarnation, Machine, Temper};
use crate::operator_faults::INJECTED;
use crate::trace::Counts;
use crate::windowed_sum::WindowedSum;

/// Steps of one job after which it counts as one that does not end.
const STEPS_MAX: u64 = 20_000_000;
/// Submissions that may fail in a row while storage does.
const SUBMISSIONS_MAX: u32 = 8;

/// What a seed stands for.
#[derive(Debug)]
pub(crate) struct Plan {
    seed: u64,
    job: WindowedSum,
    /// One of these for each submission.
    parallelisms: &'static [u32],
    settings: Vec<(&'static str, String)>,
    pace: Pace,
    hostile: Option<HostileOptions>,
    late_messages: bool,
    agenda: Agenda,
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, "plan");
        let (batch_rows, rows, step_ms) = [(1, 2400, 8), (7, 6000, 3), (8192, 20_000, 1)][rng.below(3) as usize];
        let millis =
            |rng: &mut Rng, choices: &[u64]| format!("{} ms", choices[rng.below(choices.len() as u64) as usize]);
        let mut settings = vec![
            ("execution.batch-size", batch_rows.to_string()),
            ("execution.checkpointing.dir", "/checkpoints".to_owned()),
            ("execution.checkpointing.interval", format!("{} ms", 15 + rng.below(400))),
            ("execution.checkpointing.timeout", millis(&mut rng, &[5000, 600_000])),
            ("execution.checkpointing.max-concurrent-checkpoints", (1 + rng.below(3)).to_string()),
            ("execution.checkpointing.min-pause", millis(&mut rng, &[0, 0, 30])),
            ("execution.checkpointing.tolerable-failed-checkpoints", rng.below(4).to_string()),
            ("execution.checkpointing.num-retained", (1 + rng.below(3)).to_string()),
            ("execution.checkpointing.externalized-checkpoint-retention", "retain-on-cancellation".to_owned()),
            ("execution.buffer-timeout.interval", millis(&mut rng, &[1, 20, 100])),
            ("pipeline.operator-chaining.enabled", rng.chance(0.8).to_string()),
            ("jobmanager.execution.failover-strategy", ["region", "full"][rng.below(2) as usize].to_owned()),
            ("execution.seed", seed.to_string()),
        ];
        if rng.chance(0.7) {
            settings.push(("restart-strategy.type", "fixed-delay".to_owned()));
            settings.push(("restart-strategy.fixed-delay.attempts", "100000".to_owned()));
            settings.push(("restart-strategy.fixed-delay.delay", millis(&mut rng, &[1, 20, 50])));
        }
        let hostile = rng.chance(0.5).then(|| HostileOptions {
            rows_max: 1 + rng.below(4096) as usize,
            delay_steps_max: 1 + rng.below(16),
            pieces_max: 1 + rng.below(4),
            break_chance: if rng.chance(0.5) { 0.0 } else { 2e-6 },
            steps_per_run: 64 + rng.below(256) as usize,
        });
        Self {
            seed,
            job: WindowedSum { rows, rows_per_second: rows / 2, keys: 1 + rng.below(40), step_ms },
            parallelisms: &[1, 2, 3, 5],
            settings,
            pace: Pace {
                step_max: Duration::from_micros([0, 2, 50, 300][rng.below(4) as usize]),
                work_delay_max: Duration::from_micros([0, 500, 5_000][rng.below(3) as usize]),
            },
            hostile,
            late_messages: rng.chance(0.5),
            agenda: Agenda::draw(&mut rng),
        }
    }

    /// Makes restores frequent, and channels of different speed, so that a bug of either soon shows.
    fn provoke(&mut self) {
        self.agenda = Agenda::of_kills(&mut Rng::stream(self.seed, "kills"));
        self.parallelisms = &[2, 3, 5];
        // Partial sums travel when a window closes; many windows close between two checkpoints.
        self.job.step_ms *= 10;
        self.late_messages = true;
        self.pace = Pace { step_max: Duration::from_micros(50), work_delay_max: Duration::from_millis(5) };
        let options = HostileOptions { delay_steps_max: 64, steps_per_run: 128, ..HostileOptions::default() };
        self.hostile = Some(options);
        self.settings.push(("execution.checkpointing.interval", "50 ms".to_owned()));
        self.settings.push(("restart-strategy.type", "fixed-delay".to_owned()));
        self.settings.push(("restart-strategy.fixed-delay.attempts", "100000".to_owned()));
        self.settings.push(("restart-strategy.fixed-delay.delay", "1 ms".to_owned()));
    }

    fn configuration(&self, parallelism: u32, from_latest: bool) -> Configuration {
        let mut configuration = flumen_cluster::configuration().unwrap();
        let parallelism = parallelism.to_string();
        let mut set = |key: &str, value: &str| configuration.set(key, value, Origin::Flag).unwrap();
        self.settings.iter().for_each(|(key, value)| set(key, value));
        set("parallelism.default", &parallelism);
        if from_latest {
            set("execution.state-recovery.path", "latest");
        }
        configuration
    }
}

/// A bug, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// None, but in the plan that the others are tried in.
    Nothing,
    /// Operators are not given their state back.
    StateIsForgotten,
    /// Channels are read on while barriers of others are awaited.
    BarriersDoNotAlign,
}

/// What a run was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) counts: Counts,
    /// Failures of the agenda that came before the end.
    pub(crate) troubles: usize,
    pub(crate) storage_faults: u64,
    pub(crate) broken_connections: u64,
    pub(crate) machine_stops: u32,
    pub(crate) jobs_failed: u32,
    pub(crate) jobs_cancelled: u32,
    /// Submissions that went on from a checkpoint.
    pub(crate) resumed: u32,
    pub(crate) lines: usize,
    pub(crate) steps: u64,
}

/// How a job came to its end.
enum Ended {
    Finished,
    Failed,
    Cancelled,
    MachineStopped { torn: bool },
}

/// Runs a seed to the end of its job and checks everything that must hold.
pub(crate) fn run(seed: u64, sabotage: Sabotage) -> Result<Report, String> {
    let mut plan = Plan::draw(seed);
    if sabotage != Sabotage::None {
        plan.provoke();
    }
    if sabotage == Sabotage::BarriersDoNotAlign {
        plan.settings.push(("execution.checkpointing.mode", "at-least-once".to_owned()));
    }
    let clock = Arc::new(SimulatedClock::new());
    let disk = SimulatedFileSystem::new(seed, Arc::clone(&clock) as _);
    let machine = Machine::new(clock, Arc::new(disk.clone()));
    if sabotage == Sabotage::StateIsForgotten {
        machine.operator_faults.forget_state();
    }
    let mut run = Run {
        rng: Rng::stream(seed, "run"),
        plan,
        machine,
        disk,
        report: Report::default(),
        parallelism: 0,
        submissions: 0,
    };
    let result = run.play();
    let Run { plan, disk, machine, mut report, .. } = run;
    report.counts = machine.trace.counts();
    report.storage_faults = disk.fault_count();
    report.hash = machine.trace.hash();
    result.map(|()| report.clone()).map_err(|problem| {
        let faults: Vec<_> = disk.faults().iter().rev().take(8).map(ToString::to_string).collect();
        format!("{problem}\n  {plan:?}\n  {report:?}\n  last faults: {faults:#?}")
    })
}

struct Run {
    rng: Rng,
    plan: Plan,
    machine: Machine,
    disk: SimulatedFileSystem,
    report: Report,
    parallelism: u32,
    submissions: u64,
}

impl Run {
    /// Processes, one after another, until the job has finished; then what must hold.
    fn play(&mut self) -> Result<(), String> {
        let mut incarnations = 0;
        loop {
            incarnations += 1;
            let temper = Temper {
                seed: Rng::stream(self.plan.seed, &format!("process {incarnations}")).next_u64(),
                pace: self.plan.pace,
                hostile: self.plan.hostile,
                late_messages: self.plan.late_messages,
            };
            let incarnation = self.machine.start(temper, &self.plan.configuration(1, false));
            let ended = self.jobs(&incarnation);
            self.report.broken_connections += incarnation.broken_connections();
            let (choices, operations) = (incarnation.executor.trace_hash(), self.disk.operation_count());
            self.machine.trace.note(&("process ends", choices, operations));
            match ended? {
                Ended::MachineStopped { torn } => {
                    self.report.machine_stops += 1;
                    incarnation.kill()?;
                    self.disk.set_plan(FaultPlan::default());
                    if torn {
                        self.disk.crash_torn()
                    } else {
                        self.disk.crash()
                    }
                    self.machine.operator_faults.disarm();
                }
                _ => {
                    incarnation.kill()?;
                    break;
                }
            }
        }
        match self.disk.handles_open() {
            0 => {}
            handles => return Err(format!("{handles} files are still open")),
        }
        self.disk.set_plan(FaultPlan::default());
        self.report.lines = self.plan.job.check(&self.disk)?;
        if self.disk.fault_count() == 0 && self.report.machine_stops == 0 {
            self.no_state_is_orphaned()?;
        }
        for path in self.disk.paths() {
            self.machine.trace.note_bytes(path.as_os_str().as_encoded_bytes());
            if let Ok(bytes) = flumen_io::read_file(&self.disk, &path, 1 << 30) {
                self.machine.trace.note_bytes(&bytes);
            }
        }
        Ok(())
    }

    /// State that no checkpoint's metadata tells of would stay for ever.
    fn no_state_is_orphaned(&self) -> Result<(), String> {
        let paths = self.disk.paths();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "state")) {
            let metadata = path.with_file_name("_metadata");
            if !paths.contains(&metadata) {
                return Err(format!("{} belongs to no complete checkpoint", path.display()));
            }
        }
        Ok(())
    }

    /// Submits the job until it finishes or the machine stops.
    fn jobs(&mut self, incarnation: &Incarnation) -> Result<Ended, String> {
        loop {
            let (session, job) = self.submit(incarnation)?;
            let ended = self.drive(incarnation, &job)?;
            drop((session, job));
            match ended {
                Ended::MachineStopped { .. } => return Ok(ended),
                Ended::Finished => {
                    incarnation.come_to_rest()?;
                    return Ok(ended);
                }
                Ended::Failed => self.report.jobs_failed += 1,
                Ended::Cancelled => self.report.jobs_cancelled += 1,
            }
            incarnation.come_to_rest()?;
        }
    }

    /// Submits the job: the first time from the beginning, later from the latest checkpoint.
    fn submit(&mut self, incarnation: &Incarnation) -> Result<(Session, Arc<Job>), String> {
        let choices = self.plan.parallelisms;
        self.parallelism = choices[self.rng.below(choices.len() as u64) as usize];
        let mut from_latest = self.submissions > 0;
        let mut problem = String::new();
        for _ in 0..SUBMISSIONS_MAX {
            self.submissions += 1;
            match self.try_submit(incarnation, from_latest) {
                Ok(submitted) => {
                    self.report.resumed += u32::from(from_latest);
                    return Ok(submitted);
                }
                Err(error) => problem = error,
            }
            self.machine.trace.note(&problem);
            if problem.contains("no complete checkpoint") && self.machine.trace.counts().last_complete.is_none() {
                from_latest = false;
            }
            // Who starts a job again has someone look at the disk first.
            self.disk.set_plan(FaultPlan::default());
        }
        Err(format!("the job cannot be submitted: {problem}"))
    }

    fn try_submit(&self, incarnation: &Incarnation, from_latest: bool) -> Result<(Session, Arc<Job>), String> {
        let configuration = self.plan.configuration(self.parallelism, from_latest);
        let rng = Rng::stream(self.plan.seed, &format!("session {}", self.submissions));
        let mut session = Session::over(Arc::clone(&incarnation.process), configuration, self.parallelism, rng);
        let mut job = None;
        for statement in session.parse(&self.plan.job.sql()).map_err(|e| e.render())? {
            if let Outcome::Job(handle) = session.execute(&statement).map_err(|e| e.render())? {
                job = Some(Arc::clone(handle.job()));
            }
        }
        job.map(|job| (session, job)).ok_or_else(|| "no statement started a job".to_owned())
    }

    /// Steps until the job has ended or the machine stops.
    fn drive(&mut self, incarnation: &Incarnation, job: &Job) -> Result<Ended, String> {
        let mut cancelled = false;
        for _ in 0..STEPS_MAX {
            if let Some(end) = job.end() {
                let cause = end.failure.map(|f| f.message).unwrap_or_default();
                return match end.status {
                    JobStatus::Finished => Ok(Ended::Finished),
                    JobStatus::Canceled if cancelled => Ok(Ended::Cancelled),
                    // A panic is a bug, and bugs are not tried again.
                    JobStatus::Failed if cause.contains("panic") && cause.contains(INJECTED) => Ok(Ended::Failed),
                    status => Err(format!("the job ended as {}: {cause}", status.name())),
                };
            }
            let now = self.machine.clock.now() - MonotonicTime::ZERO;
            if let Some(trouble) = self.plan.agenda.next(now) {
                self.machine.trace.note(&trouble);
                self.report.troubles += 1;
                match trouble {
                    Trouble::MachineStops { torn } => return Ok(Ended::MachineStopped { torn }),
                    Trouble::Cancel => {
                        cancelled = true;
                        job.cancel();
                    }
                    other => self.apply(other, incarnation),
                }
            }
            self.report.steps += 1;
            if incarnation.executor.step() == Progress::Stuck && job.end().is_none() {
                return Err(format!("nothing can happen any more, but the job has not ended: {}", told(job)));
            }
        }
        Err(format!("the job does not end: {}", told(job)))
    }

    fn apply(&mut self, trouble: Trouble, incarnation: &Incarnation) {
        let everywhere = FaultPlan { listing_delay: Duration::from_millis(100), ..FaultPlan::default() };
        match trouble {
            Trouble::KillTask => {
                let attempts = incarnation.process.task_executor().attempts();
                if !attempts.is_empty() {
                    let attempt = attempts[self.rng.below(attempts.len() as u64) as usize];
                    let failure = Failure::transient(format!("killed, {INJECTED}"));
                    incarnation.process.task_executor().fail_task(attempt, failure);
                }
            }
            Trouble::OperatorFails { calls } => self.machine.operator_faults.arm(calls, false),
            Trouble::OperatorPanics { calls } => self.machine.operator_faults.arm(calls, true),
            Trouble::StorageFails { rate } => {
                self.disk.set_plan(FaultPlan { listing_delay: everywhere.listing_delay, ..FaultPlan::every(rate) });
            }
            Trouble::StorageFills { bytes } => {
                self.disk.set_plan(FaultPlan { capacity_bytes: self.disk.used_bytes() + bytes, ..everywhere });
            }
            Trouble::OneOperationFails { operation, skip, fault } => self.disk.inject(operation, skip, fault),
            Trouble::StorageHeals => self.disk.set_plan(FaultPlan::default()),
            Trouble::ConnectionsBreak => incarnation.break_connections(),
            Trouble::MachineStops { .. } | Trouble::Cancel => {}
        }
    }
}

/// What the job's clients heard last.
fn told(job: &Job) -> String {
    let history = job.history();
    let last: Vec<String> = history.iter().rev().take(5).map(|event| format!("{event:?}")).collect();
    last.join("\n    ")
}
