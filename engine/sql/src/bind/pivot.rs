//! `PIVOT` and `UNPIVOT`.
//!
//! `t PIVOT (sum(v) FOR k IN ('a', 'b'))` is a grouping of `t` by all columns that the brackets do not name, with
//! `sum(v) FILTER (WHERE k IS NOT DISTINCT FROM 'a')` and the same of `'b'`. A column is called as its value, or as the
//! value's alias; with the aggregate's name behind it if there are several aggregates or it has an alias.
//!
//! `t UNPIVOT (v FOR k IN (a, b))` gives each row once for `a` and once for `b`: a cross product with their numbers, from
//! which the name and the value are chosen. Rows whose value is NULL are left out unless INCLUDE NULLS is said.

use std::collections::HashSet;

use datafusion_common::{Column, DFSchemaRef, DataFusionError, Result};
use datafusion_expr::expr::Case;
use datafusion_expr::planner::{PlannedRelation, RelationPlannerContext, RelationPlanning};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, ExprWithAlias, Ident, NullInclusion, PivotValueSource, TableFactor, Value,
};

use crate::error::SqlError;

/// What the numbers of unpivoted columns are called.
const NUMBERS: &str = "__unpivot";

/// The plan of a PIVOT or UNPIVOT.
pub(super) fn plan(relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
    let (plan, alias) = match relation {
        TableFactor::Pivot { table, aggregate_functions, value_column, value_source, default_on_null, alias } => {
            if default_on_null.is_some() {
                return Err(refused("PIVOT with DEFAULT ON NULL", "DEFAULT"));
            }
            let PivotValueSource::List(values) = value_source else {
                let error = SqlError::unsupported("PIVOT without a list of values").about("PIVOT");
                return Err(error.with_hint("write the values: IN ('a', 'b')").into());
            };
            let Ok([column]) = <[ast::Expr; 1]>::try_from(value_column) else {
                return Err(refused("PIVOT by several columns", "FOR"));
            };
            let input = context.plan(*table)?;
            (pivot(input, &aggregate_functions, &column, &values, context)?, alias)
        }
        TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
            let ast::Expr::Identifier(value) = value else {
                return Err(refused("UNPIVOT into several columns", "UNPIVOT"));
            };
            let input = context.plan(*table)?;
            let keeps_nulls = null_inclusion == Some(NullInclusion::IncludeNulls);
            let names = [context.normalize_ident(value), context.normalize_ident(name)];
            (unpivot(input, names, columns, keeps_nulls, context)?, alias)
        }
        other => return Ok(RelationPlanning::Original(Box::new(other))),
    };
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
}

fn refused(what: &str, word: &str) -> DataFusionError {
    SqlError::unsupported(what).about(word).into()
}

fn pivot(
    input: LogicalPlan,
    aggregates: &[ExprWithAlias],
    column: &ast::Expr,
    values: &[ExprWithAlias],
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let schema = DFSchemaRef::clone(input.schema());
    let mut named: HashSet<Column> =
        context.sql_to_expr(column.clone(), &schema)?.column_refs().into_iter().cloned().collect();
    let mut calls = Vec::with_capacity(aggregates.len() * values.len());
    for value in values {
        let label = match &value.alias {
            Some(alias) => alias.value.to_lowercase(),
            None => text(&value.expr).to_lowercase(),
        };
        for aggregate in aggregates {
            let ast::Expr::Function(mut call) = aggregate.expr.clone() else {
                return Err(SqlError::invalid("PIVOT takes aggregates").about("PIVOT").into());
            };
            let is_value = ast::Expr::IsNotDistinctFrom(Box::new(column.clone()), Box::new(value.expr.clone()));
            call.filter = Some(Box::new(match call.filter.take() {
                Some(filter) => {
                    ast::Expr::BinaryOp { left: filter, op: BinaryOperator::And, right: Box::new(is_value) }
                }
                None => is_value,
            }));
            let name = match &aggregate.alias {
                Some(alias) => format!("{label}_{}", alias.value.to_lowercase()),
                None if aggregates.len() > 1 => format!("{label}_{}", aggregate.expr.to_string().to_lowercase()),
                None => label.clone(),
            };
            let call = context.sql_to_expr(ast::Expr::Function(call), &schema)?;
            named.extend(call.column_refs().into_iter().cloned());
            calls.push(call.alias(name));
        }
    }
    let keys: Vec<Expr> = schema.columns().into_iter().filter(|c| !named.contains(c)).map(Expr::Column).collect();
    LogicalPlanBuilder::from(input).aggregate(keys, calls)?.build()
}

/// A constant as the name of a column.
fn text(value: &ast::Expr) -> String {
    match value {
        ast::Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

fn unpivot(
    input: LogicalPlan,
    [value, name]: [String; 2],
    columns: Vec<ExprWithAlias>,
    keeps_nulls: bool,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let schema = DFSchemaRef::clone(input.schema());
    let mut turned: Vec<(Column, String)> = Vec::with_capacity(columns.len());
    for ExprWithAlias { expr, alias } in columns {
        let Expr::Column(column) = context.sql_to_expr(expr, &schema)? else {
            return Err(refused("UNPIVOT of other than columns", "UNPIVOT"));
        };
        let label = alias.map_or_else(|| column.name.clone(), |alias: Ident| alias.value);
        turned.push((column, label));
    }
    let numbers = (0_i64..).take(turned.len()).map(|number| vec![lit(number)]).collect();
    let numbers = LogicalPlanBuilder::values(numbers)?.alias(NUMBERS)?.build()?;
    let number = Expr::Column(numbers.schema().columns().swap_remove(0));
    let chosen = |of: &dyn Fn(&(Column, String)) -> Expr| {
        let branch = |(index, one): (i64, &(Column, String))| (Box::new(lit(index)), Box::new(of(one)));
        let when_then_expr = (0_i64..).zip(&turned).map(branch).collect();
        Expr::Case(Case { expr: Some(Box::new(number.clone())), when_then_expr, else_expr: None })
    };
    let kept = schema.columns().into_iter().filter(|column| !turned.iter().any(|(other, _)| other == column));
    let names = chosen(&|(_, label)| lit(label.as_str())).alias(name);
    let values = chosen(&|(column, _)| Expr::Column(column.clone())).alias(value.as_str());
    let rows =
        LogicalPlanBuilder::from(input).cross_join(numbers)?.project(kept.map(Expr::Column).chain([names, values]))?;
    if keeps_nulls {
        return rows.build();
    }
    rows.filter(Expr::Column(Column::new_unqualified(value)).is_not_null())?.build()
}
