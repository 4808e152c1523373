//! Joins: which side is built, how the rows of both sides meet, who listens to a runtime filter.
//!
//! Rows meet in one of three ways. The build side is *copied* to every subtask where that is cheaper, where there is no
//! equality to send rows by, and for NOT IN, whose every row asks for all of the build side. Else both sides are
//! *hashed* by the keys. A full join, and a semi or anti join that builds the rows that ask, must know of each build row in
//! one place whether it has been met, so its build side is never copied: without an equality both sides come to a single
//! subtask.

use std::sync::Arc;

use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::{Expr as LogicalExpr, Join, LogicalPlan};
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregatePhase, HashJoinSpec, JoinKind};
use flumen_core::types::{Field, LogicalType, Schema};

use super::super::expr::{logical_type, translate, typed};
use super::super::node::{Input, Node, Op, row_bytes};
use crate::error::{Result, SqlError};
use crate::optimize::estimate;

use super::{PhysicalPlanner, fields, nullable, reach};

/// Largest build side that is copied to every subtask.
const BROADCAST_BYTES_MAX: f64 = 256.0 * 1024.0 * 1024.0;
/// How much larger the side asked must be for a semi or anti join to build the rows that ask.
const REVERSED: f64 = 2.0;
/// Moving a row to another subtask, against putting it into a hash table (which is 1).
const EXCHANGE_COST: f64 = 0.5;

impl PhysicalPlanner<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Node> {
        let (kind, swapped) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, false),
            JoinType::Left => (JoinKind::Left, false),
            JoinType::Right => (JoinKind::Left, true),
            JoinType::LeftSemi => (JoinKind::LeftSemi, false),
            JoinType::RightSemi => (JoinKind::LeftSemi, true),
            JoinType::LeftAnti => (JoinKind::LeftAnti, false),
            JoinType::RightAnti => (JoinKind::LeftAnti, true),
            JoinType::Full => (JoinKind::Full, false),
            JoinType::LeftMark => (JoinKind::LeftMark, false),
            JoinType::RightMark => (JoinKind::LeftMark, true),
        };
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        for side in [&left, &right] {
            if !side.bounded || side.updating {
                return Err(SqlError::unsupported("joins of data that does not end").about("JOIN"));
            }
        }
        let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
        let mut pairs = Vec::with_capacity(join.on.len());
        let mut null_aware = false;
        for (l, r) in &join.on {
            let (lt, rt) = (logical_type(l, left_schema)?, logical_type(r, right_schema)?);
            // What rules put together may be integers of two widths.
            let Some(common) = common_type(&lt, &rt) else {
                return Err(SqlError::unsupported(format!("a join of {l}, which is {lt}, with {r}, which is {rt}")));
            };
            null_aware |= join.null_aware && (nullable(l, left_schema) || nullable(r, right_schema));
            let key = |e, schema, from| Ok::<_, SqlError>(typed(translate(e, schema)?, from, &common));
            pairs.push((key(l, left_schema, &lt)?, key(r, right_schema, &rt)?, common));
        }
        // A constant condition is none, or keys that are never equal.
        let (filter, is_never) = match &join.filter {
            Some(LogicalExpr::Literal(value, _)) => (None, *value != true.into()),
            other => (other.as_ref(), false),
        };
        // The binder leaves only the plain form; all others were rewritten.
        if null_aware && (pairs.len() != 1 || filter.is_some() || kind != JoinKind::LeftAnti) {
            return Err(SqlError::unsupported("NOT IN with this subquery").about("IN").with_hint("write NOT EXISTS"));
        }
        let estimated = estimate::rows(&LogicalPlan::Join(join.clone()));
        // Widths are those of the logical sides: a side of which no column is needed has one all the same.
        let widths = (left_schema.fields().len(), right_schema.fields().len());
        let mut output = fields(&join.schema)?;
        // Where both sides are alike, the one that needs less memory is built.
        let size = |n: &Node| n.rows * (row_bytes(&n.schema) + 16.0);
        let swapped = match kind {
            JoinKind::Inner | JoinKind::Full => size(&left) < size(&right),
            _ => swapped,
        };
        // Rows that are asked of a much larger side are built, and the larger side streams past them.
        let (asking, asked) = if swapped { (&right, &left) } else { (&left, &right) };
        let is_reversed = matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti)
            && !null_aware
            && size(asking) * REVERSED <= size(asked);
        let (kind, swapped) = match kind {
            JoinKind::LeftSemi if is_reversed => (JoinKind::BuildSemi, !swapped),
            JoinKind::LeftAnti if is_reversed => (JoinKind::BuildAnti, !swapped),
            _ => (kind, swapped),
        };
        let (probe, build) = if swapped { (right, left) } else { (left, right) };
        let (mut probe_keys, mut build_keys): (Vec<Expr>, Vec<Expr>) =
            pairs.iter().map(|(l, r, _)| if swapped { (r.clone(), l.clone()) } else { (l.clone(), r.clone()) }).unzip();
        let mut types: Vec<LogicalType> = pairs.into_iter().map(|(_, _, t)| t).collect();
        if probe_keys.is_empty() || is_never {
            // A cross product is a join on a constant.
            let constant = |value| Expr::Literal(Literal { value: Value::Int(value), data_type: LogicalType::Int32 });
            probe_keys.push(constant(1));
            build_keys.push(constant(i128::from(!is_never)));
            types.push(LogicalType::Int32);
        }
        let cross = join.on.is_empty();
        let (probe_width, build_width) = if swapped { (widths.1, widths.0) } else { widths };
        let (probe, probe_columns) = with_keys(probe, &probe_keys, &types);
        let (build, build_columns) = with_keys(build, &build_keys, &types);
        // Conditions beyond equalities, over probe columns then build columns as they are now.
        let full_probe = probe.schema.fields.len();
        let condition = match filter {
            None => None,
            Some(filter) => {
                let both = left_schema.join(right_schema).map_err(|e| SqlError::internal(e.strip_backtrace()))?;
                let place = |c: usize| {
                    let (on_left, index) = if c < widths.0 { (true, c) } else { (false, c - widths.0) };
                    if on_left == swapped { full_probe + index } else { index }
                };
                Some(translate(filter, &both)?.map_columns(&place))
            }
        };
        // The output in the order of the logical plan.
        let (probe_part, build_part) = (0..probe_width, full_probe..full_probe + build_width);
        let mut projection: Vec<usize> = match kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => probe_part.collect(),
            JoinKind::BuildSemi | JoinKind::BuildAnti => build_part.collect(),
            JoinKind::LeftMark => probe_part.chain([full_probe]).collect(),
            _ if swapped => build_part.chain(probe_part).collect(),
            _ => probe_part.chain(build_part).collect(),
        };
        if projection.is_empty() {
            let (place, side) = if kind.gives_build() { (full_probe, &build) } else { (0, &probe) };
            projection.push(place);
            output = vec![side.schema.fields[0].clone()];
        }
        let must_gather = cross && kind.marks_build();
        let parallelism = if must_gather { 1 } else { probe.parallelism.max(build.parallelism) };
        let copies = f64::from(parallelism);
        let broadcast_cost = build.rows * copies * (1.0 + EXCHANGE_COST);
        let exchange_cost = (build.rows + probe.rows) * EXCHANGE_COST + build.rows;
        let is_cheap = broadcast_cost <= exchange_cost && size(&build) * copies <= BROADCAST_BYTES_MAX;
        let broadcast = !kind.marks_build() && (cross || null_aware || is_cheap);
        let build_unique = is_unique(&build, &build_columns);
        let mut probe = probe;
        let alone = parallelism == 1;
        let needs_partner = matches!(kind, JoinKind::Inner | JoinKind::LeftSemi) || kind.gives_build();
        let mut build = build;
        if !null_aware && !matches!(kind, JoinKind::Full | JoinKind::BuildAnti) {
            for (probe_column, build_column) in probe_columns.iter().zip(&build_columns) {
                let mut filters = Vec::new();
                restricted_by(&probe, *probe_column, &mut filters);
                for id in filters {
                    listen(&mut build, *build_column, id);
                }
            }
        }
        let may_publish =
            needs_partner && !cross && (broadcast || alone) && join.null_equality != NullEquality::NullEqualsNull;
        let runtime_filters = if may_publish { self.publish(&mut probe, &probe_columns) } else { Vec::new() };
        let spec = HashJoinSpec {
            kind,
            build_keys: build_columns.clone(),
            probe_keys: probe_columns.clone(),
            filter: condition,
            projection: Some(projection),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            build_unique,
            runtime_filters,
            null_aware,
            build_count: None,
        };
        let (build_partitioner, probe_partitioner) = if alone {
            (reach(&build, 1), reach(&probe, 1))
        } else if broadcast {
            (Partitioner::Broadcast, reach(&probe, parallelism))
        } else {
            (Partitioner::Hash { columns: build_columns }, Partitioner::Hash { columns: probe_columns })
        };
        Ok(Node {
            op: Op::Join(spec),
            inputs: vec![
                Input { node: build, partitioner: build_partitioner },
                Input { node: probe, partitioner: probe_partitioner },
            ],
            schema: Arc::new(Schema::new(output)),
            parallelism,
            rows: estimated,
            bounded: true,
            updating: false,
        })
    }

    /// Lets the scans that each of these columns comes from, or that it is joined with below, listen to a new runtime
    /// filter. Says which filters there are, and of which key.
    fn publish(&mut self, probe: &mut Node, columns: &[usize]) -> Vec<(u32, usize)> {
        let mut published = Vec::new();
        for (key, column) in columns.iter().enumerate() {
            let id = self.runtime_filters;
            if listen(probe, *column, id) {
                self.runtime_filters += 1;
                published.push((id, key));
            }
        }
        published
    }
}

/// The type that two keys are compared in.
pub(super) fn common_type(left: &LogicalType, right: &LogicalType) -> Option<LogicalType> {
    use LogicalType as T;
    let is_signed = |t: &T| matches!(t, T::Int8 | T::Int16 | T::Int32 | T::Int64);
    match (left, right) {
        (l, r) if l == r => Some(l.clone()),
        (l, r) if is_signed(l) && is_signed(r) => {
            Some(if l.fixed_width() >= r.fixed_width() { l.clone() } else { r.clone() })
        }
        _ => None,
    }
}

/// Adds the keys that are not columns to the output of a node.
pub(super) fn with_keys(node: Node, keys: &[Expr], types: &[LogicalType]) -> (Node, Vec<usize>) {
    let width = node.schema.fields.len();
    let mut fields = node.schema.fields.clone();
    let mut expressions: Vec<Expr> = (0..width).map(Expr::Column).collect();
    let mut columns = Vec::with_capacity(keys.len());
    for (key, data_type) in keys.iter().zip(types) {
        match key {
            Expr::Column(c) => columns.push(*c),
            other => {
                columns.push(expressions.len());
                fields.push(Field::new(format!("join_key_{}", expressions.len() - width), data_type.clone(), true));
                expressions.push(other.clone());
            }
        }
    }
    if expressions.len() == width {
        return (node, columns);
    }
    (node.project(expressions, fields), columns)
}

/// Whether no two rows agree in these columns, as far as the plan shows: a grouping by them, or by some of them.
pub(super) fn is_unique(node: &Node, columns: &[usize]) -> bool {
    match &node.op {
        Op::Aggregate(spec) => {
            spec.phase != AggregatePhase::Local && (0..spec.group_by.len()).all(|key| columns.contains(&key))
        }
        Op::Filter { .. } | Op::Sort(_) | Op::Limit(_) | Op::Watermark(_) | Op::Shared { .. } => {
            node.inputs.first().is_some_and(|i| is_unique(&i.node, columns))
        }
        Op::Project { expressions } => {
            let below: Option<Vec<usize>> = columns
                .iter()
                .map(|&c| if let Expr::Column(below) = expressions[c] { Some(below) } else { None })
                .collect();
            below.is_some_and(|below| node.inputs.first().is_some_and(|i| is_unique(&i.node, &below)))
        }
        Op::Join(spec) if matches!(spec.kind, JoinKind::LeftSemi | JoinKind::LeftAnti) => {
            let below: Vec<usize> = columns.iter().map(|&c| spec.projection.as_ref().map_or(c, |p| p[c])).collect();
            node.inputs.get(1).is_some_and(|i| is_unique(&i.node, &below))
        }
        Op::Join(spec) if spec.kind.gives_build() => {
            let [build, probe] = node.inputs.as_slice() else { return false };
            let width = probe.node.schema.fields.len();
            let place = |c: usize| spec.projection.as_ref().map_or(c, |p| p[c]).checked_sub(width);
            let below: Option<Vec<usize>> = columns.iter().map(|&c| place(c)).collect();
            below.is_some_and(|below| is_unique(&build.node, &below))
        }
        _ => false,
    }
}

/// The runtime filters that every value of a column has passed, because a join below was on it. They hold for what the
/// column is compared with, too.
fn restricted_by(node: &Node, column: usize, filters: &mut Vec<u32>) {
    let below = |input: usize, column: usize, filters: &mut Vec<u32>| {
        if let Some(input) = node.inputs.get(input) {
            restricted_by(&input.node, column, filters);
        }
    };
    match &node.op {
        Op::Filter { .. } | Op::Sort(_) | Op::Limit(_) => below(0, column, filters),
        Op::Project { expressions } => {
            if let Expr::Column(column) = expressions[column] {
                below(0, column, filters);
            }
        }
        Op::Aggregate(spec) if column < spec.group_by.len() && spec.totals.is_empty() => {
            below(0, spec.group_by[column], filters);
        }
        Op::Join(spec) if spec.kind != JoinKind::Full => {
            let column = spec.projection.as_ref().map_or(column, |p| p[column]);
            let Some(probe) = node.inputs.get(1) else { return };
            match column.checked_sub(probe.node.schema.fields.len()) {
                None => {
                    let of_key = |(_, key): &&(u32, usize)| spec.probe_keys[*key] == column;
                    filters.extend(spec.runtime_filters.iter().filter(of_key).map(|(id, _)| *id));
                    below(1, column, filters);
                }
                Some(column) if spec.kind == JoinKind::Inner || spec.kind.gives_build() => below(0, column, filters),
                Some(_) => {}
            }
        }
        _ => {}
    }
}

/// Finds the scans that a column comes from, or that have an equal column below, and lets them listen; whether there is
/// one. Only operators through which dropping rows that cannot match later changes nothing are passed.
fn listen(node: &mut Node, column: usize, id: u32) -> bool {
    match &mut node.op {
        Op::Source { spec, .. } => {
            // A scan that stops after some rows must not have others dropped first.
            if spec.limit.is_some() || !node.bounded {
                return false;
            }
            if !spec.runtime_filters.contains(&(id, column)) {
                spec.runtime_filters.push((id, column));
            }
            spec.awaits_filters = true;
            true
        }
        Op::Filter { .. } => listen(&mut node.inputs[0].node, column, id),
        Op::Project { expressions } => match expressions[column] {
            Expr::Column(below) => listen(&mut node.inputs[0].node, below, id),
            _ => false,
        },
        // Groups are left out as a whole, and so are partitions.
        Op::Aggregate(spec) if !spec.continuous && column < spec.group_by.len() => {
            let below = spec.group_by[column];
            listen(&mut node.inputs[0].node, below, id)
        }
        Op::WindowFunctions(spec) => {
            let below = spec.projection[column];
            spec.partition_by.contains(&below) && listen(&mut node.inputs[0].node, below, id)
        }
        // A full join gives the build rows that no probe row has met: none of these may be kept from it.
        Op::Join(spec) if spec.kind == JoinKind::Full || spec.build_count.is_some() => false,
        Op::Join(spec) => {
            let build_may_go = spec.kind == JoinKind::Inner || spec.kind.gives_build();
            let below = spec.projection.as_ref().map_or(column, |p| p[column]);
            let [build, probe] = node.inputs.as_mut_slice() else { return false };
            let probe_width = probe.node.schema.fields.len();
            // What is dropped of the one side leaves the rows of the other that are dropped later without a partner.
            let partner = |keys: &[usize], others: &[usize], column| {
                keys.iter().position(|key| *key == column).map(|key| others[key])
            };
            match below.checked_sub(probe_width) {
                None => {
                    // Where the build side tells the probe side, it does not wait to be told.
                    let is_told = spec.runtime_filters.iter().any(|(_, key)| spec.probe_keys[*key] == below);
                    let equal = partner(&spec.probe_keys, &spec.build_keys, below);
                    let equal = equal.filter(|_| !spec.null_aware && !is_told);
                    let is_heard = equal.is_some_and(|column| listen(&mut build.node, column, id));
                    listen(&mut probe.node, below, id) || is_heard
                }
                Some(below) if build_may_go => {
                    let equal = partner(&spec.build_keys, &spec.probe_keys, below);
                    let is_heard = equal.is_some_and(|column| listen(&mut probe.node, column, id));
                    listen(&mut build.node, below, id) || is_heard
                }
                Some(_) => false,
            }
        }
        _ => false,
    }
}
