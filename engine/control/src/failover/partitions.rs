//! Which finished results are gone: released after all consumers finished, lost with their TaskExecutor, or reported
//! missing by a consumer.

use crate::execution_graph::{ExecutionGraph, TaskIndex};

/// By exchange and producer: whether the result of the current attempt is gone.
#[derive(Clone, Debug)]
pub struct PartitionTracker {
    gone: Vec<Vec<bool>>,
    gone_count: Vec<u32>,
}

impl PartitionTracker {
    /// Nothing is gone.
    #[must_use]
    pub fn new(graph: &ExecutionGraph) -> Self {
        let vertices = &graph.job_graph().vertices;
        let gone: Vec<_> =
            graph.exchanges().iter().map(|e| vec![false; vertices[e.producer].parallelism as usize]).collect();
        Self { gone_count: vec![0; gone.len()], gone }
    }

    /// The result of `producer` in `exchange` is gone.
    pub fn lose(&mut self, exchange: usize, producer: u32) {
        if !std::mem::replace(&mut self.gone[exchange][producer as usize], true) {
            self.gone_count[exchange] += 1;
        }
    }

    /// All results of a subtask are gone.
    pub fn lose_all_of(&mut self, graph: &ExecutionGraph, task: TaskIndex) {
        for &exchange in graph.outputs(graph.vertex_of(task)) {
            self.lose(exchange, graph.subtask_of(task));
        }
    }

    /// The subtask runs again, so its results will exist again.
    pub fn forget(&mut self, graph: &ExecutionGraph, task: TaskIndex) {
        for &exchange in graph.outputs(graph.vertex_of(task)) {
            let producer = graph.subtask_of(task) as usize;
            if std::mem::replace(&mut self.gone[exchange][producer], false) {
                self.gone_count[exchange] -= 1;
            }
        }
    }

    /// Whether that result is gone.
    #[must_use]
    pub fn is_gone(&self, exchange: usize, producer: u32) -> bool {
        self.gone[exchange][producer as usize]
    }

    /// Whether any result of the exchange is gone.
    #[must_use]
    pub fn any_gone(&self, exchange: usize) -> bool {
        self.gone_count[exchange] > 0
    }
}
