use flumen_gateway::ExecutionState::{Deploying, Running};

use super::*;
use crate::testing::{Shape, job};

/// Subtasks that restart when `failed` fails in a job in which every subtask runs, with these results gone.
fn check(parallelism: &[u32], edges: &[(usize, usize, Shape)], gone: &[(usize, u32)], failed: u32, expected: &[u32]) {
    let mut graph = ExecutionGraph::new(job(parallelism, edges));
    for task in graph.task_indices() {
        let id = graph.primary_id(task);
        assert!(graph.advance(id, Deploying) && graph.advance(id, Running));
    }
    let mut partitions = PartitionTracker::new(&graph);
    gone.iter().for_each(|(exchange, producer)| partitions.lose(*exchange, *producer));
    let restart = FailoverStrategy::Region.tasks_to_restart(&graph, &partitions, TaskIndex(failed));
    assert_eq!(restart.iter().map(|t| t.0).collect::<Vec<_>>(), expected);
    let all: Vec<_> = graph.task_indices().collect();
    assert_eq!(FailoverStrategy::Full.tasks_to_restart(&graph, &partitions, TaskIndex(failed)), all);
}

#[test]
fn regions_restart_alone_if_they_can() {
    check(&[2, 2], &[(0, 1, Shape::Pipelined)], &[], 3, &[0, 1, 2, 3]);
    check(&[2, 2], &[(0, 1, Shape::PipelinedPointwise)], &[], 3, &[1, 3]);
    check(&[2, 2], &[(0, 1, Shape::Blocking)], &[], 3, &[3]);
    check(&[2, 2], &[(0, 1, Shape::HybridFull)], &[], 3, &[3]);
}

#[test]
fn consumers_of_what_restarts_restart() {
    check(&[2, 2, 1], &[(0, 1, Shape::Blocking), (1, 2, Shape::Blocking)], &[], 0, &[0, 2, 3, 4]);
    check(&[2, 2, 1], &[(0, 1, Shape::BlockingPointwise), (1, 2, Shape::Blocking)], &[], 0, &[0, 2, 4]);
}

#[test]
fn producers_restart_if_their_results_are_gone() {
    // Result 1 of the first exchange is gone: its producer restarts, hence everyone who reads from it.
    check(&[2, 2], &[(0, 1, Shape::Blocking)], &[(0, 1)], 3, &[1, 2, 3]);
    check(&[2, 2], &[(0, 1, Shape::BlockingPointwise)], &[(0, 1)], 3, &[1, 3]);
    // Somebody else's.
    check(&[2, 2], &[(0, 1, Shape::BlockingPointwise)], &[(0, 1)], 2, &[2]);
    // Down a chain of released results.
    let edges = [(0, 1, Shape::Blocking), (1, 2, Shape::Blocking)];
    check(&[1, 1, 1], &edges, &[(0, 0), (1, 0)], 2, &[0, 1, 2]);
    check(&[1, 1, 1], &edges, &[(0, 0)], 2, &[2]);
    check(&[2, 2], &[(0, 1, Shape::HybridSelective)], &[], 3, &[0, 1, 2, 3]);
}
