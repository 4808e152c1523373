//! ORDER BY and LIMIT: cut in every subtask, ordered or counted in one.

use std::sync::Arc;

use datafusion_expr::{FetchType, Limit, LogicalPlan, SkipType, Sort};
use flumen_core::expr::Expr;
use flumen_core::graph::Partitioner;
use flumen_core::spec::relational::{LimitSpec, SortKey, SortSpec};
use flumen_core::types::Field;

use super::super::expr::{logical_type, translate};
use super::super::node::{Node, Op};
use crate::error::{Result, SqlError};

use super::{PhysicalPlanner, fields, translate_all};

impl PhysicalPlanner<'_> {
    pub(super) fn sort(&mut self, sort: &Sort, offset: u64, fetch: Option<u64>) -> Result<Node> {
        let mut node = self.node(&sort.input)?;
        if node.updating || !node.bounded {
            return Err(SqlError::unsupported("ORDER BY over data that does not end").about("ORDER"));
        }
        let width = node.schema.fields.len();
        // Keys that are not columns are computed beside them, and left out again afterwards.
        let mut keys = Vec::with_capacity(sort.expr.len());
        let mut computed: Vec<(Expr, Field)> = Vec::new();
        for key in &sort.expr {
            let column = match translate(&key.expr, sort.input.schema())? {
                Expr::Column(c) => c,
                Expr::Literal(_) => continue,
                e => {
                    let data_type = logical_type(&key.expr, sort.input.schema())?;
                    computed.push((e, Field::new(format!("sort_key_{}", computed.len()), data_type, true)));
                    width + computed.len() - 1
                }
            };
            keys.push(SortKey { column, descending: !key.asc, nulls_first: key.nulls_first });
        }
        let extended = !computed.is_empty();
        let original = node.schema.fields.clone();
        if extended {
            let (more, more_fields): (Vec<_>, Vec<_>) = computed.into_iter().unzip();
            let expressions = (0..width).map(Expr::Column).chain(more).collect();
            node = node.project(expressions, original.iter().cloned().chain(more_fields).collect());
        }
        if keys.is_empty() {
            return Ok(limit_node(node, offset, fetch));
        }
        let schema = Arc::clone(&node.schema);
        let cut = |rows: f64| match fetch {
            Some(n) => rows.min(n as f64),
            None => rows,
        };
        if node.parallelism > 1
            && let Some(n) = fetch
        {
            let fetch = n.saturating_add(offset);
            let rows = node.rows.min(fetch as f64 * f64::from(node.parallelism));
            let spec = SortSpec { keys: keys.clone(), offset: 0, fetch: Some(fetch) };
            node = node.then(Op::Sort(spec), Arc::clone(&schema), rows);
        }
        let rows = cut(node.rows);
        let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
        node = node.exchange(partitioner, 1, Op::Sort(SortSpec { keys, offset, fetch }), schema, rows);
        if extended {
            node = node.project((0..width).map(Expr::Column).collect(), original);
        }
        Ok(node)
    }

    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Node> {
        let offset = match limit.get_skip_type() {
            Ok(SkipType::Literal(n)) => n as u64,
            _ => return Err(SqlError::unsupported("an OFFSET that is not a constant").about("OFFSET")),
        };
        let fetch = match limit.get_fetch_type() {
            Ok(FetchType::Literal(n)) => n.map(|n| n as u64),
            _ => return Err(SqlError::unsupported("a LIMIT that is not a constant").about("LIMIT")),
        };
        // The sort knows better than a limit above it which rows it needs. Projections between do not matter.
        match &*limit.input {
            LogicalPlan::Sort(sort) => return self.sort(sort, offset, fetch),
            LogicalPlan::Projection(projection) => {
                if let LogicalPlan::Sort(sort) = &*projection.input {
                    let node = self.sort(sort, offset, fetch)?;
                    let expressions = translate_all(&projection.expr, projection.input.schema())?;
                    return Ok(node.project(expressions, fields(&projection.schema)?));
                }
            }
            _ => {}
        }
        let node = self.node(&limit.input)?;
        if node.updating {
            return Err(SqlError::unsupported("LIMIT over results that change").about("LIMIT"));
        }
        Ok(limit_node(node, offset, fetch))
    }
}

pub(super) fn limit_node(mut node: Node, offset: u64, fetch: Option<u64>) -> Node {
    if offset == 0 && fetch.is_none() {
        return node;
    }
    let schema = Arc::clone(&node.schema);
    if node.parallelism > 1
        && let Some(n) = fetch
    {
        let most = n.saturating_add(offset);
        let rows = node.rows.min(most as f64 * f64::from(node.parallelism));
        node = node.then(Op::Limit(LimitSpec { offset: 0, fetch: Some(most) }), Arc::clone(&schema), rows);
    }
    let rows = fetch.map_or(node.rows, |n| node.rows.min(n as f64));
    let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
    node.exchange(partitioner, 1, Op::Limit(LimitSpec { offset, fetch }), schema, rows)
}
