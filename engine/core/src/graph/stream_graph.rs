//! What a user said, as data.

use serde::{Deserialize, Serialize};

use super::partitioner::Partitioner;
use crate::ids::{OperatorUid, StreamNodeId};
use crate::spec::OperatorSpec;

/// The default slot sharing group.
pub const DEFAULT_SLOT_SHARING_GROUP: &str = "default";

/// Whether an operator may share a task with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChainingStrategy {
    /// With the one before and those after.
    Always,
    /// With those after only: it starts a chain.
    Head,
    /// With none.
    Never,
}

/// How the data of an edge is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExchangeMode {
    /// As the job's default says.
    #[default]
    Default,
    /// Consumed while it is produced.
    Pipelined,
    /// Consumed after all of it is produced.
    Blocking,
    /// Memory first; everything is also written, so a consumer can start again.
    HybridFull,
    /// Memory first; only what is not consumed in time is written.
    HybridSelective,
}

/// What an edge carries (changelog mode).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangelogMode {
    /// Insertions only.
    #[default]
    Append,
    /// Full rows taken back and added.
    Retract,
    /// The newest row by key; deletes may carry the key only.
    Upsert,
}

/// An operator of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamNode {
    /// Its id; equals its position in [`StreamGraph::nodes`].
    pub id: StreamNodeId,
    /// Stable name by which its state is found.
    pub uid: OperatorUid,
    /// What people see.
    pub name: String,
    /// What it does.
    pub spec: OperatorSpec,
    /// Parallel instances.
    pub parallelism: u32,
    /// Key groups; `None` means the default for the parallelism.
    pub max_parallelism: Option<u32>,
    /// Subtasks of different vertices in one group may share a slot.
    pub slot_sharing_group: String,
    /// Whether it may be chained.
    pub chaining: ChainingStrategy,
}

/// A stream between two operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamEdge {
    /// From.
    pub source: StreamNodeId,
    /// To.
    pub target: StreamNodeId,
    /// Which of the target's inputs.
    pub target_input: u32,
    /// How rows find their subtask.
    pub partitioner: Partitioner,
    /// How the data is kept, if it is not chained.
    pub exchange: ExchangeMode,
    /// What it carries.
    pub changelog: ChangelogMode,
}

/// A job as the user said it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamGraph {
    /// Name of the job.
    pub name: String,
    /// Operators, in an order in which every edge goes forward.
    pub nodes: Vec<StreamNode>,
    /// Streams between them.
    pub edges: Vec<StreamEdge>,
}

impl StreamGraph {
    /// Adds an operator with the default settings; returns its id. The uid must be unique in the graph.
    pub fn add_node(
        &mut self,
        uid: impl Into<String>,
        name: impl Into<String>,
        spec: OperatorSpec,
        parallelism: u32,
    ) -> StreamNodeId {
        let id = StreamNodeId(u32::try_from(self.nodes.len()).expect("a graph has fewer than 2^32 operators"));
        self.nodes.push(StreamNode {
            id,
            uid: OperatorUid(uid.into()),
            name: name.into(),
            spec,
            parallelism,
            max_parallelism: None,
            slot_sharing_group: DEFAULT_SLOT_SHARING_GROUP.to_owned(),
            chaining: ChainingStrategy::Always,
        });
        id
    }

    /// Adds a stream with the default exchange and append-only content.
    pub fn add_edge(
        &mut self,
        source: StreamNodeId,
        target: StreamNodeId,
        target_input: u32,
        partitioner: Partitioner,
    ) -> &mut StreamEdge {
        self.edges.push(StreamEdge {
            source,
            target,
            target_input,
            partitioner,
            exchange: ExchangeMode::Default,
            changelog: ChangelogMode::Append,
        });
        self.edges.last_mut().expect("just pushed")
    }

    /// The operator with this id.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn node(&self, id: StreamNodeId) -> &StreamNode {
        &self.nodes[id.0 as usize]
    }
}
