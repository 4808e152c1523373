//! What puts names into the catalog or takes them out, and queries whose rows go to a new place.

use std::sync::Arc;

use datafusion_sql::sqlparser::ast;
use flumen_core::catalog::{CatalogTable, CatalogView, WatermarkDefinition};
use flumen_core::connectors::MEMORY_CONNECTOR;
use flumen_core::expr::Expr;
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::{Field, LogicalType, Schema};

use super::node::Node;
use super::statement::{StatementPlanner, boundedness, check_ends, unknown_column, written};
use super::{Planned, emit};
use crate::bind::{connector_error, option_error, tumble, unknown_connector};
use crate::error::{Result, SqlError, did_you_mean, nearest};
use crate::parse::{CreateTable, CreateView, Droppable};

impl StatementPlanner<'_> {
    pub(super) fn create_table(&self, definition: &CreateTable) -> Result<Planned> {
        let name = self.statement.names.written(&definition.name);
        let mut options = definition.options.clone();
        let connector = options.remove("connector").unwrap_or_default();
        self.check_name(&definition.name, definition.if_not_exists || definition.or_replace, Droppable::Table)?;
        let (source, sink) = (self.connectors.source(&connector), self.connectors.sink(&connector));
        if source.is_none() && sink.is_none() {
            return Err(unknown_connector(&connector, self.connectors));
        }
        if connector == MEMORY_CONNECTOR {
            options.insert("id".to_owned(), self.options.memory_id.clone());
        }
        let mut schema = if definition.columns.is_empty() {
            let source = source.ok_or_else(|| {
                SqlError::invalid(format!("table {name:?} needs columns: connector {connector:?} only writes"))
                    .about(definition.name.value.clone())
            })?;
            source.infer_schema(&options).map_err(|e| connector_error(&e, &definition.name.value))?
        } else {
            let mut schema = self.binder.define_columns(definition)?;
            for (field, column) in schema.fields.iter_mut().zip(&definition.columns) {
                field.name = self.statement.names.written(&column.name);
            }
            schema
        };
        check_distinct(&schema.fields)?;
        for key in &definition.primary_key {
            if !schema.fields.iter().any(|f| f.name.eq_ignore_ascii_case(key)) {
                return Err(unknown_column(key, &schema));
            }
        }
        let watermark = definition.watermark.as_ref().map(|w| watermark(w, &schema)).transpose()?;
        schema.event_time = watermark.as_ref().map(|w| w.column);
        // Both ends check the options they know; a connector that does both is asked as a source first.
        match (source, sink) {
            (Some(source), _) => {
                source.validate(&options, &schema).map(|_| ()).map_err(|e| option_error(&e, &connector, &options))
            }
            (None, Some(sink)) => sink.validate(&options, &schema).map_err(|e| option_error(&e, &connector, &options)),
            (None, None) => Ok(()),
        }
        .or_else(|as_source| match (source, sink) {
            // A path that is to be written need not be there yet.
            (Some(_), Some(sink)) => sink.validate(&options, &schema).map_err(|_| as_source),
            _ => Err(as_source),
        })?;
        let table = CatalogTable { name, schema: Arc::new(schema), watermark, connector, options };
        Ok(Planned::CreateTable { table, replace: definition.or_replace, if_not_exists: definition.if_not_exists })
    }

    /// A table made of a query's rows: its columns are the query's.
    pub(super) fn create_table_as(&self, definition: &CreateTable, query: &ast::Query) -> Result<Planned> {
        let name = self.statement.names.written(&definition.name);
        self.check_name(&definition.name, definition.if_not_exists || definition.or_replace, Droppable::Table)?;
        let mut options = definition.options.clone();
        let connector = options.remove("connector").unwrap_or_default();
        if connector == MEMORY_CONNECTOR {
            options.insert("id".to_owned(), self.options.memory_id.clone());
        }
        let sink = self.connectors.sink(&connector).ok_or_else(|| match self.connectors.source(&connector) {
            Some(_) => SqlError::invalid(format!("connector {connector:?} only reads")).about(connector.clone()),
            None => unknown_connector(&connector, self.connectors),
        })?;
        let node = self.query(query)?;
        self.check_append_only(&node, &name)?;
        check_ends(&node, &connector, &definition.name.value)?;
        // What is NULL nowhere in these rows may be so in later ones.
        let nullable = |field: &Field| Field::new(&field.name, field.data_type.clone(), true);
        let schema = Schema::new(node.schema.fields.iter().map(nullable).collect());
        if let Some(field) = schema.fields.iter().find(|f| f.data_type == LogicalType::Null) {
            return Err(SqlError::invalid(format!("column {:?} has no type: all of it is NULL", field.name))
                .about(field.name.clone())
                .with_hint("write CAST(NULL AS a_type)"));
        }
        check_distinct(&schema.fields)?;
        sink.validate(&options, &schema).map_err(|e| option_error(&e, &connector, &options))?;
        let columns = (0..schema.fields.len()).map(Expr::Column).collect();
        let node = node.project(columns, schema.fields.clone());
        let table = CatalogTable { name, schema: Arc::new(schema), watermark: None, connector, options };
        let spec = SinkSpec { connector: table.connector.clone(), options: table.options.clone() };
        let root = written(node, sink.as_ref(), spec, &table.name);
        Ok(Planned::CreateTableAs {
            graph: emit::emit(&root, &self.options.job_name),
            table,
            replace: definition.or_replace,
            if_not_exists: definition.if_not_exists,
            boundedness: boundedness(&root),
        })
    }

    /// A query under a name. It is bound here, so that what cannot be read is not put into the catalog.
    pub(super) fn create_view(&self, definition: &CreateView) -> Result<Planned> {
        let name = self.statement.names.written(&definition.name);
        self.check_name(&definition.name, definition.if_not_exists || definition.or_replace, Droppable::View)?;
        if self.binder.reads_view(&definition.query, &name)? {
            return Err(
                SqlError::invalid(format!("view {name:?} would read itself")).about(definition.name.value.clone())
            );
        }
        let logical = self.logical(&definition.query)?;
        let names = self.output_names(&definition.query, &logical);
        let given = &definition.columns;
        if !given.is_empty() && given.len() != names.len() {
            return Err(SqlError::invalid(format!(
                "{} columns are named, the query gives {}",
                given.len(),
                names.len()
            ))
            .about(definition.name.value.clone()));
        }
        let columns: Vec<String> = match given.is_empty() {
            true => names,
            false => given.iter().map(|ident| self.statement.names.written(ident)).collect(),
        };
        let view = CatalogView { name, columns, query: definition.text.clone() };
        Ok(Planned::CreateView { view, replace: definition.or_replace, if_not_exists: definition.if_not_exists })
    }

    pub(super) fn drop(&self, what: Droppable, name: &str, if_exists: bool) -> Result<Planned> {
        let catalog = self.binder.catalog();
        let table = catalog.table(name).map_err(|e| connector_error(&e, name))?.map(|t| t.name.clone());
        let view = catalog.view(name).map_err(|e| connector_error(&e, name))?.map(|v| v.name.clone());
        let (found, other, hint) = match what {
            Droppable::Table => (table, view, "it is a view: write DROP VIEW"),
            Droppable::View => (view, table, "it is a table: write DROP TABLE"),
        };
        match (found, other) {
            (Some(name), _) => Ok(Planned::Drop { what, name, if_exists }),
            (None, Some(_)) => Err(match what {
                Droppable::Table => SqlError::invalid(format!("there is no table {name:?}")),
                Droppable::View => SqlError::invalid(format!("there is no view {name:?}")),
            }
            .about(name)
            .with_hint(hint)),
            (None, None) if if_exists => Ok(Planned::Drop { what, name: name.to_owned(), if_exists }),
            (None, None) if what == Droppable::Table => Err(self.binder.unknown_table(name)),
            (None, None) => {
                let views = catalog.view_names().map_err(|e| connector_error(&e, name))?;
                let error = SqlError::new(crate::error::SqlErrorKind::Unknown, format!("there is no view {name:?}"))
                    .about(name);
                Err(match did_you_mean(&nearest(name, views.iter().map(String::as_str))) {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }

    pub(super) fn check_append_only(&self, node: &Node, target: &str) -> Result<()> {
        if node.updating {
            return Err(SqlError::unsupported(format!("results that change into {target:?}"))
                .with_hint("aggregate by windows: GROUP BY window_start, window_end"));
        }
        Ok(())
    }

    /// Refuses a name that is taken, unless what has it is of the same sort and may stay or be replaced.
    fn check_name(&self, ident: &ast::Ident, may_be_there: bool, what: Droppable) -> Result<()> {
        let (name, catalog) = (&ident.value, self.binder.catalog());
        let is_table = catalog.table(name).map_err(|e| connector_error(&e, name))?.is_some();
        let is_view = catalog.view(name).map_err(|e| connector_error(&e, name))?.is_some();
        let (sort, same) = match (is_table, is_view) {
            (false, false) => return Ok(()),
            (true, _) => ("table", what == Droppable::Table),
            (false, true) => ("view", what == Droppable::View),
        };
        if same && may_be_there {
            return Ok(());
        }
        let upper = sort.to_uppercase();
        let error = SqlError::invalid(format!("there is a {sort} {name:?} already")).about(name.clone());
        Err(match same {
            true => error.with_hint(format!("DROP {upper} it first, or write CREATE OR REPLACE {upper}")),
            false => error.with_hint(format!("DROP {upper} it first, or take another name")),
        })
    }
}

fn check_distinct(fields: &[Field]) -> Result<()> {
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|f| f.name.eq_ignore_ascii_case(&field.name)) {
            return Err(
                SqlError::invalid(format!("column {:?} is defined twice", field.name)).about(field.name.clone())
            );
        }
    }
    Ok(())
}

/// `column` or `column - INTERVAL ...`.
fn watermark(definition: &crate::parse::Watermark, schema: &Schema) -> Result<WatermarkDefinition> {
    let name = &definition.column.value;
    let column = schema
        .fields
        .iter()
        .position(|f| f.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| unknown_column(name, schema))?;
    if !matches!(schema.fields[column].data_type, LogicalType::Timestamp { .. }) {
        return Err(SqlError::invalid(format!(
            "a watermark needs a TIMESTAMP column, and {name:?} is {}",
            schema.fields[column].data_type
        ))
        .about(name.clone()));
    }
    let wrong = || {
        SqlError::unsupported(format!("the watermark {}", definition.expression))
            .about("WATERMARK")
            .with_hint(format!("write WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND"))
    };
    let is_column = |e: &ast::Expr| matches!(e, ast::Expr::Identifier(i) if i.value.eq_ignore_ascii_case(name));
    let delay_ms = match &definition.expression {
        e if is_column(e) => 0,
        ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Minus, right } if is_column(left) => {
            tumble::constant_interval_millis(right).ok_or_else(wrong)?
        }
        _ => return Err(wrong()),
    };
    if delay_ms < 0 {
        return Err(wrong());
    }
    Ok(WatermarkDefinition { column, delay_ms })
}
