//! Tables by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::types::Schema;

/// How a table's watermark is derived: `column - delay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkDefinition {
    /// Index of the timestamp column.
    pub column: usize,
    /// How late rows may be, in milliseconds.
    pub delay_ms: i64,
}

/// A table as it was defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogTable {
    /// Its name, with its case.
    pub name: String,
    /// Its columns.
    pub schema: Arc<Schema>,
    /// Its watermark.
    pub watermark: Option<WatermarkDefinition>,
    /// Registered name of its connector.
    pub connector: String,
    /// The other options.
    pub options: BTreeMap<String, String>,
}

/// Tables by name. Names are compared without case.
pub trait Catalog: Send + Sync {
    /// The table with this name.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn table(&self, name: &str) -> Result<Option<Arc<CatalogTable>>, Failure>;

    /// All names, in order.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn table_names(&self) -> Result<Vec<String>, Failure>;

    /// Adds a table; with `replace` in place of one that has its name.
    ///
    /// # Errors
    /// If there is one and `replace` is not set, or the catalog cannot be written.
    fn create_table(&self, table: CatalogTable, replace: bool) -> Result<(), Failure>;

    /// Removes a table; says whether there was one.
    ///
    /// # Errors
    /// If the catalog cannot be written.
    fn drop_table(&self, name: &str) -> Result<bool, Failure>;
}
