//! What JobMaster, TaskExecutor and client say to each other: messages as plain data, and the traits they are sent by.
//!
//! Every message travels in an [`Envelope`] with the leader epoch of the job's JobMaster and a request id that the
//! sender counts up per receiver, and names the attempt it concerns. From the three a receiver refuses what is stale (an
//! older leader, a former attempt) and repeated, and puts back in order what overtook ([`envelope`]). Sends are fire and
//! forget: an answer, where there is one, is a message of its own. In one process a gateway is a queue; on a cluster it
//! is a connection, and nothing else changes.
//!
//! Lists that grow with parallelism are shared ([`deployment::ProducerGroup`]), so that deploying n consumers of m
//! producers costs n + m, not n times m.
//!
//! | module | holds |
//! |---|---|
//! | [`envelope`] | epoch, request id, what is refused, and order |
//! | [`state`] | states of executions and jobs, and which follow which |
//! | [`deployment`] | everything a TaskExecutor needs to run one attempt |
//! | [`task_executor`] | messages to a TaskExecutor |
//! | [`job_master`] | messages to a JobMaster |
//! | [`client`] | what a client is told |

pub mod client;
pub mod deployment;
pub mod envelope;
pub mod job_master;
pub mod state;
pub mod task_executor;

pub use client::{CheckpointOutcome, CheckpointSummary, ClientEvent, ClientGateway, TriggerId};
pub use deployment::{
    InputGateDescriptor, ProducerGroup, RestoreDescriptor, ResultPartitionDescriptor, TaskDeploymentDescriptor,
    TaskInformation,
};
pub use envelope::{Envelope, EpochGuard, InOrder, Outbox, RequestId, Stale};
pub use job_master::{
    AcknowledgeCheckpoint, CheckpointMetrics, DeclineCheckpoint, DeclineReason, FailureReport, JobMasterGateway,
    JobMasterMessage, StateHandle, TaskMetrics, TaskStateChanged,
};
pub use state::{ExecutionState, JobStatus};
pub use task_executor::{SlotAddress, TaskExecutorGateway, TaskExecutorId, TaskExecutorMessage};
