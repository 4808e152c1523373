//! The slot between an operator and the driver.

use flumen_core::batch::Batch;
use flumen_core::element::StreamElement;
use flumen_core::time::{Watermark, WatermarkStatus};

/// Holds at most one element: what the last call gave.
#[derive(Debug, Default)]
pub struct Output {
    slot: Option<StreamElement>,
}

impl Output {
    /// Gives a batch; an empty one is dropped.
    ///
    /// # Panics
    /// If the slot is taken: an operator emits one element per call.
    pub fn emit(&mut self, batch: Batch) {
        if batch.num_rows() > 0 {
            self.put(StreamElement::Batch(batch));
        }
    }

    /// Gives a watermark of the operator's own (watermark assigners, sources).
    ///
    /// # Panics
    /// If the slot is taken.
    pub fn emit_watermark(&mut self, watermark: Watermark) {
        self.put(StreamElement::Watermark(watermark));
    }

    /// Gives a watermark status of the operator's own.
    ///
    /// # Panics
    /// If the slot is taken.
    pub fn emit_status(&mut self, status: WatermarkStatus) {
        self.put(StreamElement::WatermarkStatus(status));
    }

    fn put(&mut self, element: StreamElement) {
        assert!(self.slot.is_none(), "an operator emits one element per call");
        self.slot = Some(element);
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slot.is_none()
    }

    /// Takes what it holds.
    pub fn take(&mut self) -> Option<StreamElement> {
        self.slot.take()
    }
}
