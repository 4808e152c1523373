//! The columns of RIGHT and FULL JOIN with USING or NATURAL.
//!
//! Such a column is one, with the value of the side that has a row; the binder takes it for the column of either side. So
//! above a RIGHT JOIN both are the right side's, and above a FULL JOIN what is there of both. That nobody asks for the
//! column of one side alone, `parse::merged_columns` has seen to.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{JoinConstraint, JoinType, Result};
use datafusion_expr::{Expr, Join, LogicalPlan, Projection, when};

/// Merges the columns of every such join in a plan and its subqueries.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join)
            if join.join_constraint == JoinConstraint::Using
                && matches!(join.join_type, JoinType::Right | JoinType::Full) =>
        {
            merge(join).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

fn merge(mut join: Join) -> Result<LogicalPlan> {
    join.join_constraint = JoinConstraint::On;
    let columns = join
        .schema
        .columns()
        .into_iter()
        .map(|column| {
            let own = Expr::Column(column.clone());
            let pair = join.on.iter().find(|(left, right)| *left == own || *right == own);
            let merged = match (pair, join.join_type) {
                (Some((left, right)), JoinType::Full) => {
                    when(left.clone().is_not_null(), left.clone()).otherwise(right.clone())?
                }
                (Some((left, right)), _) if *left == own => right.clone(),
                _ => return Ok(own),
            };
            Ok(merged.alias_qualified(column.relation, column.name))
        })
        .collect::<Result<_>>()?;
    Projection::try_new(columns, Arc::new(LogicalPlan::Join(join))).map(LogicalPlan::Projection)
}
