//! Whether a StreamGraph is well formed, and an order in which every edge goes forward.

use std::collections::BTreeMap;

use super::{TranslateError, max_parallelism};
use crate::graph::partitioner::Partitioner;
use crate::graph::stream_graph::{StreamEdge, StreamGraph};
use crate::key_group::MAX_PARALLELISM_UPPER_BOUND;
use crate::types::Schema;

/// Checks the graph and returns its nodes in topological order: the order given, if that is one.
pub(super) fn validate(graph: &StreamGraph) -> Result<Vec<usize>, TranslateError> {
    check_nodes(graph)?;
    for (position, edge) in graph.edges.iter().enumerate() {
        check_edge(graph, position, edge)?;
    }
    check_inputs(graph)?;
    topological_order(graph)
}

fn check_nodes(graph: &StreamGraph) -> Result<(), TranslateError> {
    if graph.nodes.is_empty() {
        return Err(TranslateError::Empty { name: graph.name.clone() });
    }
    let mut uids = BTreeMap::new();
    for (position, node) in graph.nodes.iter().enumerate() {
        if node.id.0 as usize != position {
            return Err(TranslateError::MisplacedNode { name: node.name.clone(), position, id: node.id });
        }
        if let Some(first) = uids.insert(&node.uid, &node.name) {
            return Err(TranslateError::DuplicateUid {
                uid: node.uid.clone(),
                first: first.clone(),
                second: node.name.clone(),
            });
        }
        let (parallelism, max_parallelism) = (node.parallelism, max_parallelism(node));
        if parallelism == 0 || parallelism > max_parallelism || max_parallelism > MAX_PARALLELISM_UPPER_BOUND {
            return Err(TranslateError::Parallelism { name: node.name.clone(), parallelism, max_parallelism });
        }
    }
    Ok(())
}

fn check_edge(graph: &StreamGraph, position: usize, edge: &StreamEdge) -> Result<(), TranslateError> {
    for node in [edge.source, edge.target] {
        if node.0 as usize >= graph.nodes.len() {
            return Err(TranslateError::UnknownNode { edge: position, node });
        }
    }
    let (producer, consumer) = (graph.node(edge.source), graph.node(edge.target));
    let Some(output) = &producer.spec.output else {
        return Err(TranslateError::NoOutput { name: producer.name.clone(), consumer: consumer.name.clone() });
    };
    let Some(input) = consumer.spec.inputs.get(edge.target_input as usize) else {
        return Err(TranslateError::NoSuchInput {
            name: consumer.name.clone(),
            producer: producer.name.clone(),
            inputs: consumer.spec.inputs.len(),
            input: edge.target_input,
        });
    };
    let same_types = output.fields.len() == input.fields.len()
        && output.fields.iter().zip(input.fields.iter()).all(|(o, i)| o.data_type == i.data_type);
    if !same_types {
        return Err(TranslateError::SchemaMismatch {
            producer: producer.name.clone(),
            consumer: consumer.name.clone(),
            input: edge.target_input,
            expected: types_of(input),
            produced: types_of(output),
        });
    }
    check_columns(graph, edge, output.fields.len())?;
    if edge.partitioner == Partitioner::Forward && producer.parallelism != consumer.parallelism {
        return Err(TranslateError::ForwardParallelism {
            producer: producer.name.clone(),
            producer_parallelism: producer.parallelism,
            consumer: consumer.name.clone(),
            consumer_parallelism: consumer.parallelism,
        });
    }
    Ok(())
}

fn check_columns(graph: &StreamGraph, edge: &StreamEdge, columns: usize) -> Result<(), TranslateError> {
    let used = match &edge.partitioner {
        Partitioner::Range { column } => std::slice::from_ref(column),
        other => other.key_columns().unwrap_or_default(),
    };
    match used.iter().find(|column| **column >= columns) {
        None => Ok(()),
        Some(&column) => Err(TranslateError::NoSuchColumn {
            partitioner: edge.partitioner.name(),
            producer: graph.node(edge.source).name.clone(),
            consumer: graph.node(edge.target).name.clone(),
            column,
            columns,
        }),
    }
}

fn types_of(schema: &Schema) -> String {
    let types: Vec<String> = schema.fields.iter().map(|f| f.data_type.to_string()).collect();
    format!("({})", types.join(", "))
}

fn check_inputs(graph: &StreamGraph) -> Result<(), TranslateError> {
    let mut connected: Vec<Vec<bool>> = graph.nodes.iter().map(|n| vec![false; n.spec.inputs.len()]).collect();
    for edge in &graph.edges {
        connected[edge.target.0 as usize][edge.target_input as usize] = true;
    }
    for (node, inputs) in graph.nodes.iter().zip(&connected) {
        if let Some(input) = inputs.iter().position(|connected| !connected) {
            return Err(TranslateError::UnconnectedInput { name: node.name.clone(), input });
        }
    }
    Ok(())
}

/// Kahn's algorithm; among the nodes that are ready the one given first comes first.
fn topological_order(graph: &StreamGraph) -> Result<Vec<usize>, TranslateError> {
    let mut waiting_for = vec![0_usize; graph.nodes.len()];
    let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        waiting_for[edge.target.0 as usize] += 1;
        consumers[edge.source.0 as usize].push(edge.target.0 as usize);
    }
    let mut ready: std::collections::BTreeSet<usize> =
        (0..graph.nodes.len()).filter(|node| waiting_for[*node] == 0).collect();
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for &consumer in &consumers[node] {
            waiting_for[consumer] -= 1;
            if waiting_for[consumer] == 0 {
                ready.insert(consumer);
            }
        }
    }
    if order.len() == graph.nodes.len() {
        return Ok(order);
    }
    let stuck = (0..graph.nodes.len()).filter(|node| waiting_for[*node] > 0);
    Err(TranslateError::Cycle { names: stuck.take(8).map(|node| graph.nodes[node].name.clone()).collect() })
}
