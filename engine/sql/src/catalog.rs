//! Tables and views in memory, for a session.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use flumen_core::catalog::{Catalog, CatalogTable, CatalogView};
use flumen_core::failure::Failure;

/// Tables and views in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    /// By lower-case name.
    entries: RwLock<BTreeMap<String, Entry>>,
}

#[derive(Debug)]
enum Entry {
    Table(Arc<CatalogTable>),
    View(Arc<CatalogView>),
}

impl Entry {
    fn table(&self) -> Option<&Arc<CatalogTable>> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    fn view(&self) -> Option<&Arc<CatalogView>> {
        if let Self::View(view) = self { Some(view) } else { None }
    }
}

type Entries = BTreeMap<String, Entry>;

impl MemoryCatalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a name that is taken, unless what has it may be replaced.
fn check_free(name: &str, taken: Option<&Entry>, is_table: bool, replace: bool) -> Result<(), Failure> {
    let Some(entry) = taken else { return Ok(()) };
    if replace && entry.table().is_some() == is_table {
        return Ok(());
    }
    let what = if entry.table().is_some() { "table" } else { "view" };
    Err(Failure::user(format!("there is a {what} {name:?} already")))
}

impl Catalog for MemoryCatalog {
    fn table(&self, name: &str) -> Result<Option<Arc<CatalogTable>>, Failure> {
        Ok(self.read().get(&name.to_lowercase()).and_then(Entry::table).map(Arc::clone))
    }

    fn view(&self, name: &str) -> Result<Option<Arc<CatalogView>>, Failure> {
        Ok(self.read().get(&name.to_lowercase()).and_then(Entry::view).map(Arc::clone))
    }

    fn table_names(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read().values().filter_map(Entry::table).map(|t| t.name.clone()).collect())
    }

    fn view_names(&self) -> Result<Vec<String>, Failure> {
        Ok(self.read().values().filter_map(Entry::view).map(|v| v.name.clone()).collect())
    }

    fn create_table(&self, table: CatalogTable, replace: bool) -> Result<(), Failure> {
        let (key, mut entries) = (table.name.to_lowercase(), self.write());
        check_free(&table.name, entries.get(&key), true, replace)?;
        entries.insert(key, Entry::Table(Arc::new(table)));
        Ok(())
    }

    fn create_view(&self, view: CatalogView, replace: bool) -> Result<(), Failure> {
        let (key, mut entries) = (view.name.to_lowercase(), self.write());
        check_free(&view.name, entries.get(&key), false, replace)?;
        entries.insert(key, Entry::View(Arc::new(view)));
        Ok(())
    }

    fn drop_table(&self, name: &str) -> Result<bool, Failure> {
        let (key, mut entries) = (name.to_lowercase(), self.write());
        let there = entries.get(&key).is_some_and(|e| e.table().is_some());
        if there {
            entries.remove(&key);
        }
        Ok(there)
    }

    fn drop_view(&self, name: &str) -> Result<bool, Failure> {
        let (key, mut entries) = (name.to_lowercase(), self.write());
        let there = entries.get(&key).is_some_and(|e| e.view().is_some());
        if there {
            entries.remove(&key);
        }
        Ok(there)
    }
}
