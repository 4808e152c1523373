//! One statement to [`Planned`].

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_expr::{Expr as LogicalExpr, LogicalPlan};
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::tokenizer::Token;
use flumen_core::catalog::{Catalog, CatalogTable, WatermarkDefinition};
use flumen_core::expr::Expr;
use flumen_core::graph::Partitioner;
use flumen_core::source::Boundedness;
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::{Field, LogicalType, Schema};

use super::expr::typed;
use super::node::{Node, Op};
use super::physical::PhysicalPlanner;
use super::{PlanOptions, Planned, emit, explain};
use crate::bind::{Binder, aggregates, connector_error, functions, tumble, unknown_connector, windows};
use crate::error::{Result, SqlError, Suggestions, did_you_mean, from_datafusion, nearest};
use crate::parse::normalize::output_aliases;
use crate::parse::{CreateTable, DescribeTarget, Statement, StatementKind};
use flumen_core::connectors::{COLLECT_CONNECTOR, ConnectorRegistry};

/// Plans a statement.
///
/// Reads the catalog and asks connectors for schemas and statistics, which may read files; changes nothing.
///
/// # Errors
/// If the statement names what there is not, makes no sense, or asks for what the engine cannot do yet; with the place
/// in the text.
pub fn plan_statement(
    statement: &Statement,
    catalog: &dyn Catalog,
    connectors: &ConnectorRegistry,
    options: &PlanOptions,
) -> Result<Planned> {
    crate::stack::with_large_stack(|| {
        let planner = StatementPlanner { binder: Binder::new(catalog, connectors), statement, connectors, options };
        planner.plan(&statement.kind).map_err(|e| e.locate(&statement.tokens, &statement.source))
    })
}

struct StatementPlanner<'a> {
    binder: Binder<'a>,
    statement: &'a Statement,
    connectors: &'a ConnectorRegistry,
    options: &'a PlanOptions,
}

impl StatementPlanner<'_> {
    fn plan(&self, kind: &StatementKind) -> Result<Planned> {
        Ok(match kind {
            StatementKind::Query(query) => {
                let root = self.collected(query)?;
                let schema = Arc::clone(&root.inputs[0].node.schema);
                let boundedness = boundedness(&root);
                let updating = root.updating;
                Planned::Query { graph: emit::emit(&root, &self.options.job_name), schema, boundedness, updating }
            }
            StatementKind::Insert { table, columns, query } => {
                let (root, table) = self.insert(table, columns, query)?;
                let boundedness = boundedness(&root);
                Planned::Insert { graph: emit::emit(&root, &self.options.job_name), table, boundedness }
            }
            StatementKind::CreateTable(table) => self.create_table(table)?,
            StatementKind::DropTable { name, if_exists } => {
                let found = self.binder.catalog().table(name).map_err(|e| connector_error(&e, name))?;
                match found {
                    Some(table) => Planned::DropTable { name: table.name.clone(), if_exists: *if_exists },
                    None if *if_exists => Planned::DropTable { name: name.clone(), if_exists: true },
                    None => return Err(self.binder.unknown_table(name)),
                }
            }
            StatementKind::Set { key, value } => Planned::Set { key: key.clone(), value: value.clone() },
            StatementKind::Reset { key } => Planned::Reset { key: key.clone() },
            StatementKind::ShowSettings => Planned::ShowSettings,
            StatementKind::Explain { analyze, statement } => {
                let root = match &statement.kind {
                    StatementKind::Query(query) => self.collected(query)?,
                    StatementKind::Insert { table, columns, query } => self.insert(table, columns, query)?.0,
                    _ => return Err(SqlError::unsupported("EXPLAIN of other than queries and INSERT").about("EXPLAIN")),
                };
                let analyze = if *analyze { Some(Box::new(self.plan(&statement.kind)?)) } else { None };
                Planned::Explain { text: explain::explain(&root), analyze }
            }
            StatementKind::ShowTables => {
                let names = self.binder.catalog().table_names().map_err(|e| connector_error(&e, "TABLES"))?;
                Planned::Rows {
                    columns: vec!["table".to_owned()],
                    rows: names.into_iter().map(|name| vec![name]).collect(),
                }
            }
            StatementKind::Describe(target) => self.describe(target)?,
        })
    }

    /// A query with the sink that takes its rows.
    fn collected(&self, query: &ast::Query) -> Result<Node> {
        let node = self.query(query)?;
        let spec = SinkSpec {
            connector: COLLECT_CONNECTOR.to_owned(),
            options: [("id".to_owned(), self.options.collect_id.clone())].into(),
        };
        let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
        let (schema, rows) = (Arc::clone(&node.schema), node.rows);
        Ok(node.exchange(partitioner, 1, Op::Sink { spec, table: None }, schema, rows))
    }

    fn logical(&self, query: &ast::Query) -> Result<LogicalPlan> {
        let written = |name: &str| self.binder.written_column(name).unwrap_or_else(|| name.to_owned());
        let known = || functions::names().into_iter().chain(aggregates::names()).chain(windows::names()).collect();
        let in_statement = |name: &str| {
            let mut words = self.statement.tokens.iter().filter_map(|t| match &t.token {
                Token::Word(word) if word.value.eq_ignore_ascii_case(name) => Some(word.value.clone()),
                _ => None,
            });
            words.next().unwrap_or_else(|| name.to_owned())
        };
        let suggestions = Suggestions { written: &written, in_statement: &in_statement, functions: &known };
        let bound = self.binder.bind(query.clone()).map_err(|e| from_datafusion(e, &suggestions))?;
        check_scalar_subqueries(&bound).map_err(|error| match self.first_subquery() {
            Some(position) => error.at(position),
            None => error,
        })?;
        check_windows_of_subqueries(&bound)?;
        crate::optimize::optimize(bound, self.options.now_ms).map_err(|e| from_datafusion(e, &suggestions))
    }

    /// Where the first query in parentheses begins.
    fn first_subquery(&self) -> Option<crate::Position> {
        let mut tokens = self.statement.tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_)));
        let mut open = false;
        tokens.find_map(|t| {
            let is_select = matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case("select"));
            let found = (open && is_select).then(|| crate::parse::place(t));
            open = t.token == Token::LParen;
            found
        })
    }

    /// The physical plan of a query, whose columns have their written names.
    fn query(&self, query: &ast::Query) -> Result<Node> {
        let logical = self.logical(query)?;
        let node = PhysicalPlanner::new(self.options).plan(&logical)?;
        let fields = self.output_fields(query, &logical, &node);
        let same = node.schema.fields.iter().zip(&fields).all(|(a, b)| a.name == b.name);
        if same && node.schema.fields.len() == fields.len() {
            return Ok(node);
        }
        let columns: Vec<Expr> = (0..fields.len()).map(Expr::Column).collect();
        if node.names_its_output() {
            return Ok(node.project(columns, fields));
        }
        let (rows, event_time) = (node.rows, node.schema.event_time);
        Ok(node.then(Op::Project { expressions: columns }, Arc::new(Schema { fields, event_time }), rows))
    }

    fn output_fields(&self, query: &ast::Query, logical: &LogicalPlan, node: &Node) -> Vec<Field> {
        let aliases: HashMap<String, String> = output_aliases(query, &self.statement.names);
        let names = logical.schema().fields().iter().map(|f| f.name().clone());
        names
            .zip(&node.schema.fields)
            .map(|(name, field)| {
                let written = aliases
                    .get(&name.to_lowercase())
                    .cloned()
                    .or_else(|| self.binder.written_column(&name))
                    .unwrap_or(name);
                Field::new(written, field.data_type.clone(), field.nullable)
            })
            .collect()
    }

    fn insert(&self, table: &str, columns: &[String], query: &ast::Query) -> Result<(Node, String)> {
        let found = self.binder.catalog().table(table).map_err(|e| connector_error(&e, table))?;
        let table = found.ok_or_else(|| self.binder.unknown_table(table))?;
        let connector = self.connectors.sink(&table.connector).ok_or_else(|| {
            if self.connectors.source(&table.connector).is_some() {
                SqlError::invalid(format!(
                    "table {:?} cannot be written: connector {:?} only reads",
                    table.name, table.connector
                ))
                .about(table.name.clone())
            } else {
                unknown_connector(&table.connector, self.connectors)
            }
        })?;
        connector.validate(&table.options, &table.schema).map_err(|e| connector_error(&e, &table.name))?;
        let node = self.query(query)?;
        // Which source column each table column gets.
        let targets = &table.schema.fields;
        let mut places: Vec<Option<usize>> = vec![None; targets.len()];
        if columns.is_empty() {
            if node.schema.fields.len() != targets.len() {
                let names: Vec<&str> = targets.iter().take(12).map(|f| f.name.as_str()).collect();
                let more = if targets.len() > names.len() { ", ..." } else { "" };
                return Err(SqlError::invalid(format!(
                    "table {:?} has {} columns, the query gives {}",
                    table.name,
                    targets.len(),
                    node.schema.fields.len()
                ))
                .about(table.name.clone())
                .with_hint(format!(
                    "its columns are {}{more}; name the ones to fill after the table",
                    names.join(", ")
                )));
            }
            places = (0..targets.len()).map(Some).collect();
        } else {
            if columns.len() != node.schema.fields.len() {
                return Err(SqlError::invalid(format!(
                    "{} columns are named, the query gives {}",
                    columns.len(),
                    node.schema.fields.len()
                ))
                .about(columns[0].clone()));
            }
            for (source, name) in columns.iter().enumerate() {
                let target = targets.iter().position(|f| f.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
                    let near = nearest(name, targets.iter().map(|f| f.name.as_str()));
                    let error = SqlError::new(
                        crate::error::SqlErrorKind::Unknown,
                        format!("table {:?} has no column {name:?}", table.name),
                    )
                    .about(name.clone());
                    match did_you_mean(&near) {
                        Some(hint) => error.with_hint(hint),
                        None => error,
                    }
                })?;
                if places[target].replace(source).is_some() {
                    return Err(SqlError::invalid(format!("column {name:?} is named twice")).about(name.clone()));
                }
            }
        }
        let mut expressions = Vec::with_capacity(targets.len());
        for (field, place) in targets.iter().zip(&places) {
            let Some(source) = place else {
                if !field.nullable {
                    return Err(SqlError::invalid(format!("column {:?} is NOT NULL and gets no value", field.name))
                        .about(table.name.clone()));
                }
                expressions.push(Expr::Literal(flumen_core::expr::Literal::null(field.data_type.clone())));
                continue;
            };
            let from = &node.schema.fields[*source];
            if !assignable(&from.data_type, &field.data_type) {
                return Err(SqlError::invalid(format!(
                    "column {:?} of table {:?} is {}, and the query gives {}",
                    field.name, table.name, field.data_type, from.data_type
                ))
                .about(table.name.clone())
                .with_hint(format!("write CAST({} AS {})", from.name, field.data_type)));
            }
            expressions.push(typed(Expr::Column(*source), &from.data_type, &field.data_type));
        }
        if node.updating && !matches!(table.connector.as_str(), "print" | "blackhole") {
            return Err(SqlError::unsupported(format!(
                "results that change into table {:?}: connector {:?} takes insertions only",
                table.name, table.connector
            ))
            .about(table.name.clone())
            .with_hint("aggregate by windows: GROUP BY window_start, window_end"));
        }
        let node = node.project(expressions, targets.clone());
        let spec = SinkSpec { connector: table.connector.clone(), options: table.options.clone() };
        let (schema, rows) = (Arc::clone(&node.schema), node.rows);
        let root = node.then(Op::Sink { spec, table: Some(table.name.clone()) }, schema, rows);
        Ok((root, table.name.clone()))
    }

    fn create_table(&self, definition: &CreateTable) -> Result<Planned> {
        let name = self.statement.names.written(&definition.name);
        let mut options = definition.options.clone();
        let connector = options.remove("connector").unwrap_or_default();
        let existing = self.binder.catalog().table(&name).map_err(|e| connector_error(&e, &name))?;
        if existing.is_some() && !definition.if_not_exists && !definition.or_replace {
            return Err(SqlError::invalid(format!("there is a table {name:?} already"))
                .about(definition.name.value.clone())
                .with_hint("DROP TABLE it first, or write CREATE OR REPLACE TABLE"));
        }
        let (source, sink) = (self.connectors.source(&connector), self.connectors.sink(&connector));
        if source.is_none() && sink.is_none() {
            return Err(unknown_connector(&connector, self.connectors));
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
        for (index, field) in schema.fields.iter().enumerate() {
            if schema.fields[..index].iter().any(|f| f.name.eq_ignore_ascii_case(&field.name)) {
                return Err(
                    SqlError::invalid(format!("column {:?} is defined twice", field.name)).about(field.name.clone())
                );
            }
        }
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
                source.validate(&options, &schema).map(|_| ()).map_err(|e| connector_error(&e, &connector))
            }
            (None, Some(sink)) => sink.validate(&options, &schema).map_err(|e| connector_error(&e, &connector)),
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

    fn describe(&self, target: &DescribeTarget) -> Result<Planned> {
        let (schema, watermark) = match target {
            DescribeTarget::Table(name) => {
                let [part] = name.0.as_slice() else {
                    return Err(SqlError::unsupported(format!("tables in other schemas ({name})")));
                };
                let ident = part.as_ident().ok_or_else(|| SqlError::unsupported(format!("the name {name}")))?;
                // A table that is only written has no source to ask.
                let found = self.binder.catalog().table(&ident.value).map_err(|e| connector_error(&e, &ident.value))?;
                match found {
                    Some(table) => (Arc::clone(&table.schema), table.watermark.clone()),
                    None => {
                        let table = self.binder.table(&ident.value)?;
                        (Arc::clone(&table.schema), None)
                    }
                }
            }
            DescribeTarget::Query(query) => (self.query(query)?.schema, None),
        };
        let rows = schema
            .fields
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let mark = watermark
                    .as_ref()
                    .filter(|w| w.column == index)
                    .map(|w| format!("{} - INTERVAL '{}' SECOND", field.name, w.delay_ms as f64 / 1000.0))
                    .unwrap_or_default();
                let null = if field.nullable { "YES" } else { "NO" };
                vec![field.name.clone(), field.data_type.to_string(), null.to_owned(), mark]
            })
            .collect();
        let columns = ["name", "type", "null", "watermark"].map(str::to_owned).to_vec();
        Ok(Planned::Rows { columns, rows })
    }
}

/// A subquery that is used as a value must give one row at most, as far as can be known now.
fn check_scalar_subqueries(plan: &LogicalPlan) -> Result<()> {
    let mut wrong = false;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                if let LogicalExpr::ScalarSubquery(subquery) = e {
                    let one = subquery.subquery.max_rows().is_some_and(|n| n <= 1);
                    wrong |= subquery.outer_ref_columns.is_empty() && !one;
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|e| SqlError::internal(e.strip_backtrace()))?;
    if wrong {
        return Err(SqlError::unsupported("a subquery as a value that may give several rows")
            .with_hint("aggregate it, for instance with max(...), or add LIMIT 1"));
    }
    Ok(())
}

/// A condition of a subquery on the query around it becomes the condition of a join. Where it decides which rows a window
/// function sees, that would be too late.
fn check_windows_of_subqueries(plan: &LogicalPlan) -> Result<()> {
    let mut wrong = false;
    let walked = plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::Window(_)) {
            node.apply(|below| {
                below.apply_expressions(|expr| {
                    expr.apply(|e| {
                        wrong |= matches!(e, LogicalExpr::OuterReferenceColumn(..));
                        Ok(TreeNodeRecursion::Continue)
                    })
                })
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(|e| SqlError::internal(e.strip_backtrace()))?;
    if wrong {
        let what = "window functions over rows that are chosen by the query around a subquery";
        return Err(SqlError::unsupported(what).about("OVER").with_hint(
            "compute them in a subquery without that condition, by PARTITION BY, and apply it to the result",
        ));
    }
    Ok(())
}

fn boundedness(root: &Node) -> Boundedness {
    if root.bounded { Boundedness::Bounded } else { Boundedness::Unbounded }
}

fn unknown_column(name: &str, schema: &Schema) -> SqlError {
    let error = SqlError::new(crate::error::SqlErrorKind::Unknown, format!("there is no column {name:?}")).about(name);
    match did_you_mean(&nearest(name, schema.fields.iter().map(|f| f.name.as_str()))) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Whether values go into a column without being asked for: numbers to numbers, text to text, times to times.
fn assignable(from: &LogicalType, to: &LogicalType) -> bool {
    let number = |t: &LogicalType| t.is_integer() || t.is_float() || matches!(t, LogicalType::Decimal { .. });
    let time = |t: &LogicalType| matches!(t, LogicalType::Timestamp { .. } | LogicalType::Date);
    from == to || *from == LogicalType::Null || number(from) && number(to) || time(from) && time(to)
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
