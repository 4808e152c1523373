//! Plans of whole statements over stub connectors.

mod errors;
mod limits;
mod semantics;
mod shapes;
mod streaming;
mod stub;
mod tpch;
mod window_functions;

use flumen_core::graph::{StreamGraph, TranslateOptions, translate};
use flumen_core::ids::JobId;
use flumen_core::spec::OperatorPayload;
use flumen_core::spec::relational::{ExpandSpec, FilterSpec, HashJoinSpec, ProjectSpec};
use flumen_core::types::SchemaRef;
use flumen_kernels::expr::FunctionRegistry;

use crate::Planned;

/// The graph and result columns of a query.
#[track_caller]
fn query(planned: Planned) -> (StreamGraph, SchemaRef) {
    match planned {
        Planned::Query { graph, schema, .. } => (graph, schema),
        other => panic!("not a query: {other:?}"),
    }
}

/// Names and types of the result.
fn columns(schema: &SchemaRef) -> Vec<String> {
    schema.fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect()
}

/// All payloads of one kind, in order of the graph.
fn payloads<P: OperatorPayload>(graph: &StreamGraph) -> Vec<P> {
    graph.nodes.iter().filter(|n| n.spec.kind == P::KIND).map(|n| n.spec.payload().unwrap()).collect()
}

/// What must hold of every graph: it can be deployed and stored, and every function in it is known.
#[track_caller]
fn check_graph(graph: &StreamGraph) {
    let job = translate(graph, JobId(1), &TranslateOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    let text = job.to_json().expect("the graph can be stored");
    assert_eq!(flumen_core::graph::JobGraph::from_json(&text).expect("and read again"), job);
    let mut registry = FunctionRegistry::new();
    crate::register_datafusion_functions(&mut registry).unwrap();
    let mut expressions = Vec::new();
    for node in &graph.nodes {
        match node.spec.kind.as_str() {
            FilterSpec::KIND => expressions.push(node.spec.payload::<FilterSpec>().unwrap().predicate),
            ExpandSpec::KIND => {
                expressions.extend(node.spec.payload::<ExpandSpec>().unwrap().projections.into_iter().flatten());
            }
            ProjectSpec::KIND => expressions.extend(node.spec.payload::<ProjectSpec>().unwrap().expressions),
            HashJoinSpec::KIND => expressions.extend(node.spec.payload::<HashJoinSpec>().unwrap().filter),
            _ => {}
        }
    }
    for expression in &expressions {
        expression.visit(&mut |e| {
            if let flumen_core::expr::Expr::Call { function, .. } = e {
                assert!(registry.contains(function), "the engine has no function {function:?}");
            }
        });
    }
}
