//! One try to run one subtask.

use flumen_core::ids::AttemptNumber;
use flumen_gateway::{ExecutionState, FailureReport, SlotAddress};

/// One try, while it counts.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Its number.
    pub number: AttemptNumber,
    state: ExecutionState,
    /// Where it runs.
    pub slot: Option<SlotAddress>,
    /// It has seen the end of its data.
    pub end_of_data: bool,
}

impl Execution {
    pub(super) fn new(number: AttemptNumber) -> Self {
        Self { number, state: ExecutionState::Created, slot: None, end_of_data: false }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> ExecutionState {
        self.state
    }

    /// It may hold a slot and do work.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.state.is_terminal() && self.state != ExecutionState::Created
    }

    /// Takes the next state; false, and nothing changes, if it does not follow.
    pub(super) fn advance(&mut self, next: ExecutionState) -> bool {
        let follows = self.state.may_become(next);
        if follows {
            self.state = next;
        }
        follows
    }
}

/// One try that is over, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its number.
    pub number: AttemptNumber,
    /// How it ended.
    pub state: ExecutionState,
    /// Where it ran.
    pub slot: Option<SlotAddress>,
    /// Why it failed.
    pub failure: Option<FailureReport>,
}
