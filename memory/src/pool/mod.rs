//! Network buffers: one global pool of single pages, and local pools that guarantee and share them.
//!
//! The words and rules are Flink's: [`NetworkBufferPool`] owns a number of buffers; a [`LocalBufferPool`] (one per
//! result partition and per input gate) is guaranteed its minimum, and what is promised to nobody is distributed over
//! all pools that can use more, in proportion to how much more (`network`). Nothing blocks: a request that cannot be
//! served answers `None`, and the pool calls its listener once when asking again makes sense.
//! How many buffers a gate or partition should ask for is in `shares`. Source: Flink's `NetworkBufferPool`,
//! `LocalBufferPool` and `NettyShuffleUtils`.

pub(crate) mod local;
pub(crate) mod network;
pub(crate) mod shares;

#[cfg(test)]
mod tests;

pub use local::{BufferListener, BufferPoolOptions, LocalBufferPool};
pub use network::{NetworkBufferPool, NetworkBufferUsage};
pub use shares::{BufferRange, ChannelShares, NetworkShareOptions};
