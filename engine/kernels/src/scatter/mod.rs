//! Scatter: the rows of a batch to many targets, in one pass.
//!
//! Hash to key group to target; a counting sort of row indices; then every column is appended, target by target, to
//! typed builders that collect rows over many batches until a target has a batch's worth. Never a `take` per target:
//! with 8192 rows for 128 targets the arrays would cost more than the data.
//!
//! Pairs of `-U` and `+U` that go to different targets (their keys differ) become `-D` and `+I`, since neither
//! receiver sees the other half.
//!
//! Cost of five fixed-width columns, measured (`benches/RESULTS.md`): 6-9 ns per row to 2 targets, 14-25 to 128, where the
//! builders leave the cache; the floor is 4-5. Strings are copied, so that no page of the
//! input is kept alive.

mod builders;
mod column;
mod partition;
#[cfg(test)]
mod tests;

pub use builders::{PartitionBuilders, PartitionLimits};
pub use partition::{KeyGroupTargets, PartitionedRows};
