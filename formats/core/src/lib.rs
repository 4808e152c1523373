//! Encoders and decoders between bytes and batches.
//!
//! A format crate implements [`Decoder`] and [`Encoder`]: bytes in, batches out, and the reverse. They do no I/O, own
//! no thread and read no clock; connectors bring the bytes and take them away. Bytes come from outside: a decoder
//! answers an error for whatever they hold, and allocates by what is there, never by what a length field says.

mod conform;
mod decoder;
mod encoder;
mod portable;

pub use conform::{Conform, panic_text};
pub use decoder::{Decoder, FormatError, SchemaInference, decode_all};
pub use encoder::Encoder;
pub use portable::{insertions_only, portable_batch};
