//! A reservation: what one large holder (hash table, sort run, state cache) has been granted.
//!
//! # The contract for giving memory back
//! 1. A holder that can spill says how much it could give back now: [`Reservation::set_revocable`], again whenever that
//!    changes. One that cannot never calls it and is never asked.
//! 2. A refused request makes the arbiter ask the largest revocable holders under the budget that was full. A holder
//!    sees it in [`Reservation::revocation_requested`], which it reads between batches, and by its listener, which may
//!    run on any thread and must only wake the holder.
//! 3. The holder spills and calls [`Reservation::shrink`]; what it gives back lowers the request.
//! 4. The refused one reads [`Refusal::revoking_bytes`](crate::Refusal) of its error. If its own reservation was asked,
//!    it spills itself. Else, if the number is not zero, it may register with [`Reservation::on_available`], try once
//!    more (memory may have come back in between), and then wait. If it is zero, nobody can help, and it fails.
//!
//! A reservation is held by one thread at a time or shared by reference; segments charged to it may be dropped on any
//! thread, also after the reservation itself: their charge stays until then, under the same name.

use super::manager::{BudgetNode, Growth};
use crate::arena::PAGE_BYTES;
use crate::error::MemoryError;
use crate::segment::{Home, MemorySegment};
use crate::sync::Lock;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Called with the bytes that a holder is asked to give back.
pub type RevocationListener = Arc<dyn Fn(u64) + Send + Sync>;
/// Called once when memory came back after a refusal.
pub type MemoryListener = Arc<dyn Fn() + Send + Sync>;

/// Granted memory of one holder; dropping it gives everything back.
#[derive(Debug)]
pub struct Reservation {
    inner: Arc<ReservationInner>,
}

pub(crate) struct ReservationInner {
    path: String,
    budget: Arc<BudgetNode>,
    state: Lock<State>,
    revocable_bytes: AtomicU64,
    asked_bytes: AtomicU64,
    revocation_listener: Lock<Option<RevocationListener>>,
    memory_listener: Lock<Option<MemoryListener>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// Bytes held by the reservation itself.
    bytes: u64,
    /// Bytes of segments charged to it.
    segment_bytes: u64,
    /// What the budget was charged: the sum of both, mostly rounded up to pages.
    charged_bytes: u64,
    peak_bytes: u64,
}

impl Reservation {
    pub(crate) fn open(inner: Arc<ReservationInner>) -> Self {
        Self { inner }
    }

    /// Path of names, as `job/task/operator`.
    pub fn name(&self) -> &str {
        &self.inner.path
    }

    /// Bytes held, without the segments of [`Self::allocate`].
    pub fn bytes(&self) -> u64 {
        self.inner.state.lock().bytes
    }

    /// Bytes held, with the segments of [`Self::allocate`] that are still alive somewhere.
    pub fn bytes_with_segments(&self) -> u64 {
        self.inner.bytes()
    }

    /// The most that was ever held, with segments.
    pub fn peak_bytes(&self) -> u64 {
        self.inner.state.lock().peak_bytes
    }

    /// The least limit of the budgets above: what it could hold if nobody else held anything.
    pub fn limit_bytes(&self) -> u64 {
        self.inner.budget.ancestors().map(BudgetNode::limit_bytes).min().unwrap_or(u64::MAX)
    }

    /// Asks for `bytes` more, all or nothing.
    ///
    /// # Errors
    /// [`MemoryError::ReservationRefused`]; nothing has changed then.
    pub fn try_grow(&self, bytes: u64) -> Result<(), MemoryError> {
        self.inner.grow(bytes, 0, Growth::Fixed)
    }

    /// As [`Self::try_grow`], for what the holder would spill if it were refused: a quarter of every budget is out of
    /// reach, so that there is room for those that cannot spill.
    ///
    /// # Errors
    /// As [`Self::try_grow`].
    pub fn try_grow_spillable(&self, bytes: u64) -> Result<(), MemoryError> {
        self.inner.grow(bytes, 0, Growth::Spillable)
    }

    /// Gives `bytes` back (at most what is held); answers how many.
    pub fn shrink(&self, bytes: u64) -> u64 {
        self.inner.shrink(bytes, 0)
    }

    /// Grows or shrinks to `bytes`.
    ///
    /// # Errors
    /// As [`Self::try_grow`].
    pub fn resize(&self, bytes: u64) -> Result<(), MemoryError> {
        let held = self.bytes();
        if bytes > held {
            self.try_grow(bytes - held)
        } else {
            self.shrink(held - bytes);
            Ok(())
        }
    }

    /// A segment of `pages` pages (1 to 32) charged to this reservation until its last share is dropped.
    ///
    /// # Errors
    /// [`MemoryError::ReservationRefused`], [`MemoryError::RunTooLong`], or [`MemoryError::ArenaExhausted`] if no run is
    /// that long, which does not happen for one page.
    pub fn allocate(&self, pages: usize) -> Result<MemorySegment, MemoryError> {
        self.allocate_for(pages, Growth::Fixed)
    }

    /// As [`Self::allocate`], within the limits of [`Self::try_grow_spillable`].
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_spillable(&self, pages: usize) -> Result<MemorySegment, MemoryError> {
        self.allocate_for(pages, Growth::Spillable)
    }

    fn allocate_for(&self, pages: usize, growth: Growth) -> Result<MemorySegment, MemoryError> {
        let bytes = pages as u64 * PAGE_BYTES as u64;
        self.inner.grow(0, bytes, growth)?;
        match self.inner.budget.tree.arena.allocate(pages) {
            Ok(segment) => Ok(segment.with_home(Home::Charged(Arc::clone(&self.inner)))),
            Err(error) => {
                self.inner.shrink(0, bytes);
                Err(error)
            }
        }
    }

    /// Says how many bytes could be given back now, by spilling.
    pub fn set_revocable(&self, bytes: u64) {
        self.inner.revocable_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that the arbiter wants back; zero most of the time. One relaxed load.
    #[inline]
    pub fn revocation_requested(&self) -> u64 {
        self.inner.revocation_requested()
    }

    /// Forgets a request that cannot be met, so that the arbiter turns to others; who waited for it looks again.
    pub fn decline_revocation(&self) {
        self.set_revocable(0);
        if self.inner.asked_bytes.swap(0, Ordering::Relaxed) > 0 {
            self.inner.budget.tree.wake();
        }
    }

    /// What other holders of the process have been asked to give back and have not given yet: worth waiting for.
    pub fn awaited_bytes(&self) -> u64 {
        self.inner.budget.awaited_bytes(&self.inner)
    }

    /// Sets who is told of a request, replacing the former listener.
    pub fn on_revocation(&self, listener: RevocationListener) {
        *self.inner.revocation_listener.lock() = Some(listener);
    }

    /// Has `listener` called once when memory of the process came back. Register, then try once more, then wait.
    pub fn on_available(&self, listener: MemoryListener) {
        let former = self.inner.memory_listener.lock().replace(listener);
        if former.is_none() {
            self.inner.budget.tree.wait(&self.inner);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.decline_revocation();
        *self.inner.revocation_listener.lock() = None;
        *self.inner.memory_listener.lock() = None;
        self.inner.shrink(u64::MAX, 0);
    }
}

impl ReservationInner {
    pub(crate) fn new(path: String, budget: Arc<BudgetNode>) -> Self {
        Self {
            path,
            budget,
            state: Lock::new(State::default()),
            revocable_bytes: AtomicU64::new(0),
            asked_bytes: AtomicU64::new(0),
            revocation_listener: Lock::new(None),
            memory_listener: Lock::new(None),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.path
    }

    pub(crate) fn bytes(&self) -> u64 {
        let state = self.state.lock();
        state.bytes + state.segment_bytes
    }

    pub(crate) fn revocable_bytes(&self) -> u64 {
        self.revocable_bytes.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn revocation_requested(&self) -> u64 {
        self.asked_bytes.load(Ordering::Relaxed)
    }

    /// Asks for up to `bytes` more of what is revocable; answers how many.
    pub(crate) fn ask_back(&self, bytes: u64) -> u64 {
        let revocable = self.revocable_bytes();
        let raise = |asked: u64| (asked < revocable).then(|| asked.saturating_add(bytes).min(revocable));
        let Ok(before) = self.asked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise) else {
            return 0;
        };
        let now = raise(before).unwrap_or(before);
        let listener = self.revocation_listener.lock().clone();
        if let Some(listener) = listener {
            listener(now);
        }
        now - before
    }

    pub(crate) fn memory_available(&self) {
        let listener = self.memory_listener.lock().take();
        if let Some(listener) = listener {
            listener();
        }
    }

    /// A segment's last share is gone.
    pub(crate) fn segment_returned(&self, bytes: u64) {
        self.shrink(0, bytes);
    }

    fn grow(&self, bytes: u64, segment_bytes: u64, growth: Growth) -> Result<(), MemoryError> {
        let requested = bytes.saturating_add(segment_bytes);
        let mut state = self.state.lock();
        let wanted = (state.bytes + state.segment_bytes).saturating_add(requested);
        if wanted > state.charged_bytes {
            // Whole pages, or exactly what is needed where a limit is not a whole number of pages.
            let held = state.charged_bytes;
            let (rounded, exact) = (wanted.next_multiple_of_page() - held, wanted - held);
            let charged = self.budget.charge(rounded, growth).map(|()| rounded);
            match charged.or_else(|_| self.budget.charge(exact, growth).map(|()| exact)) {
                Ok(charged) => state.charged_bytes += charged,
                Err(full) => {
                    let missing = full.missing(exact, growth);
                    // Naming the consumers locks every reservation, this one too.
                    drop(state);
                    return Err(full.refusal(&self.path, requested, missing));
                }
            }
        }
        state.bytes += bytes;
        state.segment_bytes += segment_bytes;
        state.peak_bytes = state.peak_bytes.max(wanted);
        Ok(())
    }

    fn shrink(&self, bytes: u64, segment_bytes: u64) -> u64 {
        let (given, discharged) = {
            let mut state = self.state.lock();
            let given = bytes.min(state.bytes);
            state.bytes -= given;
            state.segment_bytes -= segment_bytes;
            let keep = (state.bytes + state.segment_bytes).next_multiple_of_page().min(state.charged_bytes);
            let discharged = state.charged_bytes - keep;
            if discharged > 0 {
                state.charged_bytes = keep;
                self.budget.discharge(discharged);
            }
            (given, discharged)
        };
        if self.revocation_requested() > 0 {
            let lower = |asked: u64| Some(asked.saturating_sub(given + segment_bytes));
            // The closure never refuses.
            let _ = self.asked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
        }
        if discharged > 0 {
            self.budget.tree.wake();
        }
        given
    }
}

impl fmt::Debug for ReservationInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.state.lock();
        f.debug_struct("Reservation").field("path", &self.path).field("state", &state).finish_non_exhaustive()
    }
}

trait NextPage {
    fn next_multiple_of_page(self) -> Self;
}

impl NextPage for u64 {
    /// The next whole number of pages, or the number itself where there is none.
    fn next_multiple_of_page(self) -> Self {
        self.checked_next_multiple_of(PAGE_BYTES as Self).unwrap_or(self)
    }
}
