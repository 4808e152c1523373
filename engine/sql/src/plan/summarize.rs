//! `SUMMARIZE`: what a relation holds, a row a column.
//!
//! It is planned as one aggregation without keys, which reads the relation once and gives one row with a few values for
//! each column; whoever runs it turns that row into the table that people see ([`Summary`]).

use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{self, SetExpr, TableFactor};
use flumen_core::types::LogicalType;

use super::statement::{StatementPlanner, boundedness};
use super::{Planned, Summary, SummaryColumn, emit};
use crate::bind::types::logical;
use crate::error::{Result, SqlError};
use crate::parse::{StatementKind, parse};

impl StatementPlanner<'_> {
    pub(super) fn summarize(&self, query: &ast::Query) -> Result<Planned> {
        let plan = self.logical(query)?;
        let mut columns = Vec::new();
        let mut items = Vec::new();
        for (name, field) in self.output_names(query, &plan).into_iter().zip(plan.schema().fields()) {
            let data_type = logical(field.data_type())?;
            let quoted = format!("\"{}\"", field.name().replace('"', "\"\""));
            items.extend(values_of(&quoted, &data_type));
            columns.push(SummaryColumn { name, data_type });
        }
        items.push("count(*)".to_owned());
        let mut summary = match parse(&format!("SELECT {} FROM summarized", items.join(", ")))?.pop() {
            Some(statement) => match statement.kind {
                StatementKind::Query(summary) => summary,
                _ => return Err(SqlError::internal("a summary is a query")),
            },
            None => return Err(SqlError::internal("a summary is a statement")),
        };
        if let SetExpr::Select(select) = &mut *summary.body {
            for table in &mut select.from {
                table.relation = TableFactor::Derived {
                    lateral: false,
                    subquery: Box::new(query.clone()),
                    alias: Some(ast::TableAlias {
                        explicit: true,
                        name: ast::Ident::new("summarized"),
                        columns: Vec::new(),
                        at: None,
                    }),
                    sample: None,
                };
            }
        }
        let root = self.collected(&summary)?;
        let boundedness = boundedness(&root);
        if boundedness == flumen_core::source::Boundedness::Unbounded {
            return Err(SqlError::unsupported("SUMMARIZE of rows that do not end").about("SUMMARIZE"));
        }
        Ok(Planned::Query {
            graph: emit::emit(&root, &self.options.job_name),
            schema: Arc::clone(&root.inputs[0].node.schema),
            boundedness,
            updating: false,
            summary: Some(Summary { columns }),
        })
    }
}

/// As [`Summary`] lists them.
fn values_of(column: &str, data_type: &LogicalType) -> [String; 5] {
    let is_number = data_type.is_integer() || data_type.is_float() || matches!(data_type, LogicalType::Decimal { .. });
    let is_ordered =
        data_type.fixed_width().is_some() && !matches!(data_type, LogicalType::Null | LogicalType::Interval);
    let text = |function: &str| match is_ordered {
        true => format!("CAST({function}({column}) AS VARCHAR)"),
        false => "CAST(NULL AS VARCHAR)".to_owned(),
    };
    let number = |function: &str| match is_number {
        true => format!("CAST({function}({column}) AS DOUBLE)"),
        false => "CAST(NULL AS DOUBLE)".to_owned(),
    };
    [text("min"), text("max"), number("avg"), number("stddev"), format!("count({column})")]
}
