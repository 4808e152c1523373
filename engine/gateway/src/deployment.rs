//! Everything a TaskExecutor needs to run one attempt of one subtask.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use flumen_core::graph::{ChangelogMode, DistributionPattern, JobVertex, Partitioner, ResultPartitionType};
use flumen_core::ids::{
    AttemptNumber, CheckpointId, ExecutionAttemptId, ExecutionVertexId, IntermediateDataSetId, JobId, JobVertexId,
    ResultPartitionId, SubtaskIndex,
};
use flumen_core::key_group::KeyGroupRange;
use serde::{Deserialize, Serialize};

use crate::task_executor::SlotAddress;

/// What all attempts of one vertex have in common; shared, not copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInformation {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub job_name: String,
    /// The chain to run, with its parallelism and number of key groups.
    pub vertex: JobVertex,
    /// The job's configuration.
    pub configuration: Arc<BTreeMap<String, String>>,
    /// Whether the job takes checkpoints.
    pub checkpointing: bool,
    /// After the end of its data, and `finish`, the task stays until a checkpoint that was triggered after it reported
    /// [`EndOfData`](crate::JobMasterMessage::EndOfData) is complete, so that what its sinks prepared is committed.
    pub waits_for_final_checkpoint: bool,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskDeploymentDescriptor {
    /// What is the same for all subtasks of the vertex.
    pub task: Arc<TaskInformation>,
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// Where it runs.
    pub slot: SlotAddress,
    /// The key groups it owns.
    pub key_groups: KeyGroupRange,
    /// What it reads: one for each edge of [`JobVertex::inputs`], in that order.
    pub inputs: Vec<InputGateDescriptor>,
    /// What it writes: one for each data set of [`JobVertex::produced`], in that order.
    pub results: Vec<ResultPartitionDescriptor>,
    /// The checkpoint to start from, if any.
    pub restore: Option<Arc<RestoreDescriptor>>,
    /// With `restore`: all subtasks of the vertex had finished in it. What its sinks prepared is still committed, but
    /// `finish` is not called again and nothing is emitted but the end of data.
    pub finished_before: bool,
}

impl TaskDeploymentDescriptor {
    /// Which of the vertex's subtasks this is.
    #[must_use]
    pub fn subtask(&self) -> SubtaskIndex {
        self.attempt.execution_vertex.subtask
    }

    /// The partition that this attempt produces of `data_set`.
    #[must_use]
    pub fn result_partition(&self, data_set: IntermediateDataSetId) -> ResultPartitionId {
        ResultPartitionId { data_set, producer: self.attempt }
    }
}

/// The current attempts of one vertex's subtasks, and where they run. One list serves all consumers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProducerGroup {
    /// The job.
    pub job: JobId,
    /// The producing vertex.
    pub vertex: JobVertexId,
    /// By subtask: the attempt whose partition is to be read.
    pub attempts: Vec<AttemptNumber>,
    /// By subtask: where it runs or ran; `None` if it has not been placed yet.
    pub slots: Vec<Option<SlotAddress>>,
}

impl ProducerGroup {
    /// The attempt of one subtask.
    ///
    /// # Panics
    /// If there is no such subtask.
    #[must_use]
    pub fn attempt(&self, subtask: u32) -> ExecutionAttemptId {
        ExecutionAttemptId {
            job: self.job,
            execution_vertex: ExecutionVertexId { vertex: self.vertex, subtask: SubtaskIndex(subtask) },
            attempt: self.attempts[subtask as usize],
        }
    }
}

/// What one task reads of one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputGateDescriptor {
    /// The data set.
    pub data_set: IntermediateDataSetId,
    /// Which input of the head operator it feeds.
    pub head_input: u32,
    /// How it is kept.
    pub partition_type: ResultPartitionType,
    /// Who produces it.
    pub producers: Arc<ProducerGroup>,
    /// Which of the producers this task reads: one channel each (and per subpartition), in this order.
    pub producer_range: Range<u32>,
    /// Which subpartitions of each of these producers it reads.
    pub subpartitions: Range<u32>,
}

impl InputGateDescriptor {
    /// The partitions to read, in channel order.
    pub fn partitions(&self) -> impl Iterator<Item = ResultPartitionId> + '_ {
        self.producer_range
            .clone()
            .map(|subtask| ResultPartitionId { data_set: self.data_set, producer: self.producers.attempt(subtask) })
    }
}

/// What one task writes of one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultPartitionDescriptor {
    /// The data set.
    pub data_set: IntermediateDataSetId,
    /// How it is kept.
    pub partition_type: ResultPartitionType,
    /// How rows find their subpartition.
    pub partitioner: Partitioner,
    /// Who talks to whom.
    pub distribution: DistributionPattern,
    /// What it carries.
    pub changelog: ChangelogMode,
    /// The consuming vertex.
    pub consumer: JobVertexId,
    /// How many subtasks it has in all.
    pub consumer_parallelism: u32,
    /// How many key groups it has: the partitioner `KeyGroup` divides by this.
    pub consumer_max_parallelism: u32,
    /// The consumers that this partition serves, one subpartition each, in order: all of them, or (pointwise) a block.
    pub consumers: Range<u32>,
}

impl ResultPartitionDescriptor {
    /// Number of subpartitions.
    #[must_use]
    pub fn subpartitions(&self) -> u32 {
        self.consumers.end - self.consumers.start
    }
}

/// The snapshot that tasks start from. Its files are read by the task, through `flumen-state`, and give each subtask its
/// share at whatever parallelism it has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreDescriptor {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Where it is: the directory that holds its metadata.
    pub location: String,
}
