//! A thread's small stack of free pages, so that taking and returning one page does not touch the shared lock.
//!
//! A magazine belongs to one thread of one arena, but sits behind its own (nearly always uncontended) lock: when the
//! arena runs out, the thread that needs a page drains the magazines of all others, so no page is lost in an idle
//! thread. It is closed when its thread ends or its arena is given up, whichever comes first; a closed magazine holds
//! nothing and takes nothing. Source: Bonwick and Adams, "Magazines and Vmem" (USENIX 2001).

use crate::sync::Lock;

/// Pages a magazine can hold.
#[cfg(not(loom))]
pub(crate) const MAGAZINE_PAGES: usize = 32;
/// Small under loom, so that refilling and flushing happen within a model of a few steps.
#[cfg(loom)]
pub(crate) const MAGAZINE_PAGES: usize = 4;

/// Pages moved at once between a magazine and the slabs.
pub(crate) const BATCH_PAGES: usize = MAGAZINE_PAGES / 2;

#[derive(Debug)]
pub(crate) struct Magazine {
    pub(crate) state: Lock<MagazineState>,
}

impl Magazine {
    pub(crate) fn new() -> Self {
        Self { state: Lock::new(MagazineState { closed: false, length: 0, pages: [0; MAGAZINE_PAGES] }) }
    }

    #[cfg(not(loom))]
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

#[derive(Debug)]
pub(crate) struct MagazineState {
    pub(crate) closed: bool,
    length: usize,
    pages: [u32; MAGAZINE_PAGES],
}

impl MagazineState {
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.length = self.length.checked_sub(1)?;
        Some(self.pages[self.length])
    }

    /// The caller has checked [`Self::is_full`].
    #[inline]
    pub(crate) fn push(&mut self, page: u32) {
        self.pages[self.length] = page;
        self.length += 1;
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.length == MAGAZINE_PAGES
    }

    pub(crate) fn pages(&self) -> &[u32] {
        &self.pages[..self.length]
    }

    /// Removes all pages after `pages()` has been copied elsewhere.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Removes the `count` oldest pages after they have been copied elsewhere; the newest are the warm ones.
    pub(crate) fn remove_oldest(&mut self, count: usize) {
        self.pages.copy_within(count..self.length, 0);
        self.length -= count;
    }
}
