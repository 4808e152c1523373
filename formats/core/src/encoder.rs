//! Batches in, bytes out.

use flumen_core::batch::Batch;

use crate::decoder::FormatError;

/// Turns batches into bytes.
///
/// What is appended to `out` by `start`, any number of `encode` and one `finish`, in this order, is one file.
pub trait Encoder: Send {
    /// Appends what comes before the first row (a magic number, a header line); may be nothing.
    ///
    /// # Errors
    /// If the format cannot carry the schema.
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Appends the selected rows of a batch. The encoder may keep rows back until it has enough of them.
    ///
    /// # Errors
    /// If a value cannot be written in this format.
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Bytes kept back by the encoder, for rolling by size.
    fn buffered_bytes(&self) -> usize {
        0
    }

    /// Appends what was kept back and what comes after the last row.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError>;
}
