//! Event time in milliseconds since the epoch, and watermarks over it.
//!
//! Time attributes have millisecond resolution (Flink: TIMESTAMP(3)); finer timestamp columns are floored when they
//! become event time, and keep their resolution as values.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);
    /// After every event.
    pub const MAX: Self = Self(i64::MAX);
}

/// The promise that no row with event time `<= self.0` follows (rows that do are late).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Watermark(pub EventTime);

impl Watermark {
    /// Nothing is promised yet.
    pub const MIN: Self = Self(EventTime::MIN);
    /// The end of event time: every timer fires. Sent at the end of input and on stop with drain.
    pub const MAX: Self = Self(EventTime::MAX);

    /// The watermark after `newest` under bounded out-of-orderness: `newest - delay - 1` (Flink 5.6).
    #[must_use]
    pub fn bounded(newest: EventTime, delay_ms: i64) -> Self {
        Self(EventTime(newest.0.saturating_sub(delay_ms).saturating_sub(1)))
    }
}

/// Whether a channel takes part in the minimum over channels.
///
/// FINISHED is a status of its own: a finished input neither holds the watermark back nor makes it jump past inputs
/// that are merely idle (the flaw tracked as FLINK-38477).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WatermarkStatus {
    /// Counts.
    Active,
    /// Does not count until it becomes active again.
    Idle,
    /// Never counts again.
    Finished,
}

/// Start of the tumbling window of `size` with `offset` that holds `timestamp`, in the unit of the arguments
/// (Flink 7.1: `ts - ((ts - offset) mod size)` with the remainder made non-negative).
#[must_use]
pub fn window_start(timestamp: i64, offset: i64, size: i64) -> i64 {
    timestamp.saturating_sub(timestamp.wrapping_sub(offset).rem_euclid(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_at_or_before_their_rows() {
        for (timestamp, offset, size, start) in [
            (0, 0, 5, 0),
            (4, 0, 5, 0),
            (5, 0, 5, 5),
            (-1, 0, 5, -5),
            (-5, 0, 5, -5),
            (7, 2, 5, 7),
            (6, 2, 5, 2),
            (1, -1, 5, -1),
        ] {
            assert_eq!(window_start(timestamp, offset, size), start, "{timestamp} {offset} {size}");
        }
    }

    #[test]
    fn watermark_lags_by_delay_and_one() {
        assert_eq!(Watermark::bounded(EventTime(1000), 100), Watermark(EventTime(899)));
        assert_eq!(Watermark::bounded(EventTime::MIN, 100), Watermark::MIN);
    }
}
