//! Order and epochs of messages, both ways.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_core::ids::{JobId, LeaderEpoch};
use flumen_gateway::{
    Envelope, EpochGuard, InOrder, JobMasterGateway, JobMasterMessage, RequestId, TaskExecutorMessage,
};
use parking_lot::Mutex;

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

/// Numbers the messages to one JobMaster. Numbering and sending are one step, so that they arrive as they were numbered.
pub struct Outbox {
    job: JobId,
    epoch: LeaderEpoch,
    gateway: Arc<dyn JobMasterGateway>,
    next: Mutex<u64>,
}

impl Outbox {
    /// To a JobMaster of an epoch.
    #[must_use]
    pub fn new(job: JobId, epoch: LeaderEpoch, gateway: Arc<dyn JobMasterGateway>) -> Self {
        Self { job, epoch, gateway, next: Mutex::new(0) }
    }

    /// Sends.
    pub fn send(&self, message: JobMasterMessage) {
        let mut next = self.next.lock();
        let request = RequestId(*next);
        *next += 1;
        self.gateway.send(Envelope { job: self.job, epoch: self.epoch, request, message });
    }
}
