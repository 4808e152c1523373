//! Connectors by name, as the planner and the engine share them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sink::SinkConnector;
use crate::source::SourceConnector;

/// Name of the connector that reads files named in `FROM`.
pub const FILE_CONNECTOR: &str = "filesystem";
/// Name of the sink that takes the rows of a query.
pub const COLLECT_CONNECTOR: &str = "collect";
/// Name of the connector of tables whose rows are kept in the process.
pub const MEMORY_CONNECTOR: &str = "memory";
/// Name of the source of constant rows.
pub const VALUES_CONNECTOR: &str = "values";

/// Connectors by name. Filled once at start-up, then shared.
#[derive(Clone, Default)]
pub struct ConnectorRegistry {
    sources: BTreeMap<&'static str, Arc<dyn SourceConnector>>,
    sinks: BTreeMap<&'static str, Arc<dyn SinkConnector>>,
}

impl ConnectorRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a connector that reads, in place of one with its name.
    pub fn add_source(&mut self, connector: Arc<dyn SourceConnector>) {
        self.sources.insert(connector.name(), connector);
    }

    /// Adds a connector that writes, in place of one with its name.
    pub fn add_sink(&mut self, connector: Arc<dyn SinkConnector>) {
        self.sinks.insert(connector.name(), connector);
    }

    /// The connector that reads, by name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Arc<dyn SourceConnector>> {
        self.sources.get(name)
    }

    /// The connector that writes, by name.
    #[must_use]
    pub fn sink(&self, name: &str) -> Option<&Arc<dyn SinkConnector>> {
        self.sinks.get(name)
    }

    /// Every name, once, in order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.sources.keys().chain(self.sinks.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl std::fmt::Debug for ConnectorRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectorRegistry")
            .field("sources", &self.sources.keys())
            .field("sinks", &self.sinks.keys())
            .finish()
    }
}
