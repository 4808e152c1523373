//! The nouns of the engine: what every other crate talks about, and nothing that does I/O.
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | identifiers of jobs, vertices, attempts, checkpoints, partitions |
//! | [`types`] | logical types, fields, schemas, and their Arrow counterparts |
//! | [`batch`] | [`Batch`](batch::Batch): columns in any encoding, a selection, row kinds, flags |
//! | [`element`] | what flows on a stream: batches, watermarks, barriers, status, end |
//! | [`time`] | event time and watermarks |
//! | [`key_group`] | key groups, their ranges, and which subtask owns them |
//! | [`expr`] | expressions as data |
//! | [`spec`] | [`OperatorSpec`](spec::OperatorSpec) and the payloads of the built-in operators |
//! | [`graph`] | StreamGraph, JobGraph, partitioners, and the translation between them |
//! | [`source`], [`sink`], [`catalog`] | the traits that connectors implement |
//! | [`connectors`] | the connectors of a process, by name |
//! | [`waiting`] | work that must wait: an executor for it and the wake-up that follows |
//! | [`meter`] | what a holder of memory reports to |
//! | [`failure`] | the one question asked of every error that ends a task |
//!
//! Specs, expressions and graphs derive serde because they *are* the stored form: a job is restored from the JobGraph
//! that was submitted, and a TaskManager receives its tasks as data. Everything else stays free of serialization.

pub mod batch;
pub mod catalog;
pub mod connectors;
pub mod element;
pub mod expr;
pub mod failure;
pub mod graph;
pub mod ids;
pub mod key_group;
pub mod meter;
pub mod sink;
pub mod source;
pub mod spec;
pub mod time;
pub mod types;
pub mod waiting;
