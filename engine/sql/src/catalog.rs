//! Tables in memory, for a session.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use flumen_core::catalog::{Catalog, CatalogTable};
use flumen_core::failure::Failure;

/// Tables in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    /// By lower-case name.
    tables: RwLock<BTreeMap<String, Arc<CatalogTable>>>,
}

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Catalog for MemoryCatalog {
    fn table(&self, name: &str) -> Result<Option<Arc<CatalogTable>>, Failure> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.get(&name.to_lowercase()).map(Arc::clone))
    }

    fn table_names(&self) -> Result<Vec<String>, Failure> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.values().map(|t| t.name.clone()).collect())
    }

    fn create_table(&self, table: CatalogTable, replace: bool) -> Result<(), Failure> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let key = table.name.to_lowercase();
        if !replace && tables.contains_key(&key) {
            return Err(Failure::user(format!("there is a table {:?} already", table.name)));
        }
        tables.insert(key, Arc::new(table));
        Ok(())
    }

    fn drop_table(&self, name: &str) -> Result<bool, Failure> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        Ok(tables.remove(&name.to_lowercase()).is_some())
    }
}
