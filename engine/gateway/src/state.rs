//! States of executions and jobs (reference: flink 1.4).

use serde::{Deserialize, Serialize};

/// Where one attempt is.
///
/// ```text
/// CREATED -> SCHEDULED -> DEPLOYING -> INITIALIZING -> RUNNING -> FINISHED
/// any live state -> CANCELING -> CANCELED;  any live state -> FAILED
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExecutionState {
    /// It exists.
    Created,
    /// It waits for a slot.
    Scheduled,
    /// It has been sent to a TaskExecutor, which has not answered.
    Deploying,
    /// It restores its state.
    Initializing,
    /// It works. Checkpoints wait for all attempts to get here.
    Running,
    /// It is being stopped.
    Canceling,
    /// It ended with its work done.
    Finished,
    /// It was stopped.
    Canceled,
    /// It ended with an error.
    Failed,
}

impl ExecutionState {
    /// Nothing follows.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }

    /// Whether `next` may follow. Reports may skip states (a task may fail before it said it runs), never go back.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        if self.is_terminal() || self == next {
            return false;
        }
        match next {
            Self::Failed => true,
            // A task may finish just before it hears of its cancellation; it is then done, not cancelled.
            Self::Finished => matches!(self, Self::Deploying | Self::Initializing | Self::Running | Self::Canceling),
            // Before it was sent out, an attempt is cancelled without being asked.
            Self::Canceled => matches!(self, Self::Created | Self::Scheduled | Self::Canceling),
            Self::Canceling => true,
            _ => self != Self::Canceling && self < next,
        }
    }

    /// The name that logs and pages show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Scheduled => "SCHEDULED",
            Self::Deploying => "DEPLOYING",
            Self::Initializing => "INITIALIZING",
            Self::Running => "RUNNING",
            Self::Canceling => "CANCELING",
            Self::Finished => "FINISHED",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
        }
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    /// It exists; nothing is scheduled.
    Created,
    /// It is scheduled or runs; single regions may be restarting.
    Running,
    /// It failed for good, and its tasks are being stopped.
    Failing,
    /// It failed.
    Failed,
    /// It is being cancelled.
    Cancelling,
    /// It was cancelled.
    Canceled,
    /// All its work is done.
    Finished,
    /// All of it is being stopped to start again, or waits to do so.
    Restarting,
    /// Its leader lost leadership; another one goes on.
    Suspended,
}

impl JobStatus {
    /// The job is over everywhere, and may be cleaned up.
    #[must_use]
    pub fn is_globally_terminal(self) -> bool {
        matches!(self, Self::Failed | Self::Canceled | Self::Finished)
    }

    /// The name that logs and pages show.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Failing => "FAILING",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Restarting => "RESTARTING",
            Self::Suspended => "SUSPENDED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExecutionState::{self, *};

    const ALL: [ExecutionState; 9] =
        [Created, Scheduled, Deploying, Initializing, Running, Canceling, Finished, Canceled, Failed];

    #[test]
    fn states_follow_each_other_as_drawn() {
        let follow = |state: ExecutionState| ALL.into_iter().filter(|n| state.may_become(*n)).collect::<Vec<_>>();
        assert_eq!(follow(Created), [Scheduled, Deploying, Initializing, Running, Canceling, Canceled, Failed]);
        assert_eq!(follow(Deploying), [Initializing, Running, Canceling, Finished, Failed]);
        assert_eq!(follow(Running), [Canceling, Finished, Failed]);
        assert_eq!(follow(Canceling), [Finished, Canceled, Failed]);
        for state in [Finished, Canceled, Failed] {
            assert_eq!(follow(state), [], "{}", state.name());
        }
    }
}
