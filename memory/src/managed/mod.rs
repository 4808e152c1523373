//! Managed memory: what operators and state hold, asked for before it is taken.
//!
//! [`MemoryManager`] owns the managed bytes of a process. Below it hang budgets (job, task), and at the leaves one
//! [`Reservation`] per large holder. A reservation grows only as far as every budget above it allows; a refusal says who
//! holds the memory. One arbiter (`manager`) asks holders that can spill to give bytes back; how a holder takes part
//! is written at [`Reservation`]. How the total divides over the kinds of consumers that are there is in `consumers`.
//! Source: Flink's `MemoryManager` and `ManagedMemoryUtils`; the arbiter follows Velox's `MemoryArbitrator`.

pub(crate) mod consumers;
pub(crate) mod manager;
pub(crate) mod reservation;
pub(crate) mod weights;

#[cfg(test)]
mod tests;

pub use manager::{MemoryBudget, MemoryManager};
pub use reservation::{MemoryListener, Reservation, RevocationListener};
pub use weights::{ConsumerKind, ConsumerWeights};
