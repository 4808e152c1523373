//! The credits of one gate, shared by its channels: the pure machine behind a lock, and the links that carry grants.
//!
//! Links are called without the lock, in the order of the grants of one event; grants of two events may overtake each
//! other, which does no harm because they only add up.

use std::sync::Arc;

use super::CreditConfig;
use super::receive::{Grant, Overspent, ReceiveCredits};
use parking_lot::Mutex;

/// Carries credits to the producer of one channel.
pub(crate) trait CreditLink: Send + Sync {
    fn grant(&self, credits: u32);
}

struct State {
    credits: ReceiveCredits,
    links: Vec<Option<Arc<dyn CreditLink>>>,
}

/// See the module. Handed to a transport with every channel; local channels do not use it.
pub struct GateCredits {
    config: CreditConfig,
    state: Mutex<State>,
}

impl GateCredits {
    pub(crate) fn new(config: CreditConfig, channels: usize) -> Arc<Self> {
        let links = (0..channels).map(|_| None).collect();
        let state = Mutex::new(State { credits: ReceiveCredits::new(config, channels), links });
        Arc::new(Self { config, state })
    }

    pub(crate) fn config(&self) -> CreditConfig {
        self.config
    }

    /// Connects a channel; returns its first credits.
    pub(crate) fn open(&self, channel: u32, link: Arc<dyn CreditLink>) -> u32 {
        let mut state = self.state.lock();
        state.links[channel as usize] = Some(link);
        state.credits.open(channel)
    }

    pub(crate) fn on_data(&self, channel: u32, cost: u32, backlog: u32) -> Result<(), Overspent> {
        let grants = self.state.lock().credits.on_data(channel, cost, backlog)?;
        self.deliver(&grants);
        Ok(())
    }

    pub(crate) fn on_backlog(&self, channel: u32, backlog: u32) {
        let grants = self.state.lock().credits.on_backlog(channel, backlog);
        self.deliver(&grants);
    }

    pub(crate) fn on_consumed(&self, channel: u32, cost: u32) {
        let grants = self.state.lock().credits.on_consumed(channel, cost);
        self.deliver(&grants);
    }

    pub(crate) fn close(&self, channel: u32) {
        let grants = {
            let mut state = self.state.lock();
            state.links[channel as usize] = None;
            state.credits.close(channel)
        };
        self.deliver(&grants);
    }

    pub(crate) fn usage(&self, channel: u32) -> f32 {
        let (held, all) = self.state.lock().credits.usage(channel);
        held as f32 / all.max(1) as f32
    }

    fn deliver(&self, grants: &[Grant]) {
        for grant in grants {
            let link = self.state.lock().links[grant.channel as usize].clone();
            if let Some(link) = link {
                link.grant(grant.credits);
            }
        }
    }
}
