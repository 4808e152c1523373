//! The JobGraph unfolded: every vertex's subtasks with their attempts, and the regions they form.
//!
//! Subtasks are numbered through ([`TaskIndex`], vertex by vertex), so that everything kept per subtask is a flat array.
//! Exchanges stay what they are in the JobGraph, group to group; who reads from whom is computed
//! ([`Exchange::producers_of`]), never stored, so the graph is linear in subtasks. One owner changes it: the JobMaster.

mod attempt;
mod regions;
#[cfg(test)]
mod tests;
mod vertex;

use std::ops::Range;
use std::sync::Arc;

use flumen_core::graph::job_graph::{pointwise_consumers, pointwise_producers};
use flumen_core::graph::{DistributionPattern, IntermediateDataSet, JobGraph, JobVertex, ResultPartitionType};
use flumen_core::ids::{ExecutionAttemptId, ExecutionVertexId, JobVertexId, ResultPartitionId, SubtaskIndex};
use flumen_gateway::{ExecutionState, FailureReport, SlotAddress};

pub use attempt::{AttemptRecord, Execution};
pub use regions::{RegionId, Regions};
pub use vertex::{ATTEMPT_HISTORY, ExecutionVertex};

/// Number of a subtask among all of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIndex(pub u32);

/// A data set between two vertices.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The producing vertex, as an index.
    pub producer: usize,
    /// Position in its `produced`.
    pub position: usize,
    /// The consuming vertex, as an index.
    pub consumer: usize,
    /// How it is kept.
    pub partition_type: ResultPartitionType,
    /// Who talks to whom.
    pub distribution: DistributionPattern,
    producers: u32,
    consumers: u32,
}

impl Exchange {
    /// The producer subtasks that a consumer subtask reads.
    #[must_use]
    pub fn producers_of(&self, consumer: u32) -> Range<u32> {
        match self.distribution {
            DistributionPattern::AllToAll => 0..self.producers,
            DistributionPattern::Pointwise => pointwise_producers(consumer, self.producers, self.consumers),
        }
    }

    /// The consumer subtasks that read from a producer subtask.
    #[must_use]
    pub fn consumers_of(&self, producer: u32) -> Range<u32> {
        match self.distribution {
            DistributionPattern::AllToAll => 0..self.consumers,
            DistributionPattern::Pointwise => pointwise_consumers(producer, self.producers, self.consumers),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ExecutionGraph {
    graph: Arc<JobGraph>,
    first_task: Vec<u32>,
    tasks: Vec<ExecutionVertex>,
    vertex_of: Vec<u32>,
    exchanges: Vec<Exchange>,
    /// By vertex: its inputs, as positions in `exchanges`, in the order of `JobVertex::inputs`.
    inputs: Vec<Vec<usize>>,
    /// By vertex: its outputs, as positions in `exchanges`, in the order of `JobVertex::produced`.
    outputs: Vec<Vec<usize>>,
    regions: Regions,
}

impl ExecutionGraph {
    /// Unfolds a graph; every subtask has one attempt in CREATED.
    ///
    /// # Panics
    /// If the graph is inconsistent (`translate` and `JobGraph::from_json` give none that is).
    #[must_use]
    pub fn new(graph: Arc<JobGraph>) -> Self {
        let mut first_task = Vec::with_capacity(graph.vertices.len());
        let mut vertex_of = Vec::new();
        for (index, vertex) in graph.vertices.iter().enumerate() {
            first_task.push(vertex_of.len() as u32);
            vertex_of.extend(std::iter::repeat_n(index as u32, vertex.parallelism as usize));
        }
        let tasks = vertex_of.len() as u32;
        let regions = Regions::find(&graph, &first_task, tasks);
        let mut exchanges = Vec::new();
        let mut inputs: Vec<Vec<usize>> = graph.vertices.iter().map(|v| vec![usize::MAX; v.inputs.len()]).collect();
        let mut outputs: Vec<Vec<usize>> = vec![Vec::new(); graph.vertices.len()];
        for (producer, vertex) in graph.vertices.iter().enumerate() {
            for (position, data_set) in vertex.produced.iter().enumerate() {
                let consumer = data_set.consumer.0 as usize;
                let edge = graph.vertices[consumer].inputs.iter().position(|e| e.data_set == data_set.id);
                inputs[consumer][edge.expect("a consumer lists the data sets it reads")] = exchanges.len();
                outputs[producer].push(exchanges.len());
                exchanges.push(Exchange {
                    producer,
                    position,
                    consumer,
                    partition_type: data_set.partition_type,
                    distribution: data_set.distribution,
                    producers: vertex.parallelism,
                    consumers: graph.vertices[consumer].parallelism,
                });
            }
        }
        let tasks = (0..tasks).map(|_| ExecutionVertex::new()).collect();
        Self { graph, first_task, tasks, vertex_of, exchanges, inputs, outputs, regions }
    }

    /// The graph it was made from.
    #[must_use]
    pub fn job_graph(&self) -> &Arc<JobGraph> {
        &self.graph
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// All exchanges.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// What a vertex reads, in the order of its inputs, as positions in [`ExecutionGraph::exchanges`].
    #[must_use]
    pub fn inputs(&self, vertex: usize) -> &[usize] {
        &self.inputs[vertex]
    }

    /// What a vertex writes, in the order of its data sets, as positions in [`ExecutionGraph::exchanges`].
    #[must_use]
    pub fn outputs(&self, vertex: usize) -> &[usize] {
        &self.outputs[vertex]
    }

    /// The data set of an exchange.
    #[must_use]
    pub fn data_set(&self, exchange: &Exchange) -> &IntermediateDataSet {
        &self.graph.vertices[exchange.producer].produced[exchange.position]
    }

    /// Number of subtasks.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// All subtasks, vertex by vertex.
    pub fn task_indices(&self) -> impl Iterator<Item = TaskIndex> + use<> {
        (0..self.tasks.len() as u32).map(TaskIndex)
    }

    /// The subtasks of a vertex.
    pub fn tasks_of(&self, vertex: usize) -> impl Iterator<Item = TaskIndex> + use<> {
        let first = self.first_task[vertex];
        (first..first + self.graph.vertices[vertex].parallelism).map(TaskIndex)
    }

    /// A subtask by vertex and position.
    #[must_use]
    pub fn task_at(&self, vertex: usize, subtask: u32) -> TaskIndex {
        TaskIndex(self.first_task[vertex] + subtask)
    }

    /// One subtask.
    #[must_use]
    pub fn task(&self, task: TaskIndex) -> &ExecutionVertex {
        &self.tasks[task.0 as usize]
    }

    /// The vertex of a subtask, as an index.
    #[must_use]
    pub fn vertex_of(&self, task: TaskIndex) -> usize {
        self.vertex_of[task.0 as usize] as usize
    }

    /// The vertex of a subtask.
    #[must_use]
    pub fn job_vertex_of(&self, task: TaskIndex) -> &JobVertex {
        &self.graph.vertices[self.vertex_of(task)]
    }

    /// Position of a subtask in its vertex.
    #[must_use]
    pub fn subtask_of(&self, task: TaskIndex) -> u32 {
        task.0 - self.first_task[self.vertex_of(task)]
    }

    /// Where a subtask is.
    #[must_use]
    pub fn state(&self, task: TaskIndex) -> ExecutionState {
        self.task(task).state()
    }

    /// The subtask that an id names; `None` if there is none.
    #[must_use]
    pub fn find(&self, id: ExecutionVertexId) -> Option<TaskIndex> {
        let vertex = self.graph.vertices.get(id.vertex.0 as usize)?;
        (id.subtask.0 < vertex.parallelism).then(|| self.task_at(id.vertex.0 as usize, id.subtask.0))
    }

    /// The subtask and attempt that an id names, if that attempt is a current one. Everything else is stale.
    #[must_use]
    pub fn find_current(&self, id: ExecutionAttemptId) -> Option<(TaskIndex, &Execution)> {
        if id.job != self.graph.job {
            return None;
        }
        let task = self.find(id.execution_vertex)?;
        Some((task, self.task(task).attempt(id.attempt)?))
    }

    /// The id of an attempt of a subtask.
    #[must_use]
    pub fn attempt_id(&self, task: TaskIndex, execution: &Execution) -> ExecutionAttemptId {
        let vertex = JobVertexId(self.vertex_of[task.0 as usize]);
        ExecutionAttemptId {
            job: self.graph.job,
            execution_vertex: ExecutionVertexId { vertex, subtask: SubtaskIndex(self.subtask_of(task)) },
            attempt: execution.number,
        }
    }

    /// The attempt of a subtask whose results count.
    #[must_use]
    pub fn primary_id(&self, task: TaskIndex) -> ExecutionAttemptId {
        self.attempt_id(task, self.task(task).primary())
    }

    /// The partition that a subtask's primary attempt produces of an exchange.
    #[must_use]
    pub fn partition(&self, exchange: &Exchange, producer: u32) -> ResultPartitionId {
        let task = self.task_at(exchange.producer, producer);
        ResultPartitionId { data_set: self.data_set(exchange).id, producer: self.primary_id(task) }
    }

    /// Moves an attempt on; false, and nothing changes, if the attempt is stale or the state does not follow.
    pub fn advance(&mut self, id: ExecutionAttemptId, state: ExecutionState) -> bool {
        let Some((task, _)) = self.find_current(id) else { return false };
        let attempt = self.tasks[task.0 as usize].attempt_mut(id.attempt).expect("found just now");
        attempt.advance(state)
    }

    /// Notes why the subtask's attempt failed.
    pub fn record_failure(&mut self, task: TaskIndex, failure: FailureReport) {
        self.tasks[task.0 as usize].record_failure(failure);
    }

    /// Places an attempt.
    pub fn place(&mut self, id: ExecutionAttemptId, slot: SlotAddress) {
        if let Some(task) = self.find(id.execution_vertex)
            && let Some(attempt) = self.tasks[task.0 as usize].attempt_mut(id.attempt)
        {
            attempt.slot = Some(slot);
        }
    }

    /// Notes that an attempt has seen the end of its data.
    pub fn end_of_data(&mut self, id: ExecutionAttemptId) {
        if let Some(task) = self.find(id.execution_vertex)
            && let Some(attempt) = self.tasks[task.0 as usize].attempt_mut(id.attempt)
        {
            attempt.end_of_data = true;
        }
    }

    /// Replaces a subtask's attempts, all of which are over, by a new one.
    pub fn reset(&mut self, task: TaskIndex) {
        self.tasks[task.0 as usize].reset();
    }
}
