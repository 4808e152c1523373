//! What a partition holds of a memory budget; given back when it is dropped.

use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::meter::MemoryMeter;

/// Bytes charged to a meter.
pub(crate) struct MemoryCharge {
    meter: Arc<dyn MemoryMeter>,
    held: usize,
}

impl MemoryCharge {
    pub(crate) fn new(meter: Arc<dyn MemoryMeter>) -> Self {
        Self { meter, held: 0 }
    }

    /// Changes what is held. Less is never refused.
    pub(crate) fn try_resize(&mut self, bytes: usize) -> Result<(), Failure> {
        let resized = self.meter.resize(self.held, bytes);
        if resized.is_ok() || bytes <= self.held {
            self.held = bytes;
        }
        resized
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        // Giving back cannot be refused; there is nobody to tell if it is.
        let _ = self.try_resize(0);
    }
}
