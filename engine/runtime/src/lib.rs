//! Tasks, chain driver, mailbox and executors.

pub mod barrier_aligner;
pub mod chain;
pub mod executor;
pub mod metrics;
pub mod task;
pub mod watermark_valve;
