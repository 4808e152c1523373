//! StreamGraph to JobGraph: which operators share a task, and how the data between tasks is kept.
//!
//! Steps, each pure:
//! 1. [`validate`]: the graph is well formed; nodes get an order in which every edge goes forward.
//! 2. An edge is *chained* when all of Flink's conditions hold (reference: flink 1.3): the consumer has one input edge;
//!    the partitioner is forward; parallelism, maximum parallelism and slot sharing group are equal; the producer's
//!    strategy is not `Never` and the consumer's is `Always`; the edge does not ask to be kept (blocking, hybrid);
//!    chaining is on. Since a chained consumer has one input, chains are trees with one head, only the head reads from
//!    outside, and contracting them cannot close a cycle.
//! 3. Every other edge becomes a data set with a partition type.
//! 4. [`deadlock`]: exchanges that could wait for themselves are kept in memory and on disk (HYBRID_FULL) instead.
//! 5. [`awaited`]: scans wait for runtime filters only where these are sure to come.
//!
//! Linear in operators and edges but for step 4, which is linear for each ordered join that shares a producer.

mod awaited;
mod deadlock;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use super::job_graph::{
    ChainedOperator, DistributionPattern, IntermediateDataSet, JOB_GRAPH_VERSION, JobEdge, JobGraph, JobVertex,
    ResultPartitionType,
};
use super::partitioner::Partitioner;
use super::stream_graph::{ChainingStrategy, ExchangeMode, StreamEdge, StreamGraph, StreamNode};
use crate::ids::{IntermediateDataSetId, JobId, JobVertexId, OperatorUid, StreamNodeId};
use crate::key_group::default_max_parallelism;

/// Settings of a translation.
#[derive(Clone, Debug)]
pub struct TranslateOptions {
    /// Chaining at all (`pipeline.operator-chaining.enabled`).
    pub chaining: bool,
    /// What [`ExchangeMode::Default`] means; `Default` here means pipelined.
    pub default_exchange: ExchangeMode,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self { chaining: true, default_exchange: ExchangeMode::Pipelined }
    }
}

/// Why a graph cannot be deployed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// There is nothing to run.
    #[error("job {name:?} has no operators")]
    Empty {
        /// Name of the job.
        name: String,
    },
    /// A node's id is not its position.
    #[error("operator {name:?} at position {position} has id {id}; ids must equal positions")]
    MisplacedNode {
        /// Name of the operator.
        name: String,
        /// Where it is.
        position: usize,
        /// What it says.
        id: StreamNodeId,
    },
    /// Two operators have the same uid, so their state could not be told apart.
    #[error("operators {first:?} and {second:?} have the same uid {uid:?}; give each its own")]
    DuplicateUid {
        /// The uid.
        uid: OperatorUid,
        /// Name of the first operator.
        first: String,
        /// Name of the second.
        second: String,
    },
    /// A parallelism is 0, or above its maximum, or the maximum is outside `1..=32768`.
    #[error(
        "operator {name:?}: parallelism {parallelism} must be at least 1 and at most the maximum parallelism \
         {max_parallelism}, which must not exceed 32768; lower the one or raise the other"
    )]
    Parallelism {
        /// Name of the operator.
        name: String,
        /// What was asked for.
        parallelism: u32,
        /// Its maximum.
        max_parallelism: u32,
    },
    /// An edge names a node that does not exist.
    #[error("edge {edge} refers to {node}, which does not exist")]
    UnknownNode {
        /// Position of the edge.
        edge: usize,
        /// What it names.
        node: StreamNodeId,
    },
    /// An edge leaves a sink.
    #[error("operator {name:?} has no output, but operator {consumer:?} reads from it")]
    NoOutput {
        /// Name of the producer.
        name: String,
        /// Name of the consumer.
        consumer: String,
    },
    /// An edge feeds an input that the operator does not have.
    #[error(
        "operator {name:?} has {inputs} inputs, but an edge from {producer:?} feeds input {input} (counted from 0)"
    )]
    NoSuchInput {
        /// Name of the consumer.
        name: String,
        /// Name of the producer.
        producer: String,
        /// How many inputs it has.
        inputs: usize,
        /// Which one is fed.
        input: u32,
    },
    /// An input is fed by no edge.
    #[error("input {input} (counted from 0) of operator {name:?} is not connected")]
    UnconnectedInput {
        /// Name of the operator.
        name: String,
        /// Which input.
        input: usize,
    },
    /// Producer and consumer disagree about what flows.
    #[error("operator {consumer:?} expects {expected} on input {input}, but {producer:?} produces {produced}")]
    SchemaMismatch {
        /// Name of the producer.
        producer: String,
        /// Name of the consumer.
        consumer: String,
        /// Which input.
        input: u32,
        /// Types expected.
        expected: String,
        /// Types produced.
        produced: String,
    },
    /// A partitioner names a column that its input does not have.
    #[error(
        "the {partitioner} exchange from {producer:?} to {consumer:?} uses column {column}, but rows have {columns}"
    )]
    NoSuchColumn {
        /// Name of the partitioner.
        partitioner: &'static str,
        /// Name of the producer.
        producer: String,
        /// Name of the consumer.
        consumer: String,
        /// The column.
        column: usize,
        /// How many there are.
        columns: usize,
    },
    /// Forward between unequal numbers of subtasks.
    #[error(
        "forward from {producer:?} (parallelism {producer_parallelism}) to {consumer:?} (parallelism \
         {consumer_parallelism}) needs equal parallelism; use rescale or rebalance, or make them equal"
    )]
    ForwardParallelism {
        /// Name of the producer.
        producer: String,
        /// Its parallelism.
        producer_parallelism: u32,
        /// Name of the consumer.
        consumer: String,
        /// Its parallelism.
        consumer_parallelism: u32,
    },
    /// Operators read from each other.
    #[error("operators {names:?} read from each other in a cycle; a job must be acyclic")]
    Cycle {
        /// Names of operators that lie on cycles or behind them, at most eight.
        names: Vec<String>,
    },
}

/// Translates.
///
/// Vertices come out producers first, operators of a chain likewise, data sets numbered in order of their producers;
/// the same graph always gives the same result.
///
/// # Errors
/// If the graph is malformed; see the variants.
pub fn translate(graph: &StreamGraph, job: JobId, options: &TranslateOptions) -> Result<JobGraph, TranslateError> {
    let order = validate::validate(graph)?;
    let chains = Chains::find(graph, &order, options);
    let mut vertices = build_vertices(graph, &chains);
    build_exchanges(graph, &chains, options, &mut vertices);
    deadlock::keep_exchanges_that_would_deadlock(&mut vertices);
    awaited::begin_at_once_where_filters_may_not_come(&mut vertices);
    Ok(JobGraph { version: JOB_GRAPH_VERSION, job, name: graph.name.clone(), vertices })
}

pub(super) fn max_parallelism(node: &StreamNode) -> u32 {
    node.max_parallelism.unwrap_or_else(|| default_max_parallelism(node.parallelism))
}

/// Which operators run together.
struct Chains {
    /// By edge: whether it lies within a chain.
    edge_is_chained: Vec<bool>,
    /// By node: its vertex and its position in the vertex's chain.
    place: Vec<(usize, usize)>,
    /// By vertex: its nodes, head first, producers before consumers.
    members: Vec<Vec<usize>>,
}

impl Chains {
    fn find(graph: &StreamGraph, order: &[usize], options: &TranslateOptions) -> Self {
        let mut input_edges = vec![0_u32; graph.nodes.len()];
        for edge in &graph.edges {
            input_edges[edge.target.0 as usize] += 1;
        }
        let mut chained_producer: Vec<Option<usize>> = vec![None; graph.nodes.len()];
        let mut edge_is_chained = Vec::with_capacity(graph.edges.len());
        for edge in &graph.edges {
            let chained = options.chaining && input_edges[edge.target.0 as usize] == 1 && may_chain(graph, edge);
            if chained {
                chained_producer[edge.target.0 as usize] = Some(edge.source.0 as usize);
            }
            edge_is_chained.push(chained);
        }
        // Heads open vertices in topological order, so vertices end up in topological order too: an edge between
        // vertices ends at a head, which comes after the edge's source, which comes after that one's own head.
        let mut place = vec![(0, 0); graph.nodes.len()];
        let mut members: Vec<Vec<usize>> = Vec::new();
        for &node in order {
            let vertex = match chained_producer[node] {
                Some(producer) => place[producer].0,
                None => {
                    members.push(Vec::new());
                    members.len() - 1
                }
            };
            place[node] = (vertex, members[vertex].len());
            members[vertex].push(node);
        }
        Self { edge_is_chained, place, members }
    }
}

/// The conditions that concern the edge and its two ends.
fn may_chain(graph: &StreamGraph, edge: &StreamEdge) -> bool {
    let (producer, consumer) = (graph.node(edge.source), graph.node(edge.target));
    edge.partitioner == Partitioner::Forward
        && matches!(edge.exchange, ExchangeMode::Default | ExchangeMode::Pipelined)
        && producer.parallelism == consumer.parallelism
        && max_parallelism(producer) == max_parallelism(consumer)
        && producer.slot_sharing_group == consumer.slot_sharing_group
        && matches!(producer.chaining, ChainingStrategy::Always | ChainingStrategy::Head)
        && consumer.chaining == ChainingStrategy::Always
}

fn build_vertices(graph: &StreamGraph, chains: &Chains) -> Vec<JobVertex> {
    let mut vertices: Vec<JobVertex> = Vec::with_capacity(chains.members.len());
    for (position, members) in chains.members.iter().enumerate() {
        let head = &graph.nodes[members[0]];
        let operators: Vec<_> = members
            .iter()
            .map(|&node| {
                let node = &graph.nodes[node];
                ChainedOperator {
                    uid: node.uid.clone(),
                    name: node.name.clone(),
                    spec: node.spec.clone(),
                    chained_consumers: Vec::new(),
                    produced: Vec::new(),
                }
            })
            .collect();
        let names: Vec<&str> = operators.iter().map(|o| o.name.as_str()).collect();
        vertices.push(JobVertex {
            id: vertex_id(position),
            name: names.join(" -> "),
            operators,
            parallelism: head.parallelism,
            max_parallelism: max_parallelism(head),
            slot_sharing_group: head.slot_sharing_group.clone(),
            inputs: Vec::new(),
            produced: Vec::new(),
        });
    }
    for (edge, _) in graph.edges.iter().zip(&chains.edge_is_chained).filter(|(_, chained)| **chained) {
        let (vertex, producer) = chains.place[edge.source.0 as usize];
        let (_, consumer) = chains.place[edge.target.0 as usize];
        vertices[vertex].operators[producer].chained_consumers.push(consumer);
    }
    vertices
}

fn build_exchanges(graph: &StreamGraph, chains: &Chains, options: &TranslateOptions, vertices: &mut [JobVertex]) {
    // Numbered by producing vertex, then by position in the chain, then in the order the edges were given.
    let mut by_producer: BTreeMap<(usize, usize), Vec<&StreamEdge>> = BTreeMap::new();
    for (edge, chained) in graph.edges.iter().zip(&chains.edge_is_chained) {
        if !chained {
            by_producer.entry(chains.place[edge.source.0 as usize]).or_default().push(edge);
        }
    }
    let mut next_id = 0;
    for ((producer, operator), edges) in by_producer {
        for edge in edges {
            let id = IntermediateDataSetId(next_id);
            next_id += 1;
            let (consumer, _) = chains.place[edge.target.0 as usize];
            let position = vertices[producer].produced.len();
            vertices[producer].operators[operator].produced.push(position);
            vertices[producer].produced.push(IntermediateDataSet {
                id,
                partition_type: partition_type(edge.exchange, options.default_exchange),
                partitioner: edge.partitioner.clone(),
                distribution: distribution(&edge.partitioner),
                changelog: edge.changelog,
                consumer: vertex_id(consumer),
            });
            let producer = vertex_id(producer);
            vertices[consumer].inputs.push(JobEdge { data_set: id, producer, head_input: edge.target_input });
        }
    }
    for vertex in vertices {
        vertex.inputs.sort_by_key(|edge| (edge.head_input, edge.data_set));
    }
}

fn vertex_id(position: usize) -> JobVertexId {
    JobVertexId(u32::try_from(position).expect("there are no more vertices than nodes, whose ids are 32 bits"))
}

fn distribution(partitioner: &Partitioner) -> DistributionPattern {
    if partitioner.is_pointwise() { DistributionPattern::Pointwise } else { DistributionPattern::AllToAll }
}

fn partition_type(mode: ExchangeMode, default: ExchangeMode) -> ResultPartitionType {
    match mode {
        ExchangeMode::Default if default != ExchangeMode::Default => partition_type(default, default),
        ExchangeMode::Default | ExchangeMode::Pipelined => ResultPartitionType::PipelinedBounded,
        ExchangeMode::Blocking => ResultPartitionType::Blocking,
        ExchangeMode::HybridFull => ResultPartitionType::HybridFull,
        ExchangeMode::HybridSelective => ResultPartitionType::HybridSelective,
    }
}
