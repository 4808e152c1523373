//! `IN` and `NOT IN` over a subquery, exact where values may be NULL.
//!
//! `x IN (S)` is true if `x` equals a value of S; else unknown if S has a NULL, or if `x` is NULL and S has a row; else
//! false. The library's rule makes joins of these conditions. It is right for `IN` as a condition that only has to be
//! true, and for `NOT IN` with the NULL-aware anti join, as long as S does not refer to the query around it. Elsewhere
//! its joins know two values, not three. This rule runs before it and writes what it would get wrong as conditions
//! with EXISTS, which know no NULL, over S as often as needed:
//!
//! | condition | where | becomes |
//! |---|---|---|
//! | `x NOT IN (S)` | alone, or AND | `NOT EXISTS (S with x)`, `NOT EXISTS (S with NULL)`, `x IS NOT NULL OR NOT EXISTS (S)` |
//! | `x IN (S)`, `x NOT IN (S)` | elsewhere | a CASE of the same, which gives true, NULL or false |
//!
//! What cannot be NULL is not asked. An EXISTS that is not about the current row needs one row of S.

use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion_expr::logical_plan::Subquery;
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, exists, lit,
    not_exists, when,
};
use datafusion_optimizer::analyzer::AnalyzerRule;

/// What the value of a subquery is called in conditions on its rows.
const NAME: &str = "__in";
/// What it is called before, if it is a CAST.
const CAST_NAME: &str = "__cast";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ExactIn;

impl AnalyzerRule for ExactIn {
    fn name(&self) -> &str {
        "exact_in"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(rewrite).map(|t| t.data)
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
    if !filter.predicate.exists(|e| Ok(matches!(e, Expr::InSubquery(_))))? {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(filter.input.schema());
    let predicate = filter.predicate.transform_up(name_value)?.data;
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(predicate) {
        match as_in(&condition) {
            Some((inside, true)) => conditions.extend(not_in(&inside, &schema, condition)?),
            Some((_, false)) => conditions.push(condition),
            None => conditions.push(only_true(condition, &schema)?),
        }
    }
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
}

/// Names the value of a subquery that is a CAST. The library calls it as the column inside, which may have to be projected
/// beside it for the query around.
fn name_value(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(mut inside) = expr else { return Ok(Transformed::no(expr)) };
    let named = match &*inside.subquery.subquery {
        LogicalPlan::Projection(Projection { expr, input, .. }) => match expr.as_slice() {
            [cast @ (Expr::Cast(_) | Expr::TryCast(_))] => {
                Some(Projection::try_new(vec![cast.clone().alias(CAST_NAME)], Arc::clone(input))?)
            }
            _ => None,
        },
        _ => None,
    };
    Ok(match named {
        Some(named) => {
            inside.subquery.subquery = Arc::new(LogicalPlan::Projection(named));
            Transformed::yes(Expr::InSubquery(inside))
        }
        None => Transformed::no(Expr::InSubquery(inside)),
    })
}

/// The condition as an IN, and whether it is negated.
fn as_in(condition: &Expr) -> Option<(InSubquery, bool)> {
    match condition {
        Expr::InSubquery(inside) => Some((inside.clone(), inside.negated)),
        Expr::Not(inner) => as_in(inner).map(|(inside, negated)| (inside, !negated)),
        _ => None,
    }
}

/// Whether a value is that of a column. Anything computed may turn out to be a constant, for which the library makes no
/// NULL-aware join.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(alias) => is_column(&alias.expr),
        Expr::Cast(cast) => is_column(&cast.expr),
        _ => false,
    }
}

/// Conditions that are all true where `condition`, which is `x NOT IN (S)`, is true.
fn not_in(inside: &InSubquery, schema: &DFSchema, condition: Expr) -> Result<Vec<Expr>> {
    let is_plain = inside.subquery.outer_ref_columns.is_empty() && is_column(&inside.expr);
    if is_plain || inside.expr.contains_outer() {
        return Ok(vec![condition]);
    }
    let parts = Parts::of(inside, schema)?;
    let mut all = vec![not_exists(parts.with_value)];
    all.extend(parts.with_null.map(not_exists));
    all.extend(parts.with_any.map(|any| inside.expr.as_ref().clone().is_not_null().or(not_exists(any))));
    Ok(all)
}

/// A condition of which it only matters whether it is true.
fn only_true(condition: Expr, schema: &DFSchema) -> Result<Expr> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (only_true(*left, schema)?, only_true(*right, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) }))
        }
        Expr::InSubquery(inside) if !inside.negated => Ok(Expr::InSubquery(inside)),
        other => other.transform_up(|e| exact(e, schema)).map(|t| t.data),
    }
}

/// An IN with its three values; what is no IN stays.
fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(inside) = expr else { return Ok(Transformed::no(expr)) };
    if inside.expr.contains_outer() {
        return Ok(Transformed::no(Expr::InSubquery(inside)));
    }
    let parts = Parts::of(&inside, schema)?;
    if parts.with_null.is_none() && parts.with_any.is_none() {
        return Ok(Transformed::no(Expr::InSubquery(inside)));
    }
    let value = parts.value(&inside.expr)?;
    Ok(Transformed::yes(if inside.negated { !value } else { value }))
}

/// An IN as conditions with EXISTS, wherever it stands.
pub(super) fn as_exists(inside: &InSubquery, schema: &DFSchema) -> Result<Expr> {
    let value = Parts::of(inside, schema)?.value(&inside.expr)?;
    Ok(if inside.negated { !value } else { value })
}

/// `x op ANY (S)` and `x op ALL (S)` as conditions with EXISTS: ANY is true if the comparison with a row of S is, else
/// unknown if one is, else false; ALL is the opposite of the opposite comparison with ANY.
pub(super) fn comparison_as_exists(comparison: &SetComparison, schema: &DFSchema) -> Result<Expr> {
    let for_all = comparison.quantifier == SetQuantifier::All;
    let op = match comparison.op.negate() {
        Some(opposite) if for_all => opposite,
        None if for_all => return plan_err!("{} ALL (SELECT ...) has no opposite", comparison.op),
        _ => comparison.op,
    };
    let (named, found) = named(&comparison.subquery)?;
    let left = Box::new(outer(&comparison.expr, schema)?);
    let compared = Expr::BinaryExpr(BinaryExpr { left, op, right: Box::new(found) });
    let is_unknown = compared.nullable(named.schema())?;
    let with_match = Arc::new(named.clone().filter(compared.clone())?.build()?);
    let mut value = when(exists(with_match), lit(true));
    if is_unknown {
        let unknown = Arc::new(named.filter(compared.is_null())?.build()?);
        value = value.when(exists(unknown), lit(ScalarValue::Boolean(None)));
    }
    let value = value.otherwise(lit(false))?;
    Ok(if for_all { !value } else { value })
}

/// The rows of a subquery with its value under a name of its own, so that it is not taken for a column around it.
fn named(subquery: &Subquery) -> Result<(LogicalPlanBuilder, Expr)> {
    let plan = &subquery.subquery;
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let named = LogicalPlanBuilder::new_from_arc(Arc::clone(plan)).project([value.alias(NAME)])?;
    Ok((named, Expr::Column(Column::new_unqualified(NAME))))
}

/// What an IN asks of its subquery.
struct Parts {
    /// Rows with the value.
    with_value: Arc<LogicalPlan>,
    /// Rows with NULL, if there can be any.
    with_null: Option<Arc<LogicalPlan>>,
    /// All rows, if the value can be NULL.
    with_any: Option<Arc<LogicalPlan>>,
}

impl Parts {
    /// True, NULL or false.
    fn value(self, expr: &Expr) -> Result<Expr> {
        let null = || lit(ScalarValue::Boolean(None));
        if self.with_null.is_none() && self.with_any.is_none() {
            return Ok(exists(self.with_value));
        }
        let mut value = when(exists(self.with_value), lit(true));
        if let Some(with_null) = self.with_null {
            value = value.when(exists(with_null), null());
        }
        if let Some(with_any) = self.with_any {
            value = value.when(expr.clone().is_null().and(exists(with_any)), null());
        }
        value.otherwise(lit(false))
    }

    fn of(inside: &InSubquery, schema: &DFSchema) -> Result<Self> {
        let outer_ref_columns = &inside.subquery.outer_ref_columns;
        let (named, found) = named(&inside.subquery)?;
        let field = named.schema().field(0);
        let filtered = |condition: Expr| named.clone().filter(condition);
        let one_row = |builder: LogicalPlanBuilder| {
            let builder = if outer_ref_columns.is_empty() { builder.limit(0, Some(1))? } else { builder };
            builder.build().map(Arc::new)
        };
        let with_null = field.is_nullable().then(|| one_row(filtered(found.clone().is_null())?));
        let any = || one_row(named.clone());
        let with_any = inside.expr.nullable(schema)?.then(any);
        Ok(Self {
            with_value: Arc::new(filtered(found.eq(outer(&inside.expr, schema)?))?.build()?),
            with_null: with_null.transpose()?,
            with_any: with_any.transpose()?,
        })
    }
}

/// An expression over the rows around a subquery, as it is written inside.
fn outer(expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    expr.clone()
        .transform_up(|e| match e {
            Expr::Column(column) => {
                let field = Arc::clone(schema.qualified_field_from_column(&column)?.1);
                Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|t| t.data)
}
