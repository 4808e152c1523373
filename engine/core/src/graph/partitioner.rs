//! How the rows of one edge are divided among the consumer's subtasks (Flink 3.4).

use serde::{Deserialize, Serialize};

/// How rows find their consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// Subtask i to subtask i. Parallelism must be equal; the only partitioner that can be chained.
    Forward,
    /// Batches in turn to every consumer, starting at a random one.
    Rebalance,
    /// Batches in turn to the consumers of the local group (pointwise).
    Rescale,
    /// Batches to random consumers.
    Shuffle,
    /// Everything to everyone.
    Broadcast,
    /// Everything to subtask 0.
    Global,
    /// By the key group of the hash of these columns. The consumer keeps state by the same key.
    KeyGroup {
        /// Key columns of the producer's output.
        columns: Vec<usize>,
    },
    /// As [`Partitioner::KeyGroup`], for consumers without keyed state: the same hash, so that rows with equal keys
    /// meet, without a promise about which subtask they meet in.
    Hash {
        /// Key columns of the producer's output.
        columns: Vec<usize>,
    },
    /// By ranges of one column, whose bounds are found while the job runs.
    Range {
        /// The column.
        column: usize,
    },
    /// By a registered function.
    Custom {
        /// Its registered name.
        name: String,
        /// Columns it reads.
        columns: Vec<usize>,
    },
}

impl Partitioner {
    /// Whether every producer subtask talks to a block of consumers only.
    #[must_use]
    pub fn is_pointwise(&self) -> bool {
        matches!(self, Self::Forward | Self::Rescale)
    }

    /// The key columns, for those that have any.
    #[must_use]
    pub fn key_columns(&self) -> Option<&[usize]> {
        match self {
            Self::KeyGroup { columns } | Self::Hash { columns } | Self::Custom { columns, .. } => Some(columns),
            _ => None,
        }
    }

    /// The name that plans show.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forward => "FORWARD",
            Self::Rebalance => "REBALANCE",
            Self::Rescale => "RESCALE",
            Self::Shuffle => "SHUFFLE",
            Self::Broadcast => "BROADCAST",
            Self::Global => "GLOBAL",
            Self::KeyGroup { .. } => "KEY_GROUP",
            Self::Hash { .. } => "HASH",
            Self::Range { .. } => "RANGE",
            Self::Custom { .. } => "CUSTOM",
        }
    }
}
