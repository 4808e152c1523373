//! Channels to another process, without the wire: both ends as state machines over messages.
//!
//! `OutboundChannel` reads a partition, cuts batches into frames that credit pays for, and emits messages;
//! `InboundChannel` takes messages, decodes frames and is the gate's reader. What carries messages (Arrow Flight, the
//! hostile transport of tests) keeps them in order for each channel and tells both ends when it breaks; nothing here
//! knows it. [`message`] gives messages their bytes.

pub mod assembler;
pub(crate) mod inbound;
pub mod message;
pub(crate) mod outbound;
#[cfg(test)]
mod tests;
