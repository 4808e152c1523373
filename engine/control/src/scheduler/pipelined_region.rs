//! A region is scheduled when its inputs from other regions can be consumed (reference: flink 1.3).
//!
//! A BLOCKING input can be consumed when its producer has finished. A HYBRID one can be consumed at any time, but a
//! consumer that starts long before its producer only holds a slot, so it waits until the producer is deployed; should
//! regions wait for each other that way, [`PipelinedRegionScheduler::next_regardless`] ends it.
//!
//! For every exchange that is not pipelined it counts producers that are not ready: once for all consumers of an
//! all-to-all exchange, by consumer for a pointwise one. A region counts the inputs that are not ready. So the work of a
//! whole job is linear in subtasks, not in pairs of them. A consumer whose own region holds one of the producers does not
//! count that input: it could never become ready first.

use std::collections::BTreeSet;

use flumen_core::graph::DistributionPattern;
use flumen_gateway::ExecutionState;

use crate::execution_graph::{Exchange, ExecutionGraph, RegionId, TaskIndex};

#[derive(Clone, Debug)]
struct Gates {
    blocking: bool,
    /// By producer.
    ready: Vec<bool>,
    /// By consumer (pointwise), or one for all: producers that are not ready.
    missing: Vec<u32>,
    /// By consumer: whether its region waits for this input.
    counts: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    blocking: u32,
    hybrid: u32,
    scheduled: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct PipelinedRegionScheduler {
    /// By exchange; none for pipelined ones.
    gates: Vec<Option<Gates>>,
    /// By region.
    regions: Vec<Waiting>,
    ready: BTreeSet<RegionId>,
    unscheduled: u32,
}

impl PipelinedRegionScheduler {
    /// Nothing is scheduled, no producer is ready.
    #[must_use]
    pub fn new(graph: &ExecutionGraph) -> Self {
        let mut regions = vec![Waiting::default(); graph.regions().count() as usize];
        let gates = graph.exchanges().iter().map(|exchange| Self::gates(graph, exchange, &mut regions)).collect();
        let ready = graph.regions().iter().filter(|r| regions[r.0 as usize].is_ready()).collect();
        Self { gates, ready, unscheduled: graph.regions().count(), regions }
    }

    fn gates(graph: &ExecutionGraph, exchange: &Exchange, regions: &mut [Waiting]) -> Option<Gates> {
        if exchange.partition_type.must_be_pipelined() {
            return None;
        }
        let vertices = &graph.job_graph().vertices;
        let (producers, consumers) = (vertices[exchange.producer].parallelism, vertices[exchange.consumer].parallelism);
        let region_of = |vertex, subtask| graph.regions().of(graph.task_at(vertex, subtask));
        let all_to_all = exchange.distribution == DistributionPattern::AllToAll;
        let producing: BTreeSet<RegionId> = match all_to_all {
            true => (0..producers).map(|p| region_of(exchange.producer, p)).collect(),
            false => BTreeSet::new(),
        };
        let blocking = exchange.partition_type.must_be_finished();
        let mut counts = Vec::with_capacity(consumers as usize);
        let mut missing = Vec::new();
        for consumer in 0..consumers {
            let region = region_of(exchange.consumer, consumer);
            let own = if all_to_all {
                producing.contains(&region)
            } else {
                let mut range = exchange.producers_of(consumer);
                missing.push(range.len() as u32);
                range.any(|p| region_of(exchange.producer, p) == region)
            };
            counts.push(!own);
            if !own {
                *regions[region.0 as usize].counter(blocking) += 1;
            }
        }
        if all_to_all {
            missing.push(producers);
        }
        Some(Gates { blocking, ready: vec![false; producers as usize], missing, counts })
    }

    /// The state of a subtask has changed: its consumers may have become ready, or not ready any more.
    pub fn update(&mut self, graph: &ExecutionGraph, task: TaskIndex) {
        let (vertex, producer) = (graph.vertex_of(task), graph.subtask_of(task));
        let state = graph.state(task);
        for &output in graph.outputs(vertex) {
            let Some(gates) = &mut self.gates[output] else { continue };
            let ready = match state {
                ExecutionState::Finished => true,
                ExecutionState::Deploying | ExecutionState::Initializing | ExecutionState::Running => !gates.blocking,
                _ => false,
            };
            if std::mem::replace(&mut gates.ready[producer as usize], ready) == ready {
                continue;
            }
            let exchange = &graph.exchanges()[output];
            let moved = |missing: &mut u32| {
                if ready {
                    *missing -= 1
                } else {
                    *missing += 1
                }
                // Only the step between none and one changes anything for the consumer.
                *missing == u32::from(!ready)
            };
            let changed = match exchange.distribution {
                DistributionPattern::AllToAll => {
                    if moved(&mut gates.missing[0]) {
                        exchange.consumers_of(producer)
                    } else {
                        0..0
                    }
                }
                DistributionPattern::Pointwise => exchange.consumers_of(producer),
            };
            for consumer in changed {
                let crossed = match exchange.distribution {
                    DistributionPattern::AllToAll => true,
                    DistributionPattern::Pointwise => moved(&mut gates.missing[consumer as usize]),
                };
                if !crossed || !gates.counts[consumer as usize] {
                    continue;
                }
                let region = graph.regions().of(graph.task_at(exchange.consumer, consumer));
                let waiting = &mut self.regions[region.0 as usize];
                let counter = waiting.counter(gates.blocking);
                if ready {
                    *counter -= 1
                } else {
                    *counter += 1
                }
                if waiting.is_ready() {
                    self.ready.insert(region);
                } else {
                    self.ready.remove(&region);
                }
            }
        }
    }

    /// The first region that is ready and not scheduled.
    #[must_use]
    pub fn next_ready(&self) -> Option<RegionId> {
        self.ready.first().copied()
    }

    /// The first region that is not scheduled and waits for hybrid inputs only. For when nothing runs and nothing is
    /// ready.
    #[must_use]
    pub fn next_regardless(&self) -> Option<RegionId> {
        let waits_softly = |w: &Waiting| !w.scheduled && w.blocking == 0;
        self.regions.iter().position(waits_softly).map(|region| RegionId(region as u32))
    }

    /// The region has been scheduled.
    pub fn scheduled(&mut self, region: RegionId) {
        let waiting = &mut self.regions[region.0 as usize];
        if !std::mem::replace(&mut waiting.scheduled, true) {
            self.unscheduled -= 1;
        }
        self.ready.remove(&region);
    }

    /// The region's subtasks are new again.
    pub fn reset(&mut self, region: RegionId) {
        let waiting = &mut self.regions[region.0 as usize];
        if std::mem::replace(&mut waiting.scheduled, false) {
            self.unscheduled += 1;
        }
        if waiting.is_ready() {
            self.ready.insert(region);
        }
    }

    /// How many regions are not scheduled.
    #[must_use]
    pub fn unscheduled(&self) -> u32 {
        self.unscheduled
    }
}

impl Waiting {
    fn is_ready(self) -> bool {
        !self.scheduled && self.blocking == 0 && self.hybrid == 0
    }

    fn counter(&mut self, blocking: bool) -> &mut u32 {
        if blocking { &mut self.blocking } else { &mut self.hybrid }
    }
}
