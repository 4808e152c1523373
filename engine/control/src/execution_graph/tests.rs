use flumen_core::ids::AttemptNumber;
use flumen_gateway::{ExecutionState, FailureReport};

use super::*;
use crate::testing::{Shape, job};

/// Regions as lists of subtasks.
fn check(parallelism: &[u32], edges: &[(usize, usize, Shape)], expected: &[&[u32]]) {
    let graph = ExecutionGraph::new(job(parallelism, edges));
    let regions: Vec<Vec<u32>> =
        graph.regions().iter().map(|r| graph.regions().members(r).iter().map(|t| t.0).collect()).collect();
    assert_eq!(regions, expected);
    for (index, members) in regions.iter().enumerate() {
        assert!(members.iter().all(|t| graph.regions().of(TaskIndex(*t)) == RegionId(index as u32)));
    }
}

#[test]
fn regions_are_joined_by_pipelined_exchanges_only() {
    check(&[2, 2], &[(0, 1, Shape::Pipelined)], &[&[0, 1, 2, 3]]);
    check(&[2, 2], &[(0, 1, Shape::PipelinedPointwise)], &[&[0, 2], &[1, 3]]);
    check(&[4, 2], &[(0, 1, Shape::PipelinedPointwise)], &[&[0, 1, 4], &[2, 3, 5]]);
    check(&[2, 2], &[(0, 1, Shape::Blocking)], &[&[0], &[1], &[2], &[3]]);
    check(&[2, 2], &[(0, 1, Shape::HybridFull)], &[&[0], &[1], &[2], &[3]]);
    check(&[2, 2, 1], &[(0, 1, Shape::PipelinedPointwise), (1, 2, Shape::Blocking)], &[&[0, 2], &[1, 3], &[4]]);
    check(&[2, 2, 1], &[(0, 1, Shape::PipelinedPointwise), (1, 2, Shape::Pipelined)], &[&[0, 1, 2, 3, 4]]);
}

#[test]
fn history_keeps_sixteen_attempts_and_their_failures() {
    let mut graph = ExecutionGraph::new(job(&[1], &[]));
    let task = TaskIndex(0);
    for attempt in 0..20 {
        let id = graph.primary_id(task);
        assert_eq!(id.attempt, AttemptNumber(attempt));
        assert!(graph.advance(id, ExecutionState::Scheduled));
        assert!(!graph.advance(id, ExecutionState::Scheduled), "a repetition changes nothing");
        graph.record_failure(task, FailureReport::new(flumen_core::failure::FailureKind::Transient, "broken"));
        assert!(graph.advance(id, ExecutionState::Failed));
        assert!(!graph.advance(id, ExecutionState::Running), "what is over stays over");
        graph.reset(task);
        assert!(!graph.advance(id, ExecutionState::Running), "a former attempt is stale");
        assert!(graph.find_current(id).is_none());
    }
    let history = graph.task(task).history();
    assert_eq!(history.len(), ATTEMPT_HISTORY);
    assert_eq!(history.front().unwrap().number, AttemptNumber(4));
    assert!(history.iter().all(|r| r.failure.as_ref().is_some_and(|f| f.message == "broken")));
}

#[test]
fn the_first_of_racing_attempts_to_finish_counts() {
    let mut graph = ExecutionGraph::new(job(&[1], &[]));
    let first = graph.primary_id(TaskIndex(0));
    let number = graph.tasks[0].add_racing_attempt();
    let second = flumen_core::ids::ExecutionAttemptId { attempt: number, ..first };
    assert!(graph.advance(first, ExecutionState::Running));
    assert!(graph.advance(second, ExecutionState::Running));
    assert!(graph.advance(second, ExecutionState::Finished));
    assert_eq!(graph.state(TaskIndex(0)), ExecutionState::Finished);
    assert_eq!(graph.primary_id(TaskIndex(0)), second);
    assert!(graph.advance(first, ExecutionState::Canceling));
    assert_eq!(graph.primary_id(TaskIndex(0)), second);
}

#[test]
fn unknown_ids_name_nothing() {
    let graph = ExecutionGraph::new(job(&[2], &[]));
    let id = graph.primary_id(TaskIndex(1));
    assert!(graph.find_current(id).is_some());
    let mut other = id;
    other.job = flumen_core::ids::JobId(8);
    assert!(graph.find_current(other).is_none());
    other = id;
    other.execution_vertex.subtask.0 = 2;
    assert!(graph.find_current(other).is_none());
    other = id;
    other.execution_vertex.vertex.0 = 1;
    assert!(graph.find_current(other).is_none());
}
