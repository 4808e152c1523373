//! Statements to what is to be done: the steps from a bound plan to a StreamGraph.

mod copy;
mod definition;
mod emit;
mod explain;
pub(crate) mod expr;
mod node;
mod physical;
mod recursion;
mod state;
mod statement;
mod summarize;
#[cfg(test)]
mod tests;

use flumen_core::catalog::{CatalogTable, CatalogView};
use flumen_core::graph::StreamGraph;
use flumen_core::source::Boundedness;
use flumen_core::types::{LogicalType, SchemaRef};

pub use statement::plan_statement;

use crate::parse::Droppable;

/// Settings of planning.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Parallel instances of what can be parallel (`parallelism.default`).
    pub parallelism: u32,
    /// Name of the job.
    pub job_name: String,
    /// Option `id` of the `collect` sink that takes the rows of a query.
    pub collect_id: String,
    /// Name under which the rows of a table that this statement creates are kept in memory; unique in the process.
    pub memory_id: String,
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
            memory_id: "table".to_owned(),
            source_idle_timeout_ms: None,
            now_ms: None,
        }
    }
}

/// How the one row of a `SUMMARIZE` is read: for each column its smallest and largest value as text, the average and
/// standard deviation as DOUBLE and the number of values that are not NULL as BIGINT; at the end the number of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What was summarized.
    pub columns: Vec<SummaryColumn>,
}

/// A column of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: LogicalType,
}

/// A table that a recursive query fills, round by round, in memory.
#[derive(Clone, Debug)]
pub struct RecursiveTable {
    /// The name of the query.
    pub name: String,
    /// The job of the first round.
    pub first: StreamGraph,
    /// The job of each further round.
    pub next: StreamGraph,
    /// Where a round puts its rows. A round without rows is the last.
    pub added: String,
    /// Where the next round looks for them.
    pub last: String,
    /// Where the rows of all rounds are.
    pub all: String,
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
        /// The one row that comes is to be shown like this.
        summary: Option<Summary>,
    },
    /// Fill the tables, one after the other, then do the rest.
    WithRecursion {
        /// The tables.
        tables: Vec<RecursiveTable>,
        /// What reads them.
        then: Box<Planned>,
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
    /// Run the graph, which fills the table; once it has finished, put the table into the catalog.
    CreateTableAs {
        /// The job.
        graph: StreamGraph,
        /// The table.
        table: CatalogTable,
        /// In place of one with its name.
        replace: bool,
        /// Do nothing if there is one with its name.
        if_not_exists: bool,
        /// Whether the job ends by itself.
        boundedness: Boundedness,
    },
    /// Put the view into the catalog.
    CreateView {
        /// The view.
        view: CatalogView,
        /// In place of one with its name.
        replace: bool,
        /// Do nothing if there is one with its name.
        if_not_exists: bool,
    },
    /// Take the table or view out of the catalog.
    Drop {
        /// Which of the two.
        what: Droppable,
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
