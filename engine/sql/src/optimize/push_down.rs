//! Filters pushed down, but never below an aggregate that has a row for no rows.
//!
//! The library's rule pushes what mentions grouped columns alone below the aggregate, so also what mentions no column:
//! `ON FALSE`, once it is a filter of one input, or `HAVING FALSE`. Below an aggregate without keys it takes the rows away
//! and leaves the one that is made of none. The same holds for grouping sets, of which one may have no keys.

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::{Expr, LogicalPlan};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::push_down_filter::PushDownFilter;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

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
        match is_above_a_row_of_none(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }
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
