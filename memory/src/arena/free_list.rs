//! The shared free list: slabs under one lock, magazines in front of it, and the count that keeps the arena alive.
//!
//! # Life time
//! `references` = 1 for the handle + one per page that is not in the slabs (held by a segment, or in a magazine). The
//! count moves once per batch of pages, not once per page: a page that goes through a magazine keeps its reference.
//! Whoever takes it to zero (the handle's [`FreeList::close`], or the return of the last page after that) owns the
//! arena and frees it.
//!
//! # Locks
//! A magazine's lock comes before the lock of the slabs or of the registry; the last two are never held together. A
//! magazine that is not closed proves that the arena lives: closing must lock the magazine before it gives up the
//! handle's reference. So a thread that holds the lock of an open magazine may use the arena without a reference of
//! its own; that is what lets a thread end, and return its pages, at any moment.
//!
//! # Exhaustion is exact
//! Pages lying in other threads' magazines must be found, or a buffer pool that still has the right to a page would be
//! refused. When the slabs are empty, [`FreeList::reclaim`]
//! 1. raises `pressure` under the lock of the slabs: from now on refills take one page, and returns go to the slabs;
//! 2. empties every registered magazine: a return that saw no pressure pushed before we took the magazine's lock, so we
//!    see its page; a later one sees the pressure. A refill before step 1 belongs to a magazine that is registered;
//! 3. tries again, and lowers the pressure.
//!
//! So between steps 1 and 3 no page hides, and a refusal means that every page is held by a segment (or, for a run,
//! that the free ones are too scattered).

use super::magazine::{BATCH_PAGES, Magazine, MagazineState};
use super::slab::SlabAllocator;
use crate::sync::{Arc, AtomicUsize, Lock, Ordering, fence};

/// With fewer free pages than this, a refill takes a quarter of them only, so that threads do not drain each other.
const SCARCE_PAGES: usize = 4 * BATCH_PAGES;

#[derive(Debug)]
pub(crate) struct FreeList {
    slabs: Lock<SlabAllocator>,
    registry: Lock<Registry>,
    /// Number of threads in [`Self::reclaim`]; written under the lock of `slabs`.
    pressure: AtomicUsize,
    references: AtomicUsize,
}

#[derive(Debug)]
struct Registry {
    closed: bool,
    magazines: Vec<Arc<Magazine>>,
}

/// Where the pages are at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageCounts {
    pub(crate) total: u32,
    pub(crate) in_slabs: u32,
    pub(crate) in_magazines: u32,
    pub(crate) carved: u32,
    pub(crate) longest_run: u32,
}

/// The caller was the last one: nobody else can reach the arena, and it has to be freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct IsLast(pub(crate) bool);

impl FreeList {
    pub(crate) fn new(pages: u32) -> Self {
        Self {
            slabs: Lock::new(SlabAllocator::new(pages)),
            registry: Lock::new(Registry { closed: false, magazines: Vec::new() }),
            pressure: AtomicUsize::new(0),
            references: AtomicUsize::new(1),
        }
    }

    /// A magazine for the calling thread, or `None` if the handle is gone. The caller holds the handle or a page.
    pub(crate) fn register(&self) -> Option<Arc<Magazine>> {
        let mut registry = self.registry.lock();
        if registry.closed {
            return None;
        }
        let magazine = Arc::new(Magazine::new());
        registry.magazines.push(Arc::clone(&magazine));
        Some(magazine)
    }

    /// Takes one page. The caller holds the handle.
    #[inline]
    pub(crate) fn acquire(&self, magazine: &Magazine) -> Option<u32> {
        let mut state = magazine.state.lock();
        if let Some(page) = state.pop() {
            return Some(page);
        }
        let page = self.refill(&mut state);
        drop(state);
        page.or_else(|| self.reclaim(1))
    }

    /// Takes `count` contiguous pages past the magazines. The caller holds the handle.
    pub(crate) fn acquire_run(&self, count: u32) -> Option<u32> {
        let first = self.slabs.lock().allocate_run(count);
        match first {
            Some(first) => {
                self.add_references(count as usize);
                Some(first)
            }
            None => self.reclaim(count),
        }
    }

    /// Gives back one page that the caller owns.
    #[inline]
    pub(crate) fn release(&self, magazine: &Magazine, page: u32) -> IsLast {
        let mut state = magazine.state.lock();
        if state.closed || self.pressure.load(Ordering::Acquire) != 0 {
            drop(state);
            return self.release_run(page, 1);
        }
        if state.is_full() {
            self.flush_oldest(&mut state);
        }
        state.push(page);
        IsLast(false)
    }

    /// Gives back a run that the caller owns, past the magazines.
    pub(crate) fn release_run(&self, first: u32, count: u32) -> IsLast {
        self.slabs.lock().free_run(first, count);
        self.drop_references(count as usize)
    }

    /// Ends a magazine because its thread ends. `list` need not live any more if the magazine is closed.
    ///
    /// # Safety
    /// `list` is the list that registered `magazine`.
    pub(crate) unsafe fn retire(list: *const Self, magazine: &Arc<Magazine>) {
        let mut state = magazine.state.lock();
        if state.closed {
            return;
        }
        // SAFETY: the magazine is open and we hold its lock, so the handle's reference is still there (see the module
        // docs, "Locks"), and by the contract of this function the pointer is to the magazine's own list.
        let list = unsafe { &*list };
        state.closed = true;
        list.return_all(&mut state);
        // Still under the magazine's lock: after it, the list may be gone.
        list.registry.lock().magazines.retain(|other| !Arc::ptr_eq(other, magazine));
    }

    /// Gives up the handle: no magazine keeps a page, and the last page to return ends the arena.
    pub(crate) fn close(&self) -> IsLast {
        let magazines = {
            let mut registry = self.registry.lock();
            registry.closed = true;
            std::mem::take(&mut registry.magazines)
        };
        for magazine in magazines {
            let mut state = magazine.state.lock();
            if !state.closed {
                state.closed = true;
                self.return_all(&mut state);
            }
        }
        self.drop_references(1)
    }

    /// A snapshot; exact while no other thread moves pages.
    pub(crate) fn counts(&self) -> PageCounts {
        let magazines = self.registry.lock().magazines.clone();
        let in_magazines = magazines.iter().map(|magazine| magazine.state.lock().pages().len() as u32).sum();
        let slabs = self.slabs.lock();
        PageCounts {
            total: slabs.pages(),
            in_slabs: slabs.pages_free(),
            in_magazines,
            carved: slabs.pages_carved(),
            longest_run: slabs.longest_run(),
        }
    }

    #[cold]
    fn refill(&self, state: &mut MagazineState) -> Option<u32> {
        let mut pages = [0; BATCH_PAGES];
        let taken = {
            let mut slabs = self.slabs.lock();
            let free = slabs.pages_free() as usize;
            let wanted = match free {
                _ if self.pressure.load(Ordering::Acquire) != 0 => 1,
                // Models are always short of pages, and have to see whole batches nevertheless.
                free if free < SCARCE_PAGES && !cfg!(loom) => (free / 4).max(1),
                _ => BATCH_PAGES,
            };
            slabs.allocate_pages(&mut pages[..wanted.min(BATCH_PAGES)])
        };
        let (first, rest) = pages[..taken].split_first()?;
        // Under the magazine's lock: a thread that drains it subtracts these references after we have added them.
        self.add_references(taken);
        // Lowest page on top, so that a thread walks upwards through a slab.
        rest.iter().rev().for_each(|page| state.push(*page));
        Some(*first)
    }

    #[cold]
    fn flush_oldest(&self, state: &mut MagazineState) {
        {
            let mut slabs = self.slabs.lock();
            state.pages()[..BATCH_PAGES].iter().for_each(|page| slabs.free_run(*page, 1));
        }
        state.remove_oldest(BATCH_PAGES);
        self.drop_inner_references(BATCH_PAGES);
    }

    /// Empties a magazine into the slabs; its lock is held and the handle's reference is there.
    fn return_all(&self, state: &mut MagazineState) {
        let count = state.pages().len();
        if count == 0 {
            return;
        }
        {
            let mut slabs = self.slabs.lock();
            state.pages().iter().for_each(|page| slabs.free_run(*page, 1));
        }
        state.clear();
        self.drop_inner_references(count);
    }

    #[cold]
    fn reclaim(&self, count: u32) -> Option<u32> {
        {
            let _slabs = self.slabs.lock();
            self.pressure.fetch_add(1, Ordering::AcqRel);
        }
        let magazines = self.registry.lock().magazines.clone();
        for magazine in &magazines {
            self.return_all(&mut magazine.state.lock());
        }
        let mut slabs = self.slabs.lock();
        let first = slabs.allocate_run(count);
        self.pressure.fetch_sub(1, Ordering::AcqRel);
        drop(slabs);
        if first.is_some() {
            self.add_references(count as usize);
        }
        first
    }

    /// The caller's own reference (handle or open magazine) orders this before any end of the arena.
    fn add_references(&self, count: usize) {
        self.references.fetch_add(count, Ordering::Relaxed);
    }

    /// For pages whose reference cannot be the last, because the handle's is still there.
    fn drop_inner_references(&self, count: usize) {
        let before = self.references.fetch_sub(count, Ordering::Release);
        debug_assert!(before > count, "the handle holds a reference");
    }

    fn drop_references(&self, count: usize) -> IsLast {
        let last = self.references.fetch_sub(count, Ordering::Release) == count;
        if last {
            // Everything that others did with the arena happens before its end, as in `std::sync::Arc`.
            fence(Ordering::Acquire);
        }
        IsLast(last)
    }
}
