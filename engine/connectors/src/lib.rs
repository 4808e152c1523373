//! Sources and sinks, and the I/O for formats.
//!
//! | module | holds |
//! |---|---|
//! | [`filesystem`] | files as tables: Parquet, CSV, JSON |
//! | [`datagen`] | rows made up by a function of their number |
//! | [`memory`] | tables kept in the process |
//! | [`values`] | constant rows, with failures and watermarks for tests |
//! | [`mod@print`], [`blackhole`], [`collect`] | sinks that show, drop, or hand rows to a client |
//! | [`operators`] | the source and sink operators that drive connectors |
//! | [`options`] | options of tables, unknown ones refused |
//!
//! Readers and writers run on task workers and never wait: what would wait is handed to the blocking executor and comes
//! back by the task's waker. Nothing here reads a clock or opens a file by itself.

pub mod blackhole;
mod charge;
pub mod collect;
pub mod datagen;
pub mod error;
pub mod filesystem;
pub mod memory;
pub mod operators;
pub mod options;
pub mod print;
#[cfg(test)]
mod testing;
pub mod values;

use std::sync::Arc;

use flumen_core::connectors::ConnectorRegistry;
use flumen_io::FileSystem;

pub use collect::{CollectRegistry, CollectStream};
pub use error::ConnectorError;
pub use memory::MemoryTables;

/// What the built-in connectors need of the process.
#[derive(Clone)]
pub struct ConnectorEnvironment {
    /// Where files are.
    pub files: Arc<dyn FileSystem>,
    /// Where the rows of queries go.
    pub collect: CollectRegistry,
    /// Where tables in memory are.
    pub tables: MemoryTables,
    /// Where printed rows go.
    pub print: print::PrintTarget,
}

/// Adds every connector of this crate.
pub fn register_connectors(registry: &mut ConnectorRegistry, environment: &ConnectorEnvironment) {
    registry.add_source(Arc::new(filesystem::FileSource::new(Arc::clone(&environment.files))));
    registry.add_sink(Arc::new(filesystem::FileSink::new(Arc::clone(&environment.files))));
    registry.add_source(Arc::new(memory::MemoryConnector::new(environment.tables.clone())));
    registry.add_sink(Arc::new(memory::MemoryConnector::new(environment.tables.clone())));
    registry.add_source(Arc::new(datagen::DatagenSource));
    registry.add_source(Arc::new(values::ValuesSource::default()));
    registry.add_sink(Arc::new(print::PrintSink::new(environment.print.clone())));
    registry.add_sink(Arc::new(blackhole::BlackholeSink));
    registry.add_sink(Arc::new(collect::CollectSink::new(environment.collect.clone())));
}
