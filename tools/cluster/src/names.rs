//! The names that a session knows, for those who complete them.
//!
//! A [`Names`] looks at the session's catalog and asks its connectors, and needs neither the session nor its cluster: it
//! may be asked from another thread while a statement runs.

use std::sync::{Arc, Weak};

use flumen_core::catalog::Catalog;
use flumen_sql::{MemoryCatalog, PlanOptions, Planned, plan_statement};

use crate::process::Process;

/// See the module.
#[derive(Clone)]
pub struct Names {
    catalog: Arc<MemoryCatalog>,
    /// Gone with the session.
    process: Weak<Process>,
}

impl Names {
    pub(crate) fn new(catalog: &Arc<MemoryCatalog>, process: &Arc<Process>) -> Self {
        Self { catalog: Arc::clone(catalog), process: Arc::downgrade(process) }
    }

    /// Tables and views, in order.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let mut names = self.catalog.table_names().unwrap_or_default();
        names.extend(self.catalog.view_names().unwrap_or_default());
        names.sort_unstable();
        names
    }

    /// Names and types of the columns of a table or view, or of the files at a path; `None` if there is no such thing.
    ///
    /// Files are opened for it, and it takes as long as that takes.
    #[must_use]
    pub fn columns(&self, table: &str) -> Option<Vec<(String, String)>> {
        let process = self.process.upgrade()?;
        let is_known =
            matches!(self.catalog.table(table), Ok(Some(_))) || matches!(self.catalog.view(table), Ok(Some(_)));
        let quote = if is_known { '"' } else { '\'' };
        let quoted = table.replace(quote, &format!("{quote}{quote}"));
        let statement = flumen_sql::parse(&format!("DESCRIBE {quote}{quoted}{quote}")).ok()?.pop()?;
        let options = PlanOptions::default();
        let planned = plan_statement(&statement, self.catalog.as_ref(), process.connectors(), &options).ok()?;
        let Planned::Rows { rows, .. } = planned else { return None };
        let pair = |row: Vec<String>| {
            let mut cells = row.into_iter();
            Some((cells.next()?, cells.next()?))
        };
        rows.into_iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::Session;

    #[test]
    fn names_are_those_of_the_session_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("it's.csv");
        std::fs::write(&file, "id,tip\n1,2.5\n").unwrap();
        let mut session = Session::open(crate::configuration().unwrap()).unwrap();
        let names = session.names();
        assert!(names.tables().is_empty());
        let create = "CREATE TABLE \"My t\" (a BIGINT, b VARCHAR) WITH ('connector' = 'datagen'); \
                      CREATE VIEW v AS SELECT a + 1 AS c FROM \"My t\"";
        for statement in session.parse(create).unwrap() {
            session.execute(&statement).unwrap();
        }
        let pair = |name: &str, data_type: &str| (name.to_owned(), data_type.to_owned());
        assert_eq!(names.tables(), ["My t", "v"]);
        assert_eq!(names.columns("my T"), Some(vec![pair("a", "BIGINT"), pair("b", "VARCHAR")]));
        assert_eq!(names.columns("v"), Some(vec![pair("c", "BIGINT")]));
        assert_eq!(names.columns(file.to_str().unwrap()), Some(vec![pair("id", "BIGINT"), pair("tip", "DOUBLE")]));
        assert_eq!([names.columns("nowhere.csv"), names.columns("u")], [None, None]);
        drop(session);
        assert_eq!(names.columns("my t"), None);
    }
}
