//! Subqueries that the front-end library makes no joins of.
//!
//! The library's rules know subqueries in conditions, and values that are aggregates of rows found by equalities. All
//! others become joins here, by one method for all of them (Neumann and Kemper, *Unnesting Arbitrary Queries*, BTW
//! 2015): the columns of the query around a subquery that it refers to are its *parameters*; the subquery is computed
//! for all values of the parameters at once ([`dependent`]), and its rows are joined to the rows that ask.
//!
//! | subquery | joined | in its place |
//! |---|---|---|
//! | a value | left join with one row for each value of the parameters | its column; if there may be several rows, [`single_value`] of it and of their number |
//! | `EXISTS` | mark join | the mark |
//! | `IN`, `ANY`, `ALL` | as up to three `EXISTS` ([`exact_in`](super::exact_in)) | a CASE over the marks |
//! | `LATERAL` | the join it is in | |
//!
//! It runs twice: as an analyzer's rule on what the library would refuse, and on what its rules have left.

mod dependent;
mod lateral;

use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::expr::Exists;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::logical_plan::Subquery;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{
    Aggregate, Expr, ExprSchemable, Filter, Join, JoinConstraint, Limit, LogicalPlan, LogicalPlanBuilder, Projection,
    SubqueryAlias, TableScan, check_subquery_expr, lit, when,
};
use datafusion_optimizer::analyzer::AnalyzerRule;

use super::exact_in;
use crate::bind::aggregates::Plain;
use crate::bind::single_value::single_value;
use crate::error::SqlError;
use dependent::Dependent;

/// What to take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// What the library would refuse or leave.
    Refused,
    /// Everything.
    All,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Subqueries;

impl AnalyzerRule for Subqueries {
    fn name(&self) -> &str {
        "subqueries"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Decorrelation { scope: Scope::Refused, prefix: "", names: 0 }.rewrite(plan).map(|t| t.data)
    }
}

/// Makes joins of all subqueries that are left.
pub(crate) fn decorrelate_rest(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    Decorrelation { scope: Scope::All, prefix: "rest_", names: 0 }.rewrite(plan)
}

pub(super) struct Decorrelation {
    scope: Scope,
    prefix: &'static str,
    names: usize,
}

impl Decorrelation {
    /// A name that no other relation has.
    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("__{what}_{}{}", self.prefix, self.names)
    }

    fn rewrite(&mut self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(|node| self.node(node))
    }

    fn all(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let scope = std::mem::replace(&mut self.scope, Scope::All);
        let rewritten = self.rewrite(plan);
        self.scope = scope;
        rewritten.map(|t| t.data)
    }

    fn node(&mut self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let node = match node {
            LogicalPlan::Join(join) => return self.join(join),
            LogicalPlan::TableScan(scan) if !scan.filters.is_empty() => lifted(scan)?,
            node => node,
        };
        let mut found = false;
        node.apply_expressions(|e| {
            found |= e.exists(|e| Ok(self.takes(e, &node)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !found {
            return Ok(Transformed::no(node));
        }
        let inputs = node.inputs();
        let [input] = inputs.as_slice() else {
            return Err(unsupported(&format!("a subquery in {}", node.display())));
        };
        let mut input = (*input).clone();
        let width = input.schema().fields().len();
        let preserver = NamePreserver::new(&node);
        let mut expressions = Vec::new();
        for expr in node.expressions() {
            let name = preserver.save(&expr);
            let expr = self.replace(expr, &mut input, &node)?;
            expressions.push(name.restore(expr));
        }
        let columns = node.schema().columns();
        let is_wider = input.schema().fields().len() > width;
        let keeps_input = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Window(_));
        let node = node.with_new_exprs(expressions, vec![input])?;
        let node = if is_wider && keeps_input {
            let columns = columns.into_iter().map(Expr::Column).collect();
            LogicalPlan::Projection(Projection::try_new(columns, Arc::new(node))?)
        } else {
            node
        };
        Ok(Transformed::yes(node))
    }

    /// Whether an expression is a subquery to be replaced here.
    fn takes(&self, expr: &Expr, node: &LogicalPlan) -> bool {
        let Some(subquery) = subquery_of(expr) else { return false };
        if self.scope == Scope::All {
            return true;
        }
        let refused = || {
            let inner = &subquery.subquery;
            !free_columns(inner).is_empty()
                && (needs_keys(inner).unwrap_or(true) || check_subquery_expr(node, inner, expr).is_err())
        };
        match expr {
            Expr::ScalarSubquery(_) => !is_aggregated(&subquery.subquery) || refused(),
            Expr::SetComparison(_) => true,
            _ => !matches!(node, LogicalPlan::Filter(_)) || refused(),
        }
    }

    /// The expression without its subqueries, which are joined to `input`.
    fn replace(&mut self, expr: Expr, input: &mut LogicalPlan, node: &LogicalPlan) -> Result<Expr> {
        expr.transform_down(|e| {
            if !self.takes(&e, node) {
                return Ok(Transformed::no(e));
            }
            let e = match e {
                Expr::ScalarSubquery(subquery) => self.value(subquery, input)?,
                Expr::Exists(exists) => self.exists(exists, input)?,
                Expr::InSubquery(inside) => {
                    let exists = exact_in::as_exists(&inside, input.schema())?;
                    self.replace(exists, input, node)?
                }
                Expr::SetComparison(comparison) => {
                    let exists = exact_in::comparison_as_exists(&comparison, input.schema())?;
                    // In a condition the library makes joins of them.
                    self.replace(exists, input, node)?
                }
                other => other,
            };
            Ok(Transformed::new(e, true, TreeNodeRecursion::Jump))
        })
        .map(|t| t.data)
    }

    /// The value of a subquery for each row of `input`.
    fn value(&mut self, subquery: Subquery, input: &mut LogicalPlan) -> Result<Expr> {
        let plan = self.all(Arc::unwrap_or_clone(subquery.subquery))?;
        let alias = self.name("value");
        let is_single = is_aggregated(&plan);
        let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
        let (plan, keys) = self.for_parameters(plan, input)?;
        let plan = if is_single {
            let columns = named_keys(&keys).chain([value.alias("value")]).collect();
            LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)
        } else {
            let groups = keys.iter().map(|(_, key)| Expr::Column(key.clone())).collect();
            let any = Plain::AnyValue.of(value).alias("value");
            let rows = Plain::Count.of(lit(1_i64)).alias("rows");
            let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), groups, vec![any, rows])?);
            let columns = ["value", "rows"].map(|name| Expr::Column(Column::new_unqualified(name)));
            let columns = named_keys(&keys).chain(columns).collect();
            LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)
        };
        let join_type = if keys.is_empty() { JoinType::Inner } else { JoinType::Left };
        self.attach(input, plan, &keys, &alias, join_type)?;
        let column = |name: &str| Expr::Column(Column::new(Some(alias.as_str()), name));
        Ok(if is_single { column("value") } else { single_value(column("value"), column("rows")) })
    }

    /// Whether a subquery has a row for each row of `input`.
    fn exists(&mut self, exists: Exists, input: &mut LogicalPlan) -> Result<Expr> {
        let plan = self.all(Arc::unwrap_or_clone(exists.subquery.subquery))?;
        let alias = self.name("exists");
        let (plan, keys) = self.for_parameters(plan, input)?;
        let (plan, join_type, name) = if keys.is_empty() {
            let one =
                LogicalPlan::Limit(Limit { skip: None, fetch: Some(Box::new(lit(1_i64))), input: Arc::new(plan) });
            let rows = Plain::Count.of(lit(1_i64)).alias("rows");
            let count = Aggregate::try_new(Arc::new(one), Vec::new(), vec![rows])?;
            let found = Expr::Column(Column::new_unqualified("rows")).gt(lit(0_i64)).alias("found");
            let plan = Projection::try_new(vec![found], Arc::new(LogicalPlan::Aggregate(count)))?;
            (LogicalPlan::Projection(plan), JoinType::Inner, "found")
        } else {
            let plan = Projection::try_new(named_keys(&keys).collect(), Arc::new(plan))?;
            (LogicalPlan::Projection(plan), JoinType::LeftMark, "mark")
        };
        self.attach(input, plan, &keys, &alias, join_type)?;
        let found = Expr::Column(Column::new(Some(alias), name));
        Ok(if exists.negated { !found } else { found })
    }

    /// A subquery for all values that its parameters have in `input` at once, and where they are.
    fn for_parameters(&mut self, plan: LogicalPlan, input: &LogicalPlan) -> Result<(LogicalPlan, Keys)> {
        let parameters: Vec<Column> =
            free_columns(&plan).into_iter().filter(|c| input.schema().has_column(c)).collect();
        if parameters.is_empty() {
            return Ok((plan, Vec::new()));
        }
        Dependent::new(self, &parameters, input).plan(plan)
    }

    /// Joins the rows of a subquery, with its keys as [`key_name`] calls them, to the rows that ask.
    fn attach(
        &mut self,
        input: &mut LogicalPlan,
        plan: LogicalPlan,
        keys: &Keys,
        alias: &str,
        join_type: JoinType,
    ) -> Result<()> {
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), alias)?);
        let names: Vec<Column> = (0..keys.len()).map(|index| Column::new(Some(alias), key_name(index))).collect();
        let pairs: Vec<_> = keys.iter().zip(&names).map(|((parameter, _), name)| (parameter, name)).collect();
        let on = met(&pairs, input, &plan)?;
        let taken = std::mem::replace(input, LogicalPlanBuilder::empty(false).build()?);
        *input = joined(taken, plan, on, None, join_type, NullEquality::NullEqualsNothing)?;
        Ok(())
    }
}

/// The parameters of a subquery, and the columns of its rows that say which values they belong to.
pub(super) type Keys = Vec<(Column, Column)>;

fn key_name(index: usize) -> String {
    format!("key_{index}")
}

fn named_keys(keys: &Keys) -> impl Iterator<Item = Expr> {
    keys.iter().enumerate().map(|(index, (_, key))| Expr::Column(key.clone()).alias(key_name(index)))
}

/// Equalities that hold where two columns are the same, NULL with NULL. They are plain ones: the library's rules add
/// conditions to those of a join without asking how it compares.
fn same(left: (&Column, &DFSchema), right: (&Column, &DFSchema)) -> Result<Vec<(Expr, Expr)>> {
    let (l, r) = (Expr::Column(left.0.clone()), Expr::Column(right.0.clone()));
    if !(l.nullable(left.1)? && r.nullable(right.1)?) {
        return Ok(vec![(l, r)]);
    }
    let default = lit(ScalarValue::new_default(&l.get_type(left.1)?)?);
    let value = |e: &Expr| when(e.clone().is_null(), default.clone()).otherwise(e.clone());
    Ok(vec![(value(&l)?, value(&r)?), (l.is_null(), r.is_null())])
}

/// [`same`] for pairs of columns of two plans.
fn met(pairs: &[(&Column, &Column)], left: &LogicalPlan, right: &LogicalPlan) -> Result<Vec<(Expr, Expr)>> {
    let mut on = Vec::with_capacity(pairs.len());
    for (l, r) in pairs {
        on.extend(same((l, left.schema()), (r, right.schema()))?);
    }
    Ok(on)
}

fn joined(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    filter: Option<Expr>,
    join_type: JoinType,
    null_equality: NullEquality,
) -> Result<LogicalPlan> {
    let constraint = JoinConstraint::On;
    Join::try_new(Arc::new(left), Arc::new(right), on, filter, join_type, constraint, null_equality, false)
        .map(LogicalPlan::Join)
}

/// Whether a subquery has one row, whatever there is: an aggregate of everything.
fn is_aggregated(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_aggregated(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_aggregated(&alias.input),
        LogicalPlan::Sort(sort) => is_aggregated(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

/// Whether a subquery with parameters has what the library's way of pulling conditions up is not right for, or does not
/// do: window functions and LIMIT, which go over other rows then; conditions inside of a query in FROM; DISTINCT and UNION, whose rows are as wide as they are;
/// outer joins; and subqueries with parameters of their own.
fn needs_keys(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        let is_sensitive = match node {
            LogicalPlan::Window(_) | LogicalPlan::Limit(_) | LogicalPlan::Distinct(_) | LogicalPlan::Union(_) => true,
            // A query in FROM gives the columns that it selects, not those that its conditions need.
            LogicalPlan::SubqueryAlias(_) => true,
            // Its rows are made of the parameter.
            LogicalPlan::Unnest(_) => true,
            LogicalPlan::Join(join) => join.join_type != JoinType::Inner,
            _ => false,
        };
        found |= is_sensitive && !free_columns(node).is_empty();
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(subquery_of(e).is_some_and(|s| !passing(s, node).is_empty())))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(inside) => Some(&inside.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

/// A scan whose filters have subqueries or parameters, and these as a filter above it.
fn lifted(scan: TableScan) -> Result<LogicalPlan> {
    let (above, filters): (Vec<_>, Vec<_>) =
        scan.filters.iter().cloned().partition(|filter| {
            filter.contains_outer() || filter.exists(|e| Ok(subquery_of(e).is_some())).unwrap_or(true)
        });
    filtered(conjunction(above), LogicalPlan::TableScan(TableScan { filters, ..scan }))
}

/// The columns of queries around a plan that it refers to, each once.
fn free_columns(plan: &LogicalPlan) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let visited = plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                let more = match e {
                    Expr::OuterReferenceColumn(_, column) => vec![column.clone()],
                    other => subquery_of(other).map_or_else(Vec::new, |subquery| passing(subquery, node)),
                };
                for column in more {
                    if !columns.contains(&column) {
                        columns.push(column);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    debug_assert!(visited.is_ok(), "nothing in here fails");
    columns
}

/// What a subquery in an expression of `node` refers to beyond the rows that the expression is over.
fn passing(subquery: &Subquery, node: &LogicalPlan) -> Vec<Column> {
    let mut columns = free_columns(&subquery.subquery);
    let inputs = node.inputs();
    let has = |column: &Column| match node {
        LogicalPlan::TableScan(scan) => scan.projected_schema.has_column(column),
        _ => inputs.iter().any(|input| input.schema().has_column(column)),
    };
    columns.retain(|column| !has(column));
    columns
}

fn unsupported(what: &str) -> datafusion_common::DataFusionError {
    SqlError::unsupported(what).into()
}

/// A filter, unless there is nothing to filter by.
fn filtered(condition: Option<Expr>, plan: LogicalPlan) -> Result<LogicalPlan> {
    match condition {
        Some(condition) => Filter::try_new(condition, Arc::new(plan)).map(LogicalPlan::Filter),
        None => Ok(plan),
    }
}
