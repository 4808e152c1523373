//! The crate's error: every variant names the partition or channel it is about.

use std::sync::Arc;

use flumen_core::failure::{Failure, FailureKind};
use flumen_core::ids::ResultPartitionId;
use flumen_formats_ipc::FrameError;
use flumen_memory::MemoryError;

/// The result of an operation of this crate.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

/// What can go wrong between a producer and its consumers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The partition is not there: never registered, released, or lost with its TaskManager.
    #[error("partition {partition} not found; its producer has to run again")]
    PartitionNotFound {
        /// Which.
        partition: ResultPartitionId,
    },
    /// A consumer asked for a subpartition that the partition does not have.
    #[error("partition {partition} has {subpartitions} subpartitions, there is no {subpartition}")]
    SubpartitionOutOfRange {
        /// Which partition.
        partition: ResultPartitionId,
        /// What was asked for.
        subpartition: u32,
        /// How many there are.
        subpartitions: u32,
    },
    /// A blocking partition was asked for before its producer finished.
    #[error("partition {partition} is blocking and its producer has not finished; schedule the consumer later")]
    NotFinished {
        /// Which.
        partition: ResultPartitionId,
    },
    /// The subpartition can be consumed once, and has been.
    #[error("subpartition {subpartition} of {partition} is consumed already and cannot be read again")]
    AlreadyConsumed {
        /// Which partition.
        partition: ResultPartitionId,
        /// Which of its subpartitions.
        subpartition: u32,
    },
    /// A partition with this id is registered already.
    #[error("partition {partition} is registered twice")]
    DuplicatePartition {
        /// Which.
        partition: ResultPartitionId,
    },
    /// The producer failed or went away before it finished.
    #[error("the producer of {partition} failed: {cause}")]
    ProducerFailed {
        /// Which partition.
        partition: ResultPartitionId,
        /// What it said.
        cause: Arc<str>,
    },
    /// The connection between the two ends broke.
    #[error("the connection to subpartition {subpartition} of {partition} broke: {cause}")]
    ConnectionBroken {
        /// Which partition.
        partition: ResultPartitionId,
        /// Which of its subpartitions.
        subpartition: u32,
        /// What is known about it.
        cause: Arc<str>,
    },
    /// The other end sent what the protocol does not allow.
    #[error("protocol violation on {partition}: {problem}")]
    Protocol {
        /// Which partition.
        partition: ResultPartitionId,
        /// What was wrong.
        problem: Arc<str>,
    },
    /// A frame could not be encoded or decoded.
    #[error("frame of {partition}")]
    Frame {
        /// Which partition.
        partition: ResultPartitionId,
        /// Why.
        #[source]
        source: Arc<FrameError>,
    },
    /// The spill file could not be written or read.
    #[error("spill file of {partition}")]
    Spill {
        /// Which partition.
        partition: ResultPartitionId,
        /// Why.
        #[source]
        source: Arc<MemoryError>,
    },
    /// Work that was handed to an I/O thread panicked.
    #[error("background work for {partition} panicked")]
    WorkLost {
        /// Which partition.
        partition: ResultPartitionId,
    },
    /// Too few network buffers are left for what the partition needs at least.
    #[error(
        "not enough network buffers for {partition}; lower the parallelism or raise taskmanager.memory.network.fraction \
         or taskmanager.memory.network.min"
    )]
    Buffers {
        /// Which partition.
        partition: ResultPartitionId,
        /// The refusal.
        #[source]
        source: Arc<MemoryError>,
    },
    /// A partitioner cannot be built or cannot divide a batch.
    #[error("partitioner {partitioner}: {problem}")]
    Partitioner {
        /// Its name.
        partitioner: Arc<str>,
        /// What is wrong and what to try.
        problem: Arc<str>,
    },
    /// A batch does not fit the partition's schema, or cannot be divided.
    #[error("batch of {partition} cannot be divided: {problem}")]
    Batch {
        /// Which partition.
        partition: ResultPartitionId,
        /// What is wrong.
        problem: Arc<str>,
    },
    /// The partition or gate was released; nothing more can be done with it.
    #[error("partition {partition} is released")]
    Released {
        /// Which.
        partition: ResultPartitionId,
    },
}

impl NetworkError {
    /// How control is to treat it.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::PartitionNotFound { .. } | Self::AlreadyConsumed { .. } => FailureKind::PartitionMissing,
            // What a spill file no longer gives back has to be produced again.
            Self::ProducerFailed { .. } => FailureKind::ProducerFailed,
            Self::Spill { .. } | Self::ConnectionBroken { .. } => FailureKind::Transient,
            Self::Protocol { .. } | Self::Frame { .. } => FailureKind::Transient,
            // Asking again with the same settings would be refused again.
            Self::Buffers { .. } | Self::Partitioner { .. } => FailureKind::User,
            Self::Released { .. } => FailureKind::Cancelled,
            Self::SubpartitionOutOfRange { .. }
            | Self::NotFinished { .. }
            | Self::DuplicatePartition { .. }
            | Self::WorkLost { .. }
            | Self::Batch { .. } => FailureKind::Bug,
        }
    }

    /// The partition that cannot be read, or whose producer failed; `None` if the error is another one.
    #[must_use]
    pub fn unreadable(&self) -> Option<ResultPartitionId> {
        match self {
            Self::PartitionNotFound { partition }
            | Self::AlreadyConsumed { partition, .. }
            | Self::ProducerFailed { partition, .. }
            | Self::Spill { partition, .. } => Some(*partition),
            _ => None,
        }
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        let unreadable = error.unreadable();
        let failure = Self::new(error.failure_kind(), error);
        match unreadable {
            Some(partition) => failure.of_partition(partition),
            None => failure,
        }
    }
}
