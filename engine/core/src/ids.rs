//! Identifiers, one type each, so that a subtask index can never be taken for a vertex.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// An operator in a [`StreamGraph`](crate::graph::StreamGraph).
    StreamNodeId(u32),
    "node-"
);
id!(
    /// A chain of operators that is scheduled as one, in a [`JobGraph`](crate::graph::JobGraph).
    JobVertexId(u32),
    "vertex-"
);
id!(
    /// The data that one vertex produces for one consumer edge.
    IntermediateDataSetId(u32),
    "dataset-"
);
id!(
    /// Position of a parallel instance among its vertex's instances, counted from 0.
    SubtaskIndex(u32),
    "subtask-"
);
id!(
    /// The n-th try to run a subtask, counted from 0 over the life of the job.
    AttemptNumber(u32),
    "attempt-"
);
id!(
    /// Identifier of a checkpoint; grows over the life of a job, also across restarts.
    CheckpointId(u64),
    "checkpoint-"
);
id!(
    /// Term of a leader; every control message carries one and the stale are refused.
    LeaderEpoch(u64),
    "epoch-"
);
id!(
    /// A slot of a TaskManager.
    SlotId(u32),
    "slot-"
);

/// Identifier of a job: 128 bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(pub u128);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for JobId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() != 32 {
            return Err(format!("a job id has 32 hexadecimal digits, got {:?}", text));
        }
        u128::from_str_radix(&text, 16).map(JobId).map_err(|e| format!("job id {text:?}: {e}"))
    }
}

/// One subtask of one vertex, over all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecutionVertexId {
    /// The vertex.
    pub vertex: JobVertexId,
    /// Which of its parallel instances.
    pub subtask: SubtaskIndex,
}

impl fmt::Display for ExecutionVertexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.subtask.0)
    }
}

/// One attempt to run one subtask. A vertex may have several current attempts (speculation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExecutionAttemptId {
    /// The job.
    pub job: JobId,
    /// The subtask.
    pub execution_vertex: ExecutionVertexId,
    /// The try.
    pub attempt: AttemptNumber,
}

impl fmt::Display for ExecutionAttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.execution_vertex, self.attempt.0)
    }
}

/// What one attempt produces of one data set: a result partition, divided into subpartitions by its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResultPartitionId {
    /// The data set it is a part of.
    pub data_set: IntermediateDataSetId,
    /// The attempt that produces it; two attempts never share a partition.
    pub producer: ExecutionAttemptId,
}

impl fmt::Display for ResultPartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.data_set, self.producer)
    }
}

/// Stable name of an operator, given by the user or derived from the plan; state is matched by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorUid(pub String);

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for OperatorUid {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
