//! One statement to [`Planned`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::ast;
use datafusion_sql::sqlparser::tokenizer::Token;
use flumen_core::catalog::Catalog;
use flumen_core::expr::{Expr, Literal};
use flumen_core::graph::Partitioner;
use flumen_core::sink::SinkConnector;
use flumen_core::source::Boundedness;
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::{Field, LogicalType, Schema};

use super::expr::typed;
use super::node::{Node, Op};
use super::physical::PhysicalPlanner;
use super::recursion::{self, PlannedRecursion};
use super::{PlanOptions, Planned, emit, explain};
use crate::bind::{Binder, aggregates, connector_error, functions, unknown_connector, windows};
use crate::error::{Result, SqlError, Suggestions, did_you_mean, from_datafusion, nearest};
use crate::parse::normalize::output_aliases;
use crate::parse::{DescribeTarget, Statement, StatementKind};
use flumen_core::connectors::{COLLECT_CONNECTOR, ConnectorRegistry, MEMORY_CONNECTOR};

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
        let binder = Binder::new(catalog, connectors, &options.memory_id);
        let planner = StatementPlanner { binder, statement, connectors, options, recursions: RefCell::default() };
        planner.planned(&statement.kind).map_err(|e| e.locate(&statement.tokens, &statement.source))
    })
}

pub(super) struct StatementPlanner<'a> {
    pub(super) binder: Binder<'a>,
    pub(super) statement: &'a Statement,
    pub(super) connectors: &'a ConnectorRegistry,
    pub(super) options: &'a PlanOptions,
    /// The recursive queries met so far.
    pub(super) recursions: RefCell<Vec<PlannedRecursion>>,
}

impl StatementPlanner<'_> {
    /// The plan, behind what is to be run before it.
    fn planned(&self, kind: &StatementKind) -> Result<Planned> {
        let planned = self.plan(kind)?;
        let recursions = self.recursions.take();
        Ok(match planned {
            // EXPLAIN runs nothing, and EXPLAIN ANALYZE has seen to it itself.
            Planned::Query { .. } | Planned::Insert { .. } | Planned::CreateTableAs { .. }
                if !recursions.is_empty() =>
            {
                let tables = recursions.into_iter().map(|r| r.table).collect();
                Planned::WithRecursion { tables, then: Box::new(planned) }
            }
            planned => planned,
        })
    }

    fn plan(&self, kind: &StatementKind) -> Result<Planned> {
        Ok(match kind {
            StatementKind::Query(query) => {
                let root = self.collected(query)?;
                let schema = Arc::clone(&root.inputs[0].node.schema);
                let boundedness = boundedness(&root);
                let updating = root.updating;
                Planned::Query {
                    graph: emit::emit(&root, &self.options.job_name),
                    schema,
                    boundedness,
                    updating,
                    summary: None,
                }
            }
            StatementKind::Insert { table, columns, query } => {
                let (root, table) = self.insert(table, columns, query)?;
                let boundedness = boundedness(&root);
                Planned::Insert { graph: emit::emit(&root, &self.options.job_name), table, boundedness }
            }
            StatementKind::CreateTable(table) => self.create_table(table)?,
            StatementKind::CreateTableAs { table, query } => self.create_table_as(table, query)?,
            StatementKind::CreateView(view) => self.create_view(view)?,
            StatementKind::Drop { what, name, if_exists } => self.drop(*what, name, *if_exists)?,
            StatementKind::Copy { query, target, options } => {
                let root = self.copy(query, target, options)?;
                let boundedness = boundedness(&root);
                let graph = emit::emit(&root, &self.options.job_name);
                Planned::Insert { graph, table: target.clone(), boundedness }
            }
            StatementKind::Set { key, value } => Planned::Set { key: key.clone(), value: value.clone() },
            StatementKind::Reset { key } => Planned::Reset { key: key.clone() },
            StatementKind::ShowSettings => Planned::ShowSettings,
            StatementKind::Explain { analyze, statement } => {
                let root = match &statement.kind {
                    StatementKind::Query(query) => self.collected(query)?,
                    StatementKind::Insert { table, columns, query } => self.insert(table, columns, query)?.0,
                    StatementKind::Copy { query, target, options } => self.copy(query, target, options)?,
                    _ => return Err(SqlError::unsupported("EXPLAIN of other than queries and INSERT").about("EXPLAIN")),
                };
                let mut text = String::new();
                for recursion in self.recursions.take() {
                    text.push_str(&recursion.explained);
                }
                text.push_str(&explain::explain(&root));
                let analyze = if *analyze { Some(Box::new(self.planned(&statement.kind)?)) } else { None };
                Planned::Explain { text, analyze }
            }
            StatementKind::ShowTables => {
                names("table", self.binder.catalog().table_names().map_err(|e| connector_error(&e, "TABLES"))?)
            }
            StatementKind::ShowViews => {
                names("view", self.binder.catalog().view_names().map_err(|e| connector_error(&e, "VIEWS"))?)
            }
            StatementKind::Describe(target) => self.describe(target)?,
            StatementKind::Summarize(query) => self.summarize(query)?,
        })
    }

    /// A query with the sink that takes its rows.
    pub(super) fn collected(&self, query: &ast::Query) -> Result<Node> {
        let node = self.query(query)?;
        let spec = SinkSpec {
            connector: COLLECT_CONNECTOR.to_owned(),
            options: [("id".to_owned(), self.options.collect_id.clone())].into(),
        };
        let partitioner = if node.parallelism == 1 { Partitioner::Forward } else { Partitioner::Global };
        let (schema, rows) = (Arc::clone(&node.schema), node.rows);
        Ok(node.exchange(partitioner, 1, Op::Sink { spec, table: None }, schema, rows))
    }

    pub(super) fn logical(&self, query: &ast::Query) -> Result<LogicalPlan> {
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
        let (bound, parts) = recursion::extract(bound).map_err(|e| from_datafusion(e, &suggestions))?;
        for part in parts {
            let optimized = |plan| {
                crate::optimize::optimize(plan, self.options.now_ms).map_err(|e| from_datafusion(e, &suggestions))
            };
            let recursion = self.recursion(part, &optimized)?;
            let mut known = self.recursions.borrow_mut();
            if known.iter().all(|r| r.table.all != recursion.table.all) {
                known.push(recursion);
            }
        }
        crate::optimize::optimize(bound, self.options.now_ms).map_err(|e| from_datafusion(e, &suggestions))
    }

    /// The physical plan of a query, whose columns have their written names.
    pub(super) fn query(&self, query: &ast::Query) -> Result<Node> {
        let logical = self.logical(query)?;
        let node = PhysicalPlanner::new(self.options).plan(&logical)?;
        let names = self.output_names(query, &logical);
        let field = |(name, field): (String, &Field)| Field::new(name, field.data_type.clone(), field.nullable);
        let fields: Vec<Field> = names.into_iter().zip(&node.schema.fields).map(field).collect();
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

    /// Names of a query's columns, as they are written.
    pub(super) fn output_names(&self, query: &ast::Query, logical: &LogicalPlan) -> Vec<String> {
        let aliases: HashMap<String, String> = output_aliases(query, &self.statement.names);
        let written = |name: &String| {
            let alias = aliases.get(&name.to_lowercase()).cloned();
            alias.or_else(|| self.binder.written_column(name)).unwrap_or_else(|| name.clone())
        };
        logical.schema().fields().iter().map(|f| written(f.name())).collect()
    }

    fn insert(&self, table: &str, columns: &[String], query: &ast::Query) -> Result<(Node, String)> {
        let found = self.binder.catalog().table(table).map_err(|e| connector_error(&e, table))?;
        let table = match found {
            Some(table) => table,
            None if self.is_view(table)? => {
                return Err(SqlError::invalid(format!("{table:?} is a view and cannot be written")).about(table));
            }
            None => return Err(self.binder.unknown_table(table)),
        };
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
                expressions.push(Expr::Literal(Literal::null(field.data_type.clone())));
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
            let value = typed(Expr::Column(*source), &from.data_type, &field.data_type);
            expressions.push(match from.nullable && !field.nullable {
                true => not_null(value, field, &table.name),
                false => value,
            });
        }
        if node.updating && !matches!(table.connector.as_str(), "print" | "blackhole") {
            return Err(SqlError::unsupported(format!(
                "results that change into table {:?}: connector {:?} takes insertions only",
                table.name, table.connector
            ))
            .about(table.name.clone())
            .with_hint("aggregate by windows: GROUP BY window_start, window_end"));
        }
        check_ends(&node, &table.connector, &table.name)?;
        let node = node.project(expressions, targets.clone());
        let spec = SinkSpec { connector: table.connector.clone(), options: table.options.clone() };
        Ok((written(node, connector.as_ref(), spec, &table.name), table.name.clone()))
    }

    fn is_view(&self, name: &str) -> Result<bool> {
        Ok(self.binder.catalog().view(name).map_err(|e| connector_error(&e, name))?.is_some())
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
                    None if self.is_view(&ident.value)? => (self.query(&*select_all(&ident.value)?)?.schema, None),
                    None => (Arc::clone(&self.binder.table(&ident.value)?.schema), None),
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

/// All rows of a table or view.
fn select_all(name: &str) -> Result<Box<ast::Query>> {
    let text = format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""));
    match crate::parse::parse(&text)?.pop().map(|statement| statement.kind) {
        Some(StatementKind::Query(query)) => Ok(query),
        _ => Err(SqlError::internal("a name could not be read back")),
    }
}

/// The value, checked at run time.
fn not_null(value: Expr, field: &Field, table: &str) -> Expr {
    let name = Expr::Literal(Literal::utf8(format!("{:?} of table {table:?}", field.name)));
    Expr::call(crate::functions::NOT_NULL, vec![value, name], field.data_type.clone())
}

/// Rows that are seen when all of them are there must end.
pub(super) fn check_ends(node: &Node, connector: &str, name: &str) -> Result<()> {
    if node.bounded || connector != MEMORY_CONNECTOR {
        return Ok(());
    }
    Err(SqlError::unsupported(format!("rows that do not end into {name:?}, which is in memory"))
        .about(name)
        .with_hint("give the table a connector: WITH ('connector' = 'filesystem', 'path' = '...', 'format' = 'csv')"))
}

/// The error for a connector that should be there.
pub(super) fn unknown_sink(name: &str) -> SqlError {
    SqlError::unsupported(format!("what needs the connector {name:?}, which is not registered"))
}

/// Rows of one column.
fn names(heading: &str, names: Vec<String>) -> Planned {
    Planned::Rows { columns: vec![heading.to_owned()], rows: names.into_iter().map(|name| vec![name]).collect() }
}

/// A node whose rows go into a table or file.
pub(super) fn written(node: Node, connector: &dyn SinkConnector, spec: SinkSpec, name: &str) -> Node {
    let (schema, rows) = (Arc::clone(&node.schema), node.rows);
    let single = connector.is_single(&spec.options);
    let op = Op::Sink { spec, table: Some(name.to_owned()) };
    match (single, node.parallelism) {
        (false, _) => node.then(op, schema, rows),
        (true, 1) => node.exchange(Partitioner::Forward, 1, op, schema, rows),
        (true, _) => node.exchange(Partitioner::Global, 1, op, schema, rows),
    }
}

pub(super) fn boundedness(root: &Node) -> Boundedness {
    if root.bounded { Boundedness::Bounded } else { Boundedness::Unbounded }
}

pub(super) fn unknown_column(name: &str, schema: &Schema) -> SqlError {
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
