//! Subqueries in joins: `LATERAL`, whose parameters are columns of the other side, and those in conditions.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, JoinType, NullEquality, Result};
use datafusion_expr::logical_plan::Subquery;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection};

use super::dependent::requalified;
use super::{Decorrelation, Scope, filtered, free_columns, joined, met, subquery_of, unsupported};

impl Decorrelation {
    pub(super) fn join(&mut self, join: Join) -> Result<Transformed<LogicalPlan>> {
        let subquery = match join.right.as_ref() {
            LogicalPlan::Subquery(subquery) => Some((subquery.clone(), None)),
            LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
                LogicalPlan::Subquery(subquery) => Some((subquery.clone(), Some(alias.alias.clone()))),
                _ => None,
            },
            _ => None,
        };
        if let Some((Subquery { subquery, .. }, alias)) = subquery {
            let plan = self.all(Arc::unwrap_or_clone(subquery))?;
            let plan = match alias {
                Some(alias) => requalified(plan, &alias, &Vec::new())?,
                None => plan,
            };
            return self.lateral(join, plan).map(Transformed::yes);
        }
        let whole = LogicalPlan::Join(join);
        let mut found = false;
        whole.apply_expressions(|e| {
            found |= e.exists(|e| Ok(self.takes(e, &whole)))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        match whole {
            whole if !found => Ok(Transformed::no(whole)),
            LogicalPlan::Join(Join { left, right, on, filter, join_type: JoinType::Inner, null_equality, .. }) => {
                let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
                let join = joined(left, right, on, None, JoinType::Inner, null_equality)?;
                self.node(filtered(filter, join)?).map(|t| Transformed::yes(t.data))
            }
            LogicalPlan::Join(join) => self.outer_condition(join).map(Transformed::yes),
            other => Ok(Transformed::no(other)),
        }
    }

    /// The condition of a join whose rows without a partner matter: each subquery becomes columns of the side that it
    /// refers to. That leaves the side's rows as they are, so the join is the same.
    fn outer_condition(&mut self, join: Join) -> Result<LogicalPlan> {
        let columns = join.schema.columns();
        let Join { left, right, on, filter, join_type, null_equality, .. } = join;
        let mut sides = [Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right)];
        let widths = sides.each_ref().map(|side| side.schema().fields().len());
        let whole = LogicalPlanBuilder::empty(false).build()?;
        let filter = match filter {
            None => None,
            Some(filter) => {
                let replaced = filter.transform_down(|e| {
                    let Some(inner) = subquery_of(&e) else { return Ok(Transformed::no(e)) };
                    let asked = match &e {
                        Expr::InSubquery(inside) => Some(&inside.expr),
                        Expr::SetComparison(comparison) => Some(&comparison.expr),
                        _ => None,
                    };
                    let refers: Vec<Column> = free_columns(&inner.subquery)
                        .into_iter()
                        .chain(asked.iter().flat_map(|asked| asked.column_refs()).cloned())
                        .collect();
                    let is_of = |side: &LogicalPlan| refers.iter().all(|column| side.schema().has_column(column));
                    let side = match sides.iter().rposition(is_of) {
                        Some(side) => side,
                        None => {
                            return Err(unsupported("a subquery about both sides in the condition of an outer join"));
                        }
                    };
                    let scope = std::mem::replace(&mut self.scope, Scope::All);
                    let e = self.replace(e, &mut sides[side], &whole);
                    self.scope = scope;
                    Ok(Transformed::new(e?, true, TreeNodeRecursion::Jump))
                })?;
                Some(replaced.data)
            }
        };
        let is_wider = sides.iter().zip(widths).any(|(side, width)| side.schema().fields().len() > width);
        let [left, right] = sides;
        let plan = joined(left, right, on, filter, join_type, null_equality)?;
        if !is_wider {
            return Ok(plan);
        }
        let columns = columns.into_iter().map(Expr::Column).collect();
        Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
    }

    /// A join whose right side refers to columns of the left.
    fn lateral(&mut self, join: Join, plan: LogicalPlan) -> Result<LogicalPlan> {
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return Err(unsupported(&format!("LATERAL on the right of a {} join", join.join_type)));
        }
        let left = Arc::unwrap_or_clone(join.left);
        let (right, keys) = self.for_parameters(plan, &left)?;
        let equalities = join.on.into_iter().map(|(l, r)| l.eq(r));
        let condition = conjunction(equalities.chain(join.filter));
        let on = met(&keys.iter().map(|(parameter, key)| (parameter, key)).collect::<Vec<_>>(), &left, &right)?;
        let plan = joined(left, right, on, condition, join.join_type, NullEquality::NullEqualsNothing)?;
        let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
        Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
    }
}
