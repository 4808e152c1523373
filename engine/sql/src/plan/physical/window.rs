//! TUMBLE and the aggregation that takes its windows in.

use std::sync::Arc;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase};
use flumen_core::spec::streaming::TumblingAggregateSpec;
use flumen_core::types::{Field, LogicalType, Resolution, Schema};

use super::super::node::{Node, Op, substitute};
use super::super::state::state_fields;
use crate::bind::tumble::TumbleNode;
use crate::error::{Result, SqlError};

use super::PhysicalPlanner;

impl PhysicalPlanner<'_> {
    pub(super) fn tumble(&mut self, tumble: &TumbleNode) -> Result<Node> {
        let child = self.node(&tumble.input)?;
        let time_column = tumble
            .input
            .schema()
            .maybe_index_of_column(&tumble.time)
            .ok_or_else(|| SqlError::internal("the time column of a window is gone"))?;
        if !child.bounded && child.schema.event_time != Some(time_column) {
            let name = &tumble.time.name;
            return Err(SqlError::invalid(format!("{name} has no watermark, so its windows would never close"))
                .about(name.clone())
                .with_hint(format!("add WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND to the table")));
        }
        let mut fields = child.schema.fields.clone();
        let zone = match &fields[time_column].data_type {
            LogicalType::Timestamp { zone, .. } => zone.clone(),
            _ => None,
        };
        for name in crate::bind::tumble::WINDOW_COLUMNS {
            let data_type = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone: zone.clone() };
            fields.push(Field::new(name, data_type, false));
        }
        let schema = Arc::new(Schema { fields, event_time: child.schema.event_time });
        let rows = child.rows;
        let op = Op::Windowed { time_column, size_ms: tumble.size_ms, offset_ms: tumble.offset_ms };
        Ok(child.then(op, schema, rows))
    }
}

/// The window below a node, through projections and filters.
pub(super) struct Window {
    time_column: usize,
    size_ms: i64,
    offset_ms: i64,
    /// Columns of the window's input.
    pub(super) width: usize,
}

/// The input of the window below `node`, and the columns of `node` over the window's output.
pub(super) fn windowed(node: &Node) -> Option<(Node, Vec<Expr>, Window)> {
    match &node.op {
        Op::Windowed { time_column, size_ms, offset_ms } => {
            let input = node.inputs.first()?.node.clone();
            let width = input.schema.fields.len();
            let columns = (0..node.schema.fields.len()).map(Expr::Column).collect();
            Some((
                input,
                columns,
                Window { time_column: *time_column, size_ms: *size_ms, offset_ms: *offset_ms, width },
            ))
        }
        Op::Project { expressions } => {
            let (input, below, window) = windowed(&node.inputs.first()?.node)?;
            Some((input, expressions.iter().map(|e| substitute(e, &below)).collect(), window))
        }
        Op::Filter { predicate } => {
            let (input, below, window) = windowed(&node.inputs.first()?.node)?;
            let predicate = substitute(predicate, &below);
            // On columns of the input a filter may go below; on the window's own it may not.
            if predicate.columns().iter().any(|&c| c >= window.width) {
                return None;
            }
            let share = (node.rows / node.inputs[0].node.rows.max(1.0)).min(1.0);
            Some((input.filter(predicate, share), below, window))
        }
        _ => None,
    }
}

/// An aggregation by window.
#[expect(clippy::too_many_arguments, reason = "one caller, and each is a part of the aggregation")]
pub(super) fn tumbling(
    base: Node,
    columns: &[Expr],
    window: &Window,
    expressions: &[Expr],
    fields_in: &[Field],
    group_count: usize,
    mut calls: Vec<AggregateCall>,
    fields_out: Vec<Field>,
) -> Result<Node> {
    let not_yet = |what: &str| SqlError::unsupported(what).about("GROUP");
    if calls.iter().any(|c| c.distinct) {
        return Err(SqlError::unsupported("DISTINCT aggregates over windows").about("DISTINCT"));
    }
    if base.updating {
        return Err(not_yet("windows over results that change"));
    }
    let mut inputs: Vec<Expr> = expressions.iter().map(|e| substitute(e, columns)).collect();
    // Which window column each group is, if it is one.
    let window_column = |e: &Expr| match e {
        Expr::Column(c) if *c >= window.width => Some(c - window.width),
        _ => None,
    };
    let group_windows: Vec<Option<usize>> = inputs[..group_count].iter().map(window_column).collect();
    for (index, input) in inputs.iter().enumerate() {
        let is_window_key = index < group_count && group_windows[index].is_some();
        if !is_window_key && input.columns().iter().any(|&c| c >= window.width) {
            return Err(not_yet("expressions over window_start, window_end or window_time below GROUP BY"));
        }
    }
    // Input of the operator: keys, time, arguments.
    let mut fields: Vec<Field> = Vec::new();
    let mut projected: Vec<Expr> = Vec::new();
    let mut place = vec![usize::MAX; inputs.len()];
    for index in (0..group_count).filter(|&i| group_windows[i].is_none()) {
        place[index] = projected.len();
        projected.push(std::mem::replace(&mut inputs[index], Expr::Column(0)));
        fields.push(fields_in[index].clone());
    }
    let keys = projected.len();
    let time_column = projected.len();
    projected.push(Expr::Column(window.time_column));
    fields.push(base.schema.fields[window.time_column].clone());
    for index in group_count..inputs.len() {
        place[index] = projected.len();
        projected.push(std::mem::replace(&mut inputs[index], Expr::Column(0)));
        fields.push(fields_in[index].clone());
    }
    for call in &mut calls {
        for arg in call.args.iter_mut().chain(call.filter.as_mut()) {
            if place[*arg] == usize::MAX {
                return Err(not_yet("aggregates of window_start and window_end"));
            }
            *arg = place[*arg];
        }
    }
    let zone = match &fields[time_column].data_type {
        LogicalType::Timestamp { zone, .. } => zone.clone(),
        _ => None,
    };
    let bound_type = LogicalType::Timestamp { resolution: Resolution::Millisecond, zone };
    let rows = (base.rows * 0.1).max(1.0);
    let child = base.project(projected, fields);
    let key_fields: Vec<Field> = child.schema.fields[..keys].to_vec();
    let end = Field::new("window_end", bound_type.clone(), false);
    let final_fields: Vec<Field> = key_fields
        .iter()
        .cloned()
        .chain([Field::new("window_start", bound_type.clone(), false), end.clone()])
        .chain(fields_out[group_count..].iter().cloned())
        .collect();
    let final_schema = Arc::new(Schema::new(final_fields));
    let key_columns: Vec<usize> = (0..keys).collect();
    let spec = |time_column: usize, calls: Vec<AggregateCall>, phase: AggregatePhase| {
        Op::Tumbling(TumblingAggregateSpec {
            group_by: (0..keys).collect(),
            time_column,
            size_ms: window.size_ms,
            offset_ms: window.offset_ms,
            aggregates: calls,
            phase,
        })
    };
    // The same operators at every parallelism, so that state can be restored at another: also over tables that end, since
    // a stream of a given number of rows takes checkpoints too.
    let local_fields = key_fields.into_iter().chain([end]).chain(calls.iter().flat_map(state_fields)).collect();
    // Event time travels in the column that names the window.
    let local_schema = Arc::new(Schema { fields: local_fields, event_time: Some(keys) });
    let parallelism = child.parallelism;
    let local = child.then(spec(time_column, calls.clone(), AggregatePhase::Local), local_schema, rows);
    let (partitioner, target) = if keys == 0 {
        (Partitioner::Global, 1)
    } else {
        (Partitioner::KeyGroup { columns: key_columns }, parallelism)
    };
    let node = local.exchange(partitioner, target, spec(keys, calls, AggregatePhase::Global), final_schema, rows);
    // The order that the query asked for.
    let output = (0..group_count)
        .map(|index| match group_windows[index] {
            None => Expr::Column(place[index]),
            Some(0) => Expr::Column(keys),
            Some(1) => Expr::Column(keys + 1),
            Some(_) => {
                let milli = Literal {
                    value: Value::Interval { months: 0, days: 0, nanos: 1_000_000 },
                    data_type: LogicalType::Interval,
                };
                Expr::call("subtract", vec![Expr::Column(keys + 1), Expr::Literal(milli)], bound_type.clone())
            }
        })
        .chain((0..fields_out.len() - group_count).map(|i| Expr::Column(keys + 2 + i)))
        .collect();
    Ok(node.project(output, fields_out))
}

/// Windows that no aggregation took in.
pub(super) fn check_windows(node: &Node) -> Result<()> {
    if matches!(node.op, Op::Windowed { .. }) {
        return Err(SqlError::unsupported("TUMBLE without GROUP BY window_start, window_end").about("TUMBLE"));
    }
    node.inputs.iter().try_for_each(|i| check_windows(&i.node))
}
