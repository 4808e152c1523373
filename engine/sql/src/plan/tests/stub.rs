//! Connectors that know schemas and statistics, and read nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::expr::{Literal, Value};
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext};
use flumen_core::source::{
    Boundedness, ColumnStatistics, ReaderContext, SourceConnector, SourceReader, SplitEnumerator, TableStatistics,
};
use flumen_core::spec::connector::{SinkSpec, SourceSpec};
use flumen_core::types::{Field, LogicalType, Schema};

use crate::{ConnectorRegistry, MemoryCatalog, PlanOptions, Planned, SqlError, parse, plan_statement};

/// Files of TPC-H at scale factor 1, and `f.parquet`.
struct Files;

fn date(text: &str) -> i128 {
    let days = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap() - chrono::NaiveDate::default();
    i128::from(days.num_days())
}

type Definition = (&'static str, &'static str, Option<(i128, i128)>, Option<u64>);

fn table(path: &str) -> Option<(u64, Vec<Definition>)> {
    let stem = path.rsplit('/').next()?.split('.').next()?;
    let money = Some((0, 10_000_000));
    Some(match stem {
        "lineitem" => (
            6_001_215,
            vec![
                ("l_orderkey", "bigint", Some((1, 6_000_000)), Some(1_500_000)),
                ("l_partkey", "bigint", Some((1, 200_000)), Some(200_000)),
                ("l_suppkey", "bigint", Some((1, 10_000)), Some(10_000)),
                ("l_linenumber", "int", Some((1, 7)), Some(7)),
                ("l_quantity", "money", Some((100, 5_000)), Some(50)),
                ("l_extendedprice", "money", money, None),
                ("l_discount", "money", Some((0, 10)), Some(11)),
                ("l_tax", "money", Some((0, 8)), Some(9)),
                ("l_returnflag", "text", None, Some(3)),
                ("l_linestatus", "text", None, Some(2)),
                ("l_shipdate", "date", Some((date("1992-01-02"), date("1998-12-01"))), None),
                ("l_commitdate", "date", Some((date("1992-01-31"), date("1998-10-31"))), None),
                ("l_receiptdate", "date", Some((date("1992-01-04"), date("1998-12-31"))), None),
                ("l_shipinstruct", "text", None, Some(4)),
                ("l_shipmode", "text", None, Some(7)),
                ("l_comment", "text", None, None),
            ],
        ),
        "orders" => (
            1_500_000,
            vec![
                ("o_orderkey", "bigint", Some((1, 6_000_000)), Some(1_500_000)),
                ("o_custkey", "bigint", Some((1, 149_999)), Some(100_000)),
                ("o_orderstatus", "text", None, Some(3)),
                ("o_totalprice", "money", money, None),
                ("o_orderdate", "date", Some((date("1992-01-01"), date("1998-08-02"))), None),
                ("o_orderpriority", "text", None, Some(5)),
                ("o_clerk", "text", None, Some(1_000)),
                ("o_shippriority", "int", Some((0, 0)), Some(1)),
                ("o_comment", "text", None, None),
            ],
        ),
        "customer" => (
            150_000,
            vec![
                ("c_custkey", "bigint", Some((1, 150_000)), Some(150_000)),
                ("c_name", "text", None, Some(150_000)),
                ("c_address", "text", None, None),
                ("c_nationkey", "int", Some((0, 24)), Some(25)),
                ("c_phone", "text", None, None),
                ("c_acctbal", "money", money, None),
                ("c_mktsegment", "text", None, Some(5)),
                ("c_comment", "text", None, None),
            ],
        ),
        "f" => (
            1_000,
            vec![
                ("a", "bigint", Some((0, 9)), Some(10)),
                ("B", "int", Some((0, 99)), None),
                ("c", "double", None, None),
                ("d", "date", None, None),
                ("s", "text", None, None),
                ("m", "money", None, None),
            ],
        ),
        _ => return None,
    })
}

fn logical(name: &str) -> LogicalType {
    match name {
        "bigint" => LogicalType::Int64,
        "int" => LogicalType::Int32,
        "money" => LogicalType::Decimal { precision: 15, scale: 2 },
        "double" => LogicalType::Float64,
        "date" => LogicalType::Date,
        _ => LogicalType::Utf8,
    }
}

fn path(options: &BTreeMap<String, String>) -> Result<&str, Failure> {
    options.get("path").map(String::as_str).ok_or_else(|| Failure::user("option \"path\" is missing"))
}

impl SourceConnector for Files {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        path(options).map(|_| Boundedness::Bounded)
    }

    fn infer_schema(&self, options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        let path = path(options)?;
        let (_, columns) = table(path)
            .ok_or_else(|| Failure::user(format!("there is no file {path:?}; did you mean \"orders.parquet\"?")))?;
        Ok(Schema::new(columns.iter().map(|(name, kind, ..)| Field::new(*name, logical(kind), *name != "a")).collect()))
    }

    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        let Some((rows, columns)) = spec.options.get("path").and_then(|p| table(p)) else {
            return TableStatistics::default();
        };
        let statistics = |(_, kind, range, distinct): &Definition| {
            let bound = |v: i128| Literal { value: Value::Int(v), data_type: logical(kind) };
            ColumnStatistics {
                min: range.map(|r| bound(r.0)),
                max: range.map(|r| bound(r.1)),
                distinct_count: *distinct,
                ..ColumnStatistics::default()
            }
        };
        TableStatistics { rows: Some(rows), stored_bytes: None, columns: columns.iter().map(statistics).collect() }
    }

    fn create_enumerator(
        &self,
        _spec: &SourceSpec,
        _parallelism: u32,
        _state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        Err(Failure::bug("the stub reads nothing"))
    }

    fn create_reader(&self, _spec: &SourceSpec, _context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        Err(Failure::bug("the stub reads nothing"))
    }
}

impl SinkConnector for Files {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        path(options).map(|_| ())
    }

    fn create_writer(
        &self,
        _spec: &SinkSpec,
        _schema: &Arc<Schema>,
        _context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        Err(Failure::bug("the stub writes nothing"))
    }
}

struct Datagen;

impl SourceConnector for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        Ok(if options.contains_key("number-of-rows") { Boundedness::Bounded } else { Boundedness::Unbounded })
    }

    fn infer_schema(&self, _options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Err(Failure::user("datagen has no columns of its own; name them in CREATE TABLE"))
    }

    fn create_enumerator(
        &self,
        _spec: &SourceSpec,
        _parallelism: u32,
        _state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        Err(Failure::bug("the stub reads nothing"))
    }

    fn create_reader(&self, _spec: &SourceSpec, _context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        Err(Failure::bug("the stub reads nothing"))
    }
}

/// A session over the stubs.
pub(crate) struct Session {
    pub(crate) catalog: MemoryCatalog,
    pub(crate) connectors: ConnectorRegistry,
    pub(crate) options: PlanOptions,
}

impl Session {
    pub(crate) fn new(parallelism: u32) -> Self {
        let mut connectors = ConnectorRegistry::new();
        connectors.add_source(Arc::new(Files));
        connectors.add_sink(Arc::new(Files));
        connectors.add_source(Arc::new(Datagen));
        let options = PlanOptions { parallelism, ..PlanOptions::default() };
        Self { catalog: MemoryCatalog::new(), connectors, options }
    }

    /// With the TPC-H tables under their names.
    pub(crate) fn tpch(parallelism: u32) -> Self {
        let mut session = Self::new(parallelism);
        for name in ["lineitem", "orders", "customer"] {
            session
                .run(&format!("CREATE TABLE {name} WITH ('connector' = 'filesystem', 'path' = 'tpch/{name}.parquet')"));
        }
        session
    }

    /// Plans every statement, applies definitions, and gives back the last.
    pub(crate) fn try_run(&mut self, sql: &str) -> Result<Planned, SqlError> {
        use flumen_core::catalog::Catalog;
        let mut last = None;
        for statement in parse(sql)? {
            let planned = plan_statement(&statement, &self.catalog, &self.connectors, &self.options)?;
            if let Planned::CreateTable { table, .. } = &planned {
                self.catalog.create_table(table.clone(), true).unwrap();
            }
            last = Some(planned);
        }
        Ok(last.expect("a statement"))
    }

    pub(crate) fn run(&mut self, sql: &str) -> Planned {
        self.try_run(sql).unwrap_or_else(|e| panic!("{}", e.render()))
    }

    /// The plan of a query as text.
    pub(crate) fn explain(&mut self, sql: &str) -> String {
        match self.run(&format!("EXPLAIN {sql}")) {
            Planned::Explain { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }
}
