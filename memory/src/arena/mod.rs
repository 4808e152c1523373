//! The arena: one reserved address range cut into 64 KiB pages that are recycled and never given back while it lives.
//!
//! Fresh memory is the hidden tax of a columnar engine (a first touch costs more than a memory copy), so pages are
//! faulted when first used and then go round: thread magazine (`magazine`), shared free list (`free_list`), slabs of 2 MiB
//! (`slab`). One page is taken and returned without the shared lock; runs of 2 to 32 contiguous pages take it.
//!
//! The arena decides nothing about who may have how much: the budgets are in [`crate::pool`] and [`crate::managed`],
//! and an arena as large as their sum never refuses a single page that a budget has granted (see `free_list`). Runs can
//! be refused while pages are free but scattered.
//!
//! A page taken from the arena is a [`MemorySegment`]. Segments (and Arrow buffers made of them) may outlive every
//! [`Arena`] handle; the range is unmapped when the last of both is gone. All of it may be used from any thread.

pub(crate) mod free_list;
pub(crate) mod magazine;
mod mapping;
pub(crate) mod slab;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use crate::error::MemoryError;
#[cfg(not(loom))]
use crate::segment::MemorySegment;
use free_list::FreeList;
use mapping::Mapping;
use std::ptr::NonNull;

/// Bytes of one page, the unit of allocation: 8192 rows of 8 bytes, one column of a full batch.
pub const PAGE_BYTES: usize = 64 << 10;
/// The longest contiguous run, in pages (2 MiB).
pub const RUN_PAGES_MAX: usize = slab::SLAB_PAGES as usize;
/// Alignment of every segment, at least: Arrow's recommendation, a cache line and an AVX-512 register.
pub const SEGMENT_ALIGNMENT: usize = 64;

/// How an [`Arena`] is set up.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ArenaOptions {
    /// Size; rounded up to whole pages.
    pub bytes: u64,
    /// Ask the kernel for huge pages.
    pub huge_pages: bool,
}

impl ArenaOptions {
    /// An arena of `bytes` bytes with huge pages.
    pub fn new(bytes: u64) -> Self {
        Self { bytes, huge_pages: true }
    }

    /// Switches huge pages on or off.
    #[must_use]
    pub fn with_huge_pages(mut self, huge_pages: bool) -> Self {
        self.huge_pages = huge_pages;
        self
    }
}

/// Where the pages of an arena are. A snapshot: exact while no other thread takes or returns pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaUsage {
    /// All pages.
    pub pages_total: usize,
    /// Pages held by segments.
    pub pages_used: usize,
    /// Free pages that lie in thread magazines.
    pub pages_in_magazines: usize,
    /// Pages in slabs touched so far: the most that the arena keeps resident.
    pub pages_carved: usize,
    /// The longest run in the shared free list.
    pub run_pages_longest: usize,
}

/// What outlives the handle as long as a page is out.
#[derive(Debug)]
pub(crate) struct ArenaInner {
    pub(crate) list: FreeList,
    #[cfg(not(loom))]
    id: u64,
    start: NonNull<u8>,
    mapping: Mapping,
}

// SAFETY: `start` points into the mapping and is only handed out page by page, each to one owner.
unsafe impl Send for ArenaInner {}
// SAFETY: the free list synchronizes itself, and the other fields are immutable.
unsafe impl Sync for ArenaInner {}

impl ArenaInner {
    /// Frees the arena. The pointer must not be used again.
    ///
    /// # Safety
    /// `arena` comes from [`Box::into_raw`], and the free list has answered [`free_list::IsLast`] true to the caller.
    pub(crate) unsafe fn free(arena: NonNull<Self>) {
        // SAFETY: the last reference is gone, so nobody else can reach the allocation.
        drop(unsafe { Box::from_raw(arena.as_ptr()) });
    }

    #[cfg(not(loom))]
    pub(crate) fn page_of(&self, data: NonNull<u8>) -> u32 {
        ((data.as_ptr() as usize - self.start.as_ptr() as usize) / PAGE_BYTES) as u32
    }
}

/// A handle to an arena; clones share it.
#[derive(Debug, Clone)]
#[cfg(not(loom))]
pub struct Arena {
    handle: std::sync::Arc<Handle>,
}

#[cfg(not(loom))]
#[derive(Debug)]
struct Handle {
    inner: NonNull<ArenaInner>,
    /// Pages that budgets may hand out.
    promised: std::sync::atomic::AtomicUsize,
}

// SAFETY: a handle is a counted reference to `ArenaInner`, which is `Send` and `Sync`.
#[cfg(not(loom))]
unsafe impl Send for Handle {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl Sync for Handle {}

#[cfg(not(loom))]
impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle's reference is still counted; `close` gives it up.
        if unsafe { self.inner.as_ref() }.list.close().0 {
            // SAFETY: the pointer was made by `Arena::new` and the list says that we are the last.
            unsafe { ArenaInner::free(self.inner) };
        }
    }
}

#[cfg(not(loom))]
impl Arena {
    /// Reserves the address range. No memory is used before pages are.
    ///
    /// # Errors
    /// [`MemoryError::Reserve`] if the size is zero or the kernel refuses the range.
    pub fn new(options: ArenaOptions) -> Result<Self, MemoryError> {
        let refused = |source| MemoryError::Reserve { bytes: options.bytes, source };
        let invalid = |text| refused(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        let pages = options.bytes.div_ceil(PAGE_BYTES as u64);
        let pages = match u32::try_from(pages) {
            Ok(0) => return Err(invalid("the arena needs at least one page")),
            // Page numbers are `u32`, and the slab arithmetic adds up to one slab.
            Ok(pages) if pages < u32::MAX - 2 * slab::SLAB_PAGES => pages,
            _ => return Err(invalid("an arena has fewer than 2^32 pages of 64 KiB")),
        };
        let mapping = Mapping::new(pages as usize * PAGE_BYTES, options.huge_pages).map_err(refused)?;
        let inner =
            ArenaInner { list: FreeList::new(pages), id: local::next_arena_id(), start: mapping.start(), mapping };
        let inner = NonNull::from(Box::leak(Box::new(inner)));
        let promised = std::sync::atomic::AtomicUsize::new(0);
        Ok(Self { handle: std::sync::Arc::new(Handle { inner, promised }) })
    }

    /// Takes `pages` contiguous pages (1 to [`RUN_PAGES_MAX`]). The bytes are whatever the last user left.
    ///
    /// # Errors
    /// [`MemoryError::RunTooLong`] for a count out of range, [`MemoryError::ArenaExhausted`] if no such run is free;
    /// for a single page that means that every page is in use.
    #[inline]
    pub fn allocate(&self, pages: usize) -> Result<MemorySegment, MemoryError> {
        self.try_allocate(pages).ok_or_else(|| self.refusal(pages))
    }

    /// As [`Self::allocate`], with `None` for every refusal: for callers that try a shorter run next.
    #[inline]
    pub fn try_allocate(&self, pages: usize) -> Option<MemorySegment> {
        let inner = self.inner();
        let first = match pages {
            1 => local::with_magazine(self.handle.inner, |magazine| match magazine {
                Some(magazine) => inner.list.acquire(magazine),
                None => inner.list.acquire_run(1),
            }),
            2..=RUN_PAGES_MAX => inner.list.acquire_run(pages as u32),
            _ => None,
        }?;
        // SAFETY: the free list answers pages of the mapping.
        let data = unsafe { inner.start.add(first as usize * PAGE_BYTES) };
        // SAFETY: the run is ours alone, with its references counted, until the segment returns it.
        Some(unsafe { MemorySegment::from_raw(self.handle.inner, data, pages as u32) })
    }

    /// Sets `pages` pages aside for a budget, so that all budgets together never exceed the arena.
    ///
    /// # Errors
    /// [`MemoryError::ArenaOverbooked`] if the others have been promised too many.
    pub(crate) fn promise(&self, pages: usize) -> Result<(), MemoryError> {
        use std::sync::atomic::Ordering::Relaxed;
        let total = self.pages_total();
        let add = |promised: usize| promised.checked_add(pages).filter(|promised| *promised <= total);
        match self.handle.promised.fetch_update(Relaxed, Relaxed, add) {
            Ok(_) => Ok(()),
            Err(promised) => Err(MemoryError::ArenaOverbooked { pages, promised, total }),
        }
    }

    /// Takes a promise back.
    pub(crate) fn withdraw_promise(&self, pages: usize) {
        self.handle.promised.fetch_sub(pages, std::sync::atomic::Ordering::Relaxed);
    }

    /// Backs the first `bytes` bytes with memory now, for servers that would rather pay at start.
    ///
    /// # Errors
    /// [`MemoryError::Reserve`] if the kernel cannot (before Linux 5.14) or has no memory left.
    pub fn prefault(&self, bytes: u64) -> Result<(), MemoryError> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.inner().mapping.populate(length).map_err(|source| MemoryError::Reserve { bytes, source })
    }

    /// All pages.
    pub fn pages_total(&self) -> usize {
        self.inner().list.counts().total as usize
    }

    /// Where the pages are now.
    pub fn usage(&self) -> ArenaUsage {
        let counts = self.inner().list.counts();
        ArenaUsage {
            pages_total: counts.total as usize,
            pages_used: (counts.total - counts.in_slabs).saturating_sub(counts.in_magazines) as usize,
            pages_in_magazines: counts.in_magazines as usize,
            pages_carved: counts.carved as usize,
            run_pages_longest: counts.longest_run as usize,
        }
    }

    /// The leak check: no page is held by a segment.
    ///
    /// # Errors
    /// [`MemoryError::Leak`] with the number of bytes out.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        match self.usage().pages_used as u64 * PAGE_BYTES as u64 {
            0 => Ok(()),
            bytes => Err(MemoryError::leak("arena", vec![crate::error::Holder::new("segments", bytes)])),
        }
    }

    fn inner(&self) -> &ArenaInner {
        // SAFETY: the handle holds a reference.
        unsafe { self.handle.inner.as_ref() }
    }

    #[cold]
    fn refusal(&self, pages: usize) -> MemoryError {
        if !(1..=RUN_PAGES_MAX).contains(&pages) {
            return MemoryError::RunTooLong { pages };
        }
        let usage = self.usage();
        MemoryError::ArenaExhausted {
            pages,
            pages_total: usage.pages_total,
            pages_used: usage.pages_used,
            run_pages_longest: usage.run_pages_longest,
        }
    }
}

/// Gives a segment's pages back.
///
/// # Safety
/// `data` is the start of a run of `pages` pages of `arena` that the caller owns, and does not use after.
#[cfg(not(loom))]
pub(crate) unsafe fn release(arena: NonNull<ArenaInner>, data: NonNull<u8>, pages: u32) {
    // SAFETY: the caller's pages hold references.
    let inner = unsafe { arena.as_ref() };
    let first = inner.page_of(data);
    let last = match pages {
        1 => local::with_magazine(arena, |magazine| match magazine {
            Some(magazine) => inner.list.release(magazine, first),
            None => inner.list.release_run(first, 1),
        }),
        _ => inner.list.release_run(first, pages),
    };
    if last.0 {
        // SAFETY: every arena is made by `Arena::new`, and the list says that we are the last.
        unsafe { ArenaInner::free(arena) };
    }
}

/// The calling thread's magazines, one per arena it uses.
#[cfg(not(loom))]
mod local {
    use super::ArenaInner;
    use super::free_list::FreeList;
    use super::magazine::Magazine;
    use std::cell::RefCell;
    use std::ptr::NonNull;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Names arenas apart: an address could be reused.
    static ARENA_IDS: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static MAGAZINES: RefCell<Vec<LocalMagazine>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn next_arena_id() -> u64 {
        ARENA_IDS.fetch_add(1, Ordering::Relaxed)
    }

    struct LocalMagazine {
        arena_id: u64,
        arena: NonNull<ArenaInner>,
        magazine: Arc<Magazine>,
    }

    impl Drop for LocalMagazine {
        fn drop(&mut self) {
            // SAFETY: only the address is computed; the arena may be gone.
            let list = unsafe { &raw const (*self.arena.as_ptr()).list };
            // SAFETY: the arena registered this magazine.
            unsafe { FreeList::retire(list, &self.magazine) };
        }
    }

    /// Runs `act` with the calling thread's magazine of `arena`; with `None` if the thread is ending or the arena's
    /// handle is gone. The caller holds the handle or a page; `act` takes or returns pages and runs no other code.
    #[inline]
    pub(super) fn with_magazine<R>(arena: NonNull<ArenaInner>, act: impl FnOnce(Option<&Magazine>) -> R) -> R {
        // SAFETY: the caller's handle or page keeps the arena alive.
        let id = unsafe { arena.as_ref() }.id;
        let mut act = Some(act);
        let mut run = |magazine: Option<&Magazine>| (act.take().expect("runs once"))(magazine);
        let answer = MAGAZINES.try_with(|magazines| {
            if let Some(local) = magazines.borrow().iter().find(|local| local.arena_id == id) {
                return run(Some(&*local.magazine));
            }
            run(register(magazines, arena, id).as_deref())
        });
        match answer {
            Ok(answer) => answer,
            Err(_) => run(None),
        }
    }

    #[cold]
    fn register(
        magazines: &RefCell<Vec<LocalMagazine>>,
        arena: NonNull<ArenaInner>,
        arena_id: u64,
    ) -> Option<Arc<Magazine>> {
        // SAFETY: as in `with_magazine`.
        let magazine = unsafe { arena.as_ref() }.list.register()?;
        let mut magazines = magazines.borrow_mut();
        magazines.retain(|local| !local.magazine.is_closed());
        magazines.push(LocalMagazine { arena_id, arena, magazine: Arc::clone(&magazine) });
        Some(magazine)
    }
}
