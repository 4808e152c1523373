//! A local pool: the buffers of one result partition or input gate.
//!
//! A pool is allowed `size` buffers (between its minimum and maximum, moved by redistribution) and holds `requested`
//! permits, of which `free` are idle. `requested` may exceed `size` after the size went down or by overdraft; then
//! what comes back goes on to the global pool. A buffer taken for a channel counts against that channel's limit, so
//! that one slow subpartition cannot take them all.
//!
//! Any thread may call; buffers come back on whatever thread drops the last share. The listener is called without
//! locks, once after a refused request, when asking again may succeed; it must only wake somebody.

use super::network::GlobalPool;
use crate::segment::{Home, MemorySegment};
use crate::sync::Lock;
use std::fmt;
use std::sync::Arc;

/// Called once after a refused request when a buffer may be had again.
pub type BufferListener = Arc<dyn Fn() + Send + Sync>;

/// What a [`LocalBufferPool`] is promised and limited to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BufferPoolOptions {
    /// For messages and leak reports, as `job/task/gate-0`.
    pub name: String,
    /// Buffers guaranteed.
    pub buffers_min: usize,
    /// Buffers at most; at least the minimum.
    pub buffers_max: usize,
    /// Buffers beyond its size that [`LocalBufferPool::try_request_overdraft`] may take.
    pub buffers_overdraft_max: usize,
    /// Buffers that one channel may hold.
    pub buffers_per_channel_max: usize,
}

impl BufferPoolOptions {
    /// A pool of `buffers_min` to `buffers_max` buffers, without overdraft and without a limit per channel.
    pub fn new(name: impl Into<String>, buffers_min: usize, buffers_max: usize) -> Self {
        Self {
            name: name.into(),
            buffers_min,
            buffers_max: buffers_max.max(buffers_min),
            buffers_overdraft_max: 0,
            buffers_per_channel_max: usize::MAX,
        }
    }

    /// Sets the overdraft.
    #[must_use]
    pub fn with_overdraft(mut self, buffers: usize) -> Self {
        self.buffers_overdraft_max = buffers;
        self
    }

    /// Sets the limit per channel.
    #[must_use]
    pub fn with_channel_limit(mut self, buffers: usize) -> Self {
        self.buffers_per_channel_max = buffers;
        self
    }

    pub(crate) fn range(&self) -> (usize, usize) {
        (self.buffers_min, self.buffers_max.max(self.buffers_min))
    }
}

/// An open local pool. Dropping it gives its share to the others; buffers still out come back when they are dropped.
#[derive(Debug)]
pub struct LocalBufferPool {
    pool: Arc<LocalPool>,
}

pub(crate) struct LocalPool {
    global: Arc<GlobalPool>,
    pub(crate) options: BufferPoolOptions,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    open: bool,
    size: usize,
    requested: usize,
    free: usize,
    /// Buffers out per channel, grown to the highest channel seen.
    per_channel: Vec<u32>,
    /// A request was refused since the listener was last called.
    waits: bool,
    /// This pool is in the global pool's list of waiting pools.
    waits_globally: bool,
    listener: Option<BufferListener>,
}

impl LocalBufferPool {
    pub(crate) fn open(pool: Arc<LocalPool>) -> Self {
        Self { pool }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.pool.options.name
    }

    /// Buffers it may hold now: its minimum and its present share of what is spare.
    pub fn size(&self) -> usize {
        self.pool.state.lock().size
    }

    /// Buffers guaranteed.
    pub fn buffers_min(&self) -> usize {
        self.pool.options.buffers_min
    }

    /// Buffers out.
    pub fn in_use(&self) -> usize {
        self.pool.in_use()
    }

    /// Sets the listener, replacing the former one. Set it before the first request: a refusal before it is not told.
    pub fn set_listener(&self, listener: BufferListener) {
        self.pool.state.lock().listener = Some(listener);
    }

    /// A buffer, or `None` and a call of the listener when to ask again.
    #[inline]
    pub fn try_request(&self) -> Option<MemorySegment> {
        self.pool.request(None, 0)
    }

    /// A buffer that counts against `channel` (a small index) until it is dropped.
    #[inline]
    pub fn try_request_for(&self, channel: u32) -> Option<MemorySegment> {
        self.pool.request(Some(channel), 0)
    }

    /// A buffer beyond the pool's size, for a batch that is half way out when the pool is empty: up to the overdraft,
    /// and only if the global pool has one to spare.
    pub fn try_request_overdraft(&self, channel: Option<u32>) -> Option<MemorySegment> {
        self.pool.request(channel, self.pool.options.buffers_overdraft_max)
    }

    /// The leak check for this pool alone.
    ///
    /// # Errors
    /// [`crate::MemoryError::Leak`] if buffers are out.
    pub fn verify_empty(&self) -> Result<(), crate::MemoryError> {
        match (self.in_use() * crate::PAGE_BYTES) as u64 {
            0 => Ok(()),
            bytes => {
                let held = vec![crate::error::Holder::new("buffers", bytes)];
                Err(crate::MemoryError::leak(format!("buffer pool {}", self.name()), held))
            }
        }
    }
}

impl Drop for LocalBufferPool {
    fn drop(&mut self) {
        let returned = {
            let mut state = self.pool.state.lock();
            state.open = false;
            state.listener = None;
            state.requested -= state.free;
            std::mem::take(&mut state.free)
        };
        self.pool.global.return_permits(returned);
        self.pool.global.redistribute();
    }
}

impl LocalPool {
    pub(crate) fn new(global: Arc<GlobalPool>, options: BufferPoolOptions) -> Self {
        let state = State { open: true, size: options.buffers_min, ..State::default() };
        Self { global, options, state: Lock::new(state) }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open
    }

    pub(crate) fn in_use(&self) -> usize {
        let state = self.state.lock();
        state.requested - state.free
    }

    #[inline]
    fn request(self: &Arc<Self>, channel: Option<u32>, overdraft: usize) -> Option<MemorySegment> {
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            if !self.take(state, channel, overdraft) {
                state.waits = true;
                return None;
            }
        }
        match self.global.arena.try_allocate(1) {
            Some(segment) => Some(segment.with_home(Home::Pool(Arc::clone(self), channel))),
            None => {
                // Not reached while all users of the arena stay within what it promised them.
                self.recycle(channel);
                None
            }
        }
    }

    #[inline]
    fn take(self: &Arc<Self>, state: &mut State, channel: Option<u32>, overdraft: usize) -> bool {
        if !state.open {
            return false;
        }
        let slot = match channel {
            Some(channel) => {
                let channel = channel as usize;
                if channel >= state.per_channel.len() {
                    state.per_channel.resize(channel + 1, 0);
                }
                if state.per_channel[channel] as usize >= self.options.buffers_per_channel_max {
                    return false;
                }
                Some(channel)
            }
            None => None,
        };
        if state.free > 0 {
            state.free -= 1;
        } else if state.requested < state.size.saturating_add(overdraft)
            && self.global.take_permit(self, &mut state.waits_globally)
        {
            state.requested += 1;
        } else {
            return false;
        }
        if let Some(channel) = slot {
            state.per_channel[channel] += 1;
        }
        true
    }

    /// A buffer came back; its page is already with the arena.
    #[inline]
    pub(crate) fn recycle(&self, channel: Option<u32>) {
        let (returned, listener) = {
            let mut state = self.state.lock();
            if let Some(count) = channel.and_then(|channel| state.per_channel.get_mut(channel as usize)) {
                *count -= 1;
            }
            if !state.open || state.requested > state.size {
                state.requested -= 1;
                // The channel's limit may have been what refused the request.
                (1, if state.free > 0 { state.take_listener() } else { None })
            } else {
                state.free += 1;
                (0, state.take_listener())
            }
        };
        self.global.return_permits(returned);
        if let Some(listener) = listener {
            listener();
        }
    }

    /// Sets the size; answers how many permits become free for others, and whether to [`Self::notify`].
    pub(crate) fn set_size(&self, size: usize) -> (usize, bool) {
        let mut state = self.state.lock();
        state.size = size;
        let excess = state.requested.saturating_sub(size).min(state.free);
        state.free -= excess;
        state.requested -= excess;
        (excess, state.waits && (state.free > 0 || state.requested < size))
    }

    /// The global pool took this pool off its waiting list because a permit came back.
    pub(crate) fn permit_available(&self) {
        let listener = {
            let mut state = self.state.lock();
            state.waits_globally = false;
            state.take_listener()
        };
        if let Some(listener) = listener {
            listener();
        }
    }

    /// Calls the listener if a request was refused.
    pub(crate) fn notify(&self) {
        let listener = self.state.lock().take_listener();
        if let Some(listener) = listener {
            listener();
        }
    }
}

impl State {
    /// The listener, if it has to be called; the next call needs another refusal.
    fn take_listener(&mut self) -> Option<BufferListener> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        self.listener.clone()
    }
}

impl fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("LocalPool")
            .field("name", &self.options.name)
            .field("size", &state.size)
            .field("requested", &state.requested)
            .field("free", &state.free)
            .finish_non_exhaustive()
    }
}
