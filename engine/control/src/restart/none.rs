//! No restart.

use flumen_io::MonotonicTime;

use super::{RestartDecision, RestartStrategy};

/// Fails at the first failure.
#[derive(Clone, Copy, Debug)]
pub struct NoRestart;

impl RestartStrategy for NoRestart {
    fn on_failure(&mut self, _now: MonotonicTime) -> RestartDecision {
        RestartDecision::GiveUp { reason: "no restart strategy is set (restart-strategy.type)".to_owned() }
    }
}
