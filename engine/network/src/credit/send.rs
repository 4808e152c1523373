//! The sending side of one channel, as a pure state machine.

/// Credits that the consumer gave and that are not spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendCredits {
    available: u32,
    /// The consumer has been told of a backlog since credit ended.
    announced: bool,
}

impl SendCredits {
    pub(crate) fn new(initial: u32) -> Self {
        Self { available: initial, announced: false }
    }

    /// The consumer gives more.
    pub(crate) fn on_grant(&mut self, credits: u32) {
        self.available = self.available.saturating_add(credits);
        self.announced = false;
    }

    pub(crate) fn available(&self) -> u32 {
        self.available
    }

    /// Spends what a frame costs, or refuses.
    pub(crate) fn try_spend(&mut self, cost: u32) -> bool {
        match self.available.checked_sub(cost) {
            Some(rest) => {
                self.available = rest;
                true
            }
            None => false,
        }
    }

    /// Spends all that is left, which is less than the frame costs; returns it.
    pub(crate) fn spend_rest(&mut self) -> u32 {
        std::mem::take(&mut self.available)
    }

    /// Whether the consumer has to be told that something waits: once for each time that credit ends.
    pub(crate) fn should_announce(&mut self) -> bool {
        !std::mem::replace(&mut self.announced, true)
    }
}
