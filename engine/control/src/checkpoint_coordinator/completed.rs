//! What a checkpoint consists of, and the complete ones that are kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flumen_core::element::SnapshotKind;
use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, JobVertexId, OperatorUid};
use flumen_gateway::StateHandle;

/// The part of one subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskSnapshot {
    /// It had nothing left to do.
    pub finished: bool,
    /// Its state, by operator.
    pub handles: Vec<StateHandle>,
}

/// The parts of one vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexSnapshot {
    /// The vertex.
    pub vertex: JobVertexId,
    /// Its parallelism then.
    pub parallelism: u32,
    /// Its key groups.
    pub max_parallelism: u32,
    /// By subtask.
    pub subtasks: Vec<SubtaskSnapshot>,
}

/// Everything that the metadata of a checkpoint says.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointContents {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Checkpoint or savepoint.
    pub kind: SnapshotKind,
    /// When it was triggered, in wall-clock milliseconds.
    pub timestamp_ms: i64,
    /// The job as it was submitted.
    pub graph: Arc<JobGraph>,
    /// By vertex.
    pub vertices: Vec<VertexSnapshot>,
    /// State of the source enumerators, by operator.
    pub enumerators: BTreeMap<OperatorUid, Arc<[u8]>>,
}

/// What the JobMaster needs to start from a checkpoint; the rest is read by the tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Where it is.
    pub location: String,
    /// State of the source enumerators, by operator.
    pub enumerators: BTreeMap<OperatorUid, Arc<[u8]>>,
    /// By vertex: whether all its subtasks had finished. May be shorter than the job; the rest had not.
    pub finished_vertices: Vec<bool>,
}

/// A complete checkpoint in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Where it is.
    pub location: String,
}

#[derive(Clone, Debug)]
struct Entry {
    point: Arc<RestorePoint>,
    /// The engine deletes it when it is subsumed; savepoints and what the job was started from belong to the user.
    owned: bool,
}

/// The complete checkpoints of a job, oldest first.
#[derive(Clone, Debug)]
pub struct CompletedStore {
    retained: usize,
    entries: VecDeque<Entry>,
}

impl CompletedStore {
    /// Keeps `retained` (at least one) and, until the first own one is complete, what the job was started from.
    #[must_use]
    pub fn new(retained: u32, restored: Option<RestorePoint>) -> Self {
        let entry = |point| Entry { point: Arc::new(point), owned: false };
        Self { retained: retained.max(1) as usize, entries: restored.map(entry).into_iter().collect() }
    }

    /// The newest.
    #[must_use]
    pub fn latest(&self) -> Option<&Arc<RestorePoint>> {
        self.entries.back().map(|e| &e.point)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<RestorePoint>> {
        self.entries.iter().map(|e| &e.point)
    }

    /// Adds one; answers those that are no longer needed and may be deleted. A savepoint is used for recovery if it is
    /// the newest, but neither deleted nor counted.
    pub(super) fn add(&mut self, point: RestorePoint, is_savepoint: bool) -> Vec<StoredCheckpoint> {
        // Completion may overtake with several at a time; order is by id.
        let place = self.entries.partition_point(|e| e.point.checkpoint < point.checkpoint);
        self.entries.insert(place, Entry { point: Arc::new(point), owned: !is_savepoint });
        let mut subsumed = Vec::new();
        while self.entries.iter().filter(|e| e.owned).count() > self.retained
            || (self.entries.len() > self.retained && !self.entries[0].owned)
        {
            let oldest = self.entries.pop_front().expect("there are more than none");
            if oldest.owned {
                subsumed.push(StoredCheckpoint {
                    checkpoint: oldest.point.checkpoint,
                    location: oldest.point.location.clone(),
                });
            }
        }
        subsumed
    }

    /// Takes out those that the engine owns.
    pub(super) fn take_owned(&mut self) -> Vec<StoredCheckpoint> {
        let stored = |e: Entry| StoredCheckpoint { checkpoint: e.point.checkpoint, location: e.point.location.clone() };
        self.entries.drain(..).filter(|e| e.owned).map(stored).collect()
    }
}
