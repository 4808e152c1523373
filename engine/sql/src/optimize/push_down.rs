//! Filters pushed down, but never below an aggregate that has a row for no rows.
//!
//! The library's rule pushes what mentions grouped columns alone below the aggregate, so also what mentions no column:
//! `ON FALSE`, once it is a filter of one input, or `HAVING FALSE`. Below an aggregate without keys it takes the rows away
//! and leaves the one that is made of none. The same holds for grouping sets, of which one may have no keys. What is above
//! an ASOF join goes below it if it is about its left rows.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Extension, Filter, LogicalPlan};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::bind::asof::AsofNode;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FilterPushDown(PushDownFilter);

impl OptimizerRule for FilterPushDown {
    fn name(&self) -> &str {
        "push_down_filter"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let plan = match into_left_side(plan)? {
            pushed if pushed.transformed => return Ok(pushed),
            same => same.data,
        };
        match is_above_a_row_of_none(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }
}

/// A filter above an ASOF join, whose conditions on left rows alone are put below: they drop the same rows there.
fn into_left_side(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
    let LogicalPlan::Extension(extension) = &*filter.input else { return Ok(Transformed::no(plan)) };
    let Some(join) = extension.node.as_any().downcast_ref::<AsofNode>() else { return Ok(Transformed::no(plan)) };
    let is_of_left = |condition: &Expr| {
        let columns = condition.column_refs();
        !condition.is_volatile()
            && !columns.is_empty()
            && columns.into_iter().all(|column| join.left.schema().has_column(column))
    };
    let (below, above): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(filter.predicate.clone()).into_iter().partition(is_of_left);
    let Some(below) = conjunction(below) else { return Ok(Transformed::no(plan)) };
    let left = LogicalPlan::Filter(Filter::try_new(below, Arc::new(join.left.clone()))?);
    let join = extension.node.with_exprs_and_inputs(extension.node.expressions(), vec![left, join.right.clone()])?;
    let join = LogicalPlan::Extension(Extension { node: join });
    Ok(Transformed::yes(match conjunction(above) {
        Some(above) => LogicalPlan::Filter(Filter::try_new(above, Arc::new(join))?),
        None => join,
    }))
}

/// Whether it is a filter, or several, right above such an aggregate.
fn is_above_a_row_of_none(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    match &*filter.input {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)))
        }
        input => is_above_a_row_of_none(input),
    }
}
