//! Options of a process and of the jobs it runs, with Flink's keys where the concept is the same.

use std::time::Duration;

use flumen_config::{AnyOption, ByteSize, ConfigOption, config_enum};

config_enum! {
    /// How the data of batch exchanges is kept (`execution.batch-shuffle-mode`).
    pub enum ShuffleMode {
        /// Consumed while it is produced.
        Pipelined = "all-exchanges-pipelined",
        /// Consumed after all of it is produced.
        Blocking = "all-exchanges-blocking",
        /// Memory first, all of it kept.
        HybridFull = "all-exchanges-hybrid-full",
        /// Memory first, written only when not consumed in time.
        HybridSelective = "all-exchanges-hybrid-selective",
    }
}

/// Parallel instances of an operator.
pub const PARALLELISM: ConfigOption<u32> = ConfigOption::new(
    "parallelism.default",
    "0",
    "Parallel instances of an operator; 0 means one for each worker thread.",
)
.between("0", "32768");
/// Worker threads.
pub const WORKERS: ConfigOption<u32> =
    ConfigOption::new("taskmanager.worker-threads", "0", "Threads that step tasks; 0 means one for each core.")
        .between("0", "1024");
/// Slots.
pub const SLOTS: ConfigOption<u32> = ConfigOption::new(
    "taskmanager.number-of-task-slots",
    "1024",
    "Slots of the embedded TaskManager; slots are accounting, not threads.",
)
.between("1", "1000000");
/// Rows of a batch.
pub const BATCH_ROWS: ConfigOption<u32> =
    ConfigOption::new("execution.batch-size", "8192", "Rows of a batch at most.").between("1", "65536");
/// How exchanges of bounded jobs are kept.
pub const SHUFFLE_MODE: ConfigOption<ShuffleMode> = ConfigOption::new(
    "execution.batch-shuffle-mode",
    "all-exchanges-pipelined",
    "How exchanges of bounded jobs are kept; unbounded jobs are always pipelined.",
);
/// Buffer timeout.
pub const BUFFER_TIMEOUT: ConfigOption<Duration> = ConfigOption::new(
    "execution.buffer-timeout.interval",
    "100 ms",
    "How long a row of an unbounded job waits for a batch to fill.",
);
/// Chaining.
pub const CHAINING: ConfigOption<bool> =
    ConfigOption::new("pipeline.operator-chaining.enabled", "true", "Whether operators may share a task.");
/// Name of the job.
pub const JOB_NAME: ConfigOption<String> = ConfigOption::new("pipeline.name", "insert", "Name of the next job.");
/// Maximum parallelism.
pub const MAX_PARALLELISM: ConfigOption<u32> = ConfigOption::new(
    "pipeline.max-parallelism",
    "0",
    "Key groups of a job, up to which it can be rescaled; 0 means those of the snapshot that it starts from, else a power of two by its parallelism, at least 128.",
)
.between("0", "32768");
/// Where checkpoints go.
pub const CHECKPOINT_DIRECTORY: ConfigOption<Option<String>> =
    ConfigOption::new("execution.checkpointing.dir", "", "Directory that checkpoints are written to.");
/// Restore path.
pub const RECOVERY_PATH: ConfigOption<Option<String>> = ConfigOption::new(
    "execution.state-recovery.path",
    "",
    "Snapshot that the next INSERT starts from: a checkpoint's directory, or `latest` for the newest complete one below execution.checkpointing.dir.",
);
/// Seed.
pub const SEED: ConfigOption<u64> = ConfigOption::new("execution.seed", "0", "Seed of what is random in exchanges.")
    .between("0", "18446744073709551615");
/// Most memory one result may queue for the client.
pub const RESULT_QUEUE_BYTES: ConfigOption<ByteSize> = ConfigOption::new(
    "client.result-queue-size",
    "16 mb",
    "Rows of a result that wait for the client at most, in bytes.",
);

/// The options of this crate.
pub const OPTIONS: &[&dyn AnyOption] = &[
    &PARALLELISM,
    &WORKERS,
    &SLOTS,
    &BATCH_ROWS,
    &SHUFFLE_MODE,
    &BUFFER_TIMEOUT,
    &CHAINING,
    &JOB_NAME,
    &MAX_PARALLELISM,
    &CHECKPOINT_DIRECTORY,
    &RECOVERY_PATH,
    &SEED,
    &RESULT_QUEUE_BYTES,
];
