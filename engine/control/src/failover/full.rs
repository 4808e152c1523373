//! Everything starts again.

use crate::execution_graph::{ExecutionGraph, TaskIndex};

pub(super) fn tasks_to_restart(graph: &ExecutionGraph) -> Vec<TaskIndex> {
    graph.task_indices().collect()
}
