//! The keys of the groups, by slot.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::types::Field;

use super::layout::{EncodedKeys, KeyLayout};
use crate::error::Result;
use crate::pages::{ByteArena, PageSource, SlotColumn, VIEW_INLINE_BYTES, view_length};

/// Garbage below this is not worth a rewrite.
const GARBAGE_BYTES_MIN: usize = 1 << 20;

/// Key rows, NULL masks and string bytes.
pub(crate) struct KeyStore {
    pub(crate) layout: Arc<KeyLayout>,
    rows: SlotColumn<u64>,
    /// Absent until the first NULL; slots without memory have none.
    nulls: Option<SlotColumn<u64>>,
    arena: ByteArena,
    garbage_bytes: usize,
    pages: Arc<dyn PageSource>,
}

impl KeyStore {
    pub(crate) fn new(fields: Vec<Field>, pages: &Arc<dyn PageSource>) -> Result<Self> {
        let layout = Arc::new(KeyLayout::new(fields)?);
        Ok(Self {
            rows: SlotColumn::with_stride(Arc::clone(pages), layout.words),
            layout,
            nulls: None,
            arena: ByteArena::new(Arc::clone(pages)),
            garbage_bytes: 0,
            pages: Arc::clone(pages),
        })
    }

    pub(crate) fn reserve(&mut self, slots: usize) -> Result<()> {
        self.rows.reserve(slots)
    }

    /// Whether NULL masks have to be compared.
    #[inline]
    pub(crate) fn has_nulls(&self) -> bool {
        self.nulls.is_some()
    }

    #[inline]
    fn null_mask(&self, slot: u32) -> u64 {
        match &self.nulls {
            Some(nulls) if (slot as usize) < nulls.capacity() => nulls.get(slot),
            _ => 0,
        }
    }

    /// Whether the key of a slot is that of the i-th encoded row, whose physical row is `row`.
    #[inline]
    pub(crate) fn equals(&self, slot: u32, keys: &EncodedKeys<'_>, i: usize, row: usize) -> bool {
        let width = self.layout.words;
        let stored = self.rows.row(slot);
        let probe = &keys.words[i * width..(i + 1) * width];
        if self.layout.views.is_empty() {
            return stored == probe && (!self.has_nulls() && keys.nulls.is_empty() || self.null_matches(slot, keys, i));
        }
        self.layout.plain_words.iter().all(|w| stored[*w] == probe[*w])
            && self.layout.views.iter().enumerate().all(|(v, &(_, word))| {
                stored[word] == probe[word]
                    && if view_length(probe[word]) <= VIEW_INLINE_BYTES {
                        stored[word + 1] == probe[word + 1]
                    } else {
                        self.arena.get(stored[word], stored[word + 1]) == keys.bytes(v, row)
                    }
            })
            && self.null_matches(slot, keys, i)
    }

    #[inline]
    fn null_matches(&self, slot: u32, keys: &EncodedKeys<'_>, i: usize) -> bool {
        self.null_mask(slot) == keys.null_mask(i)
    }

    /// The one word of a slot, for layouts that have one.
    #[inline]
    pub(crate) fn word(&self, slot: u32) -> u64 {
        self.rows.get(slot)
    }

    /// Two words of a slot, for layouts that have two.
    #[inline]
    pub(crate) fn two_words(&self, slot: u32) -> [u64; 2] {
        let row = self.rows.row(slot);
        [row[0], row[1]]
    }

    /// Stores the i-th encoded row (physical row `row`) as the key of a slot that has memory.
    pub(crate) fn store(&mut self, slot: u32, keys: &EncodedKeys<'_>, i: usize, row: usize) -> Result<()> {
        let width = self.layout.words;
        let words = &keys.words[i * width..(i + 1) * width];
        if self.layout.views.is_empty() {
            self.rows.set_row(slot, words)?;
        } else {
            let mut words = words.to_vec();
            for (v, &(_, word)) in self.layout.views.iter().enumerate() {
                if view_length(words[word]) > VIEW_INLINE_BYTES {
                    words[word + 1] = self.arena.push(keys.bytes(v, row))?;
                }
            }
            self.rows.set_row(slot, &words)?;
        }
        let mask = keys.null_mask(i);
        if mask != 0 && self.nulls.is_none() {
            self.nulls = Some(SlotColumn::new(Arc::clone(&self.pages)));
        }
        if let Some(nulls) = &mut self.nulls {
            nulls.reserve(slot as usize + 1)?;
            nulls.set(slot, mask)?;
        }
        Ok(())
    }

    /// Notes that the keys of these slots are gone, and rewrites the strings of the others if most are garbage.
    pub(crate) fn discard(&mut self, slots: &[u32], live: impl Iterator<Item = u32>) -> Result<()> {
        if self.layout.views.is_empty() {
            return Ok(());
        }
        for &slot in slots {
            let row = self.rows.row(slot);
            let bytes = |&(_, word): &(usize, usize)| view_length(row[word]);
            self.garbage_bytes += self.layout.views.iter().map(bytes).filter(|n| *n > VIEW_INLINE_BYTES).sum::<usize>();
        }
        if self.garbage_bytes < GARBAGE_BYTES_MIN || self.garbage_bytes * 2 < self.arena.stored_bytes() {
            return Ok(());
        }
        let mut arena = ByteArena::new(Arc::clone(&self.pages));
        let mut words = Vec::with_capacity(self.layout.words);
        for slot in live {
            words.clear();
            words.extend_from_slice(self.rows.row(slot));
            let mut moved = false;
            for &(_, word) in &self.layout.views {
                if view_length(words[word]) > VIEW_INLINE_BYTES {
                    words[word + 1] = arena.push(self.arena.get(words[word], words[word + 1]))?;
                    moved = true;
                }
            }
            if moved {
                self.rows.set_row(slot, &words)?;
            }
        }
        self.arena = arena;
        self.garbage_bytes = 0;
        Ok(())
    }

    /// The key columns of `slots`, in their canonical Arrow types.
    pub(crate) fn export(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        (0..self.layout.fields.len())
            .map(|c| {
                self.layout.decode(
                    c,
                    slots,
                    |slot| self.rows.row(slot),
                    |slot| self.null_mask(slot),
                    self.has_nulls(),
                    |low, high| self.arena.get(low, high),
                )
            })
            .collect()
    }

    pub(crate) fn freeze(&mut self) -> Self {
        Self {
            layout: Arc::clone(&self.layout),
            rows: self.rows.freeze(),
            nulls: self.nulls.as_mut().map(SlotColumn::freeze),
            arena: self.arena.freeze(),
            garbage_bytes: self.garbage_bytes,
            pages: Arc::clone(&self.pages),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.release();
        self.nulls = None;
        self.arena = ByteArena::new(Arc::clone(&self.pages));
        self.garbage_bytes = 0;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes() + self.nulls.as_ref().map_or(0, SlotColumn::memory_bytes) + self.arena.memory_bytes()
    }
}
