//! What the one who assembles a process may put in place of what it would have by itself.
//!
//! The defaults are those of a process alone: batches are handed over in memory, messages between JobMaster and
//! TaskExecutor arrive at once, nobody looks on. Tests put hostile parts here and run the same code.

use std::sync::Arc;

use flumen_control::{Action, Event};
use flumen_core::connectors::ConnectorRegistry;
use flumen_core::ids::JobId;
use flumen_network::{PartitionRegistry, Transport};
use flumen_operators::registry::OperatorRegistry;

/// Makes the transport of exchanges, which reaches the partitions of the registry.
pub type MakeTransport = Arc<dyn Fn(Arc<PartitionRegistry>) -> Arc<dyn Transport> + Send + Sync>;

/// Adds connectors to those that the process has.
pub type ExtendConnectors = Arc<dyn Fn(&mut ConnectorRegistry) + Send + Sync>;

/// Adds operators to those that the process has, or wraps them.
pub type ExtendOperators = Arc<dyn Fn(&mut OperatorRegistry) + Send + Sync>;

/// Carries messages between JobMasters and the TaskExecutor.
pub trait Courier: Send + Sync {
    /// Calls `deliver`, now or later, on any thread. Messages may overtake each other, since receivers put them in order,
    /// but none may be lost.
    fn carry(&self, deliver: Box<dyn FnOnce() + Send>);
}

/// Sees what passes through JobMasters. Called by whoever attends the job; must not wait or call back.
pub trait JobObserver: Send + Sync {
    /// A JobMaster is about to be told this.
    fn event(&self, job: JobId, event: &Event);
    /// A JobMaster wants this done.
    fn action(&self, job: JobId, action: &Action);
}

/// See the module.
#[derive(Clone, Default)]
pub struct Extensions {
    /// How channels reach partitions.
    pub transport: Option<MakeTransport>,
    /// More connectors.
    pub connectors: Option<ExtendConnectors>,
    /// More operators.
    pub operators: Option<ExtendOperators>,
    /// How messages travel.
    pub courier: Option<Arc<dyn Courier>>,
    /// Who looks on.
    pub observer: Option<Arc<dyn JobObserver>>,
}
