//! Subqueries in joins: `LATERAL`, whose parameters are columns of the other side, and those in conditions.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{JoinType, NullEquality, Result};
use datafusion_expr::logical_plan::Subquery;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Join, LogicalPlan, Projection};

use super::dependent::requalified;
use super::{Decorrelation, filtered, joined, met, unsupported};

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
            Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
        })?;
        match whole {
            whole if !found => Ok(Transformed::no(whole)),
            LogicalPlan::Join(Join { left, right, on, filter, join_type: JoinType::Inner, null_equality, .. }) => {
                let (left, right) = (Arc::unwrap_or_clone(left), Arc::unwrap_or_clone(right));
                let join = joined(left, right, on, None, JoinType::Inner, null_equality)?;
                self.node(filtered(filter, join)?).map(|t| Transformed::yes(t.data))
            }
            _ => Err(unsupported("a subquery in the condition of an outer join")),
        }
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
