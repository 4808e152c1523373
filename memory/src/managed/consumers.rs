//! The shares of the kinds of consumers that are present.
//!
//! Operators that sort and hash, state backends and Python workers live on the same managed memory. While only one kind
//! is there it may take all; as soon as a budget of another kind is opened, each is held to its share by weight
//! ([`ConsumerWeights`]), so that a large join cannot starve the state of a job that has run for a week. A kind is
//! present from its first budget to the end of its last one, segments that outlive their budget included.
//!
//! A share is a limit, not a partition: within a kind, reservations take what is free and the arbiter decides who
//! gives back, so the declared weights of single operators (Flink divides a slot by them) have nothing to divide.

use super::manager::Tree;
use super::weights::{ConsumerKind, ConsumerWeights};
use crate::error::MemoryError;
use crate::sync::Lock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who is present, and how much each may take.
#[derive(Debug)]
pub(crate) struct Consumers {
    weights: ConsumerWeights,
    bytes: u64,
    /// Budgets by kind.
    budgets: Lock<[usize; ConsumerKind::ALL.len()]>,
    /// By kind; all of it for who is absent.
    shares: [AtomicU64; ConsumerKind::ALL.len()],
}

impl Consumers {
    pub(crate) fn new(weights: ConsumerWeights, bytes: u64) -> Self {
        let shares = ConsumerKind::ALL.map(|_| AtomicU64::new(bytes));
        Self { weights, bytes, budgets: Lock::new([0; ConsumerKind::ALL.len()]), shares }
    }

    /// The most that all consumers of a kind may take now.
    pub(crate) fn share_bytes(&self, kind: ConsumerKind) -> u64 {
        self.shares[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts one budget more.
    ///
    /// # Errors
    /// If the kind has no weight; nothing has changed then.
    pub(crate) fn enter(&self, kind: ConsumerKind) -> Result<(), MemoryError> {
        let mut budgets = self.budgets.lock();
        budgets[kind as usize] += 1;
        let divided = self.divide(&budgets);
        if divided.is_err() {
            budgets[kind as usize] -= 1;
        }
        divided
    }

    fn leave(&self, kind: ConsumerKind) {
        let mut budgets = self.budgets.lock();
        budgets[kind as usize] -= 1;
        // Fewer kinds than before, of which each has a weight.
        let divided = self.divide(&budgets);
        debug_assert!(divided.is_ok(), "{divided:?}");
    }

    fn divide(&self, budgets: &[usize; ConsumerKind::ALL.len()]) -> Result<(), MemoryError> {
        let is_present = |kind: &ConsumerKind| budgets[*kind as usize] > 0;
        let present: Vec<_> = ConsumerKind::ALL.into_iter().filter(is_present).collect();
        let divided = self.weights.divide(self.bytes, &present)?;
        for (kind, share) in ConsumerKind::ALL.into_iter().zip(&self.shares) {
            let part = divided.iter().find(|(of, _)| *of == kind).map_or(self.bytes, |(_, bytes)| *bytes);
            share.store(part, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// One budget's presence; its end gives the others their part of the share back.
#[derive(Debug)]
pub(crate) struct Presence {
    tree: Arc<Tree>,
    kind: ConsumerKind,
}

impl Presence {
    /// # Errors
    /// As [`Consumers::enter`].
    pub(crate) fn enter(tree: &Arc<Tree>, kind: ConsumerKind) -> Result<Self, MemoryError> {
        tree.consumers.enter(kind)?;
        Ok(Self { tree: Arc::clone(tree), kind })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.tree.consumers.leave(self.kind);
        self.tree.wake();
    }
}
