//! Join order by cost: a rule on the logical plan, after filters are where they belong and before columns are pruned.
//!
//! A tree of inner joins (and the filters between them) is taken apart into relations, equalities and other
//! conditions. A semi or anti join whose keys all come from one relation is first moved down to it, if it reduces it; one
//! that does not is done last. Then, starting from the largest relation as the probe side of all, the relation that leaves the fewest rows is
//! joined next; one without an equality to what is there comes last (a cross product). Each join is written with the
//! larger side on the left; the physical planner builds on the smaller.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, JoinConstraint, JoinType, NullEquality, Result};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{Expr, Join, LogicalPlan, LogicalPlanBuilder};
use datafusion_optimizer::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::estimate;

/// The share of a relation that a semi or anti join may leave and still be worth doing first.
const REDUCED: f64 = 0.5;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct JoinOrder;

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &str {
        "join_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        reorder_below(plan).map(Transformed::yes)
    }
}

fn reorder_below(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !is_graph(&plan) {
        return plan.map_children(|child| reorder_below(child).map(Transformed::yes)).map(|t| t.data);
    }
    let schema = Arc::clone(plan.schema());
    let mut graph = Graph::default();
    graph.take_apart(plan)?;
    for relation in &mut graph.relations {
        let taken = std::mem::take(relation);
        *relation = reorder_below(taken)?;
    }
    let joined = graph.join()?;
    restore(joined, &schema)
}

/// The same columns in the same order as before.
fn restore(plan: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    if plan.schema().as_ref().logically_equivalent_names_and_types(schema)
        && plan.schema().columns() == schema.columns()
    {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(schema.columns().into_iter().map(Expr::Column))?.build()
}

fn is_graph(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Join(join) => is_inner(join) || moves_down(join),
        LogicalPlan::Filter(filter) => matches!(&*filter.input, LogicalPlan::Join(j) if is_inner(j)),
        _ => false,
    }
}

fn is_inner(join: &Join) -> bool {
    join.join_type == JoinType::Inner && join.null_equality == NullEquality::NullEqualsNothing
}

/// A semi or anti join over inner joins.
fn moves_down(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) && is_graph(&join.left)
}

#[derive(Default)]
struct Graph {
    relations: Vec<LogicalPlan>,
    equalities: Vec<(Expr, Expr)>,
    conditions: Vec<Expr>,
    /// Semi and anti joins that no single relation can take, outermost last.
    above: Vec<Join>,
}

impl Graph {
    fn take_apart(&mut self, plan: LogicalPlan) -> Result<()> {
        match plan {
            LogicalPlan::Join(join) if is_inner(&join) => {
                self.take_apart(Arc::unwrap_or_clone(join.left))?;
                self.take_apart(Arc::unwrap_or_clone(join.right))?;
                self.equalities.extend(join.on);
                self.conditions.extend(join.filter.into_iter().flat_map(split_conjunction_owned));
                Ok(())
            }
            LogicalPlan::Join(mut join) if moves_down(&join) => {
                let left = std::mem::take(&mut join.left);
                self.take_apart(Arc::unwrap_or_clone(left))?;
                let outer_columns = |e: &Expr| {
                    e.column_refs()
                        .into_iter()
                        .filter(|c| !join.right.schema().has_column(c))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                let columns: Vec<_> = join
                    .on
                    .iter()
                    .flat_map(|(l, _)| l.column_refs().into_iter().cloned().collect::<Vec<_>>())
                    .chain(join.filter.iter().flat_map(outer_columns))
                    .collect();
                let home = self
                    .relations
                    .iter()
                    .position(|r| !columns.is_empty() && columns.iter().all(|c| r.schema().has_column(c)));
                // What keeps most of a relation, and is no smaller, is better asked of the few rows that joins leave.
                let helps = |relation: &LogicalPlan| {
                    let rows = estimate::rows(relation);
                    let kept = rebuild(join.clone(), relation.clone()).map_or(rows, |join| estimate::rows(&join));
                    kept <= REDUCED * rows || estimate::rows(&join.right) < rows
                };
                match home.filter(|index| helps(&self.relations[*index])) {
                    Some(index) => {
                        let relation = std::mem::take(&mut self.relations[index]);
                        self.relations[index] = rebuild(join, relation)?;
                    }
                    None => self.above.push(join),
                }
                Ok(())
            }
            LogicalPlan::Filter(filter) if matches!(&*filter.input, LogicalPlan::Join(j) if is_inner(j)) => {
                self.conditions.extend(split_conjunction_owned(filter.predicate));
                self.take_apart(Arc::unwrap_or_clone(filter.input))
            }
            other => {
                self.relations.push(other);
                Ok(())
            }
        }
    }

    fn join(mut self) -> Result<LogicalPlan> {
        let mut rest: Vec<(LogicalPlan, f64)> = self
            .relations
            .drain(..)
            .map(|r| {
                let rows = estimate::rows(&r);
                (r, rows)
            })
            .collect();
        // The largest relation streams through all joins.
        let start = (0..rest.len()).max_by(|&a, &b| rest[a].1.total_cmp(&rest[b].1)).unwrap_or(0);
        // Ties keep the order of the statement.
        let start = (0..rest.len()).find(|&i| rest[i].1 >= rest[start].1).unwrap_or(start);
        // Relations that do not touch it yet are joined among themselves when they first can be.
        let mut plan = rest.remove(start).0;
        plan = self.attach_conditions(plan)?;
        while !rest.is_empty() {
            let mut best: Option<(usize, f64)> = None;
            let plan_rows = estimate::rows(&plan);
            for (index, (candidate, candidate_rows)) in rest.iter().enumerate() {
                let on = self.equalities_between(&plan, candidate);
                if on.is_empty() {
                    continue;
                }
                let rows = estimate::matched((&plan, plan_rows), (candidate, *candidate_rows), &on);
                if best.is_none_or(|(_, least)| rows < least) {
                    best = Some((index, rows));
                }
            }
            // Without an equality: the smallest, as a cross product.
            let index = match best {
                Some((index, _)) => index,
                None => (0..rest.len()).min_by(|&a, &b| rest[a].1.total_cmp(&rest[b].1)).unwrap_or(0),
            };
            // What reduces the candidate first, without the large side, is joined to it: (orders, customer) before
            // lineitem.
            let (mut candidate, _) = rest.remove(index);
            loop {
                let alone = estimate::rows(&candidate);
                let reducer = (0..rest.len())
                    .filter(|&i| self.equalities_between(&plan, &rest[i].0).is_empty())
                    .filter_map(|i| {
                        let on = self.equalities_between(&candidate, &rest[i].0);
                        (!on.is_empty())
                            .then(|| (i, estimate::matched((&candidate, alone), (&rest[i].0, rest[i].1), &on)))
                    })
                    .filter(|(_, rows)| *rows <= alone)
                    .min_by(|a, b| a.1.total_cmp(&b.1));
                let Some((i, _)) = reducer else { break };
                let (relation, _) = rest.remove(i);
                candidate = self.join_two(candidate, relation)?;
            }
            plan = self.join_two(plan, candidate)?;
        }
        for (left, right) in std::mem::take(&mut self.equalities) {
            self.conditions.push(left.eq(right));
        }
        if let Some(predicate) = conjunction(std::mem::take(&mut self.conditions)) {
            plan = LogicalPlanBuilder::from(plan).filter(predicate)?.build()?;
        }
        for join in std::mem::take(&mut self.above) {
            plan = rebuild(join, plan)?;
        }
        Ok(plan)
    }

    /// Equalities between two plans, left expression first.
    fn equalities_between(&self, left: &LogicalPlan, right: &LogicalPlan) -> Vec<(Expr, Expr)> {
        self.equalities
            .iter()
            .filter_map(|(a, b)| {
                if covers(left, a) && covers(right, b) {
                    Some((a.clone(), b.clone()))
                } else if covers(left, b) && covers(right, a) {
                    Some((b.clone(), a.clone()))
                } else {
                    None
                }
            })
            .collect()
    }

    fn join_two(&mut self, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
        let on = self.equalities_between(&left, &right);
        self.equalities
            .retain(|(a, b)| !((covers(&left, a) && covers(&right, b)) || (covers(&left, b) && covers(&right, a))));
        let join = Join::try_new(
            Arc::new(left),
            Arc::new(right),
            on,
            None,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        self.attach_conditions(LogicalPlan::Join(join))
    }

    /// Puts the conditions that this plan can decide onto it.
    fn attach_conditions(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.conditions).into_iter().partition(|c| covers(&plan, c) && !c.is_volatile());
        self.conditions = later;
        match (conjunction(now), plan) {
            (None, plan) => Ok(plan),
            (Some(predicate), LogicalPlan::Join(join)) if join.join_type == JoinType::Inner => {
                let filter = match join.filter {
                    Some(filter) => filter.and(predicate),
                    None => predicate,
                };
                Ok(LogicalPlan::Join(Join { filter: Some(filter), ..join }))
            }
            (Some(predicate), plan) => LogicalPlanBuilder::from(plan).filter(predicate)?.build(),
        }
    }
}

fn covers(plan: &LogicalPlan, expr: &Expr) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|c| plan.schema().has_column(c))
}

fn rebuild(join: Join, left: LogicalPlan) -> Result<LogicalPlan> {
    Join::try_new(
        Arc::new(left),
        join.right,
        join.on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
    .map(LogicalPlan::Join)
}
