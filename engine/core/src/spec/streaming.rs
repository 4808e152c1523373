//! Payloads of the operators that deal in event time.

use serde::{Deserialize, Serialize};

use super::OperatorPayload;
use super::relational::{AggregateCall, AggregatePhase};

/// Derives watermarks from a column: bounded out-of-orderness by row, so that results do not depend on where batches
/// are cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatermarkSpec {
    /// The timestamp column.
    pub column: usize,
    /// How much later than the newest row a row may be, in milliseconds.
    pub delay_ms: i64,
    /// Silence after which the input no longer holds the watermark back.
    pub idle_timeout_ms: Option<u64>,
}

impl OperatorPayload for WatermarkSpec {
    const KIND: &'static str = "watermark";
}

/// Keyed aggregation over tumbling windows of event time. The output has the key columns, `window_start`,
/// `window_end` (end excluded), then one column for each aggregate.
///
/// In phase `Local` the output is keys, `window_end`, then state columns, flushed at the latest when a watermark or
/// barrier passes; `Global` reads that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TumblingAggregateSpec {
    /// Key columns of the input.
    pub group_by: Vec<usize>,
    /// The timestamp column (phase `Global`: the `window_end` column).
    pub time_column: usize,
    /// Length of a window in milliseconds.
    pub size_ms: i64,
    /// Windows start at multiples of `size_ms` plus this.
    pub offset_ms: i64,
    /// What is computed for each key and window.
    pub aggregates: Vec<AggregateCall>,
    /// Which half this is.
    pub phase: AggregatePhase,
}

impl OperatorPayload for TumblingAggregateSpec {
    const KIND: &'static str = "tumbling-aggregate";
}
