//! `SELECT DISTINCT ON (keys) ... ORDER BY keys, more`: the first row of each key in the order of the statement, as
//! PostgreSQL has it. It is the row with number one within its key.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNodeRewriter};
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::expr::{Sort as SortExpr, WindowFunction, WindowFunctionParams};
use datafusion_expr::{
    Distinct, DistinctOn, Expr, Filter, LogicalPlan, Projection, Sort, Window, WindowFrame, WindowFunctionDefinition,
    lit,
};

use crate::bind::windows;

/// The column of the numbers.
const NUMBER: &str = "__distinct_on";

/// Replaces every DISTINCT ON of a plan and its subqueries.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.rewrite_with_subqueries(&mut Rewriter).map(|t| t.data)
}

struct Rewriter;

impl TreeNodeRewriter for Rewriter {
    type Node = LogicalPlan;

    fn f_up(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        match node {
            LogicalPlan::Distinct(Distinct::On(distinct)) => first_of_each(distinct).map(Transformed::yes),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn first_of_each(distinct: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, .. } = distinct;
    let order: Vec<SortExpr> = sort_expr.unwrap_or_default();
    let number = Expr::WindowFunction(Box::new(WindowFunction {
        fun: WindowFunctionDefinition::WindowUDF(windows::row_number()),
        params: WindowFunctionParams {
            args: Vec::new(),
            partition_by: on_expr,
            window_frame: WindowFrame::new(Some(!order.is_empty())),
            order_by: order.clone(),
            filter: None,
            null_treatment: None,
            distinct: false,
        },
    }));
    let below = input.schema().columns();
    let window = Window::try_new(vec![number], input)?;
    let numbers = window.schema.columns().into_iter().skip(below.len());
    let columns =
        below.into_iter().map(Expr::Column).chain(numbers.map(|column| Expr::Column(column).alias(NUMBER))).collect();
    let plan = Projection::try_new(columns, Arc::new(LogicalPlan::Window(window)))?;
    let is_first = Expr::Column(Column::new_unqualified(NUMBER)).eq(lit(ScalarValue::Int64(Some(1))));
    let mut plan = LogicalPlan::Filter(Filter::try_new(is_first, Arc::new(LogicalPlan::Projection(plan)))?);
    if !order.is_empty() {
        plan = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(plan), fetch: None });
    }
    Projection::try_new(select_expr, Arc::new(plan)).map(LogicalPlan::Projection)
}
