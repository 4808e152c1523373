//! The control plane of one job, as state machines.
//!
//! [`JobMaster`] turns a JobGraph into running tasks and keeps them running: it unfolds the graph, finds slots, deploys
//! pipelined regions, takes checkpoints, restarts what failed and ends the job. It is pure: `on(event, now) -> actions`.
//! An actor around it (in `tools/cluster`, and in tests the deterministic executor) carries the actions out.
//!
//! | module | holds |
//! |---|---|
//! | [`job_master`] | the job: events in, actions out |
//! | [`execution_graph`] | subtasks, attempts, pipelined regions |
//! | [`scheduler`] | which regions may start |
//! | [`slots`] | the pool of slots, and sharing |
//! | [`failover`] | which subtasks restart |
//! | [`restart`] | whether, and after how long |
//! | [`checkpoint_coordinator`] | the life of checkpoints |
//! | [`options`] | configuration keys |

pub mod checkpoint_coordinator;
pub mod execution_graph;
pub mod failover;
pub mod job_master;
pub mod options;
pub mod restart;
pub mod scheduler;
pub mod slots;
#[cfg(test)]
mod testing;

pub use checkpoint_coordinator::{
    CheckpointContents, CheckpointSettings, RestorePoint, StoredCheckpoint, SubtaskSnapshot, VertexSnapshot,
};
pub use job_master::{Action, Event, JobMaster, JobMasterOptions, Now};
