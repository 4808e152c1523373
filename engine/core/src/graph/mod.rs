//! Jobs as graphs, as data.
//!
//! A [`StreamGraph`] is what a user said: operators and edges. A [`JobGraph`] is what is deployed: operators that can
//! run in one task are chained into vertices, and what remains between vertices are exchanges with a partition type.
//! `control` turns it into an ExecutionGraph of subtasks and attempts.

mod chaining;
pub mod job_graph;
mod json;
pub mod partitioner;
pub mod stream_graph;

pub use chaining::{TranslateError, TranslateOptions, translate};
pub use job_graph::{
    ChainedOperator, DistributionPattern, IntermediateDataSet, JobEdge, JobGraph, JobVertex, ResultPartitionType,
};
pub use json::{JobGraphError, MAX_JSON_BYTES, MAX_JSON_DEPTH};
pub use partitioner::Partitioner;
pub use stream_graph::{ChainingStrategy, ChangelogMode, ExchangeMode, StreamEdge, StreamGraph, StreamNode};
