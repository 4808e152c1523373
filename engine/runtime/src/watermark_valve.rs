//! One watermark out of many channels.
//!
//! The output is the minimum over the channels that are active and aligned; it only grows. A channel that goes idle
//! leaves the minimum; when it becomes active again it counts once it has caught up with the output (Flink 5.6).
//!
//! Two rules differ from Flink on purpose. A finished channel neither holds the output back nor pushes it: its final
//! watermark (`MAX`) counts only when every channel has finished, so an input that ended cannot make event time jump
//! past inputs that are merely idle (FLINK-38477). And when the last active channel goes idle the output stays where it
//! is instead of jumping to the maximum, so rows that the channels still deliver are not late by it.
//!
//! A pure state machine; the task calls it with what it reads.

use flumen_core::time::{Watermark, WatermarkStatus};

#[derive(Clone, Copy, Debug)]
struct Channel {
    watermark: Watermark,
    status: WatermarkStatus,
    /// Counts for the minimum: it has caught up with the output since it was last idle.
    aligned: bool,
}

/// What a change of one channel means for the consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValveOutput {
    /// The new combined watermark, if it advanced.
    pub watermark: Option<Watermark>,
    /// The new combined status, if it changed.
    pub status: Option<WatermarkStatus>,
}

/// Combines the watermarks of a task's input channels.
#[derive(Debug)]
pub struct WatermarkValve {
    channels: Vec<Channel>,
    output: Watermark,
    output_status: WatermarkStatus,
}

impl WatermarkValve {
    /// A valve over so many channels, all active and without a watermark.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        let channel = Channel { watermark: Watermark::MIN, status: WatermarkStatus::Active, aligned: true };
        Self { channels: vec![channel; channels], output: Watermark::MIN, output_status: WatermarkStatus::Active }
    }

    /// The combined watermark as of now.
    #[must_use]
    pub fn output(&self) -> Watermark {
        self.output
    }

    /// A channel's watermark. Ignored on idle channels, and if it does not advance.
    pub fn watermark(&mut self, channel: usize, watermark: Watermark) -> ValveOutput {
        let output = self.output;
        let state = &mut self.channels[channel];
        if state.status == WatermarkStatus::Finished || watermark <= state.watermark {
            return ValveOutput::default();
        }
        if watermark == Watermark::MAX {
            state.watermark = watermark;
            return self.status(channel, WatermarkStatus::Finished);
        }
        if state.status == WatermarkStatus::Idle {
            return ValveOutput::default();
        }
        state.watermark = watermark;
        state.aligned |= watermark >= output;
        self.recompute()
    }

    /// A channel's status.
    pub fn status(&mut self, channel: usize, status: WatermarkStatus) -> ValveOutput {
        let output = self.output;
        let state = &mut self.channels[channel];
        if state.status == status || state.status == WatermarkStatus::Finished {
            return ValveOutput::default();
        }
        state.status = status;
        state.aligned = status == WatermarkStatus::Active && state.watermark >= output;
        self.recompute()
    }

    fn recompute(&mut self) -> ValveOutput {
        let counted = || self.channels.iter().filter(|c| c.status == WatermarkStatus::Active);
        let all_finished = self.channels.iter().all(|c| c.status == WatermarkStatus::Finished);
        let candidate = if all_finished {
            // Channels that stopped without draining never sent MAX and hold it back.
            self.channels.iter().map(|c| c.watermark).min()
        } else {
            counted().filter(|c| c.aligned).map(|c| c.watermark).min()
        };
        let watermark = candidate.filter(|w| *w > self.output);
        if let Some(watermark) = watermark {
            self.output = watermark;
        }
        let status = if all_finished {
            WatermarkStatus::Finished
        } else if counted().next().is_some() {
            WatermarkStatus::Active
        } else {
            WatermarkStatus::Idle
        };
        let changed = (status != self.output_status).then_some(status);
        self.output_status = status;
        ValveOutput { watermark, status: changed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_core::time::EventTime;

    fn at(ms: i64) -> Watermark {
        Watermark(EventTime(ms))
    }

    #[test]
    fn the_minimum_counts_and_only_grows() {
        let mut valve = WatermarkValve::new(2);
        assert_eq!(valve.watermark(0, at(10)).watermark, None);
        assert_eq!(valve.watermark(1, at(5)).watermark, Some(at(5)));
        assert_eq!(valve.watermark(1, at(4)).watermark, None);
        assert_eq!(valve.watermark(1, at(20)).watermark, Some(at(10)));
    }

    #[test]
    fn idle_channels_leave_and_come_back_when_caught_up() {
        let mut valve = WatermarkValve::new(2);
        let _ = valve.watermark(0, at(10));
        assert_eq!(valve.status(1, WatermarkStatus::Idle).watermark, Some(at(10)));
        assert_eq!(valve.watermark(1, at(3)), ValveOutput::default(), "an idle channel's watermark is ignored");
        assert_eq!(valve.status(1, WatermarkStatus::Active), ValveOutput::default());
        assert_eq!(valve.watermark(0, at(12)).watermark, Some(at(12)), "channel 1 is behind and does not count yet");
        let _ = valve.watermark(1, at(12));
        assert_eq!(valve.watermark(0, at(30)).watermark, None, "channel 1 counts again");
        assert_eq!(valve.watermark(1, at(13)).watermark, Some(at(13)));
    }

    #[test]
    fn all_idle_is_idle_and_does_not_jump() {
        let mut valve = WatermarkValve::new(2);
        let _ = valve.watermark(0, at(10));
        let _ = valve.watermark(1, at(5));
        assert_eq!(valve.status(1, WatermarkStatus::Idle), ValveOutput { watermark: Some(at(10)), status: None });
        assert_eq!(
            valve.status(0, WatermarkStatus::Idle),
            ValveOutput { watermark: None, status: Some(WatermarkStatus::Idle) }
        );
        assert_eq!(valve.status(1, WatermarkStatus::Active).status, Some(WatermarkStatus::Active));
        assert_eq!(valve.output(), at(10));
    }

    #[test]
    fn a_finished_channel_does_not_push_past_an_idle_one() {
        let mut valve = WatermarkValve::new(2);
        let _ = valve.watermark(0, at(10));
        let _ = valve.status(1, WatermarkStatus::Idle);
        assert_eq!(valve.watermark(0, Watermark::MAX).watermark, None, "FLINK-38477");
        assert_eq!(valve.output(), at(10));
        let _ = valve.status(1, WatermarkStatus::Active);
        assert_eq!(valve.watermark(1, at(11)).watermark, Some(at(11)));
        assert_eq!(
            valve.watermark(1, Watermark::MAX),
            ValveOutput { watermark: Some(Watermark::MAX), status: Some(WatermarkStatus::Finished) }
        );
    }

    #[test]
    fn stopping_without_drain_fires_nothing() {
        let mut valve = WatermarkValve::new(2);
        let _ = valve.watermark(0, at(10));
        let _ = valve.watermark(1, at(10));
        let _ = valve.status(0, WatermarkStatus::Finished);
        assert_eq!(valve.status(1, WatermarkStatus::Finished).watermark, None);
    }
}
