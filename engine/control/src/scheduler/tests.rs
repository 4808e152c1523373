use flumen_gateway::ExecutionState;

use super::PipelinedRegionScheduler;
use crate::execution_graph::{ExecutionGraph, RegionId, TaskIndex};
use crate::testing::{Shape, job};

struct Fixture {
    graph: ExecutionGraph,
    scheduler: PipelinedRegionScheduler,
}

impl Fixture {
    fn new(parallelism: &[u32], edges: &[(usize, usize, Shape)]) -> Self {
        let graph = ExecutionGraph::new(job(parallelism, edges));
        let scheduler = PipelinedRegionScheduler::new(&graph);
        Self { graph, scheduler }
    }

    fn set(&mut self, task: u32, states: &[ExecutionState]) {
        for state in states {
            let id = self.graph.primary_id(TaskIndex(task));
            assert!(self.graph.advance(id, *state));
            self.scheduler.update(&self.graph, TaskIndex(task));
        }
    }

    /// Schedules everything that is ready; answers the subtasks.
    fn schedule(&mut self) -> Vec<u32> {
        let mut tasks = Vec::new();
        while let Some(region) = self.scheduler.next_ready() {
            self.scheduler.scheduled(region);
            tasks.extend(self.graph.regions().members(region).iter().map(|t| t.0));
        }
        tasks
    }
}

use ExecutionState::{Deploying, Failed, Finished, Running};

#[test]
fn a_pipelined_job_is_one_region() {
    let mut f = Fixture::new(&[2, 3], &[(0, 1, Shape::Pipelined)]);
    assert_eq!(f.schedule(), [0, 1, 2, 3, 4]);
    assert_eq!(f.scheduler.unscheduled(), 0);
}

#[test]
fn blocking_consumers_wait_for_all_of_their_producers() {
    let mut f = Fixture::new(&[2, 2], &[(0, 1, Shape::Blocking)]);
    assert_eq!(f.schedule(), [0, 1]);
    f.set(0, &[Deploying, Running, Finished]);
    assert!(f.schedule().is_empty());
    f.set(1, &[Deploying, Running]);
    assert!(f.schedule().is_empty());
    f.set(1, &[Finished]);
    assert_eq!(f.schedule(), [2, 3]);
}

#[test]
fn pointwise_consumers_wait_for_their_own_producers() {
    let mut f = Fixture::new(&[4, 2], &[(0, 1, Shape::BlockingPointwise)]);
    assert_eq!(f.schedule(), [0, 1, 2, 3]);
    f.set(2, &[Deploying, Finished]);
    f.set(1, &[Deploying, Finished]);
    assert!(f.schedule().is_empty());
    f.set(3, &[Deploying, Finished]);
    assert_eq!(f.schedule(), [5]);
    f.set(0, &[Deploying, Finished]);
    assert_eq!(f.schedule(), [4]);
}

#[test]
fn hybrid_consumers_follow_their_producers_deployment() {
    let mut f = Fixture::new(&[2, 1], &[(0, 1, Shape::HybridFull)]);
    assert_eq!(f.schedule(), [0, 1]);
    f.set(0, &[Deploying]);
    assert!(f.schedule().is_empty());
    assert_eq!(f.scheduler.next_regardless(), Some(RegionId(2)));
    f.set(1, &[Deploying]);
    assert_eq!(f.schedule(), [2]);
}

#[test]
fn a_producer_that_runs_again_is_waited_for_again() {
    let mut f = Fixture::new(&[1, 2], &[(0, 1, Shape::Blocking)]);
    f.schedule();
    f.set(0, &[Deploying, Finished]);
    assert_eq!(f.schedule(), [1, 2]);
    f.set(1, &[Deploying, Failed]);
    f.graph.reset(TaskIndex(0));
    f.scheduler.update(&f.graph, TaskIndex(0));
    f.graph.reset(TaskIndex(1));
    f.scheduler.reset(RegionId(0));
    f.scheduler.reset(RegionId(1));
    assert_eq!(f.schedule(), [0]);
    f.set(0, &[Deploying, Finished]);
    assert_eq!(f.schedule(), [1]);
}

#[test]
fn an_input_from_the_own_region_is_not_waited_for() {
    let mut f = Fixture::new(&[2, 2], &[(0, 1, Shape::Pipelined), (0, 1, Shape::HybridFull)]);
    assert_eq!(f.schedule(), [0, 1, 2, 3]);
}
