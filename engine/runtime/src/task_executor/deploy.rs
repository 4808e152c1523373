//! From a deployment descriptor to a running task.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Waker;

use flumen_core::failure::Failure;
use flumen_core::graph::DistributionPattern;
use flumen_core::ids::ResultPartitionId;
use flumen_core::meter::MemoryMeter;
use flumen_gateway::{ExecutionState, TaskDeploymentDescriptor};
use flumen_io::Rng;
use flumen_memory::{ConsumerKind, MemoryBudget};
use flumen_network::{GateDescriptor, InputDescriptor, PartitionDescriptor, PartitionLocation, ResultPartitionWriter};
use flumen_operators::contract::{OperatorContext, TaskInfo};
use flumen_state::SegmentPages;

use super::memory::ReservationMeter;
use super::{Shared, SnapshotTask, TaskEntry, TaskExecutorServices, TaskOptions, hooks};
use crate::chain::{ChainLink, ElementWriter, OperatorChain};
use crate::exchange::{GateReader, PartitionWriter};
use crate::metrics::OperatorMetrics;
use crate::task::{ElementReader, Mail, MailboxSender, Task, TaskSetup, panicked};

/// Registers the partitions, connects the gates, starts the task, and has its operators opened.
pub(super) fn deploy(shared: &Arc<Shared>, descriptor: TaskDeploymentDescriptor) -> Result<(), Failure> {
    let services = &shared.services;
    let options = (shared.options)(&descriptor.task)?;
    let budgets = TaskBudgets::open(services, &descriptor)?;
    let writers = writers(shared, &descriptor, &options, &budgets.exchange)?;
    let gates = gates(shared, &descriptor)?;
    let task = SnapshotTask {
        information: Arc::clone(&descriptor.task),
        attempt: descriptor.attempt,
        key_groups: descriptor.key_groups,
    };
    let metrics: Vec<_> = descriptor
        .task
        .vertex
        .operators
        .iter()
        .map(|o| (o.uid.clone(), o.name.clone(), Arc::new(OperatorMetrics::default())))
        .collect();
    let setup_hooks = hooks::hooks(shared, task.clone());
    let (clock, timers) = (Arc::clone(&services.clock), Arc::clone(&services.timers));
    let final_checkpoint = descriptor.task.waits_for_final_checkpoint;
    let (attempt, weak, entry_metrics) = (descriptor.attempt, Arc::downgrade(shared), metrics.clone());
    services.runner.spawn(Box::new(move |waker: Waker| {
        let inputs = gates
            .into_iter()
            .map(|(input, mut gate)| {
                gate.set_waker(waker.clone());
                (input, Box::new(GateReader::new(gate)) as Box<dyn ElementReader>)
            })
            .collect();
        let setup = TaskSetup { inputs, hooks: setup_hooks, clock, timers, final_checkpoint };
        let (mailbox, started) = Task::new(setup, waker.clone());
        if let Some(shared) = weak.upgrade() {
            let entry = TaskEntry { mailbox: mailbox.clone(), metrics: entry_metrics, requests: HashMap::new() };
            shared.tasks.lock().begin(attempt, entry);
            shared.report(attempt, ExecutionState::Initializing, None);
            open(&shared, Opening { descriptor, task, options, budgets, writers, metrics, waker, mailbox });
        }
        Box::new(started)
    }));
    Ok(())
}

/// What a task may take of the managed memory: a budget for all its operators of one kind of consumer.
struct TaskBudgets {
    /// For each operator its own.
    operators: Vec<MemoryBudget>,
    /// What waits in its result partitions.
    exchange: MemoryBudget,
}

impl TaskBudgets {
    fn open(services: &TaskExecutorServices, descriptor: &TaskDeploymentDescriptor) -> Result<Self, Failure> {
        let name = format!("{} ({})", descriptor.task.vertex.name, descriptor.attempt);
        let exchange = services.memory.budget(&name, services.memory.limit_bytes());
        let mut by_kind: BTreeMap<ConsumerKind, MemoryBudget> = BTreeMap::new();
        let mut operators = Vec::with_capacity(descriptor.task.vertex.operators.len());
        for chained in &descriptor.task.vertex.operators {
            operators.push(match services.operators.memory_consumer(&chained.spec) {
                None => exchange.clone(),
                Some(kind) => match by_kind.entry(kind) {
                    Entry::Occupied(opened) => opened.get().clone(),
                    Entry::Vacant(new) => {
                        let budget = services.memory.consumer_budget(kind, &name);
                        new.insert(budget.map_err(Failure::user)?).clone()
                    }
                },
            });
        }
        Ok(Self { operators, exchange })
    }
}

struct Opening {
    descriptor: TaskDeploymentDescriptor,
    task: SnapshotTask,
    options: TaskOptions,
    budgets: TaskBudgets,
    writers: Vec<ResultPartitionWriter>,
    metrics: Vec<(flumen_core::ids::OperatorUid, String, Arc<OperatorMetrics>)>,
    waker: Waker,
    mailbox: MailboxSender,
}

/// Builds, restores and opens the operators where waiting is allowed; the task gets them by mail.
fn open(shared: &Arc<Shared>, opening: Opening) {
    let weak = Arc::downgrade(shared);
    let mailbox = opening.mailbox.clone();
    shared.services.blocking.spawn_blocking(Box::new(move || {
        let Some(shared) = weak.upgrade() else { return };
        let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| build(&shared, opening)));
        let built =
            built.unwrap_or_else(|panic| Err(panicked("an operator panicked while it was opened", panic.as_ref())));
        mailbox.send(Mail::Opened(built));
    }));
}

fn build(shared: &Arc<Shared>, opening: Opening) -> Result<OperatorChain, Failure> {
    let services = &shared.services;
    let Opening { descriptor, task, options, budgets, writers, metrics, waker, mailbox } = opening;
    let vertex = &descriptor.task.vertex;
    let info = TaskInfo {
        attempt: descriptor.attempt,
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        name: vertex.name.clone(),
    };
    let writers: Vec<Box<dyn ElementWriter>> = writers
        .into_iter()
        .map(|mut writer| {
            writer.set_waker(waker.clone());
            Box::new(PartitionWriter::new(writer)) as Box<dyn ElementWriter>
        })
        .collect();
    let mut links = Vec::with_capacity(vertex.operators.len());
    for ((chained, (_, _, metrics)), budget) in vertex.operators.iter().zip(metrics).zip(&budgets.operators) {
        let reservation = Arc::new(budget.reserve(&chained.name));
        let asked = mailbox.downgrade();
        reservation.on_revocation(Arc::new(move |bytes| {
            asked.send(Mail::RevokeMemory(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }));
        let context = OperatorContext {
            task: info.clone(),
            uid: chained.uid.clone(),
            key_groups: descriptor.key_groups,
            batch_rows: options.batch_rows,
            memory: Arc::new(ReservationMeter(Arc::clone(&reservation))),
            pages: Arc::new(SegmentPages::new(reservation)),
            spill: services.spill.of_operator(&format!("{}/{}", budget.name(), chained.name), metrics.spilled()),
            functions: Arc::clone(&services.functions),
            blocking: Arc::clone(&services.blocking),
            waker: waker.clone(),
            clock: Arc::clone(&services.clock),
            timers: Arc::clone(&services.timers),
            is_restored: descriptor.restore.is_some(),
        };
        links.push(ChainLink {
            uid: chained.uid.clone(),
            operator: services.operators.create(&chained.spec, &context)?,
            consumers: chained.chained_consumers.clone(),
            writers: chained.produced.clone(),
            metrics,
        });
    }
    let mut chain = OperatorChain::new(links, writers, Arc::clone(&services.clock));
    let mut restored = HashMap::new();
    if let Some(from) = &descriptor.restore {
        for operator in &vertex.operators {
            if let Some(state) = services.snapshots.restore(&task, from, &operator.uid)? {
                restored.insert(operator.uid.clone(), state);
            }
        }
    }
    chain.open(|uid| restored.remove(uid))?;
    Ok(chain)
}

fn writers(
    shared: &Arc<Shared>,
    descriptor: &TaskDeploymentDescriptor,
    options: &TaskOptions,
    budget: &MemoryBudget,
) -> Result<Vec<ResultPartitionWriter>, Failure> {
    let subtask = descriptor.subtask().0;
    descriptor
        .results
        .iter()
        .map(|result| {
            let schema = descriptor
                .task
                .vertex
                .operators
                .iter()
                .find(|o| o.produced.iter().any(|p| descriptor.task.vertex.produced[*p].id == result.data_set))
                .and_then(|o| o.spec.output.clone())
                .ok_or_else(|| {
                    Failure::bug(format!("{} is produced by no operator with an output", result.data_set))
                })?;
            let partition = PartitionDescriptor {
                id: ResultPartitionId { data_set: result.data_set, producer: descriptor.attempt },
                partition_type: result.partition_type,
                partitioner: result.partitioner.clone(),
                subpartitions: result.subpartitions(),
                max_parallelism: result.consumer_max_parallelism,
                schema,
                producer_subtask: match result.distribution {
                    DistributionPattern::AllToAll => subtask,
                    // A pointwise partition holds its own block of consumers; positions in it start at 0.
                    DistributionPattern::Pointwise => 0,
                },
            };
            let meter: Arc<dyn MemoryMeter> =
                Arc::new(ReservationMeter(Arc::new(budget.reserve(&format!("{}", result.data_set)))));
            let rng = Rng::stream(shared.services.seed, &partition.id.to_string());
            let writer = shared.services.shuffle.create_writer(&partition, options.partition.clone(), meter, rng);
            writer.map_err(Failure::from)
        })
        .collect()
}

fn gates(
    shared: &Arc<Shared>,
    descriptor: &TaskDeploymentDescriptor,
) -> Result<Vec<(usize, flumen_network::InputGate)>, Failure> {
    descriptor
        .inputs
        .iter()
        .map(|input| {
            let gate = GateDescriptor {
                partition_type: input.partition_type,
                inputs: input
                    .partitions()
                    .map(|partition| InputDescriptor {
                        partition,
                        subpartitions: input.subpartitions.clone(),
                        location: PartitionLocation::Local,
                    })
                    .collect(),
            };
            let gate = shared.services.shuffle.create_gate(&gate)?;
            Ok((input.head_input as usize, gate))
        })
        .collect()
}
