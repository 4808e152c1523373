//! A column of fixed-width values addressed by slot.
//!
//! Value `slot` lies in page `slot >> 13` at `slot & 8191` (times the stride: key rows keep several words per slot side
//! by side, so that comparing a key touches one cache line). Fresh values are zero. The first page starts small and
//! grows; all others are whole. Invariant: a write happens only after [`SlotColumn::make_writable`] for its slots in the
//! same call, so that no page is both shared and written.

use std::sync::Arc;

use flumen_memory::Pod;

use super::{FIRST_PAGE_SLOTS, PAGE_SLOTS, PAGE_SLOTS_SHIFT, Page, PageMemory, PageSource};
use crate::error::Result;

/// A column of values of `T`, `stride` for each slot.
pub struct SlotColumn<T: Pod> {
    pages: Vec<Page<T>>,
    stride: usize,
    /// Pages that a snapshot may be reading; while it is zero, writes need no look at the pages.
    shared: usize,
    source: Arc<dyn PageSource>,
}

impl<T: Pod + Default> SlotColumn<T> {
    /// An empty column with one value for each slot.
    #[must_use]
    pub fn new(source: Arc<dyn PageSource>) -> Self {
        Self::with_stride(source, 1)
    }

    /// An empty column with `stride` values for each slot.
    #[must_use]
    pub fn with_stride(source: Arc<dyn PageSource>, stride: usize) -> Self {
        assert!(stride > 0, "a slot has at least one value");
        Self { pages: Vec::new(), stride, shared: 0, source }
    }

    /// Where its pages come from.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn PageSource> {
        &self.source
    }

    /// Slots that have memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match self.pages.as_slice() {
            [] => 0,
            [page] => page.as_slice().len() / self.stride,
            pages => pages.len() * PAGE_SLOTS,
        }
    }

    /// Makes memory for slots below `slots`.
    ///
    /// # Errors
    /// If it is refused; what was there before stays.
    #[inline]
    pub fn reserve(&mut self, slots: usize) -> Result<()> {
        if slots <= self.capacity() { Ok(()) } else { self.grow(slots) }
    }

    #[cold]
    fn grow(&mut self, slots: usize) -> Result<()> {
        let first = slots.next_power_of_two().clamp(FIRST_PAGE_SLOTS, PAGE_SLOTS);
        if self.capacity() < first {
            // Growing by four keeps the copies of a table that becomes large below a tenth of its first page's use.
            let length = first.max((self.capacity() * 4).min(PAGE_SLOTS)) * self.stride;
            let mut memory = PageMemory::allocate(&self.source, length)?;
            if let Some(old) = self.pages.pop() {
                let old_values = old.as_slice();
                memory.as_mut_slice()[..old_values.len()].copy_from_slice(old_values);
                self.shared -= usize::from(old.is_shared());
            }
            self.pages.push(Page::Owned(memory));
        }
        while self.capacity() < slots {
            self.pages.push(Page::Owned(PageMemory::allocate(&self.source, PAGE_SLOTS * self.stride)?));
        }
        Ok(())
    }

    /// The value of a slot (the first one, if there are several).
    ///
    /// # Panics
    /// If the slot has no memory.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: u32) -> T {
        let page = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_slice();
        page[(slot as usize & (PAGE_SLOTS - 1)) * self.stride]
    }

    /// All values of a slot.
    ///
    /// # Panics
    /// If the slot has no memory.
    #[inline]
    #[must_use]
    pub fn row(&self, slot: u32) -> &[T] {
        let page = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_slice();
        let start = (slot as usize & (PAGE_SLOTS - 1)) * self.stride;
        &page[start..start + self.stride]
    }

    /// The values of a page, for readers that go slot by slot.
    #[inline]
    #[must_use]
    pub fn page(&self, page: usize) -> &[T] {
        self.pages[page].as_slice()
    }

    /// Number of pages.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Makes the pages of `slots` writable, copying those that a snapshot still reads.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    #[inline]
    pub fn make_writable(&mut self, slots: &[u32]) -> Result<()> {
        if self.shared == 0 {
            return Ok(());
        }
        for &slot in slots {
            self.make_slot_writable(slot)?;
        }
        Ok(())
    }

    /// As [`Self::make_writable`] for one slot.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    #[inline]
    pub fn make_slot_writable(&mut self, slot: u32) -> Result<()> {
        let page = &mut self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize];
        if page.is_shared() {
            page.unshare(&self.source)?;
            self.shared -= 1;
        }
        Ok(())
    }

    /// Writes the first value of a slot.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    #[inline]
    pub fn set(&mut self, slot: u32, value: T) -> Result<()> {
        *self.get_mut(slot)? = value;
        Ok(())
    }

    /// The first value of a slot, to write.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Result<&mut T> {
        self.make_slot_writable(slot)?;
        let page = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_mut_slice();
        Ok(&mut page[(slot as usize & (PAGE_SLOTS - 1)) * self.stride])
    }

    /// Writes all values of a slot.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    #[inline]
    pub fn set_row(&mut self, slot: u32, values: &[T]) -> Result<()> {
        self.make_slot_writable(slot)?;
        let page = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_mut_slice();
        let start = (slot as usize & (PAGE_SLOTS - 1)) * self.stride;
        page[start..start + self.stride].copy_from_slice(values);
        Ok(())
    }

    /// Calls `update(i, value)` for each `slots[i]` in order: the scatter of every accumulator.
    ///
    /// # Errors
    /// If memory for a copy is refused; no value has changed then.
    ///
    /// # Panics
    /// If a slot has no memory.
    #[inline]
    pub fn update_each(&mut self, slots: &[u32], mut update: impl FnMut(usize, &mut T)) -> Result<()> {
        self.make_writable(slots)?;
        if let [page] = self.pages.as_mut_slice() {
            // One page: the common case of few groups needs no page arithmetic.
            let values = page.as_mut_slice();
            for (i, &slot) in slots.iter().enumerate() {
                update(i, &mut values[slot as usize]);
            }
        } else {
            for (i, &slot) in slots.iter().enumerate() {
                let values = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_mut_slice();
                update(i, &mut values[slot as usize & (PAGE_SLOTS - 1)]);
            }
        }
        Ok(())
    }

    /// Zeroes the values of `slots`.
    ///
    /// # Errors
    /// If memory for a copy is refused.
    pub fn clear(&mut self, slots: &[u32]) -> Result<()> {
        for &slot in slots {
            if (slot as usize) < self.capacity() {
                self.make_slot_writable(slot)?;
                let page = self.pages[(slot >> PAGE_SLOTS_SHIFT) as usize].as_mut_slice();
                let start = (slot as usize & (PAGE_SLOTS - 1)) * self.stride;
                page[start..start + self.stride].fill(T::default());
            }
        }
        Ok(())
    }

    /// A column over the same pages, as of now. Costs one pointer for each page; later writes to either copy first.
    #[must_use]
    pub fn freeze(&mut self) -> Self {
        let pages: Vec<_> = self.pages.iter_mut().map(Page::share).collect();
        self.shared = self.pages.len();
        Self { shared: pages.len(), pages, stride: self.stride, source: Arc::clone(&self.source) }
    }

    /// Gives all memory back.
    pub fn release(&mut self) {
        self.pages = Vec::new();
        self.shared = 0;
    }

    /// Bytes of its pages, shared ones too.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.pages.iter().map(Page::bytes).sum()
    }

    /// Pages that a snapshot may be reading.
    #[must_use]
    pub fn shared_pages(&self) -> usize {
        self.shared
    }
}
