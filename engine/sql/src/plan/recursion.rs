//! `WITH RECURSIVE`: a query that reads its own rows.
//!
//! The rows are kept in memory ([`crate::bind::work_table`]) and made in rounds, each a job of its own: the first part gives
//! the first rows; then the other part is run over the rows of the last round until it gives none (SQL:1999 7.12; PostgreSQL's
//! working table). With UNION, rows that are there already are left out; with UNION ALL it ends when a round is empty.
//! The statement around it reads all rows as a table.

use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DataFusionError, JoinType, NullEquality};
use datafusion_expr::{
    Cast, Distinct, Expr as LogicalExpr, Join, JoinConstraint, LogicalPlan, Projection, RecursiveQuery,
    TableScanBuilder, TableSource,
};
use flumen_core::connectors::MEMORY_CONNECTOR;
use flumen_core::expr::Expr;
use flumen_core::graph::StreamGraph;
use flumen_core::spec::connector::SinkSpec;

use super::physical::PhysicalPlanner;
use super::statement::{StatementPlanner, unknown_sink, written};
use super::{RecursiveTable, emit, explain};
use crate::bind::table::ConnectedTable;
use crate::bind::work_table::{self, Which};
use crate::error::{Result, SqlError};

/// A recursive query that was taken out of a plan.
pub(crate) struct Recursion {
    name: String,
    /// The rows of the last round, as the other part reads them.
    last: Arc<dyn TableSource>,
    first: LogicalPlan,
    next: LogicalPlan,
}

/// What becomes of it.
pub(crate) struct PlannedRecursion {
    pub(crate) table: RecursiveTable,
    pub(crate) explained: String,
}

/// Replaces the recursive queries of a bound plan by scans of the tables that they fill; in the order in which they are to
/// be run.
pub(crate) fn extract(plan: LogicalPlan) -> Result<(LogicalPlan, Vec<Recursion>), DataFusionError> {
    let mut parts: Vec<Recursion> = Vec::new();
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::RecursiveQuery(query) => {
            let (part, scan) = recursion(query)?;
            parts.push(part);
            Ok(Transformed::yes(scan))
        }
        other => Ok(Transformed::no(other)),
    })?;
    for part in &parts {
        for plan in [&part.first, &part.next] {
            if reads(plan, |table| work_table::is_last(table) && !is_same(table, &part.last))? {
                let what = format!("WITH RECURSIVE {} inside of another recursive query that it reads", part.name);
                return Err(DataFusionError::from(SqlError::unsupported(what).about("RECURSIVE")));
            }
        }
    }
    if reads(&plan.data, work_table::is_last)? {
        return Err(DataFusionError::from(
            SqlError::unsupported("this place for a recursive query").about("RECURSIVE"),
        ));
    }
    Ok((plan.data, parts))
}

fn recursion(query: RecursiveQuery) -> Result<(Recursion, LogicalPlan), DataFusionError> {
    let RecursiveQuery { name, static_term, recursive_term, is_distinct, .. } = query;
    let mut last = None;
    recursive_term.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.source.downcast_ref::<ConnectedTable>().is_some_and(|t| work_table::is_last(t) && t.name == name)
        {
            last = Some(Arc::clone(&scan.source));
        }
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    })?;
    let found = last.as_ref().and_then(|source| source.downcast_ref::<ConnectedTable>());
    let (Some(last), Some(table)) = (&last, found) else {
        // The binder has seen that it reads itself; so that was in another recursive query, which is taken out by now.
        let what = format!("WITH RECURSIVE {name}, which reads itself in another recursive query");
        return Err(DataFusionError::from(SqlError::unsupported(what).about("RECURSIVE")));
    };
    let all: Arc<dyn TableSource> = Arc::new(work_table::reading(table, Which::All));
    let scan = |source: &Arc<dyn TableSource>| {
        TableScanBuilder::new(name.as_str(), Arc::clone(source)).build().map(LogicalPlan::TableScan)
    };
    // In the types that the table has.
    let typed = |plan: Arc<LogicalPlan>| -> Result<LogicalPlan, DataFusionError> {
        let columns = plan.schema().columns().into_iter().zip(table.binder_schema.fields());
        let columns = columns
            .map(|(column, field)| {
                let value = Box::new(LogicalExpr::Column(column));
                LogicalExpr::Cast(Cast::new(value, field.data_type().clone())).alias(field.name())
            })
            .collect();
        let plan = LogicalPlan::Projection(Projection::try_new(columns, plan)?);
        Ok(if is_distinct { LogicalPlan::Distinct(Distinct::All(Arc::new(plan))) } else { plan })
    };
    let names = static_term.schema().columns();
    let first = typed(static_term)?;
    let mut next = typed(recursive_term)?;
    if is_distinct {
        let there = scan(&all)?;
        let on = next.schema().columns().into_iter().zip(there.schema().columns());
        let on = on.map(|(l, r)| (LogicalExpr::Column(l), LogicalExpr::Column(r))).collect();
        let (left, right) = (Arc::new(next), Arc::new(there));
        let nulls = NullEquality::NullEqualsNull;
        next = LogicalPlan::Join(Join::try_new(
            left,
            right,
            on,
            None,
            JoinType::LeftAnti,
            JoinConstraint::On,
            nulls,
            false,
        )?);
    }
    let read = scan(&all)?;
    let columns = read
        .schema()
        .columns()
        .into_iter()
        .zip(names)
        .map(|(column, Column { relation, name, .. })| LogicalExpr::Column(column).alias_qualified(relation, name))
        .collect();
    let read = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(read))?);
    Ok((Recursion { name: name.clone(), last: Arc::clone(last), first, next }, read))
}

/// Whether a plan reads such a table.
fn reads(plan: &LogicalPlan, which: impl Fn(&ConnectedTable) -> bool) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found |= scan.source.downcast_ref::<ConnectedTable>().is_some_and(&which);
        }
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn is_same(table: &ConnectedTable, other: &Arc<dyn TableSource>) -> bool {
    other.downcast_ref::<ConnectedTable>().is_some_and(|other| other.options == table.options)
}

impl StatementPlanner<'_> {
    /// Both parts as jobs that write into memory.
    pub(super) fn recursion(
        &self,
        part: Recursion,
        optimized: &dyn Fn(LogicalPlan) -> Result<LogicalPlan>,
    ) -> Result<PlannedRecursion> {
        let Some(table) = part.last.downcast_ref::<ConnectedTable>() else {
            return Err(SqlError::internal("a work table of a foreign kind"));
        };
        let connector = self.connectors.sink(MEMORY_CONNECTOR).ok_or_else(|| unknown_sink(MEMORY_CONNECTOR))?;
        let added = work_table::options(table, Which::Added);
        let mut explained = String::new();
        let mut graph = |what: &str, plan: LogicalPlan| -> Result<StreamGraph> {
            let node = PhysicalPlanner::new(self.options).plan(&optimized(plan)?)?;
            if !node.bounded || node.updating {
                return Err(SqlError::unsupported("WITH RECURSIVE over data that does not end").about("RECURSIVE"));
            }
            let columns = (0..table.schema.fields.len()).map(Expr::Column).collect();
            let node = node.project(columns, table.schema.fields.clone());
            let spec = SinkSpec { connector: MEMORY_CONNECTOR.to_owned(), options: added.clone() };
            let root = written(node, connector.as_ref(), spec, &part.name);
            explained.push_str(&format!("{what} of {}:\n{}\n", part.name, explain::explain(&root)));
            Ok(emit::emit(&root, &self.options.job_name))
        };
        let (first, next) = (graph("first round", part.first)?, graph("each further round", part.next)?);
        let id = |which| work_table::id(table, which);
        let table = RecursiveTable {
            name: part.name.clone(),
            first,
            next,
            added: id(Which::Added),
            last: id(Which::Last),
            all: id(Which::All),
        };
        Ok(PlannedRecursion { table, explained })
    }
}
