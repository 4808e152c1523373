//! The best N rows of a stream of batches, by key alone: where their payload lies is the caller's business.
//!
//! A heap holds the keys of the best rows so far, worst on top. A batch is first filtered by the prefix of that worst
//! one; in a long stream hardly any row passes. Earlier rows win ties, so the result is that of a
//! stable sort.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use flumen_core::batch::{Column, Selection};
use flumen_core::spec::relational::SortKey;
use flumen_core::types::LogicalType;

use super::{KeyEncoder, PrefixLayout};
use crate::error::KernelError;

/// The best rows of the batches offered so far.
pub struct TopN {
    layout: PrefixLayout,
    encoder: KeyEncoder,
    rows_max: usize,
    heap: BinaryHeap<Entry>,
    /// Batches offered so far.
    batches: u32,
}

/// A row that is among the best: the larger, the worse.
#[derive(PartialEq, Eq)]
struct Entry {
    prefix: u128,
    /// The whole key; the order of prefixes alone may leave rows undecided.
    key: Box<[u8]>,
    batch: u32,
    row: u32,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.prefix, &self.key, self.batch, self.row).cmp(&(other.prefix, &other.key, other.batch, other.row))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TopN {
    /// The best `rows_max` rows by the keys.
    ///
    /// # Panics
    /// If a key names a column that is not there.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for a type without order.
    pub fn new(types: &[LogicalType], keys: &[SortKey], rows_max: usize) -> Result<Self, KernelError> {
        // Later batches may have NULLs even if the first has none.
        let layout = PrefixLayout::new(types, keys, |_| true)?;
        let encoder = KeyEncoder::new(types, keys)?;
        Ok(Self { layout, encoder, rows_max, heap: BinaryHeap::new(), batches: 0 })
    }

    /// Offers the next batch; returns its rows that came among the best, ascending: only these need be kept, although
    /// some may have been displaced since. Batches are numbered from 0 in the order of these calls.
    ///
    /// # Panics
    /// If a column is missing or has fewer than `rows` rows.
    ///
    /// # Errors
    /// [`KernelError::Column`] if an array is not of its column's type.
    pub fn offer(
        &mut self,
        columns: &[&Column],
        rows: usize,
        selection: Option<&Selection>,
    ) -> Result<Selection, KernelError> {
        let batch = self.batches;
        self.batches += 1;
        if self.rows_max == 0 {
            return Ok(Selection::from(Vec::new()));
        }
        let prefixes = self.layout.encode(columns, rows)?;
        // A row whose prefix equals the boundary's may still be better, unless the prefix is the whole key.
        let limit = match self.heap.peek() {
            Some(worst) if self.heap.len() == self.rows_max => {
                if self.layout.is_always_exact() && prefixes.is_exact {
                    worst.prefix.checked_sub(1)
                } else {
                    Some(worst.prefix)
                }
            }
            _ => Some(u128::MAX),
        };
        let Some(limit) = limit else { return Ok(Selection::from(Vec::new())) };
        let candidates = up_to(&prefixes.values, limit, selection);
        if candidates.is_empty() {
            return Ok(candidates.into());
        }
        let encoded = self.encoder.encode(columns, &candidates)?;
        let mut accepted = Vec::new();
        for (index, row) in candidates.iter().enumerate() {
            let prefix = prefixes.values[*row as usize];
            let key = encoded.bytes(index);
            if self.heap.len() == self.rows_max {
                let worst = self.heap.peek().expect("rows_max is not zero");
                // At equal keys the earlier row stays.
                if (prefix, key) >= (worst.prefix, &*worst.key) {
                    continue;
                }
                self.heap.pop();
            }
            self.heap.push(Entry { prefix, key: key.into(), batch, row: *row });
            accepted.push(*row);
        }
        Ok(accepted.into())
    }

    /// The best rows so far as (batch, physical row), best first.
    #[must_use]
    pub fn rows(&self) -> Vec<(u32, u32)> {
        let mut entries: Vec<&Entry> = self.heap.iter().collect();
        entries.sort_unstable();
        entries.iter().map(|e| (e.batch, e.row)).collect()
    }

    /// The worst of the best rows as (batch, physical row), once there are as many as wanted: whatever is not better
    /// need not be read.
    #[must_use]
    pub fn boundary(&self) -> Option<(u32, u32)> {
        self.heap.peek().filter(|_| self.heap.len() == self.rows_max).map(|e| (e.batch, e.row))
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let keys: usize = self.heap.iter().map(|e| e.key.len()).sum();
        self.heap.capacity() * size_of::<Entry>() + keys
    }
}

/// Selected rows whose prefix is at most `limit`.
fn up_to(prefixes: &[u128], limit: u128, selection: Option<&Selection>) -> Vec<u32> {
    // The upper halves decide nearly always, and compare in half the time.
    let limit_high = (limit >> 64) as u64;
    let passes = |row: u32| (prefixes[row as usize] >> 64) as u64 <= limit_high;
    let mut rows = vec![0; selection.map_or(prefixes.len(), |s| s.len())];
    let mut len = 0;
    let mut push = |row: u32| {
        rows[len] = row;
        len += usize::from(passes(row));
    };
    match selection {
        None => (0..prefixes.len() as u32).for_each(&mut push),
        Some(selection) => selection.iter().for_each(|row| push(*row)),
    }
    rows.truncate(len);
    rows.retain(|row| prefixes[*row as usize] <= limit);
    rows
}
