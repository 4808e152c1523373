//! The build side of a hash join: keys columnar, duplicates contiguous, probed a batch at a time.
//!
//! # Layout
//!
//! Building takes the concatenated build batch once, sorts its rows by bucket (a counting sort over the low bits of the
//! hash, stable) and gathers the columns in that order. So a bucket is a range of rows, a duplicate's payload lies beside
//! its twin's, and a match is a row number of [`JoinTable::batch`] with no list in between. The directory has one word
//! for each bucket, 48 bits of start and 16 bits of tag; the next word's start is the end:
//!
//! ```text
//! word[b]   = start[b] << 16 | tag[b]        tag = OR over the bucket's rows of two bits chosen by hash bits 40..48
//! rows of b = start[b] .. start[b + 1]
//! ```
//!
//! A row that is not in the table is refused by the tag in most cases, without touching a key.
//!
//! A single integer key (also a date, timestamp or decimal) whose values span at most four times the build rows, or a
//! million, needs no hash: [`Layout::Unique`] is an array of row numbers over the span, [`Layout::Ranges`] the same
//! with ranges for duplicates. TPC-H keys are of this kind at any scale. Up to 64 times the rows, what a filter leaves of
//! such keys, the value's rank among those that occur takes the place of its hash (`ranks`): rows lie in key order,
//! probing needs no key comparison, and neighbouring keys share a cache line, as in a fact table stored by its key.
//!
//! Rows with a NULL in the key match nothing (unless `null_equals_null`) and lie behind all others.
//!
//! # Probing
//!
//! In stages over the whole batch: directory words of all rows; the tags narrow to candidates; candidates expand to
//! pairs, at most as many as the caller takes; the pairs' keys are compared column by column. A cursor holds what is
//! left, so that a hot key costs time, not memory.
//!
//! # Cost
//!
//! Measured (`benches/RESULTS.md`), per probe row: hashed 14-17 ns in cache and 72-78 beyond (floors 3-6 and 12-20), direct
//! 3 in cache and 19-21 with 32 MiB of directory, ranked 6-9 with 1.4 MiB of words. Memory: 8 bytes per row for the
//! directory (4 per value of a direct span, a quarter of a byte of a ranked one), beside the batch; twice the batch
//! while building.

mod build;
mod matches;
mod probe;
mod ranks;
mod runtime_filter;
#[cfg(test)]
mod tests;

use flumen_core::batch::{Batch, Column};

use crate::compare::NullEquality;
use ranks::Ranks;

pub use build::JoinTableOptions;
pub use matches::MatchBitmap;
pub use probe::{Pairs, ProbeCursor, ProbeInput, ProbeStatus};

/// No row, in [`Layout::Unique`].
const EMPTY: u32 = u32::MAX;

/// How rows are found.
enum Layout {
    /// No two rows share the key `min + index`: its row, or [`EMPTY`].
    Unique { min: i64, rows: Vec<u32> },
    /// Rows `starts[index]..starts[index + 1]` have the key `min + index`.
    Ranges { min: i64, starts: Vec<u32> },
    /// The key `min + index` is that of the row that is its rank.
    RankedUnique { min: i64, ranks: Ranks },
    /// Its rows are `starts[rank]..starts[rank + 1]`.
    RankedRanges { min: i64, ranks: Ranks, starts: Vec<u32> },
    /// Buckets of the hash's low bits.
    Hashed(Directory),
}

/// See the module's header. There is one word more than buckets.
struct Directory {
    words: Vec<u64>,
    mask: u64,
}

/// The build side of a hash join.
pub struct JoinTable {
    batch: Batch,
    key_columns: Vec<usize>,
    nulls: NullEquality,
    layout: Layout,
    /// Rows that can match; those with NULL keys follow.
    matchable_rows: usize,
    is_unique: Option<bool>,
}

impl JoinTable {
    /// The build rows, in the order that build indices refer to: materialized, duplicates contiguous.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Rows of the build side, also those that cannot match.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether some build row has a NULL in its key and therefore matches nothing.
    #[must_use]
    pub fn has_unmatchable_rows(&self) -> bool {
        self.matchable_rows < self.batch.num_rows()
    }

    /// Whether probing reads hashes; without, [`ProbeInput::hashes`] may be empty.
    #[must_use]
    pub fn needs_hashes(&self) -> bool {
        matches!(self.layout, Layout::Hashed(_))
    }

    /// Whether no two build rows share a key, if that is known.
    #[must_use]
    pub fn is_unique(&self) -> Option<bool> {
        self.is_unique
    }

    /// Bytes held: batch and directory.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let directory = match &self.layout {
            Layout::Unique { rows, .. } => rows.capacity() * size_of::<u32>(),
            Layout::Ranges { starts, .. } => starts.capacity() * size_of::<u32>(),
            Layout::RankedUnique { ranks, .. } => ranks.memory_size(),
            Layout::RankedRanges { ranks, starts, .. } => ranks.memory_size() + starts.capacity() * size_of::<u32>(),
            Layout::Hashed(directory) => directory.words.capacity() * size_of::<u64>(),
        };
        self.batch.memory_size() + directory
    }

    fn key_column(&self, key: usize) -> &Column {
        self.batch.column(self.key_columns[key])
    }
}
