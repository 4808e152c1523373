//! `FROM t, UNNEST(t.l)`: the rows of `t` widened, and not joined.
//!
//! The binder makes a join of it whose right side refers to the left. Such a side needs no rows of its own: below all of its
//! projections, filters and UNNESTs is the one row without columns that stands for each row of the left. So the left side
//! takes that row's place, and its columns are carried up through every node of the right ([`widened`]). The same does for
//! `LEFT JOIN ... ON TRUE`, where rows without items come once.
//!
//! What is not of this form is left to `subquery`.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{JoinType, NullHandling, Result, ScalarValue, TableReference};
use datafusion_expr::builder::unnest_with_options;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Filter, Join, LogicalPlan, Projection, SubqueryAlias, Unnest};

/// Widens the rows of every such join in a plan and its subqueries.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => lateral(join),
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

fn lateral(join: Join) -> Result<Transformed<LogicalPlan>> {
    let (subquery, alias) = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => (&subquery.subquery, None),
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Subquery(subquery) => (&subquery.subquery, Some(&alias.alias)),
            _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let condition = conjunction(join.on.iter().map(|(l, r)| l.clone().eq(r.clone())).chain(join.filter.clone()));
    let is_true = |e: &Expr| matches!(e, Expr::Literal(ScalarValue::Boolean(Some(true)), _));
    let condition = condition.filter(|e| !is_true(e));
    let kind = match join.join_type {
        JoinType::Inner => Kind::Inner,
        JoinType::Left if condition.is_none() => Kind::Left,
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let mut found = false;
    let widened = Widening { left: &join.left, kind }.plan(subquery, &mut found)?;
    let Some(plan) = widened.filter(|_| found) else { return Ok(Transformed::no(LogicalPlan::Join(join))) };
    let plan = match alias {
        Some(alias) => requalified(plan, &join.left, alias)?,
        None => plan,
    };
    let plan = match condition {
        Some(condition) => LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?),
        None => plan,
    };
    let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
}

struct Widening<'a> {
    left: &'a Arc<LogicalPlan>,
    kind: Kind,
}

impl Widening<'_> {
    /// The plan with the left side in the place of its one row, whose columns come out first; `None` if it has other rows.
    /// `found` is set where an UNNEST is met.
    fn plan(&self, plan: &LogicalPlan, found: &mut bool) -> Result<Option<LogicalPlan>> {
        Ok(match plan {
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row && empty.schema.fields().is_empty() => {
                Some(self.left.as_ref().clone())
            }
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let Some(input) = self.plan(input, found)? else { return Ok(None) };
                let own = expr.iter().map(|e| self.placed(e)).collect::<Result<Vec<_>>>()?;
                let columns = self.left.schema().columns().into_iter().map(Expr::Column).chain(own).collect();
                Some(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
            }
            // A row of the left without rows after the filter has to come with NULLs.
            LogicalPlan::Filter(_) if self.kind == Kind::Left => None,
            LogicalPlan::Filter(filter) => {
                let Some(input) = self.plan(&filter.input, found)? else { return Ok(None) };
                Some(LogicalPlan::Filter(Filter::try_new(self.placed(&filter.predicate)?, Arc::new(input))?))
            }
            LogicalPlan::Unnest(Unnest { input, exec_columns, options, .. }) => {
                let Some(input) = self.plan(input, found)? else { return Ok(None) };
                // Below another UNNEST, NULLs of a row without items would be unnested again.
                if self.kind == Kind::Left && *found {
                    return Ok(None);
                }
                *found = true;
                let mut options = options.clone();
                if self.kind == Kind::Left {
                    options.null_handling = NullHandling::PreserveAndExpandEmpty;
                }
                Some(unnest_with_options(input, exec_columns.clone(), options)?)
            }
            LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
                let Some(input) = self.plan(input, found)? else { return Ok(None) };
                Some(requalified(input, self.left, alias)?)
            }
            LogicalPlan::Subquery(subquery) => self.plan(&subquery.subquery, found)?,
            _ => None,
        })
    }

    /// The expression with the left side's columns where it refers to them; its name stays.
    fn placed(&self, expr: &Expr) -> Result<Expr> {
        let (qualifier, name) = expr.qualified_name();
        let placed = expr.clone().transform_up(|e| match &e {
            Expr::OuterReferenceColumn(_, column) if self.left.schema().has_column(column) => {
                Ok(Transformed::yes(Expr::Column(column.clone())))
            }
            _ => Ok(Transformed::no(e)),
        })?;
        Ok(match placed.transformed && !matches!(expr, Expr::Alias(_)) {
            true => placed.data.alias_qualified(qualifier, name),
            false => placed.data,
        })
    }
}

/// The columns behind those of the left under another qualifier.
fn requalified(plan: LogicalPlan, left: &LogicalPlan, qualifier: &TableReference) -> Result<LogicalPlan> {
    let width = left.schema().fields().len();
    let columns = plan.schema().columns().into_iter().enumerate().map(|(index, column)| {
        if index < width {
            return Expr::Column(column);
        }
        let name = column.name.clone();
        Expr::Column(column).alias_qualified(Some(qualifier.clone()), name)
    });
    let columns = columns.collect();
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}
