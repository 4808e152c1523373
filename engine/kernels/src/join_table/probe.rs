//! Probing a batch, in stages and in bounded pieces.

use arrow_array::Array;
use arrow_buffer::NullBuffer;
use flumen_core::batch::{Column, Selection};

use super::build::{IntegerKeys, tag};
use super::{Directory, EMPTY, JoinTable, Layout, MatchBitmap};
use crate::compare::{NullEquality, rows_equal};
use crate::error::KernelError;

/// The rows of the probe side.
#[derive(Clone, Copy)]
pub struct ProbeInput<'a> {
    /// Hashes of the key columns by physical row; may be empty if the table needs none.
    pub hashes: &'a [u64],
    /// The key columns, in the order of the table's.
    pub keys: &'a [&'a Column],
    /// Physical rows.
    pub rows: usize,
    /// Which of them count.
    pub selection: Option<&'a Selection>,
}

/// Pairs that match: physical rows of the probe batch (ascending) and rows of [`JoinTable::batch`].
#[derive(Debug, Default)]
pub struct Pairs {
    /// Probe rows.
    pub probe: Vec<u32>,
    /// Build rows.
    pub build: Vec<u32>,
}

impl Pairs {
    /// How many pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probe.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probe.is_empty()
    }

    fn clear(&mut self) {
        self.probe.clear();
        self.build.clear();
    }
}

/// Whether a probe is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum ProbeStatus {
    /// All pairs of the batch were returned; the cursor is ready for the next batch.
    Finished,
    /// Call again with the same input and cursor.
    HasMore,
}

/// How far the probe of one batch got. Keeps its allocations from batch to batch.
#[derive(Debug, Default)]
pub struct ProbeCursor {
    is_started: bool,
    /// Rows that may match, and the range of build rows each may match.
    candidates: Candidates,
    /// Candidate to continue with; its range's start has moved with it.
    next: usize,
    matches: Vec<u32>,
}

#[derive(Debug, Default)]
struct Candidates {
    rows: Vec<u32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Candidates {
    /// Makes room for `rows` candidates; what is in them is overwritten.
    fn resize(&mut self, rows: usize) {
        self.rows.resize(rows, 0);
        self.starts.resize(rows, 0);
        self.ends.resize(rows, 0);
    }

    /// Writes one candidate at `len`, and returns the next `len`: without a branch, as few can be foretold.
    #[inline(always)]
    fn push(&mut self, len: usize, row: u32, start: u32, end: u32, is_candidate: bool) -> usize {
        self.rows[len] = row;
        self.starts[len] = start;
        self.ends[len] = end;
        len + usize::from(is_candidate)
    }
}

impl JoinTable {
    /// The next matching pairs, at most `pairs_max`; they replace what was in `pairs`. There may be none although more
    /// follow.
    ///
    /// # Panics
    /// If `pairs_max` is zero, there are not as many key columns as the table's, or hashes are missing.
    ///
    /// # Errors
    /// [`KernelError::Column`] if a dictionary key cannot be flattened.
    pub fn probe(
        &self,
        input: &ProbeInput<'_>,
        cursor: &mut ProbeCursor,
        pairs_max: usize,
        pairs: &mut Pairs,
    ) -> Result<ProbeStatus, KernelError> {
        assert!(pairs_max > 0, "room for a pair");
        pairs.clear();
        if !cursor.is_started {
            self.find_candidates(input, &mut cursor.candidates)?;
            (cursor.is_started, cursor.next) = (true, 0);
        }
        let must_compare = self.needs_hashes();
        while cursor.next < cursor.candidates.rows.len() {
            let from = pairs.len();
            expand(cursor, pairs, pairs_max);
            if must_compare {
                self.keep_equal(input, pairs, from, &mut cursor.matches);
            }
            // The rest of the room is not worth another round.
            if pairs.len() * 2 > pairs_max {
                break;
            }
        }
        if cursor.next < cursor.candidates.rows.len() {
            return Ok(ProbeStatus::HasMore);
        }
        cursor.is_started = false;
        Ok(ProbeStatus::Finished)
    }

    /// The selected rows that have a match (semi join): each once, whatever the number of matches.
    ///
    /// # Panics
    /// As [`probe`](Self::probe).
    ///
    /// # Errors
    /// As [`probe`](Self::probe).
    pub fn matching_rows(&self, input: &ProbeInput<'_>, cursor: &mut ProbeCursor) -> Result<Selection, KernelError> {
        let candidates = &mut cursor.candidates;
        self.find_candidates(input, candidates)?;
        if !self.needs_hashes() {
            return Ok(candidates.rows.iter().copied().collect());
        }
        // Round by round every candidate compares one build row; it leaves when that matches or its range ends.
        let mut matched = MatchBitmap::new(input.rows);
        let keys = self.keys();
        while !candidates.rows.is_empty() {
            rows_equal(input.keys, &candidates.rows, &keys, &candidates.starts, self.nulls, &mut cursor.matches);
            cursor.matches.iter().for_each(|at| matched.mark(candidates.rows[*at as usize]));
            let mut len = 0;
            for at in 0..candidates.rows.len() {
                let (row, start, end) = (candidates.rows[at], candidates.starts[at] + 1, candidates.ends[at]);
                len = candidates.push(len, row, start, end, start < end && !matched.is_marked(row));
            }
            candidates.resize(len);
        }
        Ok(matched.marked(input.selection))
    }

    fn keys(&self) -> Vec<&Column> {
        (0..self.key_columns.len()).map(|key| self.key_column(key)).collect()
    }

    /// Drops the pairs from `from` on whose keys differ.
    fn keep_equal(&self, input: &ProbeInput<'_>, pairs: &mut Pairs, from: usize, matches: &mut Vec<u32>) {
        rows_equal(input.keys, &pairs.probe[from..], &self.keys(), &pairs.build[from..], self.nulls, matches);
        if matches.len() == pairs.len() - from {
            return;
        }
        for (to, at) in matches.iter().enumerate() {
            pairs.probe[from + to] = pairs.probe[from + *at as usize];
            pairs.build[from + to] = pairs.build[from + *at as usize];
        }
        pairs.probe.truncate(from + matches.len());
        pairs.build.truncate(from + matches.len());
    }

    fn find_candidates(&self, input: &ProbeInput<'_>, out: &mut Candidates) -> Result<(), KernelError> {
        assert_eq!(input.keys.len(), self.key_columns.len(), "as many keys on both sides");
        let len = match &self.layout {
            Layout::Unique { min, rows } => {
                let find = |index: u64| match rows.get(index as usize) {
                    Some(row) => (*row, row.wrapping_add(1), *row != EMPTY),
                    None => (0, 0, false),
                };
                find_integers(input, *min, find, out)?
            }
            Layout::Ranges { min, starts } => {
                let find = |index: u64| match starts.get(index as usize..).and_then(|s| s.first_chunk::<2>()) {
                    Some([start, end]) => (*start, *end, start < end),
                    None => (0, 0, false),
                };
                find_integers(input, *min, find, out)?
            }
            Layout::RankedUnique { min, ranks } => {
                let find = |index: u64| {
                    let (rank, occurs) = ranks.find(index);
                    (rank, rank.wrapping_add(1), occurs)
                };
                find_integers(input, *min, find, out)?
            }
            Layout::RankedRanges { min, ranks, starts } => {
                let find = |index: u64| {
                    let (rank, occurs) = ranks.find(index);
                    match starts.get(rank as usize..).and_then(|s| s.first_chunk::<2>()) {
                        Some([start, end]) => (*start, *end, occurs),
                        None => (0, 0, false),
                    }
                };
                find_integers(input, *min, find, out)?
            }
            Layout::Hashed(directory) => {
                assert!(input.hashes.len() >= input.rows, "a hash for each row");
                let nulls = match self.nulls {
                    NullEquality::NullsDiffer => null_keys(input),
                    NullEquality::NullsEqual => None,
                };
                find_hashed(input, directory, nulls.as_ref(), out)
            }
        };
        out.resize(len);
        Ok(())
    }
}

/// Rows in which a key is NULL; a constant NULL makes all of them so.
fn null_keys(input: &ProbeInput<'_>) -> Option<NullBuffer> {
    let nulls: Vec<_> = input
        .keys
        .iter()
        .map(|key| match key {
            Column::Array(array) => array.logical_nulls(),
            Column::Constant(value) if value.logical_null_count() > 0 => Some(NullBuffer::new_null(input.rows)),
            Column::Constant(_) => None,
        })
        .collect();
    NullBuffer::union_many(nulls.iter().map(Option::as_ref)).filter(|n| n.null_count() > 0)
}

/// Calls `visit` for each row that counts and is not null.
#[inline(always)]
fn for_each_row(input: &ProbeInput<'_>, nulls: Option<&NullBuffer>, mut visit: impl FnMut(u32)) {
    match (input.selection, nulls) {
        (None, None) => (0..input.rows as u32).for_each(visit),
        (None, Some(nulls)) => nulls.valid_indices().for_each(|row| visit(row as u32)),
        (Some(selection), None) => selection.iter().for_each(|row| visit(*row)),
        (Some(selection), Some(nulls)) => {
            selection.iter().filter(|row| nulls.is_valid(**row as usize)).for_each(|row| visit(*row));
        }
    }
}

fn find_hashed(
    input: &ProbeInput<'_>,
    directory: &Directory,
    nulls: Option<&NullBuffer>,
    out: &mut Candidates,
) -> usize {
    out.resize(input.selection.map_or(input.rows, |s| s.len()) + 1);
    let mut len = 0;
    for_each_row(input, nulls, |row| {
        let hash = input.hashes[row as usize];
        let bucket = (hash & directory.mask) as usize;
        let (word, next, tag) = (directory.words[bucket], directory.words[bucket + 1], tag(hash));
        len = out.push(len, row, (word >> 16) as u32, (next >> 16) as u32, word & tag == tag);
    });
    len
}

fn find_integers(
    input: &ProbeInput<'_>,
    min: i64,
    find: impl Fn(u64) -> (u32, u32, bool),
    out: &mut Candidates,
) -> Result<usize, KernelError> {
    out.resize(input.selection.map_or(input.rows, |s| s.len()) + 1);
    let mut len = 0;
    // Keys of another type than integers match none.
    let Some(keys) = IntegerKeys::of(input.keys[0].array())? else { return Ok(0) };
    if matches!(input.keys[0], Column::Constant(_)) {
        if keys.nulls.is_none() {
            let (start, end, is_candidate) = find(keys.values[0].wrapping_sub(min) as u64);
            for_each_row(input, None, |row| len = out.push(len, row, start, end, is_candidate));
        }
        return Ok(len);
    }
    for_each_row(input, keys.nulls.as_ref(), |row| {
        let (start, end, is_candidate) = find(keys.values[row as usize].wrapping_sub(min) as u64);
        len = out.push(len, row, start, end, is_candidate);
    });
    Ok(len)
}

/// Turns candidates into pairs until `pairs_max` is reached or none is left.
fn expand(cursor: &mut ProbeCursor, pairs: &mut Pairs, pairs_max: usize) {
    let Candidates { rows, starts, ends } = &mut cursor.candidates;
    while cursor.next < rows.len() {
        let (row, start, end) = (rows[cursor.next], starts[cursor.next], ends[cursor.next]);
        let room = pairs_max - pairs.len();
        let count = (end - start) as usize;
        if count == 1 && room > 0 {
            pairs.probe.push(row);
            pairs.build.push(start);
        } else {
            let taken = count.min(room);
            pairs.probe.resize(pairs.probe.len() + taken, row);
            pairs.build.extend(start..start + taken as u32);
            if taken < count {
                starts[cursor.next] += taken as u32;
                return;
            }
        }
        cursor.next += 1;
    }
}
