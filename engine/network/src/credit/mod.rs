//! Credits: how many segments a producer may send to a channel that is not in its process (Flink 3.1).
//!
//! A credit is a segment that the consumer holds ready. Every channel has exclusive ones from the start; a gate has
//! floating ones, which go to channels by the backlog that data messages announce and return when the backlog is gone.
//! A frame costs `ceil(bytes / segment)` credits and at most the exclusive share, so a channel whose data has been
//! consumed can always receive the next frame. Control elements cost nothing.
//!
//! `receive` and `send` are pure: events in, grants out. `gate` puts the receiving side behind a lock and calls
//! the links.

pub(crate) mod gate;
pub(crate) mod receive;
pub(crate) mod send;
#[cfg(test)]
mod tests;

/// Sizes of the receiving side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditConfig {
    /// Bytes of a segment.
    pub segment_bytes: usize,
    /// Credits that every channel has for itself.
    pub exclusive_per_channel: u32,
    /// Credits that a gate hands to channels with a backlog.
    pub floating_per_gate: u32,
    /// Floating credits that one channel may have at most.
    pub floating_per_channel_max: u32,
}

impl Default for CreditConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 10, exclusive_per_channel: 4, floating_per_gate: 8, floating_per_channel_max: 8 }
    }
}

impl CreditConfig {
    /// Bytes that a frame may have: what the exclusive credits of a channel pay for.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.segment_bytes * self.exclusive_per_channel as usize
    }

    /// What a frame costs. One that cannot be split any more costs the exclusive share.
    #[must_use]
    pub fn cost(&self, bytes: usize) -> u32 {
        let segments = bytes.div_ceil(self.segment_bytes).max(1);
        u32::try_from(segments).unwrap_or(u32::MAX).min(self.exclusive_per_channel)
    }
}
