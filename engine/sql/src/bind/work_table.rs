//! The tables in memory that a recursive query reads and writes: what a round adds, the rows of the round before, and all
//! rows so far.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::SchemaRef;
use flumen_core::connectors::MEMORY_CONNECTOR;
use flumen_core::source::{Boundedness, SourceConnector};
use flumen_core::types::Schema;

use super::table::ConnectedTable;
use super::types::logical_field;
use crate::error::Result;

/// Which rows of a recursive query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of this round.
    Added,
    /// Those of the round before.
    Last,
    /// Those of all rounds.
    All,
}

impl Which {
    fn suffix(self) -> &'static str {
        match self {
            Self::Added => ":added",
            Self::Last => ":last",
            Self::All => ":all",
        }
    }
}

/// The last rows of the recursive query `name`, under an id that nothing else in the process has.
pub(super) fn last(
    name: &str,
    id: &str,
    schema: SchemaRef,
    connector: &Arc<dyn SourceConnector>,
) -> Result<ConnectedTable> {
    let fields = schema.fields().iter().map(|f| logical_field(f, f.name())).collect::<Result<_>>()?;
    Ok(ConnectedTable {
        name: name.to_owned(),
        connector_name: MEMORY_CONNECTOR.to_owned(),
        connector: Arc::clone(connector),
        options: BTreeMap::from([("id".to_owned(), format!("{id}{}", Which::Last.suffix()))]),
        schema: Arc::new(Schema::new(fields)),
        watermark: None,
        boundedness: Boundedness::Bounded,
        binder_schema: schema,
        statistics: OnceLock::new(),
    })
}

/// Whether these are the rows of a round before.
pub(crate) fn is_last(table: &ConnectedTable) -> bool {
    table.connector_name == MEMORY_CONNECTOR
        && table.options.get("id").is_some_and(|id| id.ends_with(Which::Last.suffix()))
}

/// The id of other rows of the same query; `table` has its last.
pub(crate) fn id(table: &ConnectedTable, which: Which) -> String {
    let id = table.options.get("id").map_or("", String::as_str);
    format!("{}{}", id.strip_suffix(Which::Last.suffix()).unwrap_or(id), which.suffix())
}

/// The options of a table with them.
pub(crate) fn options(table: &ConnectedTable, which: Which) -> BTreeMap<String, String> {
    BTreeMap::from([("id".to_owned(), id(table, which))])
}

/// The table with them.
pub(crate) fn reading(table: &ConnectedTable, which: Which) -> ConnectedTable {
    ConnectedTable {
        name: table.name.clone(),
        connector_name: table.connector_name.clone(),
        connector: Arc::clone(&table.connector),
        options: options(table, which),
        schema: Arc::clone(&table.schema),
        watermark: None,
        boundedness: table.boundedness,
        binder_schema: Arc::clone(&table.binder_schema),
        statistics: OnceLock::new(),
    }
}
