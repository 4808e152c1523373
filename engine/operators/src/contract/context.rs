//! What an operator is given.

use std::sync::Arc;

use flumen_core::ids::{ExecutionAttemptId, OperatorUid};
use flumen_core::key_group::KeyGroupRange;
use flumen_core::meter::MemoryMeter;
use flumen_core::waiting::{BlockingExecutor, TimerService, Waker};
use flumen_io::Clock;
use flumen_kernels::expr::FunctionRegistry;
use flumen_state::PageSource;

use crate::spill::SpillSpace;

/// Which task the operator is in.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// Parallel instances of the vertex.
    pub parallelism: u32,
    /// Key groups of the vertex.
    pub max_parallelism: u32,
    /// What people see.
    pub name: String,
}

/// What an operator is given.
#[derive(Clone)]
pub struct OperatorContext {
    /// Which task it is in.
    pub task: TaskInfo,
    /// Its stable name.
    pub uid: OperatorUid,
    /// Key groups that this subtask owns.
    pub key_groups: KeyGroupRange,
    /// Rows of an output batch at most.
    pub batch_rows: usize,
    /// Charged for what the operator holds between calls.
    pub memory: Arc<dyn MemoryMeter>,
    /// Pages of keyed tables, charged to the same budget as `memory`.
    pub pages: Arc<dyn PageSource>,
    /// Where it spills to.
    pub spill: SpillSpace,
    /// Functions that expressions may name.
    pub functions: Arc<FunctionRegistry>,
    /// Where work that waits is run.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// Makes the task runnable after `Blocked`.
    pub waker: Waker,
    /// For sources and sinks, which deal with the world; other operators get processing time by `timer` alone.
    pub clock: Arc<dyn Clock>,
    /// Calls the waker when a time has come; for sources and sinks likewise.
    pub timers: Arc<dyn TimerService>,
    /// Whether the job was restored from a snapshot (then `restore` is called, with or without entries).
    pub is_restored: bool,
}
