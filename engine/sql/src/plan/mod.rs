//! Statements to what is to be done: the steps from a bound plan to a StreamGraph.

mod emit;
mod explain;
pub(crate) mod expr;
mod node;
mod physical;
mod state;
mod statement;
#[cfg(test)]
mod tests;

use flumen_core::catalog::CatalogTable;
use flumen_core::graph::StreamGraph;
use flumen_core::source::Boundedness;
use flumen_core::types::SchemaRef;

pub use statement::plan_statement;

/// Settings of planning.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Parallel instances of what can be parallel (`parallelism.default`).
    pub parallelism: u32,
    /// Name of the job.
    pub job_name: String,
    /// Option `id` of the `collect` sink that takes the rows of a query.
    pub collect_id: String,
    /// Silence after which a source no longer holds watermarks back (`table.exec.source.idle-timeout`).
    pub source_idle_timeout_ms: Option<u64>,
    /// What `now()` says, in milliseconds since 1970; `None` leaves such functions to the engine.
    pub now_ms: Option<i64>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            parallelism: 1,
            job_name: "query".to_owned(),
            collect_id: "result".to_owned(),
            source_idle_timeout_ms: None,
            now_ms: None,
        }
    }
}

/// What a statement asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Planned {
    /// Run the graph and hand over the rows that reach its `collect` sink.
    Query {
        /// The job.
        graph: StreamGraph,
        /// Columns of the rows.
        schema: SchemaRef,
        /// Whether it ends by itself.
        boundedness: Boundedness,
        /// Whether rows carry kinds (results that change).
        updating: bool,
    },
    /// Run the graph.
    Insert {
        /// The job.
        graph: StreamGraph,
        /// The table written to.
        table: String,
        /// Whether it ends by itself.
        boundedness: Boundedness,
    },
    /// Put the table into the catalog.
    CreateTable {
        /// The table.
        table: CatalogTable,
        /// In place of one with its name.
        replace: bool,
        /// Do nothing if there is one with its name.
        if_not_exists: bool,
    },
    /// Take the table out of the catalog.
    DropTable {
        /// Its name.
        name: String,
        /// No error if there is none.
        if_exists: bool,
    },
    /// Change a setting.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Change a setting, or all, back.
    Reset {
        /// The key; `None` means all.
        key: Option<String>,
    },
    /// Show all settings.
    ShowSettings,
    /// Show this text.
    Explain {
        /// The plan.
        text: String,
        /// The statement is also run, and what was measured is shown with it (`EXPLAIN ANALYZE`).
        analyze: Option<Box<Planned>>,
    },
    /// Show these rows of text under these headings.
    Rows {
        /// Headings.
        columns: Vec<String>,
        /// Row by row.
        rows: Vec<Vec<String>>,
    },
}
