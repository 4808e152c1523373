//! Which subtasks may start when.

pub mod pipelined_region;
#[cfg(test)]
mod tests;

pub use pipelined_region::PipelinedRegionScheduler;
