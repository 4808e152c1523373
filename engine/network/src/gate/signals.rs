//! The ready queue of a gate: which channels may have something, and the waker of the task that reads it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::ChannelIndex;
use crate::partition::DataListener;
use parking_lot::Mutex;

#[derive(Default)]
struct State {
    ready: VecDeque<ChannelIndex>,
    priority: VecDeque<ChannelIndex>,
    /// Whether a channel is in `ready`, or in `priority`.
    queued: Vec<(bool, bool)>,
    waker: Option<Waker>,
}

/// See the module. Queues are bounded by the number of channels.
pub(crate) struct GateSignals {
    state: Mutex<State>,
}

impl GateSignals {
    pub(crate) fn new(channels: usize) -> Self {
        Self { state: Mutex::new(State { queued: vec![(false, false); channels], ..State::default() }) }
    }

    pub(crate) fn set_waker(&self, waker: Waker) {
        let ready = {
            let mut state = self.state.lock();
            state.waker = Some(waker.clone());
            !state.ready.is_empty() || !state.priority.is_empty()
        };
        if ready {
            waker.wake();
        }
    }

    /// The next channel to poll, taken off its queue; `true` if it was in the priority queue.
    pub(crate) fn take_next(&self) -> Option<(ChannelIndex, bool)> {
        let mut state = self.state.lock();
        if let Some(channel) = state.priority.pop_front() {
            state.queued[channel.0 as usize].1 = false;
            return Some((channel, true));
        }
        let channel = state.ready.pop_front()?;
        state.queued[channel.0 as usize].0 = false;
        Some((channel, false))
    }

    pub(crate) fn is_ready(&self) -> bool {
        let state = self.state.lock();
        !state.ready.is_empty() || !state.priority.is_empty()
    }

    /// Queues a channel without a wake-up: the task that reads the gate does it itself.
    pub(crate) fn put_back(&self, channel: ChannelIndex) {
        let mut state = self.state.lock();
        let queued = &mut state.queued[channel.0 as usize].0;
        if !std::mem::replace(queued, true) {
            state.ready.push_back(channel);
        }
    }

    fn notify(&self, channel: ChannelIndex, priority: bool) {
        let waker = {
            let mut state = self.state.lock();
            let (ready, first) = &mut state.queued[channel.0 as usize];
            let queued = if priority { first } else { ready };
            if std::mem::replace(queued, true) {
                // Whoever queued it has woken the task.
                return;
            }
            if priority {
                state.priority.push_back(channel)
            } else {
                state.ready.push_back(channel)
            }
            state.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The listener of one channel.
pub(crate) struct ChannelSignal {
    signals: Arc<GateSignals>,
    channel: ChannelIndex,
}

impl ChannelSignal {
    pub(crate) fn new(signals: Arc<GateSignals>, channel: ChannelIndex) -> Self {
        Self { signals, channel }
    }
}

impl DataListener for ChannelSignal {
    fn data_available(&self) {
        self.signals.notify(self.channel, false);
    }

    fn priority_available(&self) {
        // It is also ordinary data, once the channel is not blocked.
        self.signals.notify(self.channel, true);
    }
}
