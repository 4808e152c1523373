//! Everything that reaches a task from outside its input gates.
//!
//! Senders push from any thread and wake the task; the task takes mail between operator calls. The queue is bounded by
//! what senders may have under way: one checkpoint trigger or notification per checkpoint, one assignment per request,
//! one completion per piece of work.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::task::Waker;

use flumen_core::element::{CheckpointBarrier, StopMode};
use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, OperatorUid};
use flumen_core::source::{RuntimeFilter, SourceSplit};
use parking_lot::Mutex;

use crate::chain::OperatorChain;

/// A message to a task.
pub enum Mail {
    /// The operators are restored and open, or could not be.
    Opened(Result<OperatorChain, Failure>),
    /// End now; results do not matter.
    Cancel,
    /// End with this error (a failure found outside the task, such as a snapshot that could not be written).
    Fail(Failure),
    /// For sources: take part in this checkpoint.
    TriggerCheckpoint(CheckpointBarrier),
    /// The checkpoint is complete.
    CheckpointComplete(CheckpointId),
    /// The checkpoint will not complete.
    CheckpointAborted(CheckpointId),
    /// For sources: splits, and whether more may follow.
    AssignSplits {
        /// The source operator.
        uid: OperatorUid,
        /// What to read.
        splits: Vec<SourceSplit>,
        /// No split follows.
        last: bool,
    },
    /// A join has published a filter.
    RuntimeFilter(u32, RuntimeFilter),
    /// For sources: end as if the input had ended.
    Stop(StopMode),
    /// The arbiter asks for memory.
    RevokeMemory(usize),
}

/// Where mail is left; cheap to clone.
#[derive(Clone)]
pub struct MailboxSender {
    mail: Arc<Mutex<VecDeque<Mail>>>,
    waker: Waker,
}

impl MailboxSender {
    /// Leaves mail and wakes the task. Mail for a task that is over is dropped with its mailbox.
    pub fn send(&self, mail: Mail) {
        self.mail.lock().push_back(mail);
        self.waker.wake_by_ref();
    }

    /// For what may be in the mail.
    #[must_use]
    pub fn downgrade(&self) -> WeakMailboxSender {
        WeakMailboxSender { mail: Arc::downgrade(&self.mail), waker: self.waker.clone() }
    }
}

/// A sender that keeps no mail alive. What mail may hold must have no other: a chain that is on its way to a task that is
/// over would hold itself.
#[derive(Clone)]
pub struct WeakMailboxSender {
    mail: Weak<Mutex<VecDeque<Mail>>>,
    waker: Waker,
}

impl WeakMailboxSender {
    /// As [`MailboxSender::send`], unless nobody has the mailbox any more.
    pub fn send(&self, mail: Mail) {
        if let Some(queue) = self.mail.upgrade() {
            queue.lock().push_back(mail);
            self.waker.wake_by_ref();
        }
    }
}

/// A task's side of it.
pub(crate) struct Mailbox {
    mail: Arc<Mutex<VecDeque<Mail>>>,
}

impl Mailbox {
    /// A mailbox whose senders call `waker`.
    pub(crate) fn new(waker: Waker) -> (MailboxSender, Self) {
        let mail = Arc::new(Mutex::new(VecDeque::new()));
        (MailboxSender { mail: Arc::clone(&mail), waker }, Self { mail })
    }

    /// Takes all mail there is.
    pub(crate) fn take(&self, into: &mut VecDeque<Mail>) {
        let mut mail = self.mail.lock();
        if !mail.is_empty() {
            into.append(&mut mail);
        }
    }
}
