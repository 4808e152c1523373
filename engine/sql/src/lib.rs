//! SQL text in, StreamGraph out.
//!
//! DataFusion's parser, binder and rewriting rules are a library behind this crate; what comes after is Flumen's own:
//! types, join order, the physical plan, exchanges, and state.
//!
//! ```text
//! text -> parse -> bind -> optimize -> plan (physical) -> StreamGraph
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`mod@parse`] | tokens, limits, statements |
//! | `bind` | names to relations, columns and functions; the engine's types |
//! | `optimize` | the explicit list of rules, statistics, join order |
//! | [`plan`] | physical plan, StreamGraph, EXPLAIN |
//! | [`catalog`] | tables in memory |
//! | `functions` | the library's scalar functions for the engine |
//! | [`error`] | one error: what, where, what to try |
//!
//! `SEMANTICS.md` beside this crate lists every choice of meaning. Planning runs on a thread with a stack of known size
//! and keeps nothing between statements but the catalog.

mod bind;
pub mod catalog;
pub mod error;
mod functions;
mod list_size;
mod nested_functions;
mod optimize;
pub mod parse;
pub mod plan;
mod stack;
mod subject;
mod wording;

pub use catalog::MemoryCatalog;
pub use error::{Position, SqlError, SqlErrorKind};
pub use flumen_core::connectors::ConnectorRegistry;
pub use functions::{aggregate_names, register_datafusion_functions};
pub use parse::{Droppable, Statement, StatementKind, parse, parse_each};
pub use plan::{PlanOptions, Planned, RecursiveTable, Summary, SummaryColumn, plan_statement};
