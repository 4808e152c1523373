//! From keys of one word to slots: an array over the span of the keys, as long as they are dense enough.
//!
//! Keys of tables are numbers without large gaps, and rows often come in their order, so that neighbouring rows touch one
//! cache line where hashes would touch two at random. The array is cut into pages of [`PAGE_KEYS`] keys (64 KiB), which
//! exist where there is a key. The span may have [`FREE_PAGES`] and one for each [`KEYS_PER_PAGE`] groups: 64 bytes a group
//! at most, where the directory of hashes has about 13; keys without gaps take 4. Who leaves this span gets a directory
//! ([`KeyedTable::leave_direct`](super::table::KeyedTable)) and never comes back.

use std::sync::Arc;

use crate::error::Result;
use crate::pages::{PageMemory, PageSource};

const PAGE_KEYS_SHIFT: u32 = 14;
/// Keys of a page.
const PAGE_KEYS: usize = 1 << PAGE_KEYS_SHIFT;
/// Pages that a span may have whatever the number of groups.
const FREE_PAGES: u64 = 4;
/// Groups for each further page.
const KEYS_PER_PAGE: u64 = 1024;

/// Slots by key.
pub(super) struct Direct {
    /// Number of the first page: its keys without their lowest bits.
    first: u64,
    /// `slot + 1` of each key, or 0.
    pages: Vec<Option<PageMemory<u32>>>,
    source: Arc<dyn PageSource>,
}

impl Direct {
    pub(super) fn new(source: Arc<dyn PageSource>) -> Self {
        Self { first: 0, pages: Vec::new(), source }
    }

    /// Makes the span include these keys; `false` if it would be too wide for `groups` groups.
    pub(super) fn cover(&mut self, low: u64, high: u64, groups: usize) -> bool {
        let (mut first, mut last) = (low >> PAGE_KEYS_SHIFT, high >> PAGE_KEYS_SHIFT);
        if !self.pages.is_empty() {
            first = first.min(self.first);
            last = last.max(self.first + self.pages.len() as u64 - 1);
        }
        let span = last - first;
        if span >= FREE_PAGES + groups as u64 / KEYS_PER_PAGE {
            return false;
        }
        if self.pages.is_empty() {
            self.first = first;
        }
        let before = (self.first - first) as usize;
        if before > 0 {
            self.pages.splice(0..0, (0..before).map(|_| None));
            self.first = first;
        }
        self.pages.resize_with(span as usize + 1, || None);
        true
    }

    /// `slot + 1` of a covered key, or 0.
    #[inline]
    pub(super) fn get(&self, key: u64) -> u32 {
        match &self.pages[((key >> PAGE_KEYS_SHIFT) - self.first) as usize] {
            Some(page) => page.as_slice()[key as usize & (PAGE_KEYS - 1)],
            None => 0,
        }
    }

    /// Makes memory for a covered key.
    #[inline]
    pub(super) fn reserve(&mut self, key: u64) -> Result<()> {
        let page = &mut self.pages[((key >> PAGE_KEYS_SHIFT) - self.first) as usize];
        if page.is_none() {
            *page = Some(PageMemory::allocate(&self.source, PAGE_KEYS)?);
        }
        Ok(())
    }

    /// Sets the slot of a key that has memory.
    #[inline]
    pub(super) fn set(&mut self, key: u64, slot: u32) {
        let page = &mut self.pages[((key >> PAGE_KEYS_SHIFT) - self.first) as usize];
        if let Some(page) = page {
            page.as_mut_slice()[key as usize & (PAGE_KEYS - 1)] = slot + 1;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pages.iter().flatten().map(PageMemory::bytes).sum::<usize>() + size_of_val(self.pages.as_slice())
    }
}
