//! ASOF joins: from the marked right side ([`crate::parse::asof`]) to a node of their own.
//!
//! An ASOF join meets each left row with the nearest right row: of those with equal keys and a position that is not
//! behind (or before, or equal, as the inequality says). It is an extension node, since no rule for joins holds for it:
//! a condition on right rows above it chooses among results, below it among candidates. Conditions on left rows may go
//! below ([`crate::optimize`] does that).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError, JoinConstraint, JoinType, Result};
use datafusion_expr::logical_plan::build_join_schema;
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator, Projection, SubqueryAlias,
    UserDefinedLogicalNodeCore,
};

use crate::error::SqlError;

/// The right side of an ASOF join, as long as the join is not found.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
struct AsofSide {
    input: LogicalPlan,
}

impl UserDefinedLogicalNodeCore for AsofSide {
    fn name(&self) -> &str {
        "AsofSide"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsofSide")
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a side has one input".to_owned()))?;
        Ok(Self { input })
    }
}

/// The marked rows of a plan.
pub(crate) fn side(input: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(AsofSide { input }) })
}

/// Each left row with the nearest right row.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AsofNode {
    pub(crate) left: LogicalPlan,
    pub(crate) right: LogicalPlan,
    /// Equal keys: left, right.
    pub(crate) on: Vec<(Expr, Expr)>,
    /// The positions, left and right: `left >= right`, or as the flags say.
    pub(crate) position: (Expr, Expr),
    /// `left <= right`.
    pub(crate) forward: bool,
    /// Without `=`.
    pub(crate) strict: bool,
    /// Left rows without a partner stay.
    pub(crate) outer: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for AsofNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.left, &self.right).partial_cmp(&(&other.left, &other.right))
    }
}

impl AsofNode {
    fn with_schema(self) -> Result<Self> {
        let join_type = if self.outer { JoinType::Left } else { JoinType::Inner };
        let schema = Arc::new(build_join_schema(self.left.schema(), self.right.schema(), &join_type)?);
        Ok(Self { schema, ..self })
    }
}

impl UserDefinedLogicalNodeCore for AsofNode {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.on.iter().chain([&self.position]).flat_map(|(l, r)| [l.clone(), r.clone()]).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(UserDefinedLogicalNodeCore::name(self))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let wrong = || DataFusionError::Internal("an ASOF join has two inputs and pairs of keys".to_owned());
        let [left, right] = <[LogicalPlan; 2]>::try_from(inputs).map_err(|_| wrong())?;
        let (pairs, rest) = exprs.as_chunks::<2>();
        let mut on: Vec<(Expr, Expr)> = pairs.iter().map(|[l, r]| (l.clone(), r.clone())).collect();
        let position = on.pop().filter(|_| rest.is_empty()).ok_or_else(wrong)?;
        let (forward, strict, outer) = (self.forward, self.strict, self.outer);
        let schema = Arc::clone(&self.schema);
        Self { left, right, on, position, forward, strict, outer, schema }.with_schema()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let mut needed = [Vec::new(), Vec::new()];
        for column in output_columns {
            match column.checked_sub(width) {
                None => needed[0].push(*column),
                Some(column) => needed[1].push(column),
            }
        }
        for (l, r) in self.on.iter().chain([&self.position]) {
            for (side, (expr, plan)) in [(l, &self.left), (r, &self.right)].into_iter().enumerate() {
                for column in expr.column_refs() {
                    needed[side].push(plan.schema().maybe_index_of_column(column)?);
                }
            }
        }
        for columns in &mut needed {
            columns.sort_unstable();
            columns.dedup();
        }
        Some(needed.into())
    }
}

/// Finds the joins whose right side is marked, in a plan and its subqueries.
pub(crate) fn rewrite(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match unmarked(&join.right)? {
            Some(right) => asof(join, right).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })
    .map(|t| t.data)
}

/// The plan without the mark, if it has one.
fn unmarked(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match plan {
        LogicalPlan::Extension(extension) => {
            extension.node.as_any().downcast_ref::<AsofSide>().map(|side| side.input.clone())
        }
        LogicalPlan::SubqueryAlias(alias) => match unmarked(&alias.input)? {
            Some(input) => {
                let alias = SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?;
                Some(LogicalPlan::SubqueryAlias(alias))
            }
            None => None,
        },
        // Names for its columns.
        LogicalPlan::Projection(projection) => match unmarked(&projection.input)? {
            Some(input) => {
                let projection = Projection::try_new(projection.expr.clone(), Arc::new(input))?;
                Some(LogicalPlan::Projection(projection))
            }
            None => None,
        },
        _ => None,
    })
}

fn refused(message: &str) -> DataFusionError {
    let error = SqlError::invalid(message).about("ASOF");
    error.with_hint("write ASOF JOIN t ON a.key = t.key AND a.time >= t.time").into()
}

fn asof(join: Join, right: LogicalPlan) -> Result<LogicalPlan> {
    let left = Arc::unwrap_or_clone(join.left);
    let outer = join.join_type == JoinType::Left;
    let mut on = join.on;
    let mut position = None;
    if join.join_constraint == JoinConstraint::Using {
        // The last column is the position.
        position = on.pop().map(|(l, r)| (l, Operator::GtEq, r));
    }
    for condition in join.filter.map(split_conjunction_owned).unwrap_or_default() {
        let (l, op, r) = sides(condition, left.schema(), right.schema())?;
        match op {
            Operator::Eq => on.push((l, r)),
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq if position.is_none() => {
                position = Some((l, op, r));
            }
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                return Err(refused("an ASOF JOIN has one inequality"));
            }
            _ => return Err(refused("the condition of an ASOF JOIN has equalities and one inequality")),
        }
    }
    let Some((l, op, r)) = position else { return Err(refused("an ASOF JOIN needs an inequality")) };
    let alike = |(l, r)| in_one_type(l, r, left.schema(), right.schema());
    let on = on.into_iter().map(alike).collect::<Result<Vec<_>>>()?;
    let position = alike((l, r))?;
    let (forward, strict) = (matches!(op, Operator::Lt | Operator::LtEq), matches!(op, Operator::Lt | Operator::Gt));
    let schema = Arc::new(DFSchema::empty());
    let node = AsofNode { left, right, on, position, forward, strict, outer, schema }.with_schema()?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// A comparison with the left side's value on its left.
fn sides(condition: Expr, left: &DFSchema, right: &DFSchema) -> Result<(Expr, Operator, Expr)> {
    let is_of = |expr: &Expr, schema: &DFSchema| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.into_iter().all(|column| schema.has_column(column))
    };
    if let Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }) = condition {
        if is_of(&l, left) && is_of(&r, right) {
            return Ok((*l, op, *r));
        }
        if let (true, true, Some(op)) = (is_of(&r, left), is_of(&l, right), op.swap()) {
            return Ok((*r, op, *l));
        }
    }
    Err(refused("each condition of an ASOF JOIN compares a value of the left side with one of the right side"))
}

fn in_one_type(l: Expr, r: Expr, left: &DFSchema, right: &DFSchema) -> Result<(Expr, Expr)> {
    let (from_left, from_right) = (l.get_type(left)?, r.get_type(right)?);
    if from_left == from_right {
        return Ok((l, r));
    }
    let Some(common) = comparison_coercion(&from_left, &from_right) else {
        let message = format!("Cannot infer common argument type for comparison operation {from_left} = {from_right}");
        return Err(DataFusionError::Plan(message));
    };
    let cast = |expr: Expr, from| match from == common {
        true => expr,
        false => Expr::Cast(Cast::new(Box::new(expr), common.clone())),
    };
    Ok((cast(l, from_left), cast(r, from_right)))
}
