//! The receiving side, as a pure state machine.
//!
//! For each channel: `granted` (the producer may spend them), `held` (spent on data that waits here), `floating` (how
//! many of both are the gate's). Invariants, checked after every event in debug builds:
//! `granted + held = exclusive + floating` for an open channel, and all `floating` and `free` add up to the gate's.

use std::collections::VecDeque;

use super::CreditConfig;

#[derive(Clone, Debug, Default)]
struct Channel {
    open: bool,
    granted: u32,
    held: u32,
    floating: u32,
    /// Segments that wait at the producer, as it said last.
    backlog: u32,
    /// In the queue for floating credits.
    queued: bool,
}

/// Credits that a channel's producer is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) channel: u32,
    pub(crate) credits: u32,
}

/// The producer spent more than it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overspent {
    pub(crate) cost: u32,
    pub(crate) granted: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveCredits {
    config: CreditConfig,
    channels: Vec<Channel>,
    free: u32,
    /// Channels that want floating credits and found none, first come first served.
    waiting: VecDeque<u32>,
}

impl ReceiveCredits {
    pub(crate) fn new(config: CreditConfig, channels: usize) -> Self {
        Self {
            config,
            channels: vec![Channel::default(); channels],
            free: config.floating_per_gate,
            waiting: VecDeque::new(),
        }
    }

    /// A channel connects; returns its first credits.
    pub(crate) fn open(&mut self, channel: u32) -> u32 {
        let exclusive = self.config.exclusive_per_channel;
        self.channels[channel as usize] = Channel { open: true, granted: exclusive, ..Channel::default() };
        exclusive
    }

    /// Data arrived.
    pub(crate) fn on_data(&mut self, channel: u32, cost: u32, backlog: u32) -> Result<Vec<Grant>, Overspent> {
        let state = &mut self.channels[channel as usize];
        if !state.open {
            return Ok(Vec::new());
        }
        let granted = state.granted;
        state.granted = granted.checked_sub(cost).ok_or(Overspent { cost, granted })?;
        state.held += cost;
        Ok(self.on_backlog(channel, backlog))
    }

    /// The producer says how much waits.
    pub(crate) fn on_backlog(&mut self, channel: u32, backlog: u32) -> Vec<Grant> {
        self.channels[channel as usize].backlog = backlog;
        let mut grants = Vec::new();
        self.assign(channel, &mut grants);
        self.check();
        grants
    }

    /// Data was consumed: its segments are ready for more, here or on a channel that needs them more.
    pub(crate) fn on_consumed(&mut self, channel: u32, cost: u32) -> Vec<Grant> {
        let state = &mut self.channels[channel as usize];
        if !state.open {
            return Vec::new();
        }
        debug_assert!(state.held >= cost, "what is consumed was held");
        state.held = state.held.saturating_sub(cost);
        let surplus = state.floating.saturating_sub(state.backlog).min(cost);
        state.floating -= surplus;
        self.free += surplus;
        let mut grants = Vec::new();
        let credits = cost - surplus;
        if credits > 0 {
            state.granted += credits;
            grants.push(Grant { channel, credits });
        }
        self.serve_waiting(&mut grants);
        self.check();
        grants
    }

    /// A channel ends; what it had of the gate's goes to others.
    pub(crate) fn close(&mut self, channel: u32) -> Vec<Grant> {
        let state = std::mem::take(&mut self.channels[channel as usize]);
        self.waiting.retain(|other| *other != channel);
        self.free += state.floating;
        let mut grants = Vec::new();
        self.serve_waiting(&mut grants);
        self.check();
        grants
    }

    /// Credits in data that waits here, and all there are, of one channel.
    pub(crate) fn usage(&self, channel: u32) -> (u32, u32) {
        let state = &self.channels[channel as usize];
        (state.held, self.config.exclusive_per_channel + state.floating)
    }

    /// Gives a channel what its backlog asks for, or puts it into the queue.
    fn assign(&mut self, channel: u32, grants: &mut Vec<Grant>) {
        let state = &mut self.channels[channel as usize];
        let wanted = state.backlog.min(self.config.floating_per_channel_max).saturating_sub(state.floating);
        let credits = wanted.min(self.free);
        if credits > 0 {
            self.free -= credits;
            state.floating += credits;
            state.granted += credits;
            grants.push(Grant { channel, credits });
        }
        if credits < wanted && !state.queued {
            state.queued = true;
            self.waiting.push_back(channel);
        }
    }

    fn serve_waiting(&mut self, grants: &mut Vec<Grant>) {
        while self.free > 0 {
            let Some(channel) = self.waiting.pop_front() else { return };
            self.channels[channel as usize].queued = false;
            self.assign(channel, grants);
        }
    }

    fn check(&self) {
        let exclusive = self.config.exclusive_per_channel;
        debug_assert!(self.channels.iter().filter(|c| c.open).all(|c| c.granted + c.held == exclusive + c.floating));
        let floating: u32 = self.channels.iter().map(|c| c.floating).sum();
        debug_assert_eq!(floating + self.free, self.config.floating_per_gate);
    }

    #[cfg(test)]
    pub(crate) fn assert_invariants(&self) {
        let exclusive = self.config.exclusive_per_channel;
        for state in self.channels.iter().filter(|c| c.open) {
            assert_eq!(state.granted + state.held, exclusive + state.floating);
            assert!(state.floating <= self.config.floating_per_channel_max);
        }
        let floating: u32 = self.channels.iter().map(|c| c.floating).sum();
        assert_eq!(floating + self.free, self.config.floating_per_gate);
        let starved =
            |c: &Channel| c.open && c.backlog > c.floating && c.floating < self.config.floating_per_channel_max;
        assert!(self.free == 0 || !self.channels.iter().any(starved), "free credits and a channel that wants them");
    }
}
