//! Runs tasks.
//!
//! | module | holds |
//! |---|---|
//! | [`task_executor`] | deploys tasks that a JobMaster sends, and reports on them |
//! | [`task`] | a task: mailbox, inputs, the order of things |
//! | [`chain`] | drives the operators of a task |
//! | [`barrier_aligner`], [`watermark_valve`] | what several channels say, combined |
//! | [`exchange`] | gates and partitions as tasks see them |
//! | [`executor`] | steps tasks: a worker per core, or one seeded thread |
//! | [`metrics`] | counters of operators |

pub mod barrier_aligner;
pub mod chain;
pub mod exchange;
pub mod executor;
pub mod metrics;
pub mod task;
pub mod task_executor;
pub mod watermark_valve;
