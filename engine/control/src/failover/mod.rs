//! Which subtasks start again after a failure (reference: flink 1.5).

mod full;
mod partitions;
mod region;
#[cfg(test)]
mod tests;

use crate::execution_graph::{ExecutionGraph, TaskIndex};

pub use partitions::PartitionTracker;

/// `jobmanager.execution.failover-strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverStrategy {
    /// The failed region, producers whose results are gone, and everything downstream.
    #[default]
    Region,
    /// Everything.
    Full,
}

impl FailoverStrategy {
    /// The subtasks to start again when `failed` has failed, ascending.
    #[must_use]
    pub fn tasks_to_restart(
        self,
        graph: &ExecutionGraph,
        partitions: &PartitionTracker,
        failed: TaskIndex,
    ) -> Vec<TaskIndex> {
        match self {
            Self::Region => region::tasks_to_restart(graph, partitions, failed),
            Self::Full => full::tasks_to_restart(graph),
        }
    }
}
