//! GROUP BY: in one phase where one subtask has all rows, else in two.
//!
//! Grouping sets ([`grouping_sets`](super::grouping_sets)) and aggregates of DISTINCT values
//! ([`distinct`](super::distinct)) first become groupings of the plain kind, in this order.

use std::sync::Arc;

use datafusion_common::DFSchema;
use datafusion_expr::expr::{AggregateFunction as AggregateExpr, AggregateFunctionParams, Sort};
use datafusion_expr::{Aggregate, Expr as LogicalExpr, LogicalPlan};
use flumen_core::expr::{Expr, Literal};
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{AggregateCall, AggregatePhase, ArgumentOrder, HashAggregateSpec};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};

use super::super::expr::{logical_type, translate};
use super::super::node::{Node, Op, plain_columns, substitute};
use super::super::state::state_fields;
use crate::bind::aggregates::{ARRAY_AGG, AggregateFunction, AggregateKind, takes_pairs};
use crate::bind::types::logical;
use crate::error::{Result, SqlError};
use crate::optimize::{estimate, grouping};

use super::window::{tumbling, windowed};
use super::{PhysicalPlanner, distinct, fields, translate_all};

impl PhysicalPlanner<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        let input_schema = aggregate.input.schema();
        let (group_expr, sets) =
            grouping::sets(&aggregate.group_expr).map_err(|e| SqlError::invalid(e.strip_backtrace()))?;
        let groups = translate_all(&group_expr, input_schema)?;
        // Behind the keys is the number of the set, if there are sets.
        let first_call = groups.len() + usize::from(sets.is_some());
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        // Columns of the input of the aggregation: keys first, then arguments and filters, each once.
        let mut expressions = groups.clone();
        let mut fields_in = Vec::with_capacity(groups.len());
        for (index, e) in group_expr.iter().enumerate() {
            let field = &aggregate.schema.fields()[index];
            fields_in.push(Field::new(field.name(), logical_type(e, input_schema)?, field.is_nullable()));
        }
        for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
            let field = &aggregate.schema.fields()[first_call + index];
            let mut column = |e: &LogicalExpr| -> Result<usize> {
                let translated = translate(e, input_schema)?;
                if let Some(found) = expressions[groups.len()..].iter().position(|x| *x == translated) {
                    return Ok(groups.len() + found);
                }
                // A key that is also an argument is read once; but a set may not have the key, and has the argument.
                if let Some(found) = expressions[..groups.len()].iter().position(|x| *x == translated)
                    && sets.is_none()
                {
                    return Ok(found);
                }
                expressions.push(translated);
                let nullable = datafusion_expr::ExprSchemable::nullable(e, input_schema.as_ref()).unwrap_or(true);
                fields_in.push(Field::new(
                    format!("arg_{}", fields_in.len()),
                    logical_type(e, input_schema)?,
                    nullable,
                ));
                Ok(expressions.len() - 1)
            };
            calls.push(aggregate_call(expr, input_schema, logical(field.data_type())?, &mut column)?);
        }
        let child = self.node(&aggregate.input)?;
        let estimated = estimate::rows(&LogicalPlan::Aggregate(aggregate.clone()));
        let fields_out = fields(&aggregate.schema)?;
        if let Some((base, columns, window)) = windowed(&child) {
            let on_window = groups.iter().any(
                |g| matches!(substitute(g, &columns), Expr::Column(c) if c >= window.width && c < window.width + 2),
            );
            if on_window && sets.is_some() {
                return Err(SqlError::unsupported("GROUPING SETS over windows").about("GROUP"));
            }
            if on_window {
                return tumbling(base, &columns, &window, &expressions, &fields_in, groups.len(), calls, fields_out);
            }
        }
        if child.updating {
            return Err(SqlError::unsupported("aggregation of results that change").about("GROUP"));
        }
        let (child, keys) = child.project_for_aggregate(expressions, fields_in, &mut calls, groups.len());
        let mut grouped = Grouped { child, keys, totals: Vec::new() };
        if let Some(sets) = &sets {
            grouped = grouped.by_sets(sets, &mut calls, &fields_out[groups.len()])?;
        }
        if !grouped.child.bounded && calls.iter().any(|call| call.function == ARRAY_AGG) {
            let what = "array_agg over data that does not end";
            return Err(SqlError::unsupported(what).about("array_agg"));
        }
        if calls.iter().any(distinct::is_split) {
            return self.distinct(grouped, &calls, fields_out, estimated);
        }
        Ok(self.two_phases(grouped, calls, fields_out, estimated))
    }

    /// Local and global, or all in one.
    pub(super) fn two_phases(
        &self,
        grouped: Grouped,
        calls: Vec<AggregateCall>,
        fields_out: Vec<Field>,
        estimated: f64,
    ) -> Node {
        let Grouped { child, keys: group_by, totals } = grouped;
        let continuous = !child.bounded;
        let rows = estimated.min(child.rows.max(1.0));
        let estimated_groups = (!group_by.is_empty()).then_some(rows as u64);
        let output: SchemaRef = Arc::new(Schema::new(fields_out));
        let keys = group_by.len();
        let spec = |group_by: Vec<usize>, aggregates: Vec<AggregateCall>, phase: AggregatePhase, continuous: bool| {
            let totals = if phase == AggregatePhase::Local || continuous { Vec::new() } else { totals.clone() };
            Op::Aggregate(HashAggregateSpec { group_by, aggregates, phase, continuous, estimated_groups, totals })
        };
        let parallelism = child.parallelism;
        let key_columns: Vec<usize> = (0..keys).collect();
        let mut node = if parallelism == 1 && !continuous {
            child.then(spec(group_by, calls, AggregatePhase::Single, false), output, rows)
        } else if continuous {
            // A changelog is kept where the key lives.
            let (partitioner, target) = if keys == 0 {
                (if parallelism == 1 { Partitioner::Forward } else { Partitioner::Global }, 1)
            } else {
                (Partitioner::KeyGroup { columns: group_by.clone() }, parallelism)
            };
            child.exchange(partitioner, target, spec(group_by, calls, AggregatePhase::Single, true), output, rows)
        } else if keys > 0 && calls.iter().any(|call| call.function == ARRAY_AGG) {
            // Lists are as long as what they are made of: nothing is gained before the exchange.
            let partitioner = Partitioner::KeyGroup { columns: group_by.clone() };
            child.exchange(partitioner, parallelism, spec(group_by, calls, AggregatePhase::Single, false), output, rows)
        } else {
            let local_fields = group_by
                .iter()
                .map(|&c| child.schema.fields[c].clone())
                .chain(calls.iter().flat_map(state_fields))
                .collect();
            let local_rows = (rows * f64::from(parallelism)).min(child.rows.max(1.0));
            let local = spec(group_by, calls.clone(), AggregatePhase::Local, false);
            let node = child.then(local, Arc::new(Schema::new(local_fields)), local_rows);
            let (partitioner, target) = if keys == 0 {
                (Partitioner::Global, 1)
            } else {
                (Partitioner::KeyGroup { columns: key_columns.clone() }, parallelism)
            };
            node.exchange(partitioner, target, spec(key_columns, calls, AggregatePhase::Global, false), output, rows)
        };
        node.updating = continuous;
        node
    }
}

/// What is grouped, and by what.
pub(super) struct Grouped {
    pub(super) child: Node,
    /// Key columns of the child.
    pub(super) keys: Vec<usize>,
    /// Keys of groups that exist even without rows.
    pub(super) totals: Vec<Vec<Literal>>,
}

pub(super) fn aggregate_call(
    expr: &LogicalExpr,
    schema: &DFSchema,
    return_type: LogicalType,
    column: &mut impl FnMut(&LogicalExpr) -> Result<usize>,
) -> Result<AggregateCall> {
    let mut inner = expr;
    while let LogicalExpr::Alias(alias) = inner {
        inner = &alias.expr;
    }
    let LogicalExpr::AggregateFunction(AggregateExpr { func, params }) = inner else {
        return Err(SqlError::internal(format!("{inner} is not an aggregate")));
    };
    let name = func.name();
    let any: &dyn std::any::Any = func.inner().as_ref();
    let kind = match any.downcast_ref::<AggregateFunction>() {
        Some(function) => function.kind,
        None => return Err(SqlError::unsupported(format!("the aggregate {name}")).about(name)),
    };
    if kind == AggregateKind::List {
        return list_call(params, name, schema, return_type, column);
    }
    if !params.order_by.is_empty() {
        return Err(SqlError::unsupported(format!("ORDER BY inside {name}")).about(name));
    }
    // Without repetition the smallest is still the smallest.
    let distinct = params.distinct && !matches!(name, "min" | "max");
    // A count of a constant counts rows.
    let is_constant = |a: &LogicalExpr| matches!(a, LogicalExpr::Literal(v, _) if !v.is_null());
    let counts_rows = name == "count" && !distinct && params.args.iter().all(is_constant);
    let args: &[LogicalExpr] = if counts_rows { &[] } else { &params.args };
    if args.len() > 1 && !takes_pairs(name) {
        return Err(SqlError::unsupported(format!("{name} of several columns")).about(name));
    }
    Ok(AggregateCall {
        function: name.to_owned(),
        args: args.iter().map(&mut *column).collect::<Result<_>>()?,
        arg_types: args.iter().map(|a| logical_type(a, schema)).collect::<Result<_>>()?,
        distinct,
        order_by: Vec::new(),
        filter: params.filter.as_deref().map(column).transpose()?,
        return_type,
    })
}

/// A call of `array_agg`: what orders the values follows them as further arguments.
fn list_call(
    params: &AggregateFunctionParams,
    name: &str,
    schema: &DFSchema,
    return_type: LogicalType,
    column: &mut impl FnMut(&LogicalExpr) -> Result<usize>,
) -> Result<AggregateCall> {
    if params.null_treatment.is_some() {
        let error = SqlError::unsupported(format!("IGNORE NULLS and RESPECT NULLS in {name}")).about("NULLS");
        return Err(error.with_hint("FILTER (WHERE x IS NOT NULL) leaves NULLs out"));
    }
    let [value] = params.args.as_slice() else {
        return Err(SqlError::invalid(format!("{name} takes one argument, not {}", params.args.len())).about(name));
    };
    let mut sorts: Vec<&Sort> = Vec::new();
    for sort in &params.order_by {
        if params.distinct && sort.expr != *value {
            let error = SqlError::invalid(format!("{name}(DISTINCT ...) can only be ordered by its argument"));
            return Err(error.about("ORDER"));
        }
        if !sorts.iter().any(|before| before.expr == sort.expr) {
            sorts.push(sort);
        }
    }
    let args: Vec<&LogicalExpr> = std::iter::once(value).chain(sorts.iter().map(|sort| &sort.expr)).collect();
    let order = |sort: &&Sort| ArgumentOrder { descending: !sort.asc, nulls_first: sort.nulls_first };
    Ok(AggregateCall {
        function: ARRAY_AGG.to_owned(),
        args: args.iter().map(|arg| column(arg)).collect::<Result<_>>()?,
        arg_types: args.iter().map(|arg| logical_type(arg, schema)).collect::<Result<_>>()?,
        distinct: params.distinct,
        order_by: sorts.iter().map(order).collect(),
        filter: params.filter.as_deref().map(column).transpose()?,
        return_type,
    })
}

impl Node {
    /// Computes the inputs of an aggregation, unless they are all columns already; then the calls are pointed to them.
    pub(super) fn project_for_aggregate(
        self,
        expressions: Vec<Expr>,
        fields: Vec<Field>,
        calls: &mut [AggregateCall],
        keys: usize,
    ) -> (Self, Vec<usize>) {
        if let Some(columns) = plain_columns(&expressions) {
            for call in calls {
                for arg in call.args.iter_mut().chain(call.filter.as_mut()) {
                    *arg = columns[*arg];
                }
            }
            return (self, columns[..keys].to_vec());
        }
        (self.project(expressions, fields), (0..keys).collect())
    }
}
