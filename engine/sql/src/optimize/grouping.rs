//! `GROUPING SETS`, `ROLLUP` and `CUBE`: which sets they mean, and `GROUPING(...)`.
//!
//! A grouped row knows its set by the column `__grouping_id`, which the library puts behind the keys; its value here is
//! the position of the set in the list that [`sets`] gives. So sets that are written twice give their rows twice, and
//! `GROUPING(a, b)` is a constant for each set: a bit for each argument, first argument highest, 1 where the set has
//! been grouped without it. Without grouping sets it is 0.
//!
//! Keys of grouping sets that are computed are computed below the grouping: rules that give a changed expression its old
//! name do not know how to do that inside of a set.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DataFusionError, Result, ScalarValue};
use datafusion_expr::expr::Case;
use datafusion_expr::utils::{enumerate_grouping_sets, grouping_set_to_exprlist};
use datafusion_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection, lit};
use datafusion_optimizer::analyzer::AnalyzerRule;

use crate::bind::aggregates::GROUPING;
use crate::error::SqlError;

/// Arguments of GROUPING, at most: the bits of an INTEGER.
const ARGUMENTS_MAX: usize = 31;

/// Keys of a CUBE, at most: each row is grouped four thousand times then.
const CUBE_KEYS_MAX: usize = 12;

/// Keys of a GROUP BY, and for each of its sets which keys it has; `None` if there is just one set, of all keys.
pub(crate) type Grouping = (Vec<Expr>, Option<Vec<Vec<bool>>>);

/// The sets of a GROUP BY.
pub(crate) fn sets(group_expr: &[Expr]) -> Result<Grouping> {
    let group_expr = enumerate_grouping_sets(group_expr.to_vec())?;
    let keys: Vec<Expr> = grouping_set_to_exprlist(&group_expr)?.into_iter().cloned().collect();
    let [Expr::GroupingSet(set)] = group_expr.as_slice() else { return Ok((keys, None)) };
    let count = keys.len();
    if matches!(set, GroupingSet::Cube(_)) && count > CUBE_KEYS_MAX {
        let message = format!("CUBE of {count} keys has too many grouping sets; it takes up to {CUBE_KEYS_MAX} keys");
        return Err(SqlError::invalid(message).about("CUBE").into());
    }
    let sets = match set {
        GroupingSet::Rollup(_) => (0..=count).rev().map(|len| (0..count).map(|key| key < len).collect()).collect(),
        GroupingSet::Cube(_) => {
            (0_u64..1 << count).map(|left_out| (0..count).map(|key| left_out >> key & 1 == 0).collect()).collect()
        }
        GroupingSet::GroupingSets(sets) => {
            sets.iter().map(|set| keys.iter().map(|key| set.contains(key)).collect()).collect()
        }
    };
    Ok((keys, Some(sets)))
}

/// The rule that computes GROUPING, and keys.
#[derive(Debug, Default)]
pub(crate) struct GroupingFunctions;

impl AnalyzerRule for GroupingFunctions {
    fn name(&self) -> &str {
        "grouping_functions"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate)
                if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)])
                    || aggregate.aggr_expr.iter().any(|e| arguments(e).is_some()) =>
            {
                computed(aggregate).map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|t| t.data)
    }
}

/// The arguments, if this is GROUPING.
fn arguments(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Alias(alias) => arguments(&alias.expr),
        Expr::AggregateFunction(call) if call.func.name() == GROUPING => Some(&call.params.args),
        _ => None,
    }
}

/// The aggregation over keys that are columns, without GROUPING; a projection adds that.
fn computed(aggregate: Aggregate) -> Result<LogicalPlan> {
    let (keys, sets) = sets(&aggregate.group_expr)?;
    let first_call = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let columns = aggregate.schema.columns();
    let id_type = aggregate.schema.field(keys.len().min(first_call.saturating_sub(1))).data_type().clone();
    let mut given: Vec<Expr> = columns[..first_call].iter().cloned().map(Expr::Column).collect();
    let mut kept = Vec::new();
    for (call, column) in aggregate.aggr_expr.into_iter().zip(&columns[first_call..]) {
        match arguments(&call) {
            Some(args) => {
                let value = value(args, &keys, sets.as_deref(), &id_type)?;
                given.push(value.alias_qualified(column.relation.clone(), column.name.as_str()));
            }
            None => {
                given.push(Expr::Column(column.clone()));
                kept.push(call);
            }
        }
    }
    let (input, group_expr) = with_key_columns(aggregate.input, aggregate.group_expr, &keys, sets.is_some())?;
    let without = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, kept)?);
    Ok(LogicalPlan::Projection(Projection::try_new(given, Arc::new(without))?))
}

/// Keys of sets that are computed become columns of the input, under the names that they had.
fn with_key_columns(
    input: Arc<LogicalPlan>,
    group_expr: Vec<Expr>,
    keys: &[Expr],
    has_sets: bool,
) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
    let is_computed = |key: &Expr| !matches!(key, Expr::Column(_));
    if !has_sets || !keys.iter().any(is_computed) {
        return Ok((input, group_expr));
    }
    let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    columns
        .extend(keys.iter().filter(|key| is_computed(key)).map(|key| key.clone().alias(key.schema_name().to_string())));
    let column = |key: &Expr| match is_computed(key) {
        true => Expr::Column(Column::new_unqualified(key.schema_name().to_string())),
        false => key.clone(),
    };
    let all = |keys: &[Expr]| keys.iter().map(column).collect::<Vec<_>>();
    let group_expr = enumerate_grouping_sets(group_expr)?
        .into_iter()
        .map(|e| match e {
            Expr::GroupingSet(GroupingSet::Rollup(keys)) => Expr::GroupingSet(GroupingSet::Rollup(all(&keys))),
            Expr::GroupingSet(GroupingSet::Cube(keys)) => Expr::GroupingSet(GroupingSet::Cube(all(&keys))),
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                Expr::GroupingSet(GroupingSet::GroupingSets(sets.iter().map(|keys| all(keys)).collect()))
            }
            key => column(&key),
        })
        .collect();
    let projection = Projection::try_new(columns, input)?;
    Ok((Arc::new(LogicalPlan::Projection(projection)), group_expr))
}

/// A key without the name that it was given.
fn unnamed(key: &Expr) -> &Expr {
    match key {
        Expr::Alias(alias) => unnamed(&alias.expr),
        other => other,
    }
}

fn wrong(message: String) -> DataFusionError {
    SqlError::invalid(message).about(GROUPING).into()
}

fn value(args: &[Expr], keys: &[Expr], sets: Option<&[Vec<bool>]>, id_type: &DataType) -> Result<Expr> {
    let mut positions = Vec::with_capacity(args.len());
    for arg in args {
        match keys.iter().position(|key| unnamed(key) == arg) {
            Some(position) => positions.push(position),
            None => return Err(wrong(format!("GROUPING takes what GROUP BY groups by, not {arg}"))),
        }
    }
    if args.is_empty() || args.len() > ARGUMENTS_MAX {
        return Err(wrong(format!("GROUPING takes 1 to {ARGUMENTS_MAX} arguments, not {}", args.len())));
    }
    let Some(sets) = sets else { return Ok(lit(0_i32)) };
    let bits = |set: &Vec<bool>| positions.iter().fold(0, |bits, key| bits << 1 | i32::from(!set[*key]));
    let branch = |(index, set): (usize, &Vec<bool>)| {
        let id = ScalarValue::UInt64(Some(index as u64)).cast_to(id_type)?;
        Ok((Box::new(lit(id)), Box::new(lit(bits(set)))))
    };
    let when_then_expr = sets.iter().enumerate().map(branch).collect::<Result<_>>()?;
    let id = Expr::Column(Column::from_name(Aggregate::INTERNAL_GROUPING_ID));
    Ok(Expr::Case(Case { expr: Some(Box::new(id)), when_then_expr, else_expr: Some(Box::new(lit(0_i32))) }))
}
