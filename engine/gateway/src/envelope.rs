//! What every message carries, and what a receiver does with it.
//!
//! - The *leader epoch* grows with every JobMaster that leads the job. A TaskExecutor follows the newest it has heard
//!   of, a JobMaster answers to its own only ([`EpochGuard`]). A message of another epoch is dropped.
//! - The *request id* is counted from 0 by each sender for each receiver within an epoch. [`InOrder`] drops repetitions
//!   and holds back what overtook, so that a wire that repeats or reorders looks like a queue. This matters: an
//!   assignment of splits that overtakes a checkpoint trigger would be in two snapshots, or in none.

use std::collections::BTreeMap;

use flumen_core::ids::{JobId, LeaderEpoch};
use serde::{Deserialize, Serialize};

/// Number of a message among those of one sender to one receiver in one epoch, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// A message and what it takes to refuse it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope<M> {
    /// The job it concerns.
    pub job: JobId,
    /// Term of the JobMaster that sent it, or that it is meant for.
    pub epoch: LeaderEpoch,
    /// Its number.
    pub request: RequestId,
    /// What is said.
    pub message: M,
}

/// Numbers one sender's messages to one receiver.
#[derive(Clone, Debug)]
pub struct Outbox {
    job: JobId,
    epoch: LeaderEpoch,
    next: u64,
}

impl Outbox {
    /// The first message is number 0.
    #[must_use]
    pub fn new(job: JobId, epoch: LeaderEpoch) -> Self {
        Self { job, epoch, next: 0 }
    }

    /// Puts the next number on `message`.
    pub fn wrap<M>(&mut self, message: M) -> Envelope<M> {
        let request = RequestId(self.next);
        self.next += 1;
        Envelope { job: self.job, epoch: self.epoch, request, message }
    }
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stale {
    /// It belongs to another leader's term.
    #[error("message of leader {got} was refused, the current one is {current}")]
    Epoch {
        /// Its term.
        got: LeaderEpoch,
        /// The receiver's.
        current: LeaderEpoch,
    },
    /// It overtook more messages than the receiver can hold.
    #[error("message {request} arrived while {expected} was still missing; the window has {window}")]
    TooFarAhead {
        /// Its number.
        request: u64,
        /// The number that is missing.
        expected: u64,
        /// How many are held.
        window: usize,
    },
}

/// The newest epoch a follower has heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochGuard {
    current: LeaderEpoch,
}

impl EpochGuard {
    /// Follows `current` until a newer one shows up.
    #[must_use]
    pub fn new(current: LeaderEpoch) -> Self {
        Self { current }
    }

    /// The epoch followed.
    #[must_use]
    pub fn current(&self) -> LeaderEpoch {
        self.current
    }

    /// For followers: takes the current and newer epochs. True if the epoch is newer: what belonged to the old leader
    /// must be given up first.
    ///
    /// # Errors
    /// If the epoch is older.
    pub fn follow(&mut self, epoch: LeaderEpoch) -> Result<bool, Stale> {
        if epoch < self.current {
            return Err(Stale::Epoch { got: epoch, current: self.current });
        }
        let newer = epoch > self.current;
        self.current = epoch;
        Ok(newer)
    }

    /// For leaders: takes their own epoch only.
    ///
    /// # Errors
    /// If the epoch is another.
    pub fn exactly(&self, epoch: LeaderEpoch) -> Result<(), Stale> {
        if epoch == self.current { Ok(()) } else { Err(Stale::Epoch { got: epoch, current: self.current }) }
    }
}

/// Restores the order of one sender's messages. Holds a bounded number of them.
#[derive(Debug)]
pub struct InOrder<M> {
    expected: u64,
    early: BTreeMap<u64, M>,
    window: usize,
}

impl<M> InOrder<M> {
    /// Holds back at most `window` messages.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self { expected: 0, early: BTreeMap::new(), window }
    }

    /// Takes a message; returns those that are next in order, none if it is a repetition or came early.
    ///
    /// # Errors
    /// If it is so early that it cannot be held. The sender must send it again; nothing has changed.
    pub fn accept(&mut self, request: RequestId, message: M) -> Result<Vec<M>, Stale> {
        if request.0 < self.expected {
            return Ok(Vec::new());
        }
        if request.0 > self.expected {
            if self.early.len() >= self.window && !self.early.contains_key(&request.0) {
                let (expected, window) = (self.expected, self.window);
                return Err(Stale::TooFarAhead { request: request.0, expected, window });
            }
            self.early.entry(request.0).or_insert(message);
            return Ok(Vec::new());
        }
        let mut next = vec![message];
        self.expected += 1;
        while let Some(message) = self.early.remove(&self.expected) {
            next.push(message);
            self.expected += 1;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_restored_and_repetitions_are_dropped() {
        // Every permutation of five messages, each sent twice at once.
        let mut order = [0_u64, 1, 2, 3, 4];
        let mut permutations = Vec::new();
        permute(&mut order, 0, &mut permutations);
        assert_eq!(permutations.len(), 120);
        for permutation in permutations {
            let mut inbox = InOrder::new(4);
            let mut seen = Vec::new();
            for request in permutation.iter().flat_map(|r| [*r, *r]) {
                seen.extend(inbox.accept(RequestId(request), request).unwrap());
            }
            assert_eq!(seen, [0, 1, 2, 3, 4], "{permutation:?}");
        }
    }

    fn permute(order: &mut [u64; 5], from: usize, all: &mut Vec<[u64; 5]>) {
        if from == order.len() {
            all.push(*order);
        }
        for other in from..order.len() {
            order.swap(from, other);
            permute(order, from + 1, all);
            order.swap(from, other);
        }
    }

    #[test]
    fn the_window_is_bounded() {
        let mut inbox = InOrder::new(2);
        assert_eq!(inbox.accept(RequestId(1), 1), Ok(vec![]));
        assert_eq!(inbox.accept(RequestId(2), 2), Ok(vec![]));
        assert_eq!(inbox.accept(RequestId(2), 2), Ok(vec![]));
        let refused = inbox.accept(RequestId(9), 9);
        assert_eq!(refused, Err(Stale::TooFarAhead { request: 9, expected: 0, window: 2 }));
        assert_eq!(inbox.accept(RequestId(0), 0), Ok(vec![0, 1, 2]));
    }

    #[test]
    fn older_epochs_are_refused() {
        let mut follower = EpochGuard::new(LeaderEpoch(3));
        assert_eq!(follower.follow(LeaderEpoch(3)), Ok(false));
        assert_eq!(follower.follow(LeaderEpoch(5)), Ok(true));
        let stale = Stale::Epoch { got: LeaderEpoch(4), current: LeaderEpoch(5) };
        assert_eq!(follower.follow(LeaderEpoch(4)), Err(stale));
        assert_eq!(follower.exactly(LeaderEpoch(4)), Err(stale));
        assert!(follower.exactly(LeaderEpoch(6)).is_err());
        assert_eq!(follower.exactly(LeaderEpoch(5)), Ok(()));
    }
}
