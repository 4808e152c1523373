//! Parts of a plan that occur more than once, made once.
//!
//! After the order of joins is known and before columns are pruned, equal parts are looked for: the same text, a CTE or a
//! view used twice, gives the same tree. Each occurrence becomes a scan of a [`SharedPart`], under a projection that gives
//! its columns their names back; pruning then tells which columns each occurrence reads, and the part is made with those
//! that any of them does. The physical plan has its operators once, with an edge to each consumer.
//!
//! A part is shared if that saves much of the work of the whole plan. It costs something: rows go to a second consumer,
//! perhaps by way of a file, and runtime filters of single consumers do not reach into it. So only what groups, joins or
//! orders is shared, not a mere scan.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::{Field, Schema, SchemaRef};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::{Expr, LogicalPlan, Projection, TableScan, TableScanBuilder, TableSource};
use flumen_core::source::Boundedness;

use super::estimate;
use crate::bind::table::ConnectedTable;

/// Work that is not done twice, as a share of all of the plan's.
const SAVED_MIN: f64 = 0.1;
/// Rows worked on for each row that is passed on to a second consumer, at least.
const WORK_PER_ROW: f64 = 4.0;

/// A part of a plan that several consumers read.
pub(crate) struct SharedPart {
    /// Different for each part of a statement.
    pub(crate) id: usize,
    /// As it was found, with all of its columns.
    pub(crate) plan: LogicalPlan,
    /// Expected rows.
    pub(crate) rows: f64,
    schema: SchemaRef,
    made: OnceLock<Made>,
}

/// What is made of a part.
pub(crate) struct Made {
    /// With the columns that are read.
    pub(crate) plan: LogicalPlan,
    /// Which of the part's columns these are, ascending.
    pub(crate) columns: Vec<usize>,
}

impl SharedPart {
    fn new(id: usize, plan: LogicalPlan) -> Self {
        let field = |(index, field): (usize, &Arc<Field>)| field.as_ref().clone().with_name(format!("column_{index}"));
        let fields: Vec<Field> = plan.schema().fields().iter().enumerate().map(field).collect();
        let rows = estimate::rows(&plan);
        Self { id, plan, rows, schema: Arc::new(Schema::new(fields)), made: OnceLock::new() }
    }

    /// What is made of it; there is something once the whole plan has been pruned.
    pub(crate) fn made(&self) -> Option<&Made> {
        self.made.get()
    }
}

impl TableSource for SharedPart {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// The part that a scan reads.
pub(crate) fn part_of(scan: &TableScan) -> Option<&SharedPart> {
    scan.source.downcast_ref::<SharedPart>()
}

/// The plan with what is shared made once. `prune` takes columns out of a plan that nobody reads.
pub(super) fn share(plan: LogicalPlan, prune: impl Fn(LogicalPlan) -> Result<LogicalPlan>) -> Result<LogicalPlan> {
    let mut parts: Vec<Arc<dyn TableSource>> = Vec::new();
    let mut forest = vec![plan];
    while let Some(found) = best(&forest)? {
        let part = Arc::new(SharedPart::new(parts.len(), found));
        let source = Arc::clone(&part) as Arc<dyn TableSource>;
        for tree in &mut forest {
            let taken = std::mem::take(tree);
            *tree = replace(taken, &part.plan, &part, &source)?;
        }
        forest.push(part.plan.clone());
        parts.push(source);
    }
    let mut trees = forest.into_iter();
    let root = prune(trees.next().unwrap_or_default())?;
    let mut read: Vec<Vec<usize>> = vec![Vec::new(); parts.len()];
    note_columns(&root, &mut read)?;
    let mut left: Vec<(usize, LogicalPlan)> = trees.enumerate().collect();
    // A part's turn comes when all who read it have had theirs.
    while let Some(next) = next_part(&left)? {
        let (id, tree) = left.swap_remove(next);
        let columns = std::mem::take(&mut read[id]);
        // Rows without columns would have no number.
        let columns = if columns.is_empty() { vec![0] } else { columns };
        let all = tree.schema().columns();
        let wanted = columns.iter().filter_map(|index| all.get(*index).cloned().map(Expr::Column)).collect();
        let plan = prune(LogicalPlan::Projection(Projection::try_new(wanted, Arc::new(tree))?))?;
        note_columns(&plan, &mut read)?;
        if let Some(part) = parts[id].downcast_ref::<SharedPart>() {
            // Nobody else sets it.
            let _ = part.made.set(Made { plan, columns });
        }
    }
    Ok(root)
}

/// The position of a part that none of these reads; there always is one, since parts cannot lie within each other.
fn next_part(left: &[(usize, LogicalPlan)]) -> Result<Option<usize>> {
    let mut is_read = vec![false; left.len()];
    for (_, tree) in left {
        tree.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(part) = part_of(scan)
                && let Some(position) = left.iter().position(|(id, _)| *id == part.id)
            {
                is_read[position] = true;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(is_read.iter().position(|is_read| !is_read))
}

/// Adds the columns of parts that a plan reads.
fn note_columns(plan: &LogicalPlan, read: &mut [Vec<usize>]) -> Result<()> {
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(part) = part_of(scan)
        {
            let all = || (0..part.schema.fields().len()).collect();
            let columns = &mut read[part.id];
            columns.extend(scan.projection.clone().unwrap_or_else(all));
            columns.sort_unstable();
            columns.dedup();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The largest part that it is worth to share: the topmost, and of several of them the one that saves most.
fn best(forest: &[LogicalPlan]) -> Result<Option<LogicalPlan>> {
    // Only what reads tables that are read several times can occur several times. Scans are compared by the names of
    // their tables; the names of recursive queries stand for several tables.
    let mut scans: HashMap<String, Vec<&TableScan>> = HashMap::new();
    for tree in forest {
        tree.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                scans.entry(scan.table_name.to_string()).or_default().push(scan);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    if scans.values().all(|same| same.len() < 2) {
        return Ok(None);
    }
    let is_ambiguous = |scan: &TableScan| {
        let options = |scan: &TableScan| scan.source.downcast_ref::<ConnectedTable>().map(|t| t.options.clone());
        let same = scans.get(&scan.table_name.to_string());
        same.into_iter().flatten().any(|other| options(other) != options(scan))
    };
    let mut occurrences: HashMap<&LogicalPlan, usize> = HashMap::new();
    for tree in forest {
        tree.apply(|node| {
            if is_worker(node) || matches!(node, LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_)) {
                *occurrences.entry(node).or_default() += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let all: f64 = forest.iter().map(work).sum();
    let mut best: Option<(&LogicalPlan, f64)> = None;
    for tree in forest {
        tree.apply(|node| {
            let count = occurrences.get(node).copied().unwrap_or(0);
            if count < 2 {
                return Ok(TreeNodeRecursion::Continue);
            }
            let (extra, worked) = ((count - 1) as f64, work(node));
            let is_worth_it = extra * worked >= SAVED_MIN * all && worked >= WORK_PER_ROW * estimate::rows(node);
            if !is_worth_it || !may_be_shared(node, &is_ambiguous)? {
                return Ok(TreeNodeRecursion::Continue);
            }
            if best.is_none_or(|(_, most)| extra * worked > most) {
                best = Some((node, extra * worked));
            }
            Ok(TreeNodeRecursion::Jump)
        })?;
    }
    Ok(best.map(|(node, _)| node.clone()))
}

/// Rows that the operators of a plan take in, about.
fn work(plan: &LogicalPlan) -> f64 {
    let own = match plan {
        LogicalPlan::TableScan(scan) => match scan.source.downcast_ref::<ConnectedTable>() {
            Some(table) => table.statistics().rows.map_or(estimate::UNKNOWN_ROWS, |rows| rows as f64),
            None => estimate::rows(plan),
        },
        plan if is_worker(plan) => plan.inputs().into_iter().map(estimate::rows).sum(),
        _ => 0.0,
    };
    own + plan.inputs().into_iter().map(work).sum::<f64>()
}

/// Does more than pass rows on.
fn is_worker(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Aggregate(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
    )
}

/// Whether it is the same each time: it ends, is no stream, and does not draw random numbers. Parts that choose among
/// their rows (LIMIT) may be shared, since all who ask then see the same choice.
fn may_be_shared(plan: &LogicalPlan, is_ambiguous: &impl Fn(&TableScan) -> bool) -> Result<bool> {
    let (mut may, mut works) = (!plan.schema().fields().is_empty(), false);
    plan.apply(|node| {
        works |= is_worker(node);
        may &= match node {
            LogicalPlan::TableScan(scan) => match scan.source.downcast_ref::<ConnectedTable>() {
                Some(table) => {
                    table.boundedness == Boundedness::Bounded && table.watermark.is_none() && !is_ambiguous(scan)
                }
                None => part_of(scan).is_some(),
            },
            LogicalPlan::Extension(_) => false,
            _ => true,
        };
        node.apply_expressions(|expr| {
            may &= !expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(may && works)
}

/// `tree` with scans of a part where it occurs.
fn replace(
    tree: LogicalPlan,
    occurring: &LogicalPlan,
    part: &SharedPart,
    source: &Arc<dyn TableSource>,
) -> Result<LogicalPlan> {
    tree.transform_down(|node| {
        if node != *occurring {
            return Ok(Transformed::no(node));
        }
        let name = format!("__shared_{}", part.id);
        let scan = LogicalPlan::TableScan(TableScanBuilder::new(name.as_str(), Arc::clone(source)).build()?);
        let columns =
            node.schema().columns().into_iter().enumerate().map(|(index, Column { relation, name: old, .. })| {
                let column = Column::new(Some(name.as_str()), format!("column_{index}"));
                Expr::Column(column).alias_qualified(relation, old)
            });
        let named = Projection::try_new(columns.collect(), Arc::new(scan))?;
        Ok(Transformed::new(LogicalPlan::Projection(named), true, TreeNodeRecursion::Jump))
    })
    .map(|t| t.data)
}
