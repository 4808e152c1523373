//! The accounting face of managed memory, for crates that hold memory without allocating segments themselves.
//!
//! The runtime implements it over a reservation of `flumen-memory`: growing may be refused, with an error that names
//! the top consumers; it never waits. A holder that can spill says so ([`MemoryMeter::set_revocable`]) and may then be
//! asked to, by the arbiter that all reservations of a process share.

use crate::failure::Failure;
use crate::waiting::Waker;

/// What a holder of memory reports to: a reservation that may be refused.
pub trait MemoryMeter: Send + Sync {
    /// Changes what is held from `from` to `to` bytes.
    ///
    /// # Errors
    /// If it is more and the budget is at its end; what was held before is still held.
    fn resize(&self, from: usize, to: usize) -> Result<(), Failure>;

    /// As [`MemoryMeter::resize`], for what the holder would spill if it were refused: part of the budget is out of
    /// reach, so that there is room for holders that cannot spill.
    ///
    /// # Errors
    /// As [`MemoryMeter::resize`].
    fn resize_spillable(&self, from: usize, to: usize) -> Result<(), Failure> {
        self.resize(from, to)
    }

    /// Says how many bytes could be given back now. Zero also declines what was asked for.
    fn set_revocable(&self, bytes: usize) {
        let _ = bytes;
    }

    /// Bytes that the arbiter wants back.
    fn revocation_requested(&self) -> usize {
        0
    }

    /// The most that all holders of the budget may hold together: to fit sizes to, not a promise.
    fn limit_bytes(&self) -> usize {
        usize::MAX
    }

    /// After a refusal: whether other holders have been asked to give back, and `waker` will be called when they have.
    fn wake_when_others_give(&self, waker: &Waker) -> bool {
        let _ = waker;
        false
    }
}

/// A meter that refuses nothing; for tools and tests.
#[derive(Debug, Default)]
pub struct Unmetered;

impl MemoryMeter for Unmetered {
    fn resize(&self, _from: usize, _to: usize) -> Result<(), Failure> {
        Ok(())
    }
}
