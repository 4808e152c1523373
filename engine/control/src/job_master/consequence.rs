//! Failures that only follow from another: a task whose input's producer failed.
//!
//! The two reports come over different ways and in any order. Of the consumer's nothing but the partition is known, so
//! it waits for the producer's, which says why and is what the job and its users are told (Flink: the consumer of a
//! failed producer cancels itself). The restart or the end that the producer's failure brings takes the consumer with
//! it; if it does not, or the producer ends well after all, the consumer's own failure counts. A producer's end is
//! always heard of: from its TaskExecutor, or from that one's loss.

use flumen_core::failure::FailureKind;
use flumen_core::ids::ExecutionAttemptId;
use flumen_gateway::{ExecutionState, FailureReport};

use super::{JobMaster, Now};
use crate::execution_graph::TaskIndex;

/// A failure that waits for its cause.
#[derive(Clone, Debug)]
pub(super) struct Consequence {
    producer: ExecutionAttemptId,
    task: TaskIndex,
    attempt: ExecutionAttemptId,
    report: FailureReport,
}

impl JobMaster {
    /// Keeps the failure if it follows from that of a task which has not reported yet; otherwise gives it back.
    pub(super) fn defer_to_producer(
        &mut self,
        task: TaskIndex,
        attempt: ExecutionAttemptId,
        report: FailureReport,
    ) -> Option<FailureReport> {
        let producer = report.partition.filter(|_| report.kind == FailureKind::ProducerFailed).map(|p| p.producer);
        let Some(producer) = producer.filter(|p| self.will_report(*p)) else { return Some(report) };
        self.consequences.push(Consequence { producer, task, attempt, report });
        None
    }

    /// Whether more is to be heard of an attempt than that it has stopped as it was told to.
    fn will_report(&self, attempt: ExecutionAttemptId) -> bool {
        let current = self.graph.find_current(attempt);
        current.is_some_and(|(_, e)| e.is_live() && e.state() != ExecutionState::Canceling)
    }

    /// Takes up the failures whose producers are over and that no planned restart covers.
    pub(super) fn settle_consequences(&mut self, now: Now) {
        let mut waiting = std::mem::take(&mut self.consequences);
        let over: Vec<_> = waiting.extract_if(.., |c| !self.will_report(c.producer)).collect();
        self.consequences = waiting;
        for Consequence { task, attempt, report, .. } in over {
            if self.pending_restart.as_ref().is_some_and(|restart| restart.members[task.0 as usize]) {
                continue;
            }
            if let Some(partition) = report.partition {
                self.partition_missing(partition);
            }
            self.task_failed(task, attempt, report, now);
        }
    }
}
