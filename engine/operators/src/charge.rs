//! What an operator holds, charged to its memory until it is dropped.

use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;

/// Bytes that are charged now.
pub(crate) struct Charge {
    meter: Arc<dyn MemoryMeter>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(meter: &Arc<dyn MemoryMeter>) -> Self {
        Self { meter: Arc::clone(meter), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges `bytes` in all.
    ///
    /// # Errors
    /// If that is more than now and refused; then nothing has changed.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes != self.bytes {
            self.meter.resize(self.bytes, bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Charges so many more.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        self.set(self.bytes + bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Giving back is never refused.
        let _ = self.meter.resize(self.bytes, 0);
    }
}
