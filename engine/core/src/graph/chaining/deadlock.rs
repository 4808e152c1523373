//! Exchanges that could wait for themselves, and what is done about them.
//!
//! A hash join reads its build input to the end before it touches the probe input. If both sides come, over pipelined
//! exchanges, from a common producer, that producer fills the probe's buffers, waits for credit, and never finishes
//! the build. Several joins can close such a ring together. (Flink: `InputPriorityConflictResolver`.)
//!
//! The rule here is a graph of requirements between two kinds of facts about vertices and exchanges:
//! - `Ended(v)`, vertex v has produced everything, requires `Ended` of its producers and `Drains(e)` of its pipelined
//!   outputs;
//! - `Drains(e)`, exchange e is consumed to its end without help from outside: nothing for an exchange that is kept
//!   (the disk takes it) or for a build input (nothing is emitted while building); else `Drains` of all outputs of the
//!   consumer, and for the probe input of a join also `Ended` of the build's producers.
//!
//! `Drains` alone leads only downstream, so a ring passes a probe input; keeping that exchange (HYBRID_FULL) cuts it.
//! Probe exchanges are tried in topological order and kept if they require themselves; then each is given back if the
//! others suffice, so that none is kept without need.
//!
//! A second, smaller matter: a BLOCKING exchange whose consumer must run before its producer can end (both in one
//! pipelined region, or regions that need each other) could never be consumed; it becomes HYBRID_FULL, which may be
//! read while it is written.

use crate::graph::job_graph::{JobVertex, ResultPartitionType};
use crate::spec::relational::HashJoinSpec;
use crate::spec::{OperatorPayload, OperatorSpec};

/// An exchange: producing vertex, position in its `produced`, consuming vertex, input of the consumer.
#[derive(Clone, Copy)]
struct Exchange {
    producer: usize,
    position: usize,
    consumer: usize,
    input: u32,
}

pub(super) struct Exchanges {
    all: Vec<Exchange>,
    /// By vertex.
    into: Vec<Vec<usize>>,
    /// By vertex.
    out_of: Vec<Vec<usize>>,
    /// By exchange.
    kind: Vec<ResultPartitionType>,
    /// By vertex: the input that is read to its end before the others.
    first_input: Vec<Option<u32>>,
    /// By vertex: those that must have ended before it begins, beyond what the exchanges say ([`super::awaited`]).
    pub(super) begins_after: Vec<Vec<usize>>,
}

/// What may be required.
#[derive(Clone, Copy)]
enum Fact {
    Ended(usize),
    Drains(usize),
}

/// The input that an operator reads to its end before it reads any other.
fn input_read_first(spec: &OperatorSpec) -> Option<u32> {
    (spec.kind == HashJoinSpec::KIND).then_some(0)
}

/// Changes the partition type of exchanges that could wait for themselves.
pub(super) fn keep_exchanges_that_would_deadlock(vertices: &mut [JobVertex]) {
    let mut exchanges = Exchanges::of(vertices);
    exchanges.cut_rings();
    exchanges.free_blocking();
    for (exchange, kind) in exchanges.all.iter().zip(&exchanges.kind) {
        vertices[exchange.producer].produced[exchange.position].partition_type = *kind;
    }
}

impl Exchanges {
    pub(super) fn of(vertices: &[JobVertex]) -> Self {
        let mut exchanges = Self {
            all: Vec::new(),
            into: vec![Vec::new(); vertices.len()],
            out_of: vec![Vec::new(); vertices.len()],
            kind: Vec::new(),
            first_input: vertices.iter().map(|v| input_read_first(&v.operators[0].spec)).collect(),
            begins_after: vec![Vec::new(); vertices.len()],
        };
        let mut producer_of = std::collections::HashMap::new();
        for (producer, vertex) in vertices.iter().enumerate() {
            for (position, data_set) in vertex.produced.iter().enumerate() {
                producer_of.insert(data_set.id, (producer, position, data_set.partition_type));
            }
        }
        for (consumer, vertex) in vertices.iter().enumerate() {
            for edge in &vertex.inputs {
                let (producer, position, kind) = producer_of[&edge.data_set];
                let index = exchanges.all.len();
                exchanges.all.push(Exchange { producer, position, consumer, input: edge.head_input });
                exchanges.kind.push(kind);
                exchanges.into[consumer].push(index);
                exchanges.out_of[producer].push(index);
            }
        }
        exchanges
    }

    fn cut_rings(&mut self) {
        let mut cut: Vec<(usize, ResultPartitionType)> = Vec::new();
        for exchange in 0..self.all.len() {
            let Exchange { consumer, input, .. } = self.all[exchange];
            let waits = self.first_input[consumer].is_some_and(|first| first != input);
            let kind = self.kind[exchange];
            if waits && kind.must_be_pipelined() && self.requires_itself(exchange) {
                cut.push((exchange, kind));
                self.kind[exchange] = ResultPartitionType::HybridFull;
            }
        }
        for (exchange, kind) in cut {
            self.kind[exchange] = kind;
            if self.requires_itself(exchange) {
                self.kind[exchange] = ResultPartitionType::HybridFull;
            }
        }
    }

    /// Whether `Drains(start)` is among its own requirements.
    fn requires_itself(&self, start: usize) -> bool {
        self.requires(Vec::new(), vec![start], Fact::Drains(start))
    }

    /// Whether a vertex could never begin, because what it begins after requires its own end.
    pub(super) fn waits_for_itself(&self, vertex: usize) -> bool {
        self.requires(self.begins_after[vertex].clone(), Vec::new(), Fact::Ended(vertex))
    }

    /// The producers of the input that a vertex reads first.
    pub(super) fn build_producers(&self, vertex: usize) -> impl Iterator<Item = usize> {
        let first = self.first_input[vertex];
        let build = self.into[vertex].iter().map(|e| self.all[*e]).filter(move |e| Some(e.input) == first);
        build.map(|e| e.producer)
    }

    /// Whether a consumer has to wait for all of what it reads.
    pub(super) fn is_blocking(&self) -> bool {
        self.kind.iter().any(|kind| kind.must_be_finished())
    }

    /// Whether these facts, some vertices' ends and some exchanges' draining, require another one.
    fn requires(&self, mut ended: Vec<usize>, mut drains: Vec<usize>, wanted: Fact) -> bool {
        let mut drains_seen = vec![false; self.all.len()];
        let mut ended_seen = vec![false; self.into.len()];
        loop {
            if let Some(exchange) = drains.pop() {
                if !self.kind[exchange].must_be_pipelined() {
                    continue;
                }
                let Exchange { consumer, input, .. } = self.all[exchange];
                if self.first_input[consumer] == Some(input) {
                    continue;
                }
                ended.extend(self.build_producers(consumer));
                for &next in &self.out_of[consumer] {
                    if !std::mem::replace(&mut drains_seen[next], true) {
                        drains.push(next);
                    }
                }
            } else if let Some(vertex) = ended.pop() {
                if std::mem::replace(&mut ended_seen[vertex], true) {
                    continue;
                }
                ended.extend(self.into[vertex].iter().map(|e| self.all[*e].producer));
                ended.extend(&self.begins_after[vertex]);
                for &next in &self.out_of[vertex] {
                    if !std::mem::replace(&mut drains_seen[next], true) {
                        drains.push(next);
                    }
                }
            } else {
                return false;
            }
            let is_found = match wanted {
                Fact::Ended(vertex) => ended_seen[vertex],
                Fact::Drains(exchange) => drains_seen[exchange],
            };
            if is_found {
                return true;
            }
        }
    }

    fn free_blocking(&mut self) {
        if !self.kind.iter().any(|kind| kind.must_be_finished()) {
            return;
        }
        let component = self.components();
        for (exchange, kind) in self.all.iter().zip(&mut self.kind) {
            if kind.must_be_finished() && component[exchange.producer] == component[exchange.consumer] {
                *kind = ResultPartitionType::HybridFull;
            }
        }
    }

    /// Strongly connected components of the graph in which a consumer needs its producers, and over a pipelined
    /// exchange the producer needs its consumer too (Kosaraju's algorithm, without recursion). Hybrid exchanges bind
    /// neither side.
    fn components(&self) -> Vec<usize> {
        let count = self.into.len();
        let mut forward: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut backward: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (exchange, kind) in self.all.iter().zip(&self.kind) {
            let mut link = |from: usize, to: usize| {
                forward[from].push(to);
                backward[to].push(from);
            };
            if kind.must_be_pipelined() || kind.must_be_finished() {
                link(exchange.producer, exchange.consumer);
            }
            if kind.must_be_pipelined() {
                link(exchange.consumer, exchange.producer);
            }
        }
        let mut finished = Vec::with_capacity(count);
        let mut seen = vec![false; count];
        for start in 0..count {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            let mut path = vec![(start, 0)];
            while let Some((vertex, next)) = path.last_mut() {
                if let Some(&to) = forward[*vertex].get(*next) {
                    *next += 1;
                    if !std::mem::replace(&mut seen[to], true) {
                        path.push((to, 0));
                    }
                } else {
                    finished.push(*vertex);
                    path.pop();
                }
            }
        }
        let mut component = vec![usize::MAX; count];
        for &root in finished.iter().rev() {
            let mut open = vec![root];
            while let Some(vertex) = open.pop() {
                if component[vertex] == usize::MAX {
                    component[vertex] = root;
                    open.extend(backward[vertex].iter().filter(|v| component[**v] == usize::MAX));
                }
            }
        }
        component
    }
}
