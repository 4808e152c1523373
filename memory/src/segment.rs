//! Memory segments: exclusive while written, shared when frozen, Arrow buffers without a copy.
//!
//! A [`MemorySegment`] is one run of pages with one owner, who may write it. [`MemorySegment::freeze`] turns it into a
//! [`SharedSegment`], which is cloned and sliced freely and never written; [`SharedSegment::buffer`] makes Arrow
//! buffers that share it. When the last of these is dropped, on whatever thread, the pages go back to the arena and
//! their charge to the pool or reservation that they were taken from. A double return cannot be written down: there is
//! one owning value, and returning is its drop.
//!
//! Bytes are always initialized (the kernel zeroes fresh memory) but not cleared between users: a writer that leaves
//! gaps (padding) zeroes them before the bytes leave the process.

use crate::arena::{self, ArenaInner, PAGE_BYTES};
use crate::managed::reservation::ReservationInner;
use crate::pool::local::LocalPool;
use arrow_buffer::Buffer;
use std::fmt;
use std::ops::Range;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;

/// Who is told that the pages came back, after the arena.
pub(crate) enum Home {
    /// Taken from the arena directly; nobody counts it.
    Arena,
    /// A buffer of a local pool, taken for this channel.
    Pool(Arc<LocalPool>, Option<u32>),
    /// Managed memory charged to a reservation.
    Charged(Arc<ReservationInner>),
}

/// A run of 1 to 32 pages (64 KiB to 2 MiB) with one owner, 64-byte aligned.
pub struct MemorySegment {
    data: NonNull<u8>,
    arena: NonNull<ArenaInner>,
    pages: u32,
    home: Home,
}

// SAFETY: the segment is the only owner of its pages, and returning them is thread-safe.
unsafe impl Send for MemorySegment {}
// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for MemorySegment {}
// A panic cannot leave a segment half changed: it holds plain bytes. Arrow asks for this of buffer owners.
impl RefUnwindSafe for MemorySegment {}

impl MemorySegment {
    /// Wraps a run of pages.
    ///
    /// # Safety
    /// `data` is the start of a run of `pages` pages of `arena`, owned by the caller, with their references counted.
    pub(crate) unsafe fn from_raw(arena: NonNull<ArenaInner>, data: NonNull<u8>, pages: u32) -> Self {
        Self { data, arena, pages, home: Home::Arena }
    }

    pub(crate) fn with_home(mut self, home: Home) -> Self {
        self.home = home;
        self
    }

    /// Size in bytes, a multiple of [`PAGE_BYTES`].
    #[inline]
    pub fn size(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }

    /// Number of pages.
    #[inline]
    pub fn pages(&self) -> usize {
        self.pages as usize
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the run is mapped, initialized and ours; writers need `&mut self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.size()) }
    }

    /// The bytes, to write.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the run is mapped, initialized and ours, and `&mut self` excludes every other view.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.size()) }
    }

    /// The whole segment as numbers in native byte order.
    #[inline]
    pub fn as_slice_of<T: Pod>(&self) -> &[T] {
        // SAFETY: as in `as_slice`; a page is aligned to more than any `Pod`, every bit pattern is a valid `Pod`, and
        // the length is rounded down to whole values.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.size() / size_of::<T>()) }
    }

    /// The whole segment as numbers in native byte order, to write.
    #[inline]
    pub fn as_mut_slice_of<T: Pod>(&mut self) -> &mut [T] {
        // SAFETY: as in `as_mut_slice` and `as_slice_of`; a `Pod` has no padding, so the bytes stay initialized.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr().cast(), self.size() / size_of::<T>()) }
    }

    /// Ends writing; the first `length` bytes become shareable.
    ///
    /// # Panics
    /// If `length` exceeds [`Self::size`].
    pub fn freeze(self, length: usize) -> SharedSegment {
        assert!(length <= self.size(), "froze {length} bytes of a segment of {}", self.size());
        SharedSegment { segment: Arc::new(self), offset: 0, length }
    }
}

impl Drop for MemorySegment {
    #[inline]
    fn drop(&mut self) {
        // The page first, then the right to have one: whoever is granted that right finds the page.
        // SAFETY: the run is ours and not used again, because this is its only owner's drop.
        unsafe { arena::release(self.arena, self.data, self.pages) };
        match std::mem::replace(&mut self.home, Home::Arena) {
            Home::Arena => {}
            Home::Pool(pool, channel) => pool.recycle(channel),
            Home::Charged(reservation) => reservation.segment_returned(self.size() as u64),
        }
    }
}

impl fmt::Debug for MemorySegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySegment").field("pages", &self.pages).finish_non_exhaustive()
    }
}

/// A read-only range of a segment; clones and slices share the pages.
#[derive(Debug, Clone)]
pub struct SharedSegment {
    segment: Arc<MemorySegment>,
    offset: usize,
    length: usize,
}

impl SharedSegment {
    /// Bytes in this range.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether the range is empty.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.segment.as_slice()[self.offset..self.offset + self.length]
    }

    /// Bytes of memory that this range keeps from its pool, whatever its own length.
    pub fn retained_bytes(&self) -> usize {
        self.segment.size()
    }

    /// A part of this range.
    ///
    /// # Panics
    /// If `range` is not within `0..self.len()`.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.check(&range);
        Self { segment: Arc::clone(&self.segment), offset: self.offset + range.start, length: range.len() }
    }

    /// An Arrow buffer over a part of this range, without a copy. It keeps the whole segment; an empty one keeps nothing.
    ///
    /// # Panics
    /// If `range` is not within `0..self.len()`.
    pub fn buffer(&self, range: Range<usize>) -> Buffer {
        self.slice(range).into_buffer()
    }

    /// An Arrow buffer over this range, without a copy. It keeps the whole segment; an empty one keeps nothing.
    pub fn into_buffer(self) -> Buffer {
        if self.length == 0 {
            return Buffer::default();
        }
        // SAFETY: the offset lies within the segment.
        let start = unsafe { self.segment.data.add(self.offset) };
        // SAFETY: the range is initialized and within the segment, which the buffer owns a share of; frozen bytes are
        // never written before the last share is gone.
        unsafe { Buffer::from_custom_allocation(start, self.length, self.segment) }
    }

    /// The segment for writing again, if this is its last share.
    ///
    /// # Errors
    /// The range itself while clones, slices or buffers exist.
    pub fn try_into_mut(self) -> Result<MemorySegment, Self> {
        let Self { segment, offset, length } = self;
        Arc::try_unwrap(segment).map_err(|segment| Self { segment, offset, length })
    }

    fn check(&self, range: &Range<usize>) {
        let length = self.length;
        assert!(range.start <= range.end && range.end <= length, "{range:?} is not within a segment range of {length}");
    }
}

impl From<SharedSegment> for Buffer {
    fn from(segment: SharedSegment) -> Self {
        segment.into_buffer()
    }
}

/// Fixed-width numbers whose every bit pattern is a value: what a segment can be viewed as.
pub trait Pod: sealed::Sealed + Copy + Send + Sync + 'static {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! pods {
    ($($number:ty),*) => { $(impl sealed::Sealed for $number {} impl Pod for $number {})* };
}
pods!(u8, i8, u16, i16, u32, i32, u64, i64, u128, i128, usize, isize, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{Arena, ArenaOptions};
    use arrow_buffer::ScalarBuffer;

    fn arena(pages: usize) -> Arena {
        Arena::new(ArenaOptions::new((pages * PAGE_BYTES) as u64)).unwrap()
    }

    #[test]
    fn typed_views_are_aligned_and_cover_the_segment() {
        let arena = arena(40);
        for pages in [1, 2, 3, 32] {
            let mut segment = arena.allocate(pages).unwrap();
            assert_eq!(segment.as_slice().as_ptr() as usize % crate::SEGMENT_ALIGNMENT, 0);
            assert_eq!(segment.as_slice().len(), pages * PAGE_BYTES);
            assert_eq!(segment.as_slice_of::<i128>().len(), pages * PAGE_BYTES / 16);
            let numbers = segment.as_mut_slice_of::<i64>();
            numbers.iter_mut().zip(-5..).for_each(|(slot, value)| *slot = value);
            assert_eq!(&segment.as_slice()[..8], (-5_i64).to_ne_bytes());
            assert_eq!(*segment.as_slice_of::<i64>().last().unwrap(), (pages * PAGE_BYTES / 8) as i64 - 6);
        }
        arena.verify_empty().unwrap();
    }

    #[test]
    fn buffers_share_the_segment_and_return_it() {
        let arena = arena(2);
        let mut segment = arena.allocate(1).unwrap();
        segment.as_mut_slice_of::<i32>().iter_mut().zip(0..).for_each(|(slot, value)| *slot = value);
        let start = segment.as_slice().as_ptr();
        let shared = segment.freeze(4096);
        assert_eq!((shared.len(), shared.retained_bytes()), (4096, PAGE_BYTES));

        let column = ScalarBuffer::<i32>::new(shared.buffer(64..4096), 0, 1000);
        assert_eq!(column.inner().as_ptr(), start.wrapping_add(64), "no copy");
        assert_eq!(&column[..3], [16, 17, 18]);
        let part = shared.slice(128..256).slice(4..12).into_buffer();
        assert_eq!(part.typed_data::<i32>(), [33, 34]);

        let shared = shared.try_into_mut().expect_err("buffers share it");
        drop(shared);
        drop(column);
        assert!(matches!(arena.verify_empty(), Err(crate::MemoryError::Leak { .. })), "one buffer is left");
        drop(part);
        arena.verify_empty().unwrap();
    }

    #[test]
    fn the_last_share_can_be_written_again() {
        let arena = arena(1);
        let shared = arena.allocate(1).unwrap().freeze(10);
        let empty = shared.buffer(3..3);
        let mut segment = shared.try_into_mut().expect("an empty buffer keeps nothing");
        segment.as_mut_slice().fill(7);
        assert!(empty.is_empty());
    }

    #[test]
    fn buffers_outlive_the_arena_handle_and_their_thread() {
        let arena = arena(1);
        let buffer = std::thread::spawn(move || {
            let mut segment = arena.allocate(1).unwrap();
            segment.as_mut_slice().fill(42);
            segment.freeze(PAGE_BYTES).into_buffer()
        })
        .join()
        .unwrap();
        assert!(buffer.iter().all(|byte| *byte == 42));
    }

    #[test]
    #[should_panic(expected = "not within")]
    fn a_slice_cannot_reach_beyond_its_range() {
        let arena = arena(1);
        let _ = arena.allocate(1).unwrap().freeze(10).slice(0..5).slice(0..6);
    }
}
