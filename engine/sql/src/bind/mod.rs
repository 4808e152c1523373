//! Names to relations, columns and functions: what the front-end library asks of us while it binds a statement.

pub(crate) mod aggregates;
pub(crate) mod arithmetic;
pub(crate) mod asof;
mod files;
pub(crate) mod functions;
pub(crate) mod named_cast;
mod natural;
pub(crate) mod nested;
pub(crate) mod own_functions;
mod pivot;
pub(crate) mod rounding;
pub(crate) mod single_value;
pub(crate) mod table;
pub(crate) mod tumble;
pub(crate) mod types;
pub(crate) mod typing;
pub(crate) mod unnest;
pub(crate) mod view;
pub(crate) mod windows;
pub(crate) mod work_table;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock, OnceLock};

use arrow_schema::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Column, DFSchema, DataFusionError, ScalarValue, TableReference};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{
    ContextProvider, ExprPlanner, PlannerResult, RawAggregateExpr, RawFieldAccessExpr, RawWindowExpr, RelationPlanner,
};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_functions::core::planner::CoreFunctionPlanner;
use datafusion_functions_nested::planner::NestedFunctionPlanner;
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast;
use flumen_core::catalog::{Catalog, CatalogTable};
use flumen_core::types::{Field, Schema};

use crate::error::{Result, SqlError, SqlErrorKind, did_you_mean, nearest};
use crate::parse::normalize::looks_like_file;
use crate::parse::read_function::FileCall;
use flumen_core::connectors::{ConnectorRegistry, MEMORY_CONNECTOR};
use table::ConnectedTable;

/// The settings of the front-end library, which are always the same.
pub(crate) static CONFIG: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| {
    let mut config = ConfigOptions::new();
    // All subqueries become joins; there is no other way to run one.
    config.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    Arc::new(config)
});

static RELATION_PLANNERS: LazyLock<[Arc<dyn RelationPlanner>; 1]> = LazyLock::new(|| [Arc::new(tumble::WindowPlanner)]);

static EXPR_PLANNERS: LazyLock<[Arc<dyn ExprPlanner>; 3]> = LazyLock::new(|| {
    [Arc::new(SpecialForms), Arc::new(NestedFunctionPlanner), Arc::new(CoreFunctionPlanner::default())]
});

/// Binds one statement. Used by one thread.
pub(crate) struct Binder<'a> {
    catalog: &'a dyn Catalog,
    connectors: &'a ConnectorRegistry,
    /// Relations met so far, so that a file named twice is opened once.
    tables: RefCell<HashMap<String, Arc<ConnectedTable>>>,
    /// Views met so far, by lower-case name.
    views: RefCell<HashMap<String, Arc<view::BoundView>>>,
    /// Views that are being bound, the outermost first.
    open_views: RefCell<Vec<String>>,
    /// Names that the statement gives to queries with WITH, which a mistyped table may mean.
    named_queries: RefCell<Vec<String>>,
    /// Prefix of the names of tables in memory, unique in the process.
    memory_id: &'a str,
    /// Recursive queries met so far.
    work_tables: Cell<usize>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(catalog: &'a dyn Catalog, connectors: &'a ConnectorRegistry, memory_id: &'a str) -> Self {
        let (tables, views, open_views, named_queries, work_tables) = Default::default();
        Self { catalog, connectors, tables, views, open_views, named_queries, memory_id, work_tables }
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        self.catalog
    }

    /// The plan of a query as it is written.
    pub(crate) fn bind(&self, mut query: ast::Query) -> Result<LogicalPlan, DataFusionError> {
        self.note_named_queries(&query);
        natural::resolve(self, &mut query)?;
        self.front_end().sql_statement_to_plan(ast::Statement::Query(Box::new(query)))
    }

    fn note_named_queries(&self, query: &ast::Query) {
        struct Names<'a>(&'a mut Vec<String>);
        impl ast::Visitor for Names<'_> {
            type Break = ();

            fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
                let named = query.with.iter().flat_map(|with| &with.cte_tables);
                let written = named.map(|named| &named.alias.name.value).filter(|name| !name.starts_with("__"));
                self.0.extend(written.cloned());
                ControlFlow::Continue(())
            }
        }
        let _ = ast::Visit::visit(query, &mut Names(&mut self.named_queries.borrow_mut()));
    }

    pub(crate) fn front_end(&self) -> SqlToRel<'_, Self> {
        let options = ParserOptions::new()
            .with_parse_float_as_decimal(true)
            .with_map_string_types_to_utf8view(false)
            .with_collect_spans(true);
        SqlToRel::new_with_options(self, options)
    }

    /// The relation of this name: a table of the catalog, or a file.
    pub(crate) fn table(&self, name: &str) -> Result<Arc<ConnectedTable>> {
        if let Some(table) = self.tables.borrow().get(name) {
            return Ok(Arc::clone(table));
        }
        let table = match FileCall::decode(name) {
            Some(call) => self.file(&call)?,
            None => match self.catalog.table(without_slash(name)).map_err(|e| connector_error(&e, name))? {
                Some(table) => self.connect(&table)?,
                None if looks_like_file(name) => self.file(&FileCall::of_path(name))?,
                None => return Err(self.unknown_table(name)),
            },
        };
        let table = Arc::new(table);
        self.tables.borrow_mut().insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }

    fn connect(&self, table: &CatalogTable) -> Result<ConnectedTable> {
        let connector = self.connectors.source(&table.connector).ok_or_else(|| {
            if self.connectors.sink(&table.connector).is_some() {
                SqlError::invalid(format!(
                    "table {:?} cannot be read: connector {:?} only writes",
                    table.name, table.connector
                ))
                .about(table.name.clone())
            } else {
                unknown_connector(&table.connector, self.connectors)
            }
        })?;
        let boundedness =
            connector.validate(&table.options, &table.schema).map_err(|e| connector_error(&e, &table.name))?;
        let mut schema = (*table.schema).clone();
        schema.event_time = table.watermark.as_ref().map(|w| w.column);
        Ok(ConnectedTable {
            name: table.name.clone(),
            connector_name: table.connector.clone(),
            connector: Arc::clone(connector),
            options: table.options.clone(),
            binder_schema: types::binder_schema(&schema),
            schema: Arc::new(schema),
            watermark: table.watermark.clone(),
            boundedness,
            statistics: OnceLock::new(),
        })
    }

    pub(crate) fn unknown_table(&self, name: &str) -> SqlError {
        let mut names = self.catalog.table_names().unwrap_or_default();
        names.extend(self.catalog.view_names().unwrap_or_default());
        names.extend(self.named_queries.borrow().iter().cloned());
        let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no table {name:?}")).about(name);
        match did_you_mean(&nearest(name, names.iter().map(String::as_str))) {
            Some(hint) => error.with_hint(hint),
            None if names.is_empty() => {
                error.with_hint("name a file, as in FROM 'data.parquet', or CREATE TABLE first")
            }
            None => {
                let shown: Vec<&str> = names.iter().take(12).map(String::as_str).collect();
                error.with_hint(format!("the tables are {}", shown.join(", ")))
            }
        }
    }

    /// How a column is written in the tables of this statement, by its lower-case name.
    pub(crate) fn written_column(&self, lower: &str) -> Option<String> {
        if let Some(written) = self.views.borrow().values().find_map(|view| view.written_column(lower).cloned()) {
            return Some(written);
        }
        self.tables.borrow().values().find_map(|table| {
            let index = table.binder_schema.fields().iter().position(|f| f.name() == lower)?;
            Some(table.schema.fields[index].name.clone())
        })
    }

    /// The written columns of a table definition, typed.
    pub(crate) fn define_columns(&self, table: &crate::parse::CreateTable) -> Result<Schema> {
        let definitions = table
            .columns
            .iter()
            .map(|c| ast::ColumnDef { name: c.name.clone(), data_type: c.data_type.clone(), options: Vec::new() })
            .collect();
        let arrow = self.front_end().build_schema(definitions).map_err(|e| {
            let message = e.strip_backtrace();
            let line = message.lines().next().unwrap_or_default();
            match line.split_once("Unsupported SQL type ") {
                Some((_, name)) => crate::wording::unknown_type(name),
                None => crate::wording::reworded(line),
            }
        })?;
        let fields = table.columns.iter().zip(arrow.fields()).map(|(column, field)| {
            let mut data_type = types::logical(field.data_type())
                .map_err(|_| SqlError::unsupported(format!("columns of type {}", column.data_type)))?;
            if let (ast::DataType::Timestamp(precision, _), flumen_core::types::LogicalType::Timestamp { zone, .. }) =
                (&column.data_type, &data_type)
            {
                // Without a precision TIMESTAMP has Flink's and the standard's six digits.
                let resolution = timestamp_resolution(precision.unwrap_or(6));
                data_type = flumen_core::types::LogicalType::Timestamp { resolution, zone: zone.clone() };
            }
            let key = table.primary_key.iter().any(|k| k.eq_ignore_ascii_case(&column.name.value));
            Ok(Field::new(&column.name.value, data_type, column.nullable && !key))
        });
        Ok(Schema::new(fields.collect::<Result<_>>()?))
    }
}

/// A name in single quotes, which means a table before it means a directory.
pub(crate) fn without_slash(name: &str) -> &str {
    name.strip_suffix('/').filter(|rest| !looks_like_file(rest)).unwrap_or(name)
}

fn timestamp_resolution(precision: u64) -> flumen_core::types::Resolution {
    use flumen_core::types::Resolution;
    match precision {
        0 => Resolution::Second,
        1..=3 => Resolution::Millisecond,
        4..=6 => Resolution::Microsecond,
        _ => Resolution::Nanosecond,
    }
}

/// A connector's refusal, at the name of the table or file.
pub(crate) fn connector_error(failure: &flumen_core::failure::Failure, name: &str) -> SqlError {
    SqlError::new(SqlErrorKind::Connector, failure.chain()).about(name)
}

/// A connector's refusal of a table's options: at the first option that it names, or at one of the same group if that is
/// missing (`fields.k.modulo` beside `fields.k.kind`); else at the connector's name.
pub(crate) fn option_error(
    failure: &flumen_core::failure::Failure,
    connector: &str,
    options: &BTreeMap<String, String>,
) -> SqlError {
    let error = connector_error(failure, connector);
    let message = error.to_string();
    let option_of = |word: &str| {
        if options.contains_key(word) {
            return Some(word.to_owned());
        }
        let (group, _) = word.rsplit_once('.')?;
        options.keys().find(|key| key.rsplit_once('.').is_some_and(|(other, _)| other == group)).cloned()
    };
    match message.split('\'').skip(1).step_by(2).find_map(option_of) {
        Some(option) => error.about(option),
        None => error,
    }
}

/// The error for a connector that is not there.
pub(crate) fn unknown_connector(name: &str, connectors: &ConnectorRegistry) -> SqlError {
    let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no connector {name:?}")).about(name);
    let names = connectors.names();
    match did_you_mean(&nearest(name, names.iter().copied())) {
        Some(hint) => error.with_hint(hint),
        None => error.with_hint(format!("the connectors are {}", names.join(", "))),
    }
}

impl ContextProvider for Binder<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>, DataFusionError> {
        match &name {
            TableReference::Bare { table } => match self.view(table)? {
                Some(view) => Ok(view),
                None => Ok(self.table(table).map_err(DataFusionError::from)?),
            },
            other => {
                let text = other.to_string();
                let error = match text.rsplit('.').next() {
                    Some("parquet" | "csv" | "tsv" | "json" | "jsonl" | "ndjson" | "arrow" | "avro") => {
                        SqlError::new(SqlErrorKind::Unknown, format!("there is no table {text}"))
                            .with_hint(format!("a file is named in quotes: FROM '{text}'"))
                    }
                    _ => SqlError::unsupported(format!("tables in other schemas ({text})")),
                };
                Err(DataFusionError::from(error.about(text.split('.').next().unwrap_or_default().to_owned())))
            }
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>, DataFusionError> {
        let connector = self.connectors.source(MEMORY_CONNECTOR).ok_or_else(|| {
            DataFusionError::from(SqlError::unsupported("WITH RECURSIVE: no connector keeps rows in memory"))
        })?;
        let number = self.work_tables.replace(self.work_tables.get() + 1);
        let id = format!("{}:recursive:{number}", self.memory_id);
        Ok(Arc::new(work_table::last(name, &id, schema, connector).map_err(DataFusionError::from)?))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &*EXPR_PLANNERS
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &*RELATION_PLANNERS
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        functions::function(name)
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        aggregates::function(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        windows::function(name)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &CONFIG
    }

    fn udf_names(&self) -> Vec<String> {
        functions::names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        aggregates::names()
    }

    fn udwf_names(&self) -> Vec<String> {
        windows::names()
    }
}

/// Syntax that stands for functions: `EXTRACT`, `SUBSTRING`, `OVERLAY`, `POSITION`, `COUNT(*)`, `s.a`, `l[1]`.
#[derive(Debug)]
struct SpecialForms;

fn call(function: Arc<ScalarUDF>, args: Vec<Expr>) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
    Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))))
}

/// Whether it is COUNT(*) or COUNT().
fn counts_rows(function: &str, args: &[Expr]) -> bool {
    #[expect(deprecated, reason = "the binder still writes * like this")]
    let is_wildcard = matches!(args, [Expr::Wildcard { .. }]);
    function == "count" && (args.is_empty() || is_wildcard)
}

/// COUNT of a constant counts rows; the physical planner knows it by that.
fn one() -> Expr {
    Expr::Literal(ScalarValue::Int64(Some(1)), None)
}

impl ExprPlanner for SpecialForms {
    fn plan_extract(&self, args: Vec<Expr>) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
        call(datafusion_functions::datetime::date_part(), args)
    }

    fn plan_position(&self, args: Vec<Expr>) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
        call(datafusion_functions::unicode::strpos(), args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
        call(datafusion_functions::core::overlay(), args)
    }

    fn plan_substring(&self, args: Vec<Expr>) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
        call(datafusion_functions::unicode::substr(), args)
    }

    fn plan_field_access(
        &self,
        raw: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> datafusion_common::Result<PlannerResult<RawFieldAccessExpr>> {
        nested::field_access(raw, schema)
    }

    fn plan_compound_identifier(
        &self,
        field: &arrow_schema::Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> datafusion_common::Result<PlannerResult<Vec<Expr>>> {
        nested::path(Expr::Column(Column::from((qualifier, field))), field.data_type(), nested_names)
    }

    fn plan_window(&self, mut raw: RawWindowExpr) -> datafusion_common::Result<PlannerResult<RawWindowExpr>> {
        if counts_rows(raw.func_def.name(), &raw.args) && !raw.distinct {
            raw.args = vec![one()];
        }
        Ok(PlannerResult::Original(raw))
    }

    fn plan_aggregate(&self, raw: RawAggregateExpr) -> datafusion_common::Result<PlannerResult<RawAggregateExpr>> {
        if !counts_rows(raw.func.name(), &raw.args) || raw.distinct {
            return Ok(PlannerResult::Original(raw));
        }
        let filtered = raw.filter.is_some();
        let count = Expr::AggregateFunction(datafusion_expr::expr::AggregateFunction::new_udf(
            raw.func,
            vec![one()],
            raw.distinct,
            raw.filter,
            raw.order_by,
            raw.null_treatment,
        ));
        // Two counts with different filters must not share a name.
        Ok(PlannerResult::Planned(if filtered { count } else { count.alias("count(*)") }))
    }
}

#[cfg(test)]
mod tests {
    use flumen_core::failure::Failure;

    use super::*;

    #[test]
    fn a_refused_option_is_pointed_at() {
        let text =
            "CREATE TABLE g (k INT) WITH ('connector' = 'datagen', 'fields.k.kind' = 'modulo', 'fields.kk.kind' = 'x')";
        let statement = crate::parse(text).unwrap().remove(0);
        let options = ["fields.k.kind", "fields.kk.kind"].map(|key| (key.to_owned(), "x".to_owned())).into();
        for (message, at) in [
            ("connector 'datagen' has no option 'fields.kk.kind'; did you mean 'fields.k.kind'?", "'fields.kk"),
            ("option 'fields.k.kind' of connector 'datagen' is 'modul': write modulo", "'fields.k."),
            ("connector 'datagen' needs option 'fields.k.modulo': what is divided by", "'fields.k."),
            ("connector 'datagen' is asleep", "'datagen'"),
        ] {
            let error = option_error(&Failure::user(message), "datagen", &options);
            let error = error.locate(&statement.tokens, &statement.source);
            let column = error.position().map(|p| p.column);
            assert_eq!(column, text.find(at).map(|i| i as u64 + 1), "{}", error.render());
        }
    }
}
