//! Job graphs for tests.

use std::sync::Arc;

use flumen_core::graph::{ExchangeMode, JobGraph, Partitioner, StreamGraph, TranslateOptions, translate};
use flumen_core::ids::JobId;
use flumen_core::spec::OperatorSpec;
use flumen_core::types::Schema;

/// An exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Pipelined,
    PipelinedPointwise,
    Blocking,
    BlockingPointwise,
    HybridFull,
    HybridSelective,
}

/// A job with a vertex for each parallelism, and exchanges between them. Vertices without inputs are sources, those
/// without outputs sinks.
pub(crate) fn job(parallelism: &[u32], edges: &[(usize, usize, Shape)]) -> Arc<JobGraph> {
    let mut graph = StreamGraph { name: "test".to_owned(), ..StreamGraph::default() };
    let schema = Arc::new(Schema::new(vec![]));
    for (vertex, &parallelism) in parallelism.iter().enumerate() {
        let inputs = edges.iter().filter(|e| e.1 == vertex).count();
        let outputs = edges.iter().any(|e| e.0 == vertex);
        let kind = match (inputs, outputs) {
            (0, _) => "source",
            (_, false) => "sink",
            _ => "map",
        };
        let spec = OperatorSpec {
            kind: kind.to_owned(),
            version: 1,
            payload: serde_json::Value::Null,
            inputs: vec![Arc::clone(&schema); inputs],
            output: outputs.then(|| Arc::clone(&schema)),
            state: Vec::new(),
            memory_weight_bytes: 0,
        };
        graph.add_node(format!("uid-{vertex}"), format!("v{vertex}"), spec, parallelism);
    }
    let mut next_input = vec![0; parallelism.len()];
    for &(from, to, shape) in edges {
        let partitioner = match shape {
            Shape::PipelinedPointwise | Shape::BlockingPointwise => Partitioner::Rescale,
            _ => Partitioner::Rebalance,
        };
        let (from, input) = (graph.nodes[from].id, next_input[to]);
        next_input[to] += 1;
        let to = graph.nodes[to].id;
        graph.add_edge(from, to, input, partitioner).exchange = match shape {
            Shape::Pipelined | Shape::PipelinedPointwise => ExchangeMode::Pipelined,
            Shape::Blocking | Shape::BlockingPointwise => ExchangeMode::Blocking,
            Shape::HybridFull => ExchangeMode::HybridFull,
            Shape::HybridSelective => ExchangeMode::HybridSelective,
        };
    }
    Arc::new(translate(&graph, JobId(7), &TranslateOptions::default()).expect("test graphs are well formed"))
}
