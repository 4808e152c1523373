//! A delay that grows while failures keep coming, and starts over after a quiet time.
//!
//! The n-th delay (n from 0) is `clamp(initial * multiplier^n +- jitter, initial, max)`. A failure that lands before the
//! restart that is already planned belongs to the same attempt. The count starts over when a failure comes at least
//! `reset_after` later than the last planned restart. (Flink: ExponentialDelayRestartBackoffTimeStrategy.)

use std::time::Duration;

use flumen_io::{MonotonicTime, RandomSource};

use super::{RestartDecision, RestartStrategy};

/// Settings.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialDelayOptions {
    /// First and smallest delay.
    pub initial: Duration,
    /// Growth.
    pub multiplier: f64,
    /// Largest delay.
    pub max: Duration,
    /// Part of the delay by which it may vary, in either direction.
    pub jitter_factor: f64,
    /// Quiet time after which the count starts over.
    pub reset_after: Duration,
    /// Attempts before that; `None` means any number.
    pub attempts_before_reset: Option<u32>,
}

impl Default for ExponentialDelayOptions {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 1.5,
            max: Duration::from_secs(60),
            jitter_factor: 0.1,
            reset_after: Duration::from_secs(3600),
            attempts_before_reset: None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct ExponentialDelay {
    options: ExponentialDelayOptions,
    rng: Box<dyn RandomSource>,
    attempts: u32,
    next_restart: Option<MonotonicTime>,
}

impl ExponentialDelay {
    /// No failure so far.
    #[must_use]
    pub fn new(options: ExponentialDelayOptions, rng: Box<dyn RandomSource>) -> Self {
        Self { options, rng, attempts: 0, next_restart: None }
    }

    fn delay(&mut self) -> Duration {
        let initial = self.options.initial.as_secs_f64();
        let max = self.options.max.as_secs_f64().max(initial);
        let exponent = i32::try_from(self.attempts).unwrap_or(i32::MAX);
        // Bounded before the jitter is added, so that infinity does not become NaN.
        let grown = (initial * self.options.multiplier.powi(exponent)).min(max);
        let jitter = grown * self.options.jitter_factor * (2.0 * self.rng.unit_f64() - 1.0);
        Duration::from_secs_f64((grown + jitter).clamp(initial, max))
    }
}

impl RestartStrategy for ExponentialDelay {
    fn on_failure(&mut self, now: MonotonicTime) -> RestartDecision {
        if let Some(planned) = self.next_restart {
            if now <= planned {
                return self.decide(planned - now);
            }
            if now - planned >= self.options.reset_after {
                self.attempts = 0;
            }
        }
        let delay = self.delay();
        self.next_restart = Some(now + delay);
        self.attempts = self.attempts.saturating_add(1);
        self.decide(delay)
    }
}

impl ExponentialDelay {
    fn decide(&self, delay: Duration) -> RestartDecision {
        match self.options.attempts_before_reset {
            Some(allowed) if self.attempts > allowed => RestartDecision::GiveUp {
                reason: format!("{allowed} restarts of the exponential-delay strategy did not lead to a stable job"),
            },
            _ => RestartDecision::After(delay),
        }
    }
}
