//! Payloads of sources and sinks. The connector's own options stay text, as the table definition has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OperatorPayload;
use crate::expr::Expr;

/// A source: which connector, its options, and what the planner pushed into it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSpec {
    /// Registered name of the connector.
    pub connector: String,
    /// Options of the table definition.
    pub options: BTreeMap<String, String>,
    /// Columns to read, as indices into the table's schema; the output schema is exactly these. Watermark column
    /// included if there is one.
    pub projection: Vec<usize>,
    /// The table's own schema.
    pub table_schema: std::sync::Arc<crate::types::Schema>,
    /// Conditions over the output columns, all of which must hold. The source may use them to skip data, and must
    /// apply those it said it would ([`ScanPushdown`](crate::source::ScanPushdown)); the planner keeps a filter above
    /// for the rest.
    pub filters: Vec<Expr>,
    /// Rows after which the reader may stop, if nothing above needs more.
    pub limit: Option<u64>,
    /// Runtime filters that the scan listens to: filter id and the output column it is over.
    pub runtime_filters: Vec<(u32, usize)>,
    /// The scan begins when they have come. They do come if it may read nothing before, which the translation to a job
    /// graph sees to; a reader gives up after a while all the same.
    #[serde(default)]
    pub awaits_filters: bool,
}

impl OperatorPayload for SourceSpec {
    const KIND: &'static str = "source";
}

/// A sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// Registered name of the connector.
    pub connector: String,
    /// Options of the table definition.
    pub options: BTreeMap<String, String>,
}

impl OperatorPayload for SinkSpec {
    const KIND: &'static str = "sink";
}
