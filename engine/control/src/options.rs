//! Configuration keys of the control plane; names and defaults are Flink's.

use std::time::Duration;

use flumen_config::{AnyOption, ConfigOption, Configuration, config_enum};
use flumen_core::element::Alignment;

use crate::checkpoint_coordinator::{CheckpointRetention, CheckpointSettings};
use crate::failover::FailoverStrategy;
use crate::job_master::JobMasterOptions;
use crate::restart::{ExponentialDelayOptions, FailureRateOptions, FixedDelayOptions, RestartStrategyOptions};

config_enum! {
    /// Restart strategies.
    pub enum RestartStrategyType {
        /// Fail at the first failure.
        None = "none",
        /// As `none`.
        Off = "off",
        /// As `none`.
        Disable = "disable",
        /// A number of times after the same delay.
        FixedDelay = "fixed-delay",
        /// After a growing delay.
        ExponentialDelay = "exponential-delay",
        /// While failures are rare.
        FailureRate = "failure-rate",
    }
}

config_enum! {
    /// What a checkpoint promises.
    pub enum CheckpointingMode {
        /// Every row counts once.
        ExactlyOnce = "exactly-once",
        /// Every row counts at least once.
        AtLeastOnce = "at-least-once",
    }
}

config_enum! {
    /// Which subtasks restart.
    pub enum FailoverStrategyType {
        /// The failed region and what depends on it.
        Region = "region",
        /// All.
        Full = "full",
    }
}

config_enum! {
    /// Whether checkpoints outlive their job.
    pub enum RetentionType {
        /// No.
        NoExternalizedCheckpoints = "no-externalized-checkpoints",
        /// If the job fails.
        DeleteOnCancellation = "delete-on-cancellation",
        /// If the job fails or is cancelled.
        RetainOnCancellation = "retain-on-cancellation",
    }
}

/// Time between checkpoints.
pub const CHECKPOINTING_INTERVAL: ConfigOption<Option<Duration>> = ConfigOption::new(
    "execution.checkpointing.interval",
    "",
    "Time between checkpoints; without it none are taken but those asked for.",
);
/// Time between the end of one and the start of the next.
pub const CHECKPOINTING_MIN_PAUSE: ConfigOption<Duration> = ConfigOption::new(
    "execution.checkpointing.min-pause",
    "0 ms",
    "Time between the end of one checkpoint and the start of the next; more than zero allows one at a time only.",
);
/// A checkpoint that takes longer is given up.
pub const CHECKPOINTING_TIMEOUT: ConfigOption<Duration> =
    ConfigOption::new("execution.checkpointing.timeout", "10 min", "A checkpoint that takes longer is given up.");
/// How many may be under way.
pub const CHECKPOINTING_MAX_CONCURRENT: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.max-concurrent-checkpoints",
    "1",
    "How many checkpoints may be under way at a time.",
)
.between("1", "100");
/// Failures in a row that do not fail the job.
pub const CHECKPOINTING_TOLERABLE_FAILURES: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.tolerable-failed-checkpoints",
    "0",
    "Failed checkpoints in a row that do not fail the job.",
);
/// Complete checkpoints kept.
pub const CHECKPOINTING_RETAINED: ConfigOption<u32> = ConfigOption::new(
    "execution.checkpointing.num-retained",
    "1",
    "Complete checkpoints that are kept; older ones are deleted.",
)
.between("1", "1000");
/// What a checkpoint promises.
pub const CHECKPOINTING_MODE: ConfigOption<CheckpointingMode> = ConfigOption::new(
    "execution.checkpointing.mode",
    "exactly-once",
    "Whether channels wait for the barriers of the others (exactly-once) or are read on (at-least-once).",
);
/// Tasks stay until a last checkpoint is complete.
pub const CHECKPOINTING_AFTER_TASKS_FINISH: ConfigOption<bool> = ConfigOption::new(
    "execution.checkpointing.checkpoints-after-tasks-finish",
    "true",
    "Tasks of a job with checkpoints and sinks stay after the end of their data until a last checkpoint is complete.",
);
/// Whether checkpoints outlive their job.
pub const CHECKPOINTING_RETENTION: ConfigOption<RetentionType> = ConfigOption::new(
    "execution.checkpointing.externalized-checkpoint-retention",
    "no-externalized-checkpoints",
    "Whether the last checkpoints stay when the job has ended.",
);
/// Which strategy.
pub const RESTART_STRATEGY: ConfigOption<Option<RestartStrategyType>> = ConfigOption::new(
    "restart-strategy.type",
    "",
    "How failed jobs restart; if not set, exponential-delay for jobs with checkpoints and none for others.",
);
/// Restarts allowed.
pub const FIXED_DELAY_ATTEMPTS: ConfigOption<u32> =
    ConfigOption::new("restart-strategy.fixed-delay.attempts", "1", "How often a job may restart.");
/// Time before each.
pub const FIXED_DELAY_DELAY: ConfigOption<Duration> =
    ConfigOption::new("restart-strategy.fixed-delay.delay", "1 s", "Time before each restart.");
/// First delay.
pub const EXPONENTIAL_INITIAL: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.exponential-delay.initial-backoff",
    "1 s",
    "Time before the first restart, and the shortest.",
);
/// Largest delay.
pub const EXPONENTIAL_MAX: ConfigOption<Duration> =
    ConfigOption::new("restart-strategy.exponential-delay.max-backoff", "1 min", "The longest time before a restart.");
/// Growth.
pub const EXPONENTIAL_MULTIPLIER: ConfigOption<f64> = ConfigOption::new(
    "restart-strategy.exponential-delay.backoff-multiplier",
    "1.5",
    "By how much the time grows from restart to restart.",
)
.between("1", "1000");
/// Variation.
pub const EXPONENTIAL_JITTER: ConfigOption<f64> = ConfigOption::new(
    "restart-strategy.exponential-delay.jitter-factor",
    "0.1",
    "The part of the time by which it varies at random, up or down.",
)
.between("0", "1");
/// Quiet time.
pub const EXPONENTIAL_RESET: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.exponential-delay.reset-backoff-threshold",
    "1 h",
    "Time without a failure after which the backoff starts over.",
);
/// Attempts before that.
pub const EXPONENTIAL_ATTEMPTS: ConfigOption<Option<u32>> = ConfigOption::new(
    "restart-strategy.exponential-delay.attempts-before-reset-backoff",
    "",
    "Restarts without a quiet time in between after which the job fails; if not set, any number.",
);
/// Failures allowed.
pub const FAILURE_RATE_MAX: ConfigOption<u32> = ConfigOption::new(
    "restart-strategy.failure-rate.max-failures-per-interval",
    "1",
    "Failures in an interval that do not fail the job.",
);
/// The interval.
pub const FAILURE_RATE_INTERVAL: ConfigOption<Duration> = ConfigOption::new(
    "restart-strategy.failure-rate.failure-rate-interval",
    "1 min",
    "The interval in which failures are counted.",
);
/// Time before each.
pub const FAILURE_RATE_DELAY: ConfigOption<Duration> =
    ConfigOption::new("restart-strategy.failure-rate.delay", "1 s", "Time before each restart.");
/// Which subtasks restart.
pub const FAILOVER_STRATEGY: ConfigOption<FailoverStrategyType> = ConfigOption::new(
    "jobmanager.execution.failover-strategy",
    "region",
    "Which tasks restart when one fails: its pipelined region and what depends on it, or all.",
);
/// How long to wait for slots.
pub const SLOT_REQUEST_TIMEOUT: ConfigOption<Duration> = ConfigOption::new(
    "slot.request.timeout",
    "5 min",
    "How long a job waits for slots that are not there before it fails.",
);

/// Flink's own lower limit; shorter intervals would only checkpoint.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// All options of this crate.
pub const OPTIONS: &[&dyn AnyOption] = &[
    &CHECKPOINTING_INTERVAL,
    &CHECKPOINTING_MIN_PAUSE,
    &CHECKPOINTING_TIMEOUT,
    &CHECKPOINTING_MAX_CONCURRENT,
    &CHECKPOINTING_TOLERABLE_FAILURES,
    &CHECKPOINTING_RETAINED,
    &CHECKPOINTING_MODE,
    &CHECKPOINTING_AFTER_TASKS_FINISH,
    &CHECKPOINTING_RETENTION,
    &RESTART_STRATEGY,
    &FIXED_DELAY_ATTEMPTS,
    &FIXED_DELAY_DELAY,
    &EXPONENTIAL_INITIAL,
    &EXPONENTIAL_MAX,
    &EXPONENTIAL_MULTIPLIER,
    &EXPONENTIAL_JITTER,
    &EXPONENTIAL_RESET,
    &EXPONENTIAL_ATTEMPTS,
    &FAILURE_RATE_MAX,
    &FAILURE_RATE_INTERVAL,
    &FAILURE_RATE_DELAY,
    &FAILOVER_STRATEGY,
    &SLOT_REQUEST_TIMEOUT,
];

impl JobMasterOptions {
    /// Reads the options of a job; what tasks are given is all that was set.
    #[must_use]
    pub fn from_configuration(configuration: &Configuration) -> Self {
        Self {
            checkpoints: checkpoint_settings(configuration),
            restart: restart_strategy(configuration),
            failover: match configuration.get(&FAILOVER_STRATEGY) {
                FailoverStrategyType::Region => FailoverStrategy::Region,
                FailoverStrategyType::Full => FailoverStrategy::Full,
            },
            slot_request_timeout: configuration.get(&SLOT_REQUEST_TIMEOUT),
            configuration: configuration.overrides().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        }
    }
}

fn checkpoint_settings(configuration: &Configuration) -> CheckpointSettings {
    CheckpointSettings {
        interval: configuration.get(&CHECKPOINTING_INTERVAL).map(|interval| interval.max(MIN_INTERVAL)),
        min_pause: configuration.get(&CHECKPOINTING_MIN_PAUSE),
        timeout: configuration.get(&CHECKPOINTING_TIMEOUT),
        max_concurrent: configuration.get(&CHECKPOINTING_MAX_CONCURRENT),
        tolerable_failures: configuration.get(&CHECKPOINTING_TOLERABLE_FAILURES),
        retained: configuration.get(&CHECKPOINTING_RETAINED),
        alignment: match configuration.get(&CHECKPOINTING_MODE) {
            CheckpointingMode::ExactlyOnce => Alignment::Aligned,
            CheckpointingMode::AtLeastOnce => Alignment::AtLeastOnce,
        },
        after_tasks_finish: configuration.get(&CHECKPOINTING_AFTER_TASKS_FINISH),
        retention: match configuration.get(&CHECKPOINTING_RETENTION) {
            RetentionType::NoExternalizedCheckpoints => CheckpointRetention::NoExternalized,
            RetentionType::DeleteOnCancellation => CheckpointRetention::DeleteOnCancellation,
            RetentionType::RetainOnCancellation => CheckpointRetention::RetainOnCancellation,
        },
    }
}

fn restart_strategy(configuration: &Configuration) -> Option<RestartStrategyOptions> {
    let strategy = match configuration.get(&RESTART_STRATEGY)? {
        RestartStrategyType::None | RestartStrategyType::Off | RestartStrategyType::Disable => {
            RestartStrategyOptions::None
        }
        RestartStrategyType::FixedDelay => RestartStrategyOptions::FixedDelay(FixedDelayOptions {
            attempts: configuration.get(&FIXED_DELAY_ATTEMPTS),
            delay: configuration.get(&FIXED_DELAY_DELAY),
        }),
        RestartStrategyType::ExponentialDelay => RestartStrategyOptions::ExponentialDelay(ExponentialDelayOptions {
            initial: configuration.get(&EXPONENTIAL_INITIAL),
            multiplier: configuration.get(&EXPONENTIAL_MULTIPLIER),
            max: configuration.get(&EXPONENTIAL_MAX),
            jitter_factor: configuration.get(&EXPONENTIAL_JITTER),
            reset_after: configuration.get(&EXPONENTIAL_RESET),
            attempts_before_reset: configuration.get(&EXPONENTIAL_ATTEMPTS),
        }),
        RestartStrategyType::FailureRate => RestartStrategyOptions::FailureRate(FailureRateOptions {
            max_failures_per_interval: configuration.get(&FAILURE_RATE_MAX),
            interval: configuration.get(&FAILURE_RATE_INTERVAL),
            delay: configuration.get(&FAILURE_RATE_DELAY),
        }),
    };
    Some(strategy)
}

#[cfg(test)]
mod tests {
    use flumen_config::{OptionRegistry, Origin};

    use super::*;

    fn configuration(settings: &[(&str, &str)]) -> Configuration {
        let registry = OptionRegistry::collect(&[OPTIONS]).unwrap();
        let mut configuration = Configuration::new(registry.into());
        for (key, value) in settings {
            configuration.set(key, value, Origin::Statement).unwrap();
        }
        configuration
    }

    #[test]
    fn defaults_of_keys_and_of_code_agree() {
        let read = JobMasterOptions::from_configuration(&configuration(&[]));
        let code = JobMasterOptions::default();
        assert_eq!(read.checkpoints, code.checkpoints);
        assert_eq!(read.restart, code.restart);
        assert_eq!(read.failover, code.failover);
        assert_eq!(read.slot_request_timeout, code.slot_request_timeout);
        for (name, expected) in [
            ("none", RestartStrategyOptions::None),
            ("off", RestartStrategyOptions::None),
            ("fixed-delay", RestartStrategyOptions::FixedDelay(FixedDelayOptions::default())),
            ("exponential-delay", RestartStrategyOptions::ExponentialDelay(ExponentialDelayOptions::default())),
            ("failure-rate", RestartStrategyOptions::FailureRate(FailureRateOptions::default())),
        ] {
            let read = JobMasterOptions::from_configuration(&configuration(&[("restart-strategy.type", name)]));
            assert_eq!(read.restart, Some(expected));
        }
    }

    #[test]
    fn what_is_set_is_read() {
        let read = JobMasterOptions::from_configuration(&configuration(&[
            ("execution.checkpointing.interval", "3 s"),
            ("execution.checkpointing.mode", "AT_LEAST_ONCE"),
            ("jobmanager.execution.failover-strategy", "full"),
        ]));
        assert_eq!(read.checkpoints.interval, Some(Duration::from_secs(3)));
        assert_eq!(read.checkpoints.alignment, Alignment::AtLeastOnce);
        assert_eq!(read.failover, FailoverStrategy::Full);
        assert_eq!(read.configuration["execution.checkpointing.interval"], "3 s");
    }
}
