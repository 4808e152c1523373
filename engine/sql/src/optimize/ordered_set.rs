//! Aggregates that need the order of their group's rows, or know how often each value is there.
//!
//! `median`, the quantiles, `mode`, `max_by` and `min_by` are no sums of parts. Rows are numbered within their group in the
//! order of the value by a window, and the aggregate becomes the smallest value of the rows with the right number, which
//! is a plain aggregate. With `n` values that are not NULL, counted from 0:
//!
//! | function | rows |
//! |---|---|
//! | `median(x)`, `quantile_cont(x, p)` | `floor(p (n - 1))` and `ceil(p (n - 1))`, and a straight line between them |
//! | `quantile_disc(x, p)` | `ceil(p n) - 1`, at least 0: the first value with at least this share at or below it |
//! | `mode(x)` | those of the most frequent value; the smallest of several |
//! | `max_by(x, y)`, `min_by(x, y)` | the first by `y`, of rows where neither is NULL |
//! | `approx_distinct(x)` | counted exactly |
//! | `first(x ORDER BY y)`, `last` | the first, or the one whose number is that of all rows; NULL is a value |
//! | `string_agg(x, s ORDER BY y)` | all: each text behind a separator goes with its number to an aggregate that sorts and joins them, and the first separator is cut off; of DISTINCT texts the first of those that are alike |
//!
//! Source: PostgreSQL's ordered-set aggregates (`percentile_cont`, `percentile_disc`, `mode`), which leave open which of
//! several modes they give; the NULLs of `max_by` as DuckDB has them.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DataFusionError, Result, ScalarValue};
use datafusion_expr::expr::{
    AggregateFunction as AggregateCall, AggregateFunctionParams, ScalarFunction, Sort, WindowFunction,
    WindowFunctionParams,
};
use datafusion_expr::{
    Aggregate, Expr, GroupingSet, LogicalPlan, Operator, Projection, Window, WindowFrame, WindowFunctionDefinition,
    binary_expr, cast, lit, when,
};
use datafusion_optimizer::analyzer::AnalyzerRule;

use crate::bind::aggregates::{AggregateFunction, AggregateKind, Ordered, Plain};
use crate::bind::windows;
use crate::error::SqlError;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OrderedSets;

impl AnalyzerRule for OrderedSets {
    fn name(&self) -> &str {
        "ordered_sets"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(|e| ordered(e).is_some()) => {
                rewrite(aggregate).map(Transformed::yes)
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|t| t.data)
    }
}

/// The call of an aggregate that this rule replaces.
fn ordered(expr: &Expr) -> Option<(Ordered, &AggregateCall)> {
    match expr {
        Expr::Alias(alias) => ordered(&alias.expr),
        Expr::AggregateFunction(call) => {
            let any: &dyn std::any::Any = call.func.inner().as_ref();
            match any.downcast_ref::<AggregateFunction>()?.kind {
                AggregateKind::Ordered(kind) => Some((kind, call)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn rewrite(aggregate: Aggregate) -> Result<LogicalPlan> {
    let Aggregate { input, group_expr, aggr_expr, schema, .. } = aggregate;
    if let [Expr::GroupingSet(set)] = group_expr.as_slice() {
        let word = match set {
            GroupingSet::Rollup(_) => "ROLLUP",
            GroupingSet::Cube(_) => "CUBE",
            GroupingSet::GroupingSets(_) => "SETS",
        };
        let name = aggr_expr.iter().find_map(ordered).map_or("this aggregate", |(_, call)| call.func.name());
        return Err(DataFusionError::from(
            SqlError::unsupported(format!("{name} with GROUPING SETS, ROLLUP or CUBE")).about(word),
        ));
    }
    let mut rows = Rows { groups: group_expr.clone(), first: Vec::new(), second: Vec::new() };
    let mut calls = Vec::new();
    // What each aggregate is made of once the calls are there, by their names.
    let mut results = Vec::with_capacity(aggr_expr.len());
    for expr in aggr_expr {
        match ordered(&expr) {
            Some((kind, call)) => {
                let value = rows.replace(kind, call, &mut calls)?;
                results.push(value);
            }
            None => results.push(call_column(&mut calls, expr)),
        }
    }
    let plan = numbered(input, &rows.first, "first")?;
    let plan = numbered(plan, &rows.second, "second")?;
    let keys = group_expr.len();
    let calls = calls.into_iter().enumerate().map(|(i, call)| call.alias(column_name("call", i))).collect();
    let grouped = Aggregate::try_new(plan, group_expr, calls)?;
    let columns = grouped.schema.columns().into_iter().take(keys).map(Expr::Column).chain(results);
    let columns = columns
        .zip(schema.columns())
        .map(|(value, name)| match value {
            Expr::Column(column) if column == name => Expr::Column(column),
            value => value.alias_qualified(name.relation, name.name),
        })
        .collect();
    Projection::try_new(columns, Arc::new(LogicalPlan::Aggregate(grouped))).map(LogicalPlan::Projection)
}

/// The rows of `input` with window functions as columns behind them, called as [`column`] says.
fn numbered(input: Arc<LogicalPlan>, calls: &[Expr], round: &str) -> Result<Arc<LogicalPlan>> {
    if calls.is_empty() {
        return Ok(input);
    }
    // Casts are not part of the names that calls have by themselves: two may share one.
    let calls = calls.iter().enumerate().map(|(i, call)| call.clone().alias(column_name(round, i))).collect();
    Ok(Arc::new(LogicalPlan::Window(Window::try_new(calls, input)?)))
}

fn column_name(round: &str, index: usize) -> String {
    format!("__{round}_{index}")
}

/// The column of an aggregate call.
fn call_column(calls: &mut Vec<Expr>, call: Expr) -> Expr {
    column(calls, "call", call)
}

/// Window functions over the rows below a grouping.
struct Rows {
    groups: Vec<Expr>,
    first: Vec<Expr>,
    /// Those that read columns of `first`.
    second: Vec<Expr>,
}

impl Rows {
    fn first(&mut self, call: Expr) -> Expr {
        column(&mut self.first, "first", call)
    }

    fn replace(&mut self, kind: Ordered, call: &AggregateCall, calls: &mut Vec<Expr>) -> Result<Expr> {
        let AggregateFunctionParams { args, distinct, filter, order_by, null_treatment } = &call.params;
        let name = call.func.name();
        if *distinct && kind != Ordered::StringAgg {
            return Err(DataFusionError::from(
                SqlError::unsupported(format!("{name}(DISTINCT ...)")).about("DISTINCT"),
            ));
        }
        if null_treatment.is_some() {
            let error = SqlError::invalid(format!("IGNORE NULLS and RESPECT NULLS mean nothing for {name}"));
            return Err(DataFusionError::from(error.about("NULLS")));
        }
        let Some(argument) = args.first() else {
            return Err(DataFusionError::from(SqlError::invalid(format!("{name} needs an argument")).about(name)));
        };
        let filtered = |value: Expr| match filter {
            Some(condition) => when(condition.as_ref().clone(), value).end(),
            None => Ok(value),
        };
        let value = filtered(argument.clone())?;
        let mut smallest = |condition: Expr, value: Expr| -> Result<Expr> {
            let kept = when(condition, value).end()?;
            Ok(call_column(calls, Plain::Min.of(kept)))
        };
        match kind {
            Ordered::Distinct => {
                let count = AggregateCall::new_udf(Plain::Count.function(), vec![value], true, None, Vec::new(), None);
                Ok(call_column(calls, Expr::AggregateFunction(count)))
            }
            Ordered::Median | Ordered::QuantileCont => {
                let share = match kind {
                    Ordered::Median => 0.5,
                    _ => share(name, args, order_by)?,
                };
                let value = cast(value, DataType::Float64);
                let number = self.first(self.number(Sort::new(value.clone(), true, false)));
                let values = self.first(self.count(value.clone(), None));
                let place = |values: Expr| lit(share) * cast(values - lit(1_i64), DataType::Float64);
                let lower = floor(place(values.clone()));
                let upper = ceil(place(values));
                let at = |place: Expr| (number.clone() - lit(1_i64)).eq(cast(place, DataType::Int64));
                let lower = smallest(at(lower), value.clone())?;
                let upper = smallest(at(upper), value.clone())?;
                let count = call_column(calls, Plain::Count.of(value));
                let part = place(count.clone()) - floor(place(count));
                // Equal neighbours need no line, and infinite ones have none.
                when(lower.clone().eq(upper.clone()), lower.clone()).otherwise(lower.clone() + (upper - lower) * part)
            }
            Ordered::QuantileDisc => {
                let share = share(name, args, order_by)?;
                let descending = order_by.first().is_some_and(|sort| !sort.asc);
                let number = self.first(self.number(Sort::new(value.clone(), !descending, false)));
                let values = self.first(self.count(value.clone(), None));
                let last = cast(ceil(lit(share) * cast(values, DataType::Float64)), DataType::Int64);
                let last = when(last.clone().lt(lit(1_i64)), lit(1_i64)).otherwise(last)?;
                smallest(number.eq(last), value)
            }
            Ordered::Mode => {
                let times = self.first(self.count(value.clone(), Some(value.clone())));
                let most = self.largest(times.clone());
                let most = column(&mut self.second, "second", most);
                smallest(times.eq(most), value)
            }
            Ordered::First | Ordered::Last => {
                let mut order = order_by.clone();
                let passes = filter.as_deref();
                if let Some(passes) = passes {
                    let last = when(passes.clone(), lit(0_i64)).otherwise(lit(1_i64))?;
                    order.insert(0, Sort::new(last, true, false));
                }
                let number = self.first(self.number_by(order));
                let wanted = match kind {
                    Ordered::First => lit(1_i64),
                    _ => self.first(self.count(filtered(lit(1_i64))?, None)),
                };
                let is_wanted = number.eq(wanted);
                let is_wanted = match passes {
                    Some(passes) => is_wanted.and(passes.clone()),
                    None => is_wanted,
                };
                smallest(is_wanted, argument.clone())
            }
            Ordered::StringAgg => {
                let separator = separator(name, args)?;
                let mut text = cast(value.clone(), DataType::Utf8);
                if *distinct {
                    let alike = self.groups.iter().cloned().chain([value]).collect();
                    let fun = WindowFunctionDefinition::WindowUDF(windows::row_number());
                    let copy = self.first(self.window(fun, Vec::new(), alike, Vec::new()));
                    text = when(copy.eq(lit(1_i64)), text).end()?;
                }
                let number = match order_by.is_empty() {
                    true => lit(0_i64),
                    false => self.first(self.number_by(order_by.clone())),
                };
                let behind = binary_expr(lit(separator), Operator::StringConcat, text);
                let args = vec![behind, number];
                let call = AggregateCall::new_udf(Plain::Concat.function(), args, false, None, Vec::new(), None);
                let joined = call_column(calls, Expr::AggregateFunction(call));
                let first = lit(separator.chars().count() as i64 + 1);
                let args = vec![joined, first];
                Ok(Expr::ScalarFunction(ScalarFunction::new_udf(datafusion_functions::unicode::substr(), args)))
            }
            Ordered::MaxBy | Ordered::MinBy => {
                let Some(by) = args.get(1) else {
                    return Err(DataFusionError::from(
                        SqlError::invalid(format!("{name} takes two arguments")).about(name),
                    ));
                };
                let by = filtered(when(argument.clone().is_not_null(), by.clone()).end()?)?;
                let number = self.first(self.number(Sort::new(by.clone(), kind == Ordered::MinBy, false)));
                smallest(number.eq(lit(1_i64)).and(by.is_not_null()), argument.clone())
            }
        }
    }

    /// The numbers of rows within their group, from 1.
    fn number(&self, order: Sort) -> Expr {
        self.number_by(vec![order])
    }

    fn number_by(&self, order: Vec<Sort>) -> Expr {
        let fun = WindowFunctionDefinition::WindowUDF(windows::row_number());
        self.window(fun, Vec::new(), self.groups.clone(), order)
    }

    /// How many values a group has, or of the values that are alike.
    fn count(&self, value: Expr, alike: Option<Expr>) -> Expr {
        let partition_by = self.groups.iter().cloned().chain(alike).collect();
        let fun = WindowFunctionDefinition::AggregateUDF(Plain::Count.function());
        self.window(fun, vec![value], partition_by, Vec::new())
    }

    /// The largest value of a group.
    fn largest(&self, value: Expr) -> Expr {
        let fun = WindowFunctionDefinition::AggregateUDF(Plain::Max.function());
        self.window(fun, vec![value], self.groups.clone(), Vec::new())
    }

    fn window(
        &self,
        fun: WindowFunctionDefinition,
        args: Vec<Expr>,
        partition_by: Vec<Expr>,
        order_by: Vec<Sort>,
    ) -> Expr {
        Expr::WindowFunction(Box::new(WindowFunction {
            fun,
            params: WindowFunctionParams {
                args,
                partition_by,
                window_frame: WindowFrame::new((!order_by.is_empty()).then_some(true)),
                order_by,
                filter: None,
                null_treatment: None,
                distinct: false,
            },
        }))
    }
}

/// The column of a call; one that is there already is not computed twice.
fn column(calls: &mut Vec<Expr>, round: &str, call: Expr) -> Expr {
    let index = calls.iter().position(|known| *known == call).unwrap_or_else(|| {
        calls.push(call);
        calls.len() - 1
    });
    Expr::Column(Column::new_unqualified(column_name(round, index)))
}

fn floor(value: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(datafusion_functions::math::floor(), vec![value]))
}

fn ceil(value: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(datafusion_functions::math::ceil(), vec![value]))
}

/// What stands between the texts.
fn separator<'a>(name: &str, args: &'a [Expr]) -> Result<&'a str> {
    match args.get(1) {
        None => Ok(","),
        Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) => Ok(text),
        Some(_) => {
            let error = SqlError::unsupported(format!("{name} with a separator that is not a constant text"));
            Err(error.about(name).with_hint(format!("write {name}(x, ', ')")).into())
        }
    }
}

/// The share of a quantile: a constant between 0 and 1. From the end, if the values are given in descending order and
/// there is a line between them; else the order itself is turned.
fn share(name: &str, args: &[Expr], order_by: &[Sort]) -> Result<f64> {
    let number = match args.get(1) {
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Float64)? {
            ScalarValue::Float64(number) => number,
            _ => None,
        },
        _ => None,
    };
    match number {
        Some(share) if (0.0..=1.0).contains(&share) => {
            let turned = name == "percentile_cont" && order_by.first().is_some_and(|sort| !sort.asc);
            Ok(if turned { 1.0 - share } else { share })
        }
        _ => {
            let error = SqlError::invalid(format!("{name} takes the share as a constant from 0 to 1")).about(name);
            Err(DataFusionError::from(error.with_hint(format!("as in {name}(x, 0.9)"))))
        }
    }
}
