//! A table or file as the binder sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::SchemaRef;
use datafusion_common::Result;
use datafusion_expr::{Expr, TableProviderFilterPushDown, TableSource};
use flumen_core::catalog::WatermarkDefinition;
use flumen_core::source::{Boundedness, SourceConnector, TableStatistics};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::Schema;

/// A relation that a connector reads.
pub(crate) struct ConnectedTable {
    /// As the statement or catalog names it.
    pub(crate) name: String,
    /// Registered name of the connector.
    pub(crate) connector_name: String,
    pub(crate) connector: Arc<dyn SourceConnector>,
    pub(crate) options: BTreeMap<String, String>,
    /// The table's own columns, in their written case.
    pub(crate) schema: Arc<Schema>,
    pub(crate) watermark: Option<WatermarkDefinition>,
    pub(crate) boundedness: Boundedness,
    /// What the binder sees of the columns.
    pub(crate) binder_schema: SchemaRef,
    /// Asked for once a statement, and only if a choice depends on it.
    pub(crate) statistics: OnceLock<TableStatistics>,
}

impl ConnectedTable {
    /// A scan of these columns, with nothing pushed into it.
    pub(crate) fn scan(&self, projection: Vec<usize>) -> SourceSpec {
        SourceSpec {
            connector: self.connector_name.clone(),
            options: self.options.clone(),
            projection,
            table_schema: Arc::clone(&self.schema),
            filters: Vec::new(),
            limit: None,
            runtime_filters: Vec::new(),
            awaits_filters: false,
        }
    }

    /// What is known of the table, by its own columns.
    pub(crate) fn statistics(&self) -> &TableStatistics {
        self.statistics.get_or_init(|| {
            if self.boundedness == Boundedness::Unbounded {
                return TableStatistics::default();
            }
            let all = (0..self.schema.fields.len()).collect();
            self.connector.statistics(&self.scan(all))
        })
    }
}

impl TableSource for ConnectedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.binder_schema)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // The physical planner asks the connector, and keeps a filter above for what it does not apply. Below a
        // watermark nothing may be dropped: watermarks follow all rows of the table.
        let answer = |filter: &&Expr| {
            if self.watermark.is_some() || filter.is_volatile() {
                TableProviderFilterPushDown::Unsupported
            } else {
                TableProviderFilterPushDown::Exact
            }
        };
        Ok(filters.iter().map(answer).collect())
    }
}
