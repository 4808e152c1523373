//! What a task reports, passed on to the JobMaster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_core::element::CheckpointBarrier;
use flumen_core::failure::{Failure, FailureKind};
use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_core::source::RuntimeFilter;
use flumen_gateway::{
    AcknowledgeCheckpoint, CheckpointMetrics, DeclineCheckpoint, DeclineReason, ExecutionState, FailureReport,
    JobMasterMessage,
};
use flumen_state::OperatorSnapshot;

use super::{SnapshotTask, WeakShared};
use crate::task::TaskHooks;

pub(super) struct Hooks {
    pub(super) shared: WeakShared,
    pub(super) task: SnapshotTask,
    pub(super) requests: AtomicU64,
}

impl TaskHooks for Hooks {
    fn running(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.report(self.task.attempt, ExecutionState::Running, None);
        }
    }

    fn end_of_data(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(self.task.attempt.job, JobMasterMessage::EndOfData { attempt: self.task.attempt });
        }
    }

    fn finished(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ended(self.task.attempt, ExecutionState::Finished, None);
        }
    }

    fn failed(&self, failure: Failure) {
        let Some(shared) = self.shared.upgrade() else { return };
        if failure.failure_kind() == FailureKind::Bug {
            tracing::error!(attempt = %self.task.attempt, cause = %failure.chain(), "task failed");
        }
        shared.ended(self.task.attempt, ExecutionState::Failed, Some(FailureReport::from(&failure)));
    }

    fn cancelled(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ended(self.task.attempt, ExecutionState::Canceled, None);
        }
    }

    fn snapshot_taken(&self, barrier: CheckpointBarrier, snapshots: Vec<(OperatorUid, OperatorSnapshot)>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (task, weak) = (self.task.clone(), self.shared.clone());
        let started = shared.services.clock.now();
        let start_delay_ms = shared.services.clock.wall_millis().saturating_sub(barrier.timestamp_ms).max(0);
        shared.services.blocking.spawn_blocking(Box::new(move || {
            let Some(shared) = weak.upgrade() else { return };
            let written = shared.services.snapshots.write(&task, barrier.id, snapshots);
            let message = match written {
                Ok(handles) => JobMasterMessage::AcknowledgeCheckpoint(AcknowledgeCheckpoint {
                    attempt: task.attempt,
                    checkpoint: barrier.id,
                    handles,
                    finished: false,
                    metrics: CheckpointMetrics {
                        async_us: (shared.services.clock.now() - started).as_micros() as u64,
                        start_delay_us: start_delay_ms as u64 * 1000,
                        ..CheckpointMetrics::default()
                    },
                }),
                Err(failure) => JobMasterMessage::DeclineCheckpoint(DeclineCheckpoint {
                    attempt: task.attempt,
                    checkpoint: barrier.id,
                    reason: DeclineReason::UploadFailed,
                    message: failure.chain(),
                }),
            };
            if !shared.tell(task.attempt.job, message) {
                shared.services.snapshots.withdraw(&task, barrier.id);
            }
        }));
    }

    fn decline_checkpoint(&self, checkpoint: CheckpointId, reason: &str) {
        if let Some(shared) = self.shared.upgrade() {
            let decline = DeclineCheckpoint {
                attempt: self.task.attempt,
                checkpoint,
                reason: DeclineReason::Subsumed,
                message: reason.to_owned(),
            };
            shared.tell(self.task.attempt.job, JobMasterMessage::DeclineCheckpoint(decline));
        }
    }

    fn request_split(&self, uid: &OperatorUid) {
        if let Some(shared) = self.shared.upgrade() {
            let request = self.requests.fetch_add(1, Ordering::Relaxed);
            shared.request_split(self.task.attempt, uid, request);
        }
    }

    fn publish_filter(&self, filter: u32, bounds: RuntimeFilter) {
        // Filters reach the tasks of this process; over a cluster they will go by the JobMaster.
        let Some(shared) = self.shared.upgrade() else { return };
        shared.tasks.lock().publish(self.task.attempt.job, filter, &bounds);
    }
}

pub(super) fn hooks(shared: &Arc<super::Shared>, task: SnapshotTask) -> Arc<Hooks> {
    Arc::new(Hooks { shared: Arc::downgrade(shared), task, requests: AtomicU64::new(0) })
}
