//! Memory reported to a meter for as long as something lives.

use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;

/// Bytes charged to a meter; given back when dropped.
pub(crate) struct Charge {
    meter: Arc<dyn MemoryMeter>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(meter: &Arc<dyn MemoryMeter>, bytes: usize) -> Result<Self, Failure> {
        meter.resize(0, bytes)?;
        Ok(Self { meter: Arc::clone(meter), bytes })
    }

    /// What is charged.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges another number of bytes from now on.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Failure> {
        self.meter.resize(self.bytes, bytes)?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Giving back is never refused.
        let _ = self.meter.resize(self.bytes, 0);
    }
}
