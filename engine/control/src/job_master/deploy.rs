//! Slots, descriptors, submissions.
//!
//! First every region that can start gets its slots, all of them or none; then descriptors are built, when it is known
//! where each producer runs. Lists of producers are built once for a vertex and shared by all its consumers.

use std::sync::Arc;

use flumen_core::failure::FailureKind;
use flumen_core::key_group::KeyGroupRange;
use flumen_gateway::{
    ExecutionState, FailureReport, InputGateDescriptor, JobStatus, ProducerGroup, RestoreDescriptor,
    ResultPartitionDescriptor, SlotAddress, TaskDeploymentDescriptor, TaskExecutorMessage,
};

use super::{JobMaster, Now};
use crate::execution_graph::{RegionId, TaskIndex};
use crate::slots::sharing::SharedSlotKey;

impl JobMaster {
    /// Schedules every region that can start, in order. The first that gets no slots stops the rest: it would starve
    /// otherwise.
    pub(super) fn schedule(&mut self, now: Now) {
        if !matches!(self.status, JobStatus::Running) || self.pending_restart.is_some() {
            return;
        }
        let mut placed: Vec<TaskIndex> = Vec::new();
        let mut slots_missing = false;
        loop {
            let region = match self.scheduler.next_ready() {
                Some(region) => region,
                None if self.live_attempts == 0 && placed.is_empty() => match self.scheduler.next_regardless() {
                    Some(region) => region,
                    None => break,
                },
                None => break,
            };
            if !self.place_region(region, &mut placed) {
                slots_missing = true;
                break;
            }
        }
        // Slots that are held now come back when their tasks finish; what is not there at all is waited for with a limit.
        let too_few = self.executors_lost > 0 && self.pool.total() < self.sharing.required();
        let hopeless = slots_missing && (self.live_attempts == 0 || too_few);
        if !hopeless {
            self.slots_missing_since = None;
        } else if self.slots_missing_since.is_none() {
            self.slots_missing_since = Some(now.time);
        }
        self.deploy(&placed);
    }

    fn place_region(&mut self, region: RegionId, placed: &mut Vec<TaskIndex>) -> bool {
        let members = self.graph.regions().members(region);
        let key = |task: &TaskIndex| self.sharing.key(self.graph.vertex_of(*task), self.graph.subtask_of(*task));
        let keys: Vec<SharedSlotKey> = members.iter().map(key).collect();
        let Ok(slots) = self.sharing.acquire(&keys, &mut self.pool) else { return false };
        self.scheduler.scheduled(region);
        let members = members.to_vec();
        for (&task, slot) in members.iter().zip(slots) {
            let id = self.graph.primary_id(task);
            self.graph.place(id, slot);
            self.producer_groups[self.graph.vertex_of(task)] = None;
            self.transition(id, ExecutionState::Scheduled);
            self.transition(id, ExecutionState::Deploying);
        }
        placed.extend(members);
        true
    }

    /// Gives up if slots have been missing for too long.
    pub(super) fn check_slots(&mut self, now: Now) {
        let Some(since) = self.slots_missing_since else { return };
        if now.time < since + self.options.slot_request_timeout {
            return;
        }
        self.slots_missing_since = None;
        let groups: Vec<String> =
            self.sharing.groups().map(|(name, slots)| format!("slot sharing group {name:?}: {slots}")).collect();
        let message = format!(
            "not enough slots: the job needs {} ({}), {} are available; lower the parallelism or raise \
             taskmanager.number-of-task-slots",
            self.sharing.required(),
            groups.join(", "),
            self.pool.total(),
        );
        // Slots that were lost may come back with another TaskExecutor; slots that never were will not.
        let kind = if self.executors_lost > 0 { FailureKind::Transient } else { FailureKind::User };
        self.fail_globally(FailureReport::new(kind, message), now);
    }

    fn deploy(&mut self, tasks: &[TaskIndex]) {
        if tasks.is_empty() {
            return;
        }
        let point = self.coordinator.completed().latest().cloned();
        let restore = point.as_ref().map(|point| {
            Arc::new(RestoreDescriptor { checkpoint: point.checkpoint, location: point.location.clone() })
        });
        for &task in tasks {
            let vertex = self.graph.vertex_of(task);
            let execution = self.graph.task(task).primary();
            let Some(slot) = execution.slot else { continue };
            let attempt = self.graph.attempt_id(task, execution);
            let inputs = self.input_gates(task);
            let job_vertex = &self.graph.job_graph().vertices[vertex];
            let descriptor = TaskDeploymentDescriptor {
                task: Arc::clone(&self.task_information[vertex]),
                attempt,
                slot,
                key_groups: KeyGroupRange::of_subtask(
                    self.graph.subtask_of(task),
                    job_vertex.parallelism,
                    job_vertex.max_parallelism,
                ),
                inputs,
                results: self.result_partitions(task),
                restore: restore.clone(),
                finished_before: point
                    .as_ref()
                    .is_some_and(|point| point.finished_vertices.get(vertex).copied().unwrap_or(false)),
            };
            self.send(slot.executor, TaskExecutorMessage::SubmitTask(Box::new(descriptor)));
        }
    }

    fn input_gates(&mut self, task: TaskIndex) -> Vec<InputGateDescriptor> {
        let (vertex, subtask) = (self.graph.vertex_of(task), self.graph.subtask_of(task));
        let mut gates = Vec::with_capacity(self.graph.inputs(vertex).len());
        for input in 0..self.graph.inputs(vertex).len() {
            let exchange = self.graph.exchanges()[self.graph.inputs(vertex)[input]].clone();
            let edge = &self.graph.job_graph().vertices[vertex].inputs[input];
            let (data_set, head_input) = (edge.data_set, edge.head_input);
            let producer_range = exchange.producers_of(subtask);
            // Each producer has a subpartition for each consumer that it serves, in order.
            let first_served = exchange.consumers_of(producer_range.start).start;
            let subpartition = subtask - first_served;
            gates.push(InputGateDescriptor {
                data_set,
                head_input,
                partition_type: exchange.partition_type,
                producers: self.producer_group(exchange.producer),
                producer_range,
                subpartitions: subpartition..subpartition + 1,
            });
        }
        gates
    }

    fn producer_group(&mut self, vertex: usize) -> Arc<ProducerGroup> {
        if let Some(group) = &self.producer_groups[vertex] {
            return Arc::clone(group);
        }
        let primaries = self.graph.tasks_of(vertex).map(|task| self.graph.task(task).primary());
        let (attempts, slots): (Vec<_>, Vec<Option<SlotAddress>>) = primaries.map(|e| (e.number, e.slot)).unzip();
        let job_graph = self.graph.job_graph();
        let vertex_id = job_graph.vertices[vertex].id;
        let group = Arc::new(ProducerGroup { job: job_graph.job, vertex: vertex_id, attempts, slots });
        self.producer_groups[vertex] = Some(Arc::clone(&group));
        group
    }

    fn result_partitions(&self, task: TaskIndex) -> Vec<ResultPartitionDescriptor> {
        let outputs = self.graph.outputs(self.graph.vertex_of(task)).iter();
        outputs
            .map(|&output| {
                let exchange = &self.graph.exchanges()[output];
                let data_set = self.graph.data_set(exchange);
                let consumer = self.graph.job_graph().vertex(data_set.consumer);
                ResultPartitionDescriptor {
                    data_set: data_set.id,
                    partition_type: data_set.partition_type,
                    partitioner: data_set.partitioner.clone(),
                    distribution: data_set.distribution,
                    changelog: data_set.changelog,
                    consumer: data_set.consumer,
                    consumer_parallelism: consumer.parallelism,
                    consumer_max_parallelism: consumer.max_parallelism,
                    consumers: exchange.consumers_of(self.graph.subtask_of(task)),
                }
            })
            .collect()
    }
}
