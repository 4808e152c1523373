//! The closure of three rules (Flink: RestartPipelinedRegionFailoverStrategy):
//! 1. the region of the failed subtask restarts;
//! 2. if an input of a restarting region is gone, or can be read only once, its producer's region restarts;
//! 3. all regions that read from a restarting region restart.
//!
//! Work is linear in subtasks: the producers of an all-to-all exchange are looked at once, not once for each consumer.

use std::collections::VecDeque;

use flumen_core::graph::DistributionPattern;
use flumen_gateway::ExecutionState;

use super::partitions::PartitionTracker;
use crate::execution_graph::{ExecutionGraph, RegionId, TaskIndex};

pub(super) fn tasks_to_restart(
    graph: &ExecutionGraph,
    partitions: &PartitionTracker,
    failed: TaskIndex,
) -> Vec<TaskIndex> {
    let mut closure = Closure {
        involved: vec![false; graph.regions().count() as usize],
        queue: VecDeque::new(),
        producers_seen: vec![false; graph.exchanges().len()],
        gone_seen: vec![false; graph.exchanges().len()],
        consumers_seen: vec![false; graph.exchanges().len()],
    };
    closure.add(graph.regions().of(failed));
    while let Some(region) = closure.queue.pop_front() {
        for &task in graph.regions().members(region) {
            closure.add_producers(graph, partitions, task);
            closure.add_consumers(graph, task);
        }
    }
    graph.task_indices().filter(|task| closure.involved[graph.regions().of(*task).0 as usize]).collect()
}

struct Closure {
    involved: Vec<bool>,
    queue: VecDeque<RegionId>,
    /// By all-to-all exchange: all of its producers.
    producers_seen: Vec<bool>,
    /// By all-to-all exchange: those of its producers whose results are gone.
    gone_seen: Vec<bool>,
    /// By all-to-all exchange.
    consumers_seen: Vec<bool>,
}

impl Closure {
    fn add(&mut self, region: RegionId) {
        if !std::mem::replace(&mut self.involved[region.0 as usize], true) {
            self.queue.push_back(region);
        }
    }

    fn add_producers(&mut self, graph: &ExecutionGraph, partitions: &PartitionTracker, consumer: TaskIndex) {
        for &input in graph.inputs(graph.vertex_of(consumer)) {
            let exchange = &graph.exchanges()[input];
            if exchange.partition_type.must_be_pipelined() {
                continue;
            }
            // What can be read once is gone as soon as somebody may have begun to.
            let read_once = !exchange.partition_type.is_reconsumable()
                && graph.state(consumer) != ExecutionState::Created
                && graph.state(consumer) != ExecutionState::Scheduled;
            if !read_once && !partitions.any_gone(input) {
                continue;
            }
            let all_to_all = exchange.distribution == DistributionPattern::AllToAll;
            let seen = if read_once { &mut self.producers_seen } else { &mut self.gone_seen };
            if all_to_all && std::mem::replace(&mut seen[input], true) {
                continue;
            }
            for producer in exchange.producers_of(graph.subtask_of(consumer)) {
                if read_once || partitions.is_gone(input, producer) {
                    self.add(graph.regions().of(graph.task_at(exchange.producer, producer)));
                }
            }
        }
    }

    fn add_consumers(&mut self, graph: &ExecutionGraph, producer: TaskIndex) {
        for &output in graph.outputs(graph.vertex_of(producer)) {
            let exchange = &graph.exchanges()[output];
            let all_to_all = exchange.distribution == DistributionPattern::AllToAll;
            if all_to_all && std::mem::replace(&mut self.consumers_seen[output], true) {
                continue;
            }
            for consumer in exchange.consumers_of(graph.subtask_of(producer)) {
                self.add(graph.regions().of(graph.task_at(exchange.consumer, consumer)));
            }
        }
    }
}
