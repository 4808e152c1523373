//! The global pool: how many buffers exist, who is promised how many, and the redistribution of the rest.
//!
//! What circulates here are *permits* to hold a buffer, not pages: pages come from the arena's magazines, and as the
//! arena is as large as all budgets together, a permit always finds one. A local pool keeps the permits it may keep,
//! so in the steady state a buffer costs one lock of its own pool and none here.
//!
//! Locks, in this order: `members`, a local pool's state, `permits`. Listeners run with none of them held.

use super::local::{BufferPoolOptions, LocalBufferPool, LocalPool};
use crate::arena::{Arena, PAGE_BYTES};
use crate::error::{Holder, MemoryError};
use crate::sync::Lock;
use std::sync::{Arc, Weak};

/// The process's pool of network buffers (64 KiB each); clones share it.
#[derive(Debug, Clone)]
pub struct NetworkBufferPool {
    global: Arc<GlobalPool>,
}

/// Counts of a [`NetworkBufferPool`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkBufferUsage {
    /// All buffers.
    pub total: usize,
    /// Sum of the minima of open pools.
    pub required: usize,
    /// Buffers held by somebody.
    pub in_use: usize,
    /// Open pools.
    pub pools: usize,
}

#[derive(Debug)]
pub(crate) struct GlobalPool {
    pub(crate) arena: Arena,
    total: usize,
    /// Open pools, and closed ones that still have buffers out (the weak reference lives as long as one of them).
    members: Lock<Vec<Weak<LocalPool>>>,
    permits: Lock<Permits>,
}

#[derive(Debug)]
struct Permits {
    available: usize,
    /// Pools that were refused here; each is in the list once, by `LocalPool::waits_globally`.
    waiting: Vec<Weak<LocalPool>>,
}

impl NetworkBufferPool {
    /// A pool of `buffers` pages out of `arena`.
    ///
    /// # Errors
    /// [`MemoryError::ArenaOverbooked`] if other pools and managers were promised too many of the arena's pages.
    pub fn new(arena: Arena, buffers: usize) -> Result<Self, MemoryError> {
        arena.promise(buffers)?;
        let permits = Permits { available: buffers, waiting: Vec::new() };
        let global = GlobalPool { arena, total: buffers, members: Lock::new(Vec::new()), permits: Lock::new(permits) };
        Ok(Self { global: Arc::new(global) })
    }

    /// Opens a local pool, which makes the others share what is left.
    ///
    /// # Errors
    /// [`MemoryError::InsufficientNetworkBuffers`] if the minima of all open pools would exceed the total.
    pub fn create_pool(&self, options: BufferPoolOptions) -> Result<LocalBufferPool, MemoryError> {
        let pool = {
            let mut members = self.global.members.lock();
            members.retain(|member| member.strong_count() > 0);
            let promised: usize = open(&members).map(|pool| pool.options.buffers_min).sum();
            let available = self.global.total.saturating_sub(promised);
            if options.buffers_min > available {
                return Err(MemoryError::InsufficientNetworkBuffers {
                    pool: options.name,
                    required: options.buffers_min,
                    available,
                    total: self.global.total,
                });
            }
            let pool = Arc::new(LocalPool::new(Arc::clone(&self.global), options));
            members.push(Arc::downgrade(&pool));
            pool
        };
        self.global.redistribute();
        Ok(LocalBufferPool::open(pool))
    }

    /// Opens a pool of exactly `buffers` buffers: the exclusive share of an input gate's channels.
    ///
    /// # Errors
    /// As [`Self::create_pool`].
    pub fn create_exclusive_pool(
        &self,
        name: impl Into<String>,
        buffers: usize,
    ) -> Result<LocalBufferPool, MemoryError> {
        self.create_pool(BufferPoolOptions::new(name, buffers, buffers))
    }

    /// Counts at this moment.
    pub fn usage(&self) -> NetworkBufferUsage {
        let members = self.global.members.lock();
        let live: Vec<_> = members.iter().filter_map(Weak::upgrade).collect();
        let open = || live.iter().filter(|pool| pool.is_open());
        NetworkBufferUsage {
            total: self.global.total,
            required: open().map(|pool| pool.options.buffers_min).sum(),
            in_use: live.iter().map(|pool| pool.in_use()).sum(),
            pools: open().count(),
        }
    }

    /// The leak check: no buffer is held, whether its pool is still open or not.
    ///
    /// # Errors
    /// [`MemoryError::Leak`] with the names of the pools.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        let live: Vec<_> = self.global.members.lock().iter().filter_map(Weak::upgrade).collect();
        let held = live.iter().map(|pool| Holder::new(&pool.options.name, (pool.in_use() * PAGE_BYTES) as u64));
        let held: Vec<_> = held.filter(|holder| holder.bytes > 0).collect();
        if held.is_empty() { Ok(()) } else { Err(MemoryError::leak("network buffer pool", held)) }
    }
}

fn open(members: &[Weak<LocalPool>]) -> impl Iterator<Item = Arc<LocalPool>> {
    members.iter().filter_map(Weak::upgrade).filter(|pool| pool.is_open())
}

impl GlobalPool {
    /// Takes a permit, or remembers that `pool` waits for one.
    pub(crate) fn take_permit(&self, pool: &Arc<LocalPool>, already_waiting: &mut bool) -> bool {
        let mut permits = self.permits.lock();
        if let Some(available) = permits.available.checked_sub(1) {
            permits.available = available;
            return true;
        }
        if !*already_waiting {
            permits.waiting.push(Arc::downgrade(pool));
            *already_waiting = true;
        }
        false
    }

    /// Gives permits back and tells every pool that waits for one. The caller holds no lock.
    ///
    /// All are told, not as many as there are permits: one of them may no longer want it. They only wait here while
    /// another pool holds more than its share, which is the short time after a redistribution.
    pub(crate) fn return_permits(&self, count: usize) {
        if count == 0 {
            return;
        }
        let waiting = {
            let mut permits = self.permits.lock();
            permits.available += count;
            std::mem::take(&mut permits.waiting)
        };
        waiting.iter().filter_map(Weak::upgrade).for_each(|pool| pool.permit_available());
    }

    /// Gives every open pool its minimum and its part of what is promised to nobody: in proportion to how much more
    /// it could use, by cumulative rounding, so that not one buffer is lost.
    pub(crate) fn redistribute(&self) {
        let mut returned = 0;
        let mut told = Vec::new();
        {
            let members = self.members.lock();
            let pools: Vec<_> = open(&members).collect();
            let promised: usize = pools.iter().map(|pool| pool.options.buffers_min).sum();
            let spare = self.total.saturating_sub(promised);
            let ranges: Vec<_> = pools.iter().map(|pool| pool.options.range()).collect();
            for (pool, size) in pools.iter().zip(distribute(spare, &ranges)) {
                let (excess, wake) = pool.set_size(size);
                returned += excess;
                if wake {
                    told.push(Arc::clone(pool));
                }
            }
        }
        self.return_permits(returned);
        told.iter().for_each(|pool| pool.notify());
    }
}

impl Drop for GlobalPool {
    fn drop(&mut self) {
        self.arena.withdraw_promise(self.total);
    }
}

/// Sizes for pools of `(minimum, maximum)` buffers when `spare` are promised to nobody. Source: Flink's
/// `NetworkBufferPool.redistributeBuffers`.
pub(crate) fn distribute(spare: usize, ranges: &[(usize, usize)]) -> Vec<usize> {
    // A pool cannot use more than `spare` beyond its minimum, which also keeps "unlimited" from taking it all.
    let wishes = ranges.iter().map(|(min, max)| max.saturating_sub(*min).min(spare));
    let total_wish: u128 = wishes.clone().map(|wish| wish as u128).sum();
    let to_distribute = total_wish.min(spare as u128);
    let mut wish_seen = 0_u128;
    let mut distributed = 0_u128;
    let mut size = |(min, wish): (usize, usize)| {
        if wish == 0 {
            return min;
        }
        wish_seen += wish as u128;
        let until_here = to_distribute * wish_seen / total_wish;
        let part = until_here - distributed;
        distributed = until_here;
        min + part as usize
    };
    ranges.iter().map(|(min, _)| *min).zip(wishes).map(&mut size).collect()
}
