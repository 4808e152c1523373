//! Wires one process: configuration, memory, threads, connectors, jobs; and the session that SQL comes in by.
//!
//! [`process::Process`] is what all jobs share, over a [`process::World`] of clock, files and executors; [`job::Job`] is
//! the actor around a JobMaster; [`embedded::EmbeddedCluster`] puts a real world under it; [`session::Session`] turns
//! statements into jobs and their rows into a stream. Only this crate sees every other one.

mod embedded;
mod error;
pub mod extensions;
pub mod job;
mod metered;
mod names;
pub mod options;
pub mod process;
mod services;
mod session;
mod snapshots;
mod stream;
mod summary;

pub use embedded::EmbeddedCluster;
pub use error::SessionError;
pub use extensions::Extensions;
pub use flumen_sql::Statement;
pub use names::Names;
pub use session::{Outcome, Session};
pub use stream::{CancelHandle, ExpectedRows, JobHandle, Polled, Recovery, Restart, RowStream, StatementProgress};

/// A configuration that knows every option of the engine, at its defaults.
///
/// # Errors
/// If options are declared badly, which a test rules out.
pub fn configuration() -> flumen_config::Result<flumen_config::Configuration> {
    use std::sync::{Arc, OnceLock};
    static REGISTRY: OnceLock<Arc<flumen_config::OptionRegistry>> = OnceLock::new();
    if let Some(registry) = REGISTRY.get() {
        return Ok(flumen_config::Configuration::new(Arc::clone(registry)));
    }
    let lists = [options::OPTIONS, flumen_memory::OPTIONS, flumen_control::options::OPTIONS];
    let registry = Arc::new(flumen_config::OptionRegistry::collect(&lists)?);
    Ok(flumen_config::Configuration::new(Arc::clone(REGISTRY.get_or_init(|| registry))))
}

/// The SQL name of an Arrow type.
#[must_use]
pub fn type_name(data_type: &arrow_schema::DataType) -> String {
    flumen_core::types::LogicalType::from_arrow(data_type).map_or_else(|| data_type.to_string(), |t| t.to_string())
}

/// Names of the functions that SQL knows, in order: those of one row, and those of many.
#[must_use]
pub fn function_names() -> (Vec<String>, Vec<String>) {
    let mut functions = flumen_kernels::expr::FunctionRegistry::new();
    // A name that is taken twice stops a process from starting; here it only shortens a list.
    let _ = flumen_sql::register_datafusion_functions(&mut functions);
    let plain = |name: &str| name.rsplit(':').next().unwrap_or(name).to_owned();
    let mut scalar: Vec<String> = functions.names().filter(|name| !name.starts_with("sql:")).map(plain).collect();
    scalar.sort_unstable();
    scalar.dedup();
    (scalar, flumen_sql::aggregate_names())
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_options_are_declared_well() {
        super::configuration().unwrap();
    }
}
