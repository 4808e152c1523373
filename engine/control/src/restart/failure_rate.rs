//! Restarts while failures do not come too often.

use std::collections::VecDeque;
use std::time::Duration;

use flumen_io::MonotonicTime;

use super::{RestartDecision, RestartStrategy};

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRateOptions {
    /// Failures allowed per interval.
    pub max_failures_per_interval: u32,
    /// The interval.
    pub interval: Duration,
    /// Time before each restart.
    pub delay: Duration,
}

impl Default for FailureRateOptions {
    fn default() -> Self {
        Self { max_failures_per_interval: 1, interval: Duration::from_secs(60), delay: Duration::from_secs(1) }
    }
}

/// Keeps the times of the last `max + 1` failures. With that many, and the oldest no older than the interval, it gives up.
#[derive(Clone, Debug)]
pub struct FailureRate {
    options: FailureRateOptions,
    times: VecDeque<MonotonicTime>,
}

impl FailureRate {
    /// No failure so far.
    #[must_use]
    pub fn new(options: FailureRateOptions) -> Self {
        Self { options, times: VecDeque::new() }
    }

    fn is_full(&self) -> bool {
        self.times.len() > self.options.max_failures_per_interval as usize
    }
}

impl RestartStrategy for FailureRate {
    fn on_failure(&mut self, now: MonotonicTime) -> RestartDecision {
        if self.is_full() {
            self.times.pop_front();
        }
        self.times.push_back(now);
        match self.times.front() {
            Some(oldest) if self.is_full() && now - *oldest <= self.options.interval => RestartDecision::GiveUp {
                reason: format!(
                    "more than {} failures within {:?} (failure-rate strategy)",
                    self.options.max_failures_per_interval, self.options.interval
                ),
            },
            _ => RestartDecision::After(self.options.delay),
        }
    }
}
