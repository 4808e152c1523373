//! One checkpoint from its trigger to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::element::{CheckpointBarrier, SnapshotKind};
use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_gateway::{AcknowledgeCheckpoint, TriggerId};
use flumen_io::MonotonicTime;

use super::completed::{CheckpointContents, RestorePoint, SubtaskSnapshot, VertexSnapshot};
use crate::execution_graph::{ExecutionGraph, TaskIndex};

/// Who takes part.
#[derive(Clone, Debug, Default)]
pub struct CheckpointPlan {
    /// By subtask: whether it has to acknowledge. The others have finished before.
    pub waits_for: Vec<bool>,
    /// State of the source enumerators.
    pub enumerators: BTreeMap<OperatorUid, Arc<[u8]>>,
}

/// A checkpoint under way.
#[derive(Debug)]
pub struct PendingCheckpoint {
    id: CheckpointId,
    kind: SnapshotKind,
    timestamp_ms: i64,
    trigger: Option<TriggerId>,
    started: MonotonicTime,
    waits_for: Vec<bool>,
    missing: u32,
    subtasks: Vec<SubtaskSnapshot>,
    enumerators: BTreeMap<OperatorUid, Arc<[u8]>>,
    finished_vertices: Vec<bool>,
    finalizing: bool,
}

impl PendingCheckpoint {
    pub(super) fn new(
        barrier: &CheckpointBarrier,
        plan: CheckpointPlan,
        trigger: Option<TriggerId>,
        started: MonotonicTime,
    ) -> Self {
        let subtask = |waits: &bool| SubtaskSnapshot { finished: !waits, handles: Vec::new() };
        Self {
            id: barrier.id,
            kind: barrier.options.kind,
            timestamp_ms: barrier.timestamp_ms,
            trigger,
            started,
            missing: plan.waits_for.iter().filter(|w| **w).count() as u32,
            subtasks: plan.waits_for.iter().map(subtask).collect(),
            waits_for: plan.waits_for,
            enumerators: plan.enumerators,
            finished_vertices: Vec::new(),
            finalizing: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> CheckpointId {
        self.id
    }

    /// Checkpoint or savepoint.
    #[must_use]
    pub fn kind(&self) -> SnapshotKind {
        self.kind
    }

    /// When it was triggered.
    #[must_use]
    pub fn started(&self) -> MonotonicTime {
        self.started
    }

    /// All parts are there, and its metadata is being written.
    #[must_use]
    pub fn is_finalizing(&self) -> bool {
        self.finalizing
    }

    /// Whether a subtask's part is missing.
    #[must_use]
    pub fn waits_for(&self, task: TaskIndex) -> bool {
        self.waits_for.get(task.0 as usize).copied().unwrap_or(false)
    }

    /// How many parts are missing.
    #[must_use]
    pub fn missing_count(&self) -> u32 {
        self.missing
    }

    pub(super) fn trigger(&self) -> Option<TriggerId> {
        self.trigger
    }

    /// Takes a part; false if it is not expected (any more).
    pub(super) fn acknowledge(&mut self, task: TaskIndex, ack: AcknowledgeCheckpoint) -> bool {
        if !self.waits_for(task) {
            return false;
        }
        self.waits_for[task.0 as usize] = false;
        self.missing -= 1;
        self.subtasks[task.0 as usize] = SubtaskSnapshot { finished: ack.finished, handles: ack.handles };
        true
    }

    pub(super) fn is_fully_acknowledged(&self) -> bool {
        self.missing == 0
    }

    /// Hands over the parts to be written.
    pub(super) fn finalize(&mut self, graph: &ExecutionGraph) -> CheckpointContents {
        self.finalizing = true;
        let job_graph = graph.job_graph();
        let mut subtasks = std::mem::take(&mut self.subtasks).into_iter();
        let mut vertices = Vec::with_capacity(job_graph.vertices.len());
        for vertex in &job_graph.vertices {
            let subtasks: Vec<_> = subtasks.by_ref().take(vertex.parallelism as usize).collect();
            self.finished_vertices.push(subtasks.iter().all(|s| s.finished));
            let (parallelism, max_parallelism) = (vertex.parallelism, vertex.max_parallelism);
            vertices.push(VertexSnapshot { vertex: vertex.id, parallelism, max_parallelism, subtasks });
        }
        CheckpointContents {
            checkpoint: self.id,
            kind: self.kind,
            timestamp_ms: self.timestamp_ms,
            graph: Arc::clone(job_graph),
            vertices,
            enumerators: self.enumerators.clone(),
        }
    }

    pub(super) fn into_restore_point(self, location: String) -> RestorePoint {
        RestorePoint {
            checkpoint: self.id,
            location,
            enumerators: self.enumerators,
            finished_vertices: self.finished_vertices,
        }
    }
}
