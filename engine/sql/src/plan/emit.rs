//! Physical plan to StreamGraph.
//!
//! Uids are `<position>-<kind>-<hash>`: the position in the plan, counted from the sources, and a hash of what the
//! operator does. The same statement gives the same uids; a changed operator gets another one, so that state is never
//! read by an operator that means something else.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_core::graph::stream_graph::ChangelogMode;
use flumen_core::graph::{Partitioner, StreamGraph};
use flumen_core::ids::StreamNodeId;
use flumen_core::spec::connector::SourceSpec;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase, FilterSpec, ProjectSpec, ValuesRows};
use flumen_core::spec::{OperatorSpec, StateDescriptor, StateKind};
use flumen_core::types::{Field, LogicalType, Resolution, Schema, SchemaRef};

use super::explain;
use super::node::{Input, Node, Op, row_bytes};
use super::state::state_fields;
use flumen_core::connectors::VALUES_CONNECTOR;

/// Least managed memory that an operator with a table asks for.
const MEMORY_MIN_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// Most that it asks for, so that one wrong estimate does not starve the others.
const MEMORY_MAX_BYTES: f64 = 8.0 * 1024.0 * 1024.0 * 1024.0;

/// The graph of a plan.
pub(crate) fn emit(root: &Node, name: &str) -> StreamGraph {
    let mut graph = StreamGraph { name: name.to_owned(), ..StreamGraph::default() };
    emit_node(root, &mut graph, &mut HashMap::new());
    graph
}

/// What stands for a node in the graph: one operator, or for a union several with the ways from them.
type Outputs = Vec<(StreamNodeId, Option<Partitioner>, bool)>;

/// `shared` has what stands for the shared parts emitted so far.
fn emit_node(node: &Node, graph: &mut StreamGraph, shared: &mut HashMap<usize, Outputs>) -> Outputs {
    if let Op::Shared { id } = node.op
        && let Some(outputs) = shared.get(&id)
    {
        return outputs.clone();
    }
    let mut inputs: Vec<(Outputs, &Input)> =
        node.inputs.iter().map(|i| (emit_node(&i.node, graph, shared), i)).collect();
    if let Op::Shared { id } = node.op {
        let outputs = inputs.pop().map_or_else(Vec::new, |(outputs, _)| outputs);
        shared.insert(id, outputs.clone());
        return outputs;
    }
    if let Op::Union = node.op {
        return inputs
            .into_iter()
            .flat_map(|(outputs, input)| {
                outputs.into_iter().map(|(id, inner, updating)| {
                    // A union in a union: the inner way stands unless the outer one moves rows.
                    let way = match (&input.partitioner, inner) {
                        (Partitioner::Forward, Some(inner)) => inner,
                        (outer, _) => outer.clone(),
                    };
                    (id, Some(way), updating)
                })
            })
            .collect();
    }
    let spec = operator_spec(node);
    let uid = format!("{}-{}-{:016x}", graph.nodes.len(), spec.kind, content_hash(&spec));
    let id = graph.add_node(uid, explain::title(node), spec, node.parallelism);
    for (index, (outputs, input)) in inputs.into_iter().enumerate() {
        for (source, way, updating) in outputs {
            // Rows that reach a union in place go on as this operator wants them.
            let partitioner = match way {
                Some(way) if input.partitioner == Partitioner::Forward => way,
                _ => input.partitioner.clone(),
            };
            let edge = graph.add_edge(source, id, u32::try_from(index).unwrap_or(u32::MAX), partitioner);
            if updating {
                edge.changelog = ChangelogMode::Retract;
            }
        }
    }
    vec![(id, None, node.updating)]
}

fn operator_spec(node: &Node) -> OperatorSpec {
    let inputs: Vec<SchemaRef> = node.inputs.iter().map(|i| Arc::clone(&i.node.schema)).collect();
    let output = Some(Arc::clone(&node.schema));
    let memory = |rows: f64, schema: &Schema| {
        let bytes = (rows / f64::from(node.parallelism.max(1))) * (row_bytes(schema) + 16.0);
        bytes.clamp(MEMORY_MIN_BYTES, MEMORY_MAX_BYTES) as u64
    };
    match &node.op {
        Op::Source { spec, .. } => OperatorSpec::new(spec, inputs, output),
        Op::Values { rows } => {
            let spec = SourceSpec {
                connector: VALUES_CONNECTOR.to_owned(),
                options: [("rows".to_owned(), values_text(rows))].into(),
                projection: (0..node.schema.fields.len()).collect(),
                table_schema: Arc::clone(&node.schema),
                filters: Vec::new(),
                limit: None,
                runtime_filters: Vec::new(),
                awaits_filters: false,
            };
            OperatorSpec::new(&spec, inputs, output)
        }
        Op::Watermark(spec) => OperatorSpec::new(spec, inputs, output),
        Op::Filter { predicate } => OperatorSpec::new(&FilterSpec { predicate: predicate.clone() }, inputs, output),
        Op::Project { expressions } => {
            OperatorSpec::new(&ProjectSpec { expressions: expressions.clone() }, inputs, output)
        }
        Op::Expand(spec) => OperatorSpec::new(spec, inputs, output),
        Op::Unnest(spec) => OperatorSpec::new(spec, inputs, output),
        Op::Aggregate(spec) => {
            let keys: Vec<Field> = spec.group_by.iter().map(|&c| inputs[0].fields[c].clone()).collect();
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = memory(node.rows, &node.schema);
            if spec.phase != AggregatePhase::Local {
                operator.state.push(keyed("groups", keys, &spec.aggregates));
            }
            operator
        }
        Op::Tumbling(spec) => {
            let zone = match &inputs[0].fields[spec.time_column].data_type {
                LogicalType::Timestamp { zone, .. } => zone.clone(),
                _ => None,
            };
            let mut keys: Vec<Field> = spec.group_by.iter().map(|&c| inputs[0].fields[c].clone()).collect();
            let end = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone };
            let key_columns = keys.len();
            keys.push(Field::new("window_end", end, false));
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = memory(node.rows, &node.schema);
            if spec.phase != AggregatePhase::Local {
                let mut state = keyed("windows", keys, &spec.aggregates);
                // Rows of one key live together whatever their window.
                state.kind = StateKind::Keyed { key_columns };
                operator.state.push(state);
            }
            operator
        }
        Op::Join(spec) => {
            let build = &node.inputs[0];
            let copies = if build.partitioner == Partitioner::Broadcast { f64::from(node.parallelism) } else { 1.0 };
            let weight = memory(build.node.rows * copies, &build.node.schema);
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = weight;
            operator
        }
        Op::AsofJoin(spec) => {
            let weight: u64 = node.inputs.iter().map(|input| memory(input.node.rows, &input.node.schema)).sum();
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = weight;
            operator
        }
        Op::Sort(spec) => {
            let rows = match spec.fetch {
                Some(n) => (n.saturating_add(spec.offset)) as f64,
                None => node.inputs[0].node.rows,
            };
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = memory(rows, &node.schema);
            operator
        }
        Op::WindowFunctions(spec) => {
            let mut operator = OperatorSpec::new(spec, inputs, output);
            operator.memory_weight_bytes = memory(node.rows, &node.schema);
            operator
        }
        Op::Limit(spec) => OperatorSpec::new(spec, inputs, output),
        Op::Sink { spec, .. } => OperatorSpec::new(spec, inputs, None),
        Op::Union | Op::Shared { .. } | Op::Windowed { .. } => {
            unreachable!("unions and shared parts are edges, and windows were taken in or refused")
        }
    }
}

/// Constant rows as the connector `values` reads them from its option `rows`.
fn values_text(rows: &[Vec<flumen_core::expr::Literal>]) -> String {
    serde_json::to_string(&ValuesRows { rows: rows.to_vec() }).expect("constants are plain data with text keys")
}

fn keyed(name: &str, keys: Vec<Field>, calls: &[AggregateCall]) -> StateDescriptor {
    let key_columns = keys.len();
    let fields = keys.into_iter().chain(calls.iter().flat_map(state_fields)).collect();
    StateDescriptor {
        name: name.to_owned(),
        kind: StateKind::Keyed { key_columns },
        schema: Arc::new(Schema::new(fields)),
    }
}

/// FNV-1a over the stored form of what the operator does; names of columns and estimates are not part of it.
fn content_hash(spec: &OperatorSpec) -> u64 {
    let mut payload = spec.payload.clone();
    if let Some(fields) = payload.as_object_mut() {
        fields.remove("estimated_groups");
    }
    let types: Vec<String> = spec
        .inputs
        .iter()
        .chain(&spec.output)
        .flat_map(|schema| schema.fields.iter().map(|f| f.data_type.to_string()))
        .collect();
    let text = format!("{}|{}|{payload}|{}", spec.kind, spec.version, types.join(","));
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
