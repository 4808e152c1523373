//! Whether, and after how long, failed work starts again (reference: flink 1.5).

mod exponential_delay;
mod failure_rate;
mod fixed_delay;
mod none;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use flumen_io::{MonotonicTime, RandomSource};

pub use exponential_delay::{ExponentialDelay, ExponentialDelayOptions};
pub use failure_rate::{FailureRate, FailureRateOptions};
pub use fixed_delay::{FixedDelay, FixedDelayOptions};
pub use none::NoRestart;

/// What a strategy says to a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start again after this long.
    After(Duration),
    /// Give up.
    GiveUp {
        /// Why, to be put before the failure itself.
        reason: String,
    },
}

/// Decides about restarts. Asked once for each failure that may be tried again.
pub trait RestartStrategy: Send + fmt::Debug {
    /// A failure happened.
    fn on_failure(&mut self, now: MonotonicTime) -> RestartDecision;
}

/// Which strategy a job uses.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategyOptions {
    /// Fail at the first failure.
    None,
    /// A number of times, always after the same delay.
    FixedDelay(FixedDelayOptions),
    /// With a delay that grows while failures keep coming.
    ExponentialDelay(ExponentialDelayOptions),
    /// While failures do not come too often.
    FailureRate(FailureRateOptions),
}

impl RestartStrategyOptions {
    /// What a job gets that does not say: exponential delay if it takes checkpoints, none if it does not.
    #[must_use]
    pub fn default_for(checkpointing: bool) -> Self {
        if checkpointing { Self::ExponentialDelay(ExponentialDelayOptions::default()) } else { Self::None }
    }

    /// Builds it. `rng` is for jitter.
    #[must_use]
    pub fn build(&self, rng: Box<dyn RandomSource>) -> Box<dyn RestartStrategy> {
        match self {
            Self::None => Box::new(NoRestart),
            Self::FixedDelay(options) => Box::new(FixedDelay::new(options.clone())),
            Self::ExponentialDelay(options) => Box::new(ExponentialDelay::new(options.clone(), rng)),
            Self::FailureRate(options) => Box::new(FailureRate::new(options.clone())),
        }
    }
}
