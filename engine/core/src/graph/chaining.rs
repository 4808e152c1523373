//! StreamGraph to JobGraph.

use super::job_graph::JobGraph;
use super::stream_graph::{ExchangeMode, StreamGraph};
use crate::ids::JobId;

/// Settings of a translation.
#[derive(Clone, Debug)]
pub struct TranslateOptions {
    /// Chaining at all (`pipeline.operator-chaining.enabled`).
    pub chaining: bool,
    /// What [`ExchangeMode::Default`] means.
    pub default_exchange: ExchangeMode,
}

impl Default for TranslateOptions {
    fn default() -> Self {
        Self { chaining: true, default_exchange: ExchangeMode::Pipelined }
    }
}

/// Why a graph cannot be deployed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranslateError {
    /// The graph is not well formed.
    #[error("{0}")]
    Malformed(String),
}

/// Translates.
///
/// # Errors
/// If the graph is malformed.
pub fn translate(_graph: &StreamGraph, _job: JobId, _options: &TranslateOptions) -> Result<JobGraph, TranslateError> {
    Err(TranslateError::Malformed("translation has not landed".to_owned()))
}
