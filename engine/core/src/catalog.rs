//! Tables and views by name.

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

/// A query under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogView {
    /// Its name, with its case.
    pub name: String,
    /// Names of its columns, with their case; as many as the query gives.
    pub columns: Vec<String>,
    /// The query, as it was written.
    pub query: String,
}

/// Tables and views by name. They share one space of names, which are compared without case.
pub trait Catalog: Send + Sync {
    /// The table with this name.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn table(&self, name: &str) -> Result<Option<Arc<CatalogTable>>, Failure>;

    /// The view with this name.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn view(&self, name: &str) -> Result<Option<Arc<CatalogView>>, Failure>;

    /// The names of all tables, in order.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn table_names(&self) -> Result<Vec<String>, Failure>;

    /// The names of all views, in order.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    fn view_names(&self) -> Result<Vec<String>, Failure>;

    /// Adds a table; with `replace` in place of one that has its name. A view is never replaced by a table.
    ///
    /// # Errors
    /// If there is one and `replace` is not set, if a view has the name, or the catalog cannot be written.
    fn create_table(&self, table: CatalogTable, replace: bool) -> Result<(), Failure>;

    /// Adds a view; with `replace` in place of one that has its name. A table is never replaced by a view.
    ///
    /// # Errors
    /// If there is one and `replace` is not set, if a table has the name, or the catalog cannot be written.
    fn create_view(&self, view: CatalogView, replace: bool) -> Result<(), Failure>;

    /// Removes a view; says whether there was one.
    ///
    /// # Errors
    /// If the catalog cannot be written.
    fn drop_view(&self, name: &str) -> Result<bool, Failure>;

    /// Removes a table; says whether there was one.
    ///
    /// # Errors
    /// If the catalog cannot be written.
    fn drop_table(&self, name: &str) -> Result<bool, Failure>;
}
