//! Where the memory of keyed state comes from, and how it is shared with snapshots.
//!
//! State lives in pages of [`PAGE_SLOTS`] values (64 KiB of 8-byte values). A page is charged to a [`PageSource`] before
//! it exists and discharged when its last share is dropped, on whatever thread. A snapshot turns owned pages into shared
//! ones (pointer work only); the first write to a shared page copies it, or takes it back if the snapshot is done.

mod bytes;
mod column;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flumen_core::failure::Failure;
use flumen_core::meter::{MemoryMeter, Unmetered};
use flumen_memory::{MemoryError, MemorySegment, PAGE_BYTES, Pod, RUN_PAGES_MAX, Reservation};

pub use bytes::{ByteArena, VIEW_INLINE_BYTES};
pub(crate) use bytes::{view_length, view_words};
pub use column::SlotColumn;

use crate::error::{Result, StateError};

/// Slots of a page, as a power of two.
pub const PAGE_SLOTS_SHIFT: u32 = 13;
/// Slots of a page.
pub const PAGE_SLOTS: usize = 1 << PAGE_SLOTS_SHIFT;
/// Slots that the first page of a column starts with, so that a table of few groups stays small.
pub(crate) const FIRST_PAGE_SLOTS: usize = 64;

/// Gives pages, or refuses.
pub trait PageSource: Send + Sync {
    /// Charges `bytes` of heap memory.
    ///
    /// # Errors
    /// If the budget is at its end; nothing is charged then.
    fn charge(&self, bytes: usize) -> Result<(), Failure>;

    /// Takes back what was charged.
    fn discharge(&self, bytes: usize);

    /// A segment of `pages` memory pages, charged until it is dropped; `None` if this source has no segments, and the
    /// caller takes heap memory.
    ///
    /// # Errors
    /// If the budget is at its end.
    fn segment(&self, pages: usize) -> Result<Option<MemorySegment>, Failure> {
        let _ = pages;
        Ok(None)
    }

    /// Whether what is asked for from now on would be spilled if it were refused: then it is refused earlier, so that
    /// others find room ([`MemoryMeter::resize_spillable`]).
    fn set_spillable(&self, is_spillable: bool) {
        let _ = is_spillable;
    }
}

/// Heap pages charged to a [`MemoryMeter`].
pub struct MeteredPages {
    meter: Arc<dyn MemoryMeter>,
    is_spillable: AtomicBool,
    /// Bytes charged now. The lock is held while the meter is told, so that it sees totals in order; taken per page.
    held: Mutex<usize>,
}

impl MeteredPages {
    /// Pages charged to `meter`.
    #[must_use]
    pub fn new(meter: Arc<dyn MemoryMeter>) -> Self {
        Self { meter, is_spillable: AtomicBool::new(false), held: Mutex::new(0) }
    }

    /// Pages that nobody counts; for tools and tests.
    #[must_use]
    pub fn unmetered() -> Arc<dyn PageSource> {
        Arc::new(Self::new(Arc::new(Unmetered)))
    }

    /// Bytes charged now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PageSource for MeteredPages {
    fn charge(&self, bytes: usize) -> Result<(), Failure> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_spillable.load(Ordering::Relaxed) {
            self.meter.resize_spillable(*held, *held + bytes)?;
        } else {
            self.meter.resize(*held, *held + bytes)?;
        }
        *held += bytes;
        Ok(())
    }

    fn set_spillable(&self, is_spillable: bool) {
        self.is_spillable.store(is_spillable, Ordering::Relaxed);
    }

    fn discharge(&self, bytes: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = held.saturating_sub(bytes);
        // A meter refuses only growth, so there is nothing to do about an answer.
        let _ = self.meter.resize(*held, rest);
        *held = rest;
    }
}

/// Pages from a reservation of managed memory: segments of the arena for whole pages, heap for smaller pieces.
pub struct SegmentPages {
    reservation: Arc<Reservation>,
    is_spillable: AtomicBool,
}

impl SegmentPages {
    /// Pages charged to `reservation`, which may be charged with other things, too.
    #[must_use]
    pub fn new(reservation: Arc<Reservation>) -> Self {
        Self { reservation, is_spillable: AtomicBool::new(false) }
    }

    fn is_spillable(&self) -> bool {
        self.is_spillable.load(Ordering::Relaxed)
    }
}

impl PageSource for SegmentPages {
    fn charge(&self, bytes: usize) -> Result<(), Failure> {
        let bytes = bytes as u64;
        let grown = if self.is_spillable() {
            self.reservation.try_grow_spillable(bytes)
        } else {
            self.reservation.try_grow(bytes)
        };
        grown.map_err(refused)
    }

    fn discharge(&self, bytes: usize) {
        self.reservation.shrink(bytes as u64);
    }

    fn segment(&self, pages: usize) -> Result<Option<MemorySegment>, Failure> {
        let segment = if self.is_spillable() {
            self.reservation.allocate_spillable(pages)
        } else {
            self.reservation.allocate(pages)
        };
        match segment {
            Ok(segment) => Ok(Some(segment)),
            // No run of the arena is that long; single pages always are.
            Err(MemoryError::ArenaExhausted { .. }) if pages > 1 => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    fn set_spillable(&self, is_spillable: bool) {
        self.is_spillable.store(is_spillable, Ordering::Relaxed);
    }
}

/// Trying again with the same budget would be refused again.
fn refused(error: MemoryError) -> Failure {
    Failure::user(error)
}

/// A charge that takes itself back.
pub(crate) struct Charge {
    source: Arc<dyn PageSource>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn take(source: &Arc<dyn PageSource>, bytes: usize) -> Result<Self> {
        source.charge(bytes).map_err(|source| StateError::Memory { bytes, source })?;
        Ok(Self { source: Arc::clone(source), bytes })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.source.discharge(self.bytes);
    }
}

/// Memory of one page: zeroed values with one owner.
pub(crate) enum PageMemory<T: Pod> {
    Heap { values: Box<[T]>, _charge: Charge },
    Segment(MemorySegment),
}

impl<T: Pod + Default> PageMemory<T> {
    /// `length` zeroed values.
    pub(crate) fn allocate(source: &Arc<dyn PageSource>, length: usize) -> Result<Self> {
        let bytes = length * size_of::<T>();
        let refused = |failure| StateError::Memory { bytes, source: failure };
        if bytes.is_multiple_of(PAGE_BYTES)
            && (1..=RUN_PAGES_MAX).contains(&(bytes / PAGE_BYTES))
            && let Some(mut segment) = source.segment(bytes / PAGE_BYTES).map_err(refused)?
        {
            segment.as_mut_slice().fill(0);
            return Ok(Self::Segment(segment));
        }
        let charge = Charge::take(source, bytes)?;
        Ok(Self::Heap { values: vec![T::default(); length].into_boxed_slice(), _charge: charge })
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::Heap { values, .. } => values,
            Self::Segment(segment) => segment.as_slice_of(),
        }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::Heap { values, .. } => values,
            Self::Segment(segment) => segment.as_mut_slice_of(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

/// A page that is written, or that a snapshot may be reading.
pub(crate) enum Page<T: Pod> {
    Owned(PageMemory<T>),
    Shared(Arc<PageMemory<T>>),
    /// Only while a page changes hands inside one call.
    Moved,
}

impl<T: Pod + Default> Page<T> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::Owned(memory) => memory.as_slice(),
            Self::Shared(memory) => memory.as_slice(),
            Self::Moved => &[],
        }
    }

    /// The values to write; empty if the page is shared, which callers rule out.
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        match self {
            Self::Owned(memory) => memory.as_mut_slice(),
            Self::Shared(_) | Self::Moved => &mut [],
        }
    }

    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// Shares the page with a snapshot.
    pub(crate) fn share(&mut self) -> Self {
        let memory = match std::mem::replace(self, Self::Moved) {
            Self::Owned(memory) => Arc::new(memory),
            Self::Shared(memory) => memory,
            Self::Moved => unreachable!("a moved page is put back within one call"),
        };
        *self = Self::Shared(Arc::clone(&memory));
        Self::Shared(memory)
    }

    /// Makes the page writable: takes it back if nobody shares it any more, else copies it.
    pub(crate) fn unshare(&mut self, source: &Arc<dyn PageSource>) -> Result<()> {
        let Self::Shared(memory) = std::mem::replace(self, Self::Moved) else {
            unreachable!("only shared pages are unshared");
        };
        let owned = match Arc::try_unwrap(memory) {
            Ok(memory) => memory,
            Err(shared) => match PageMemory::allocate(source, shared.as_slice().len()) {
                Ok(mut copy) => {
                    copy.as_mut_slice().copy_from_slice(shared.as_slice());
                    copy
                }
                Err(error) => {
                    *self = Self::Shared(shared);
                    return Err(error);
                }
            },
        };
        *self = Self::Owned(owned);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Owned(memory) => memory.bytes(),
            Self::Shared(memory) => memory.bytes(),
            Self::Moved => 0,
        }
    }
}
