//! One subtask over all its attempts.

use std::collections::VecDeque;

use flumen_core::ids::AttemptNumber;
use flumen_gateway::{ExecutionState, FailureReport};

use super::attempt::{AttemptRecord, Execution};

/// How many former attempts are remembered (Flink: `jobmanager.execution.attempts-history-size`).
pub const ATTEMPT_HISTORY: usize = 16;

/// One subtask. It has one current attempt, or several that race; the first to finish wins.
#[derive(Clone, Debug)]
pub struct ExecutionVertex {
    attempts: Vec<Execution>,
    history: VecDeque<AttemptRecord>,
    next_attempt: u32,
    last_failure: Option<FailureReport>,
}

impl ExecutionVertex {
    pub(super) fn new() -> Self {
        Self {
            attempts: vec![Execution::new(AttemptNumber(0))],
            history: VecDeque::new(),
            next_attempt: 1,
            last_failure: None,
        }
    }

    /// The attempts that count, oldest first; at least one.
    #[must_use]
    pub fn attempts(&self) -> &[Execution] {
        &self.attempts
    }

    /// Former attempts, oldest first; at most [`ATTEMPT_HISTORY`].
    #[must_use]
    pub fn history(&self) -> &VecDeque<AttemptRecord> {
        &self.history
    }

    /// The attempt whose results count: the one that finished, else the furthest that lives, else the last.
    #[must_use]
    pub fn primary(&self) -> &Execution {
        let rank = |e: &Execution| match e.state() {
            ExecutionState::Finished => 3,
            ExecutionState::Canceling => 1,
            state if !state.is_terminal() => 2,
            _ => 0,
        };
        self.attempts.iter().max_by_key(|e| (rank(e), e.state())).expect("a vertex always has an attempt")
    }

    /// Where the primary attempt is.
    #[must_use]
    pub fn state(&self) -> ExecutionState {
        if let [only] = self.attempts.as_slice() { only.state() } else { self.primary().state() }
    }

    /// The current attempt with this number; `None` if it is a former one, or unknown.
    #[must_use]
    pub fn attempt(&self, number: AttemptNumber) -> Option<&Execution> {
        self.attempts.iter().find(|e| e.number == number)
    }

    pub(super) fn attempt_mut(&mut self, number: AttemptNumber) -> Option<&mut Execution> {
        self.attempts.iter_mut().find(|e| e.number == number)
    }

    pub(super) fn record_failure(&mut self, failure: FailureReport) {
        self.last_failure = Some(failure);
    }

    /// Adds an attempt that races with the current ones.
    pub fn add_racing_attempt(&mut self) -> AttemptNumber {
        let number = AttemptNumber(self.next_attempt);
        self.next_attempt += 1;
        self.attempts.push(Execution::new(number));
        number
    }

    /// Moves the current attempts into the history and starts over with a new one.
    ///
    /// # Panics
    /// If one of them lives.
    pub(super) fn reset(&mut self) -> AttemptNumber {
        assert!(self.attempts.iter().all(|e| !e.is_live()), "an attempt that lives is not replaced");
        for attempt in self.attempts.drain(..) {
            if self.history.len() == ATTEMPT_HISTORY {
                self.history.pop_front();
            }
            let failed = attempt.state() == ExecutionState::Failed;
            self.history.push_back(AttemptRecord {
                number: attempt.number,
                state: attempt.state(),
                slot: attempt.slot,
                failure: if failed { self.last_failure.take() } else { None },
            });
        }
        self.add_racing_attempt()
    }
}
