//! What is deployed, as data: vertices of chained operators, and the data sets between them.

use serde::{Deserialize, Serialize};

use super::partitioner::Partitioner;
use super::stream_graph::ChangelogMode;
use crate::ids::{IntermediateDataSetId, JobId, JobVertexId, OperatorUid};
use crate::spec::OperatorSpec;

/// Version of the stored form that this build writes.
pub const JOB_GRAPH_VERSION: u32 = 1;

/// How the result of a vertex is kept (Flink 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ResultPartitionType {
    /// Into credited buffers, consumed at once, once.
    PipelinedBounded,
    /// Into one file clustered by subpartition, consumed after the producer finished, any number of times.
    Blocking,
    /// Memory first, all of it also kept; consumed any time, any number of times.
    HybridFull,
    /// Memory first, written only if not consumed in time; consumed once.
    HybridSelective,
}

impl ResultPartitionType {
    /// A consumer that failed can read it again from the start.
    #[must_use]
    pub fn is_reconsumable(self) -> bool {
        matches!(self, Self::Blocking | Self::HybridFull)
    }

    /// Producer and consumer must run at the same time: they share a pipelined region.
    #[must_use]
    pub fn must_be_pipelined(self) -> bool {
        matches!(self, Self::PipelinedBounded)
    }

    /// The consumer may start only after the producer finished.
    #[must_use]
    pub fn must_be_finished(self) -> bool {
        matches!(self, Self::Blocking)
    }

    /// Released by the scheduler, not by consumption.
    #[must_use]
    pub fn is_released_by_scheduler(self) -> bool {
        !matches!(self, Self::PipelinedBounded)
    }
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DistributionPattern {
    /// Every producer to every consumer.
    AllToAll,
    /// A producer to a block of consumers, or the reverse.
    Pointwise,
}

/// An operator inside a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainedOperator {
    /// Stable name by which its state is found.
    pub uid: OperatorUid,
    /// What people see.
    pub name: String,
    /// What it does.
    pub spec: OperatorSpec,
    /// Operators of the same chain that read its output, as positions in the chain; all larger than its own.
    pub chained_consumers: Vec<usize>,
    /// Data sets that its output goes into, as positions in [`JobVertex::produced`].
    pub produced: Vec<usize>,
}

/// What one vertex produces for one consumer edge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntermediateDataSet {
    /// Its id, unique in the job.
    pub id: IntermediateDataSetId,
    /// How it is kept.
    pub partition_type: ResultPartitionType,
    /// How rows find their subtask.
    pub partitioner: Partitioner,
    /// Who talks to whom.
    pub distribution: DistributionPattern,
    /// What it carries.
    pub changelog: ChangelogMode,
    /// The consuming vertex.
    pub consumer: JobVertexId,
}

/// A consumer's end of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEdge {
    /// The data set.
    pub data_set: IntermediateDataSetId,
    /// The producing vertex.
    pub producer: JobVertexId,
    /// Which input of the chain's head operator it feeds; several edges may feed one (union).
    pub head_input: u32,
}

/// A chain of operators that is scheduled as one. Operator 0 is the head: it alone reads the inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobVertex {
    /// Its id; equals its position in [`JobGraph::vertices`].
    pub id: JobVertexId,
    /// What people see: the names of its operators.
    pub name: String,
    /// The chain, head first, every operator before its consumers.
    pub operators: Vec<ChainedOperator>,
    /// Parallel instances.
    pub parallelism: u32,
    /// Key groups.
    pub max_parallelism: u32,
    /// Subtasks of different vertices in one group may share a slot.
    pub slot_sharing_group: String,
    /// Where its input comes from.
    pub inputs: Vec<JobEdge>,
    /// What it produces.
    pub produced: Vec<IntermediateDataSet>,
}

/// A job as it is deployed, and as it is stored with its snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    /// Version of the stored form.
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Vertices, producers before consumers.
    pub vertices: Vec<JobVertex>,
}

impl JobGraph {
    /// The vertex with this id.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn vertex(&self, id: JobVertexId) -> &JobVertex {
        &self.vertices[id.0 as usize]
    }

    /// The data set with this id, and the vertex that produces it.
    #[must_use]
    pub fn data_set(&self, id: IntermediateDataSetId) -> Option<(&JobVertex, &IntermediateDataSet)> {
        self.vertices.iter().find_map(|v| v.produced.iter().find(|d| d.id == id).map(|d| (v, d)))
    }
}

/// Consumers (as a half-open range of subtask indices) that producer `index` talks to under a pointwise pattern:
/// a contiguous block, as even as possible (Flink 3.4).
#[must_use]
pub fn pointwise_consumers(index: u32, producers: u32, consumers: u32) -> std::ops::Range<u32> {
    let (index, producers, consumers) = (u64::from(index), u64::from(producers), u64::from(consumers));
    let (start, end) = if consumers >= producers {
        // Every producer has a block of consumers of its own.
        (index * consumers / producers, (index + 1) * consumers / producers)
    } else {
        // Every consumer has a block of producers of its own; this producer lies in exactly one.
        let consumer = ((index + 1) * consumers).div_ceil(producers) - 1;
        (consumer, consumer + 1)
    };
    (start as u32)..(end as u32)
}

/// Producers that consumer `index` reads from under a pointwise pattern; the reverse of [`pointwise_consumers`].
#[must_use]
pub fn pointwise_producers(index: u32, producers: u32, consumers: u32) -> std::ops::Range<u32> {
    pointwise_consumers(index, consumers, producers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointwise_blocks_cover_both_sides_and_agree() {
        for producers in 1..12 {
            for consumers in 1..12 {
                let mut pairs: Vec<(u32, u32)> = Vec::new();
                for p in 0..producers {
                    pairs.extend(pointwise_consumers(p, producers, consumers).map(|c| (p, c)));
                }
                let mut reverse: Vec<(u32, u32)> = Vec::new();
                for c in 0..consumers {
                    reverse.extend(pointwise_producers(c, producers, consumers).map(|p| (p, c)));
                }
                pairs.sort_unstable();
                reverse.sort_unstable();
                assert_eq!(pairs, reverse, "{producers} x {consumers}");
                assert_eq!(pairs.len() as u32, producers.max(consumers), "{producers} x {consumers}");
            }
        }
    }
}
