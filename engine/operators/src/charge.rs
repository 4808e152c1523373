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

    /// As [`Self::set`], for what would be spilled if it were refused.
    ///
    /// # Errors
    /// As [`Self::set`], and earlier.
    pub(crate) fn set_spillable(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes != self.bytes {
            self.meter.resize_spillable(self.bytes, bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }

    /// Says how much of what the operator holds could be spilled now; zero also declines what was asked for.
    pub(crate) fn set_revocable(&self, bytes: usize) {
        self.meter.set_revocable(bytes);
    }

    /// Whether the arbiter wants something back.
    pub(crate) fn is_asked(&self) -> bool {
        self.meter.revocation_requested() > 0
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Giving back is never refused.
        let _ = self.meter.resize(self.bytes, 0);
    }
}
