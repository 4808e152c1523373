//! The frame: one batch as one 64-byte-aligned block, the same in memory, on the wire, in spill files and in snapshots.
//!
//! A frame is a fixed header of 64 bytes and a body, which is a piece of an Arrow IPC stream: the schema where it is
//! new, dictionaries where they are new, and one record batch, all buffers at 64-byte alignment. So any Arrow reader
//! reads the bodies of a channel or file, one after the other, as one stream. `FORMAT.md` draws the bytes.
//!
//! What Arrow has no place for travels as columns and metadata that Arrow readers show as they are: row kinds and key
//! hashes are trailing columns, a constant is a run-end-encoded column of one run, logical types that a carrier does
//! not tell are in field metadata. A selection is materialized, sparse views and dictionaries are compacted.
//!
//! Encoding copies each byte once, into the frame. Decoding copies nothing: arrays point into the frame's buffer.
//! Bytes that come back are not trusted: the checksum, every offset and every length are checked against the bytes
//! that are there before Arrow sees them.
//!
//! Arrow IPC files and streams of others are read and written by [`stream`], message by message with the same checks.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@header`] | the 64 bytes |
//! | [`encode`] | batch to frame |
//! | [`decode`] | frame to batch |
//! | [`stream`] | files and streams of others |
//! | [`error`] | what can be wrong with a frame |

mod columns;
pub mod decode;
pub mod encode;
pub mod error;
pub mod header;
mod schema;
pub mod stream;
#[cfg(test)]
mod tests;
mod validate;

pub use decode::{DecodeOptions, FrameDecoder};
pub use encode::{EncodeOptions, FrameEncoder};
pub use error::{FrameError, Result};
pub use header::{FRAME_ALIGNMENT, FrameFlags, FrameHeader, HEADER_BYTES, ROWS_MAX};
pub use stream::{IpcCompression, IpcDecoder, IpcEncoder, IpcInference};
