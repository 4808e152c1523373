//! Order and epochs of messages, both ways.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_core::ids::{JobId, LeaderEpoch};
use flumen_gateway::{
    Envelope, EpochGuard, InOrder, JobMasterGateway, JobMasterMessage, RequestId, TaskExecutorMessage,
};

/// Messages that may be held back until those before them arrive.
const WINDOW: usize = 1024;

struct Sender {
    guard: EpochGuard,
    order: InOrder<TaskExecutorMessage>,
}

/// Puts the messages of each job's JobMaster in order and refuses those of former leaders.
#[derive(Default)]
pub(super) struct Inbox {
    senders: HashMap<JobId, Sender>,
}

impl Inbox {
    /// What can be acted on now, in order.
    pub(super) fn accept(&mut self, envelope: Envelope<TaskExecutorMessage>) -> Vec<TaskExecutorMessage> {
        let sender = self
            .senders
            .entry(envelope.job)
            .or_insert_with(|| Sender { guard: EpochGuard::new(envelope.epoch), order: InOrder::new(WINDOW) });
        match sender.guard.follow(envelope.epoch) {
            Ok(true) => sender.order = InOrder::new(WINDOW),
            Ok(false) => {}
            Err(stale) => {
                tracing::warn!(job = %envelope.job, %stale, "message refused");
                return Vec::new();
            }
        }
        sender.order.accept(envelope.request, envelope.message).unwrap_or_else(|stale| {
            tracing::error!(job = %envelope.job, %stale, "message lost");
            Vec::new()
        })
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.senders.remove(&job);
    }
}

/// Numbers the messages to one JobMaster, which puts them in order. Nothing is locked while one is sent: in one process the
/// JobMaster may act on it at once, and what it does may send the next one from within.
pub struct Outbox {
    job: JobId,
    epoch: LeaderEpoch,
    gateway: Arc<dyn JobMasterGateway>,
    next: AtomicU64,
}

impl Outbox {
    /// To a JobMaster of an epoch.
    #[must_use]
    pub fn new(job: JobId, epoch: LeaderEpoch, gateway: Arc<dyn JobMasterGateway>) -> Self {
        Self { job, epoch, gateway, next: AtomicU64::new(0) }
    }

    /// Sends.
    pub fn send(&self, message: JobMasterMessage) {
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        self.gateway.send(Envelope { job: self.job, epoch: self.epoch, request, message });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, OnceLock};

    use flumen_core::ids::{AttemptNumber, ExecutionAttemptId, ExecutionVertexId, JobVertexId, SubtaskIndex};

    use super::*;

    /// Answers the first message by having another one sent, as a JobMaster does that deploys a task at once.
    #[derive(Default)]
    struct Echo {
        outbox: OnceLock<Arc<Outbox>>,
        seen: Mutex<Vec<u64>>,
    }

    fn message() -> JobMasterMessage {
        let execution_vertex = ExecutionVertexId { vertex: JobVertexId(0), subtask: SubtaskIndex(0) };
        let attempt = ExecutionAttemptId { job: JobId(1), execution_vertex, attempt: AttemptNumber(0) };
        JobMasterMessage::EndOfData { attempt }
    }

    impl JobMasterGateway for Echo {
        fn send(&self, envelope: Envelope<JobMasterMessage>) {
            self.seen.lock().unwrap().push(envelope.request.0);
            if envelope.request.0 == 0 {
                self.outbox.get().unwrap().send(message());
            }
        }
    }

    #[test]
    fn a_message_may_be_sent_from_within_another() {
        let echo = Arc::new(Echo::default());
        let outbox = Arc::new(Outbox::new(JobId(1), LeaderEpoch(1), Arc::<Echo>::clone(&echo)));
        let _ = echo.outbox.set(Arc::clone(&outbox));
        outbox.send(message());
        assert_eq!(*echo.seen.lock().unwrap(), [0, 1]);
    }
}
