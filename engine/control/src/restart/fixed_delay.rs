//! A number of restarts over the life of the job, each after the same delay.

use std::time::Duration;

use flumen_io::MonotonicTime;

use super::{RestartDecision, RestartStrategy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedDelayOptions {
    /// Restarts allowed.
    pub attempts: u32,
    /// Time before each.
    pub delay: Duration,
}

impl Default for FixedDelayOptions {
    fn default() -> Self {
        Self { attempts: 1, delay: Duration::from_secs(1) }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct FixedDelay {
    options: FixedDelayOptions,
    failures: u32,
}

impl FixedDelay {
    /// No failure so far.
    #[must_use]
    pub fn new(options: FixedDelayOptions) -> Self {
        Self { options, failures: 0 }
    }
}

impl RestartStrategy for FixedDelay {
    fn on_failure(&mut self, _now: MonotonicTime) -> RestartDecision {
        self.failures = self.failures.saturating_add(1);
        if self.failures <= self.options.attempts {
            RestartDecision::After(self.options.delay)
        } else {
            let reason = format!("all {} restarts of the fixed-delay strategy are used up", self.options.attempts);
            RestartDecision::GiveUp { reason }
        }
    }
}
