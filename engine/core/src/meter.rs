//! The accounting face of managed memory, for crates that hold memory without allocating segments themselves.
//!
//! The runtime implements it over a reservation of `flumen-memory`: growing may be refused, with an error that names
//! the top consumers; it never waits.

use crate::failure::Failure;

/// What a holder of memory reports to: a reservation that may be refused.
pub trait MemoryMeter: Send + Sync {
    /// Changes what is held from `from` to `to` bytes.
    ///
    /// # Errors
    /// If it is more and the budget is at its end; what was held before is still held.
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure>;
}

/// A meter that refuses nothing; for tools and tests.
#[derive(Debug, Default)]
pub struct Unmetered;

impl MemoryMeter for Unmetered {
    fn resize(&self, _from: usize, _to: usize) -> Result<(), Failure> {
        Ok(())
    }
}
