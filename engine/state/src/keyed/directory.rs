//! From hashes to slots: open addressing in sub-tables that split instead of growing without end.
//!
//! A word holds the low 32 bits of a hash (the tag) above `slot + 1`; zero is empty. The tag's low bits are the home
//! position in a sub-table, its high bits (the ones right below the key group's) choose the sub-table, so growing and
//! splitting look at words alone and never at keys. A sub-table grows by four up to [`TABLE_WORDS_MAX`] (2 MiB), then
//! splits in two by the next bit: the longest pause is one rehash of at most 2 MiB, whatever the number of groups.
//!
//! Probing is linear at a load of at most 0.6. Two keys with one tag are told apart by whoever compares keys.
//! Source: R. Fagin and others, "Extendible Hashing", TODS 4/3, 1979.

use std::sync::Arc;

use crate::error::{Result, StateError};
use crate::pages::{PageMemory, PageSource};

/// Words of a sub-table at most: 2 MiB.
pub(crate) const TABLE_WORDS_MAX: usize = 1 << 18;
const TABLE_WORDS_MIN: usize = 256;
/// The tag has 32 bits, of which the lowest 18 are positions.
const DEPTH_MAX: u32 = 14;
/// Slots are 32 bits, zero stands for none.
pub(crate) const SLOTS_MAX: usize = u32::MAX as usize - 1;

struct SubTable {
    words: PageMemory<u64>,
    used: usize,
    /// How many of the tag's high bits all its words share.
    depth: u32,
}

impl SubTable {
    fn allocate(pages: &Arc<dyn PageSource>, words: usize, depth: u32) -> Result<Self> {
        Ok(Self { words: PageMemory::allocate(pages, words)?, used: 0, depth })
    }

    fn is_full(&self) -> bool {
        (self.used + 1) * 5 > self.words.as_slice().len() * 3
    }

    #[inline]
    fn put(&mut self, word: u64) {
        let words = self.words.as_mut_slice();
        let mask = words.len() - 1;
        let mut position = (word >> 32) as usize & mask;
        while words[position] != 0 {
            position = (position + 1) & mask;
        }
        words[position] = word;
        self.used += 1;
    }
}

/// Slots by hash.
pub(crate) struct Directory {
    tables: Vec<SubTable>,
    /// Sub-table by the tag's highest `depth` bits.
    index: Vec<u32>,
    depth: u32,
    pages: Arc<dyn PageSource>,
}

impl Directory {
    pub(crate) fn new(pages: Arc<dyn PageSource>) -> Self {
        Self { tables: Vec::new(), index: Vec::new(), depth: 0, pages }
    }

    /// Makes the first sub-table large enough for `slots`, at most its largest size.
    pub(crate) fn expect(&mut self, slots: usize) -> Result<()> {
        if self.tables.is_empty() {
            let words = (slots.saturating_mul(5) / 3 + 1)
                .checked_next_power_of_two()
                .unwrap_or(TABLE_WORDS_MAX)
                .clamp(TABLE_WORDS_MIN, TABLE_WORDS_MAX);
            self.tables.push(SubTable::allocate(&self.pages, words, 0)?);
            self.index = vec![0];
        }
        Ok(())
    }

    #[inline]
    fn table_of(&self, tag: u32) -> usize {
        self.index[(u64::from(tag) >> (32 - self.depth)) as usize] as usize
    }

    /// `slot + 1` of the first word with the tag of `hash`, or 0. The directory must have a table ([`Self::expect`]).
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> u32 {
        let tag = hash as u32;
        let words = self.tables[self.table_of(tag)].words.as_slice();
        let mask = words.len() - 1;
        let mut position = tag as usize & mask;
        loop {
            let word = words[position & mask];
            if word == 0 || (word >> 32) as u32 == tag {
                return word as u32;
            }
            position += 1;
        }
    }

    /// The first slot with the tag of `hash` for which `matches` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = hash as u32;
        let words = self.tables.get(self.table_of(tag))?.words.as_slice();
        let mask = words.len() - 1;
        let mut position = tag as usize & mask;
        loop {
            let word = words[position];
            if word == 0 {
                return None;
            }
            if (word >> 32) as u32 == tag && matches(word as u32 - 1) {
                return Some(word as u32 - 1);
            }
            position = (position + 1) & mask;
        }
    }

    /// Makes room for one more word of this hash.
    #[inline]
    pub(crate) fn reserve(&mut self, hash: u64) -> Result<()> {
        while self.tables[self.table_of(hash as u32)].is_full() {
            self.grow(hash as u32)?;
        }
        Ok(())
    }

    /// Adds a slot, for which there is room ([`Self::reserve`]).
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let tag = hash as u32;
        let table = self.table_of(tag);
        self.tables[table].put(u64::from(tag) << 32 | u64::from(slot + 1));
    }

    #[cold]
    fn grow(&mut self, tag: u32) -> Result<()> {
        let id = self.table_of(tag);
        let (length, depth) = (self.tables[id].words.as_slice().len(), self.tables[id].depth);
        if length < TABLE_WORDS_MAX {
            let mut larger = SubTable::allocate(&self.pages, (length * 4).min(TABLE_WORDS_MAX), depth)?;
            for &word in self.tables[id].words.as_slice().iter().filter(|w| **w != 0) {
                larger.put(word);
            }
            self.tables[id] = larger;
            return Ok(());
        }
        if depth == DEPTH_MAX {
            return Err(StateError::TooManyGroups { max: SLOTS_MAX });
        }
        let mut halves = [
            SubTable::allocate(&self.pages, TABLE_WORDS_MAX, depth + 1)?,
            SubTable::allocate(&self.pages, TABLE_WORDS_MAX, depth + 1)?,
        ];
        for &word in self.tables[id].words.as_slice().iter().filter(|w| **w != 0) {
            halves[(word >> (63 - depth)) as usize & 1].put(word);
        }
        if depth == self.depth {
            self.index = self.index.iter().flat_map(|&table| [table, table]).collect();
            self.depth += 1;
        }
        let new_id = self.tables.len() as u32;
        let [low, high] = halves;
        self.tables[id] = low;
        self.tables.push(high);
        // All index entries of the old table lie side by side; the upper half of them now leads to the new one.
        let entries = 1usize << (self.depth - depth);
        let first = (u64::from(tag) >> (32 - depth)) as usize * entries;
        self.index[first + entries / 2..first + entries].fill(new_id);
        Ok(())
    }

    /// Removes a slot that is there. The words behind it move up, so there are no tombstones.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let tag = hash as u32;
        let id = self.table_of(tag);
        let table = &mut self.tables[id];
        let words = table.words.as_mut_slice();
        let mask = words.len() - 1;
        let mut hole = tag as usize & mask;
        while words[hole] as u32 != slot + 1 {
            assert!(words[hole] != 0, "a slot is removed once");
            hole = (hole + 1) & mask;
        }
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let word = words[next];
            if word == 0 {
                break;
            }
            // A word may move into the hole unless its home lies between the hole and itself.
            let home = (word >> 32) as usize & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                words[hole] = word;
                hole = next;
            }
        }
        words[hole] = 0;
        table.used -= 1;
    }

    pub(crate) fn clear(&mut self) {
        self.tables.clear();
        self.index.clear();
        self.depth = 0;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.tables.iter().map(|t| t.words.bytes()).sum::<usize>() + self.index.len() * 4
    }

    #[cfg(test)]
    pub(crate) fn table_count(&self) -> usize {
        self.tables.len()
    }
}
