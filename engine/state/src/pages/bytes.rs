//! Bytes of strings in state: appended to blocks of 64 KiB, addressed by block and offset.
//!
//! A string in state is two words, laid out as Arrow's 16-byte view: length and first four bytes in the low word; the
//! other eight bytes of a short string (up to 12), or block and offset of a long one, in the high word. So almost every
//! comparison is decided by the low word, and short strings never touch the arena.
//!
//! The arena only grows; its owner counts garbage and rewrites it when that is most of it.

use std::sync::Arc;

use super::{Page, PageMemory, PageSource};
use crate::error::Result;

/// Longest string that a view holds itself.
pub const VIEW_INLINE_BYTES: usize = 12;

const BLOCK_BYTES: usize = 64 * 1024;
const FIRST_BLOCK_BYTES: usize = 1024;

/// The low word of a view, and the high word if the string is short (else 0).
#[inline]
pub(crate) fn view_words(bytes: &[u8]) -> (u64, u64) {
    let mut raw = [0u8; 16];
    raw[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    if bytes.len() <= VIEW_INLINE_BYTES {
        raw[4..4 + bytes.len()].copy_from_slice(bytes);
    } else {
        raw[4..8].copy_from_slice(&bytes[..4]);
    }
    let view = u128::from_le_bytes(raw);
    (view as u64, (view >> 64) as u64)
}

/// Length of the string of a view's low word.
#[inline]
pub(crate) fn view_length(low: u64) -> usize {
    low as u32 as usize
}

/// Append-only bytes.
pub struct ByteArena {
    blocks: Vec<Page<u8>>,
    /// Bytes used of the last block.
    filled: usize,
    /// Bytes stored in all.
    stored: usize,
    source: Arc<dyn PageSource>,
}

impl ByteArena {
    /// An empty arena.
    #[must_use]
    pub fn new(source: Arc<dyn PageSource>) -> Self {
        Self { blocks: Vec::new(), filled: 0, stored: 0, source }
    }

    /// Appends `bytes` and answers the high word of their view: block in the low, offset in the high half.
    ///
    /// # Errors
    /// If memory is refused.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64> {
        let room = self.blocks.last().map_or(0, |block| block.as_slice().len() - self.filled);
        if bytes.len() > room {
            self.add_room(bytes.len())?;
        }
        let index = self.blocks.len() - 1;
        let block = &mut self.blocks[index];
        if block.is_shared() {
            block.unshare(&self.source)?;
        }
        block.as_mut_slice()[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        let place = index as u64 | (self.filled as u64) << 32;
        self.filled += bytes.len();
        self.stored += bytes.len();
        Ok(place)
    }

    /// Room for `length` bytes at the end: a larger first block, or another block.
    fn add_room(&mut self, length: usize) -> Result<()> {
        if self.blocks.len() <= 1 && self.filled + length <= BLOCK_BYTES {
            let capacity = ((self.filled + length) * 2).next_power_of_two().clamp(FIRST_BLOCK_BYTES, BLOCK_BYTES);
            let mut memory = PageMemory::allocate(&self.source, capacity)?;
            if let Some(old) = self.blocks.pop() {
                memory.as_mut_slice()[..self.filled].copy_from_slice(&old.as_slice()[..self.filled]);
            }
            self.blocks.push(Page::Owned(memory));
            return Ok(());
        }
        self.blocks.push(Page::Owned(PageMemory::allocate(&self.source, length.max(BLOCK_BYTES))?));
        self.filled = 0;
        Ok(())
    }

    /// The bytes of a long string by its view.
    ///
    /// # Panics
    /// If the view is not of this arena.
    #[inline]
    #[must_use]
    pub fn get(&self, low: u64, high: u64) -> &[u8] {
        let start = (high >> 32) as usize;
        &self.blocks[high as u32 as usize].as_slice()[start..start + view_length(low)]
    }

    /// An arena over the same blocks, as of now.
    #[must_use]
    pub fn freeze(&mut self) -> Self {
        let blocks = self.blocks.iter_mut().map(Page::share).collect();
        Self { blocks, filled: self.filled, stored: self.stored, source: Arc::clone(&self.source) }
    }

    /// Bytes stored, garbage too.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.stored
    }

    /// Bytes of its blocks.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.blocks.iter().map(Page::bytes).sum()
    }
}
