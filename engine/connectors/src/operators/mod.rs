//! The operators that drive connectors: kinds `source` and `sink`.

mod sink;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use flumen_core::connectors::ConnectorRegistry;
use flumen_core::failure::Failure;
use flumen_operators::registry::OperatorRegistry;

pub use sink::SinkFactory;
pub use source::SourceFactory;

/// Adds the factories of both kinds over these connectors.
pub fn register_operators(registry: &mut OperatorRegistry, connectors: &Arc<ConnectorRegistry>) {
    registry.register(Arc::new(SourceFactory::new(Arc::clone(connectors))));
    registry.register(Arc::new(SinkFactory::new(Arc::clone(connectors))));
}

/// The failure of a table whose connector is not there.
fn unknown_connector(connectors: &ConnectorRegistry, name: &str) -> Failure {
    let nearest = crate::options::nearest(name, connectors.names().into_iter());
    Failure::user(format!("no connector '{name}' is registered here{nearest}"))
}
