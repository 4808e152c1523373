//! A table becomes a source, its watermark, what is left of its filters, and the columns that are wanted.

use std::sync::Arc;

use datafusion_common::DFSchema;
use datafusion_expr::{LogicalPlan, TableScan, TableSource};
use flumen_core::expr::Expr;
use flumen_core::source::Boundedness;
use flumen_core::spec::streaming::WatermarkSpec;
use flumen_core::types::Schema;

use super::super::expr::n_ary;
use super::super::node::{Node, Op};
use crate::bind::table::ConnectedTable;
use crate::error::{Result, SqlError};
use crate::optimize::{estimate, shared};

use super::{PhysicalPlanner, fields, translate_all};

impl PhysicalPlanner<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        if let Some(part) = shared::part_of(scan) {
            return self.shared(scan, part);
        }
        let table = scan
            .source
            .downcast_ref::<ConnectedTable>()
            .ok_or_else(|| SqlError::internal("a scan of a foreign table"))?;
        let full = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &table.binder_schema)
            .map_err(|e| SqlError::internal(e.strip_backtrace()))?;
        let wanted: Vec<usize> = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..table.schema.fields.len()).collect(),
        };
        // Filters over the table's columns; their columns are read, too, and so is the time for watermarks.
        let filters = translate_all(&scan.filters, &full)?;
        let mut columns = wanted.clone();
        let time = table.watermark.as_ref().map(|w| w.column);
        for column in filters.iter().flat_map(Expr::columns).chain(time) {
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        if columns.is_empty() {
            // COUNT(*) reads the narrowest column.
            let narrowest = (0..table.schema.fields.len())
                .min_by_key(|&i| table.schema.fields[i].data_type.fixed_width().unwrap_or(usize::MAX))
                .ok_or_else(|| {
                    SqlError::invalid(format!("table {:?} has no columns; is its file empty?", table.name))
                        .about(table.name.clone())
                })?;
            columns.push(narrowest);
        }
        let position = |column: usize| columns.iter().position(|&c| c == column).unwrap_or(0);
        let filters: Vec<Expr> = filters.iter().map(|f| f.map_columns(&position)).collect();
        let mut spec = table.scan(columns.clone());
        let applied = table.connector.pushdown(&spec, &filters).filters_applied;
        spec.filters.clone_from(&filters);
        let is_exact = |i: usize| applied.get(i).copied().unwrap_or(false);
        let remaining: Vec<Expr> =
            filters.iter().enumerate().filter(|(i, _)| !is_exact(*i)).map(|(_, f)| f.clone()).collect();
        let exact_filters = filters.iter().enumerate().filter(|(i, _)| is_exact(*i)).map(|(_, f)| f.clone()).collect();
        if remaining.is_empty() {
            spec.limit = scan.fetch.map(|n| n as u64);
        }
        let output = Schema {
            fields: columns.iter().map(|&c| table.schema.fields[c].clone()).collect(),
            event_time: time.map(position),
        };
        let all = table.statistics().rows.map_or(estimate::UNKNOWN_ROWS, |r| r as f64);
        let bounded = table.boundedness == Boundedness::Bounded;
        let parallelism = self.options.parallelism.max(1);
        let note = table.connector.scan_note(&spec);
        let op = Op::Source { spec, table: table.name.clone(), exact_filters, note };
        let mut node = Node::leaf(op, output, parallelism, all, bounded);
        let kept = estimate::rows(&LogicalPlan::TableScan(scan.clone()));
        if let Some(watermark) = &table.watermark {
            let schema = Arc::clone(&node.schema);
            let spec = WatermarkSpec {
                column: position(watermark.column),
                delay_ms: watermark.delay_ms,
                idle_timeout_ms: self.options.source_idle_timeout_ms,
            };
            node = node.then(Op::Watermark(spec), schema, all);
        }
        if remaining.is_empty() {
            node.rows = kept;
        } else {
            node = node.filter(n_ary("and", remaining), (kept / all).min(1.0));
        }
        let expressions: Vec<Expr> = wanted.iter().map(|&c| Expr::Column(position(c))).collect();
        let fields = fields(&scan.projected_schema)?;
        if expressions.is_empty() {
            // Only the number of rows counts; the column that is there does no harm.
            return Ok(node);
        }
        Ok(node.project(expressions, fields))
    }

    /// A consumer of what several read; it is planned for the first.
    fn shared(&mut self, scan: &TableScan, part: &shared::SharedPart) -> Result<Node> {
        let made = part.made().ok_or_else(|| SqlError::internal("a shared part of a plan was not made"))?;
        let node = match self.shared.get(&part.id) {
            Some(node) => node.clone(),
            None => {
                let node = self.node(&made.plan)?;
                let (schema, rows) = (Arc::clone(&node.schema), node.rows);
                let node = node.then(Op::Shared { id: part.id }, schema, rows);
                self.shared.insert(part.id, node.clone());
                node
            }
        };
        let wanted = scan.projection.clone().unwrap_or_else(|| (0..part.schema().fields().len()).collect());
        let place = |column: &usize| {
            let place = made.columns.binary_search(column).map(Expr::Column);
            place.map_err(|_| SqlError::internal("a shared part of a plan lacks a column"))
        };
        let expressions = wanted.iter().map(place).collect::<Result<Vec<_>>>()?;
        // Only the number of rows counts; the column that is there does no harm.
        Ok(if expressions.is_empty() { node } else { node.project(expressions, fields(&scan.projected_schema)?) })
    }
}
