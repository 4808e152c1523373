//! Merging sorted runs by a loser tree, in bounded pieces.
//!
//! Each run is a sequence of sorted batches, of which the merge sees one at a time. The tree's leaves are the runs; each
//! inner node remembers the loser of its match and passes the winner up, so the next row costs one comparison per
//! level, along one path. At equal keys the lower run wins, so merging the runs of a stable sort is stable.
//!
//! The protocol: [`SortedMerge::merge`] answers [`MergeStatus::NeedsInput`] for a run without rows; gather what it has
//! put out so far (its indices refer to the runs' current batches), then [`feed`](SortedMerge::feed) the run's next
//! batch, or [`end`](SortedMerge::end) it, and go on.

use std::cmp::Ordering;

use flumen_core::batch::Column;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::LogicalType;

use super::{EncodedKeys, KeyEncoder, PrefixLayout};
use crate::error::KernelError;

/// What a merge needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum MergeStatus {
    /// As many rows as wanted were put out; call again for more.
    Full,
    /// This run's batch is at its end: feed the next one or end the run.
    NeedsInput(usize),
    /// All runs are at their end.
    Finished,
}

/// Merges sorted runs.
pub struct SortedMerge {
    layout: PrefixLayout,
    encoder: KeyEncoder,
    runs: Vec<Run>,
    /// Node 0 holds the winner, the others the losers; the children of node n are 2n and 2n + 1, and leaf r is node
    /// `runs + r`. Empty until every run has been fed.
    tree: Vec<usize>,
}

enum Run {
    /// Before its first batch, or between two.
    Hungry,
    Ready(Keys),
    Ended,
}

struct Keys {
    prefixes: Vec<u128>,
    /// Whole keys, if prefixes may leave rows undecided.
    encoded: Option<EncodedKeys>,
    next: usize,
}

impl SortedMerge {
    /// A merge of `runs` runs, none of which has been fed.
    ///
    /// # Panics
    /// If a key names a column that is not there.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for a type without order.
    pub fn new(types: &[LogicalType], keys: &[SortKey], runs: usize) -> Result<Self, KernelError> {
        let layout = PrefixLayout::new(types, keys, |_| true)?;
        let encoder = KeyEncoder::new(types, keys)?;
        Ok(Self { layout, encoder, runs: (0..runs).map(|_| Run::Hungry).collect(), tree: Vec::new() })
    }

    /// The next batch of a run: its columns, all of whose `rows` rows count and are sorted after the run's last.
    ///
    /// # Panics
    /// If the run does not need input.
    ///
    /// # Errors
    /// [`KernelError::Column`] if an array is not of its column's type.
    pub fn feed(&mut self, run: usize, columns: &[&Column], rows: usize) -> Result<(), KernelError> {
        assert!(matches!(self.runs[run], Run::Hungry), "run {run} needs input");
        if rows == 0 {
            return Ok(());
        }
        let prefixes = self.layout.encode(columns, rows)?;
        // That this batch's prefixes are exact is not enough: another's may tie with them.
        let encoded = if self.layout.is_always_exact() && prefixes.is_exact {
            None
        } else {
            let all: Vec<u32> = (0..rows as u32).collect();
            Some(self.encoder.encode(columns, &all)?)
        };
        self.runs[run] = Run::Ready(Keys { prefixes: prefixes.values, encoded, next: 0 });
        self.replay_if_built(run);
        Ok(())
    }

    /// The run has no further batch.
    ///
    /// # Panics
    /// If the run does not need input.
    pub fn end(&mut self, run: usize) {
        assert!(matches!(self.runs[run], Run::Hungry), "run {run} needs input");
        self.runs[run] = Run::Ended;
        self.replay_if_built(run);
    }

    /// Appends up to `rows_max` rows in order, as (run, row of its current batch).
    pub fn merge(&mut self, rows_max: usize, out: &mut Vec<(u32, u32)>) -> MergeStatus {
        if let Some(hungry) = self.runs.iter().position(|r| matches!(r, Run::Hungry)) {
            return MergeStatus::NeedsInput(hungry);
        }
        if self.tree.is_empty() && !self.runs.is_empty() {
            self.build();
        }
        for _ in 0..rows_max {
            let Some(winner) = self.tree.first().copied() else { return MergeStatus::Finished };
            let Run::Ready(keys) = &mut self.runs[winner] else { return MergeStatus::Finished };
            out.push((winner as u32, keys.next as u32));
            keys.next += 1;
            if keys.next == keys.prefixes.len() {
                // Its place in the tree is decided when its next row is known.
                self.runs[winner] = Run::Hungry;
                return MergeStatus::NeedsInput(winner);
            }
            self.replay(winner);
        }
        MergeStatus::Full
    }

    /// Bytes of the keys held.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        let size = |run: &Run| match run {
            Run::Ready(keys) => {
                keys.prefixes.len() * size_of::<u128>() + keys.encoded.as_ref().map_or(0, EncodedKeys::memory_size)
            }
            Run::Hungry | Run::Ended => 0,
        };
        self.runs.iter().map(size).sum()
    }

    fn build(&mut self) {
        let runs = self.runs.len();
        self.tree = vec![0; runs];
        // Winners of the inner nodes, bottom up; the tree keeps the losers.
        let mut winners: Vec<usize> = vec![0; 2 * runs];
        winners[runs..].iter_mut().enumerate().for_each(|(run, leaf)| *leaf = run);
        for node in (1..runs).rev() {
            let (left, right) = (winners[2 * node], winners[2 * node + 1]);
            let left_wins = self.is_before(left, right);
            winners[node] = if left_wins { left } else { right };
            self.tree[node] = if left_wins { right } else { left };
        }
        self.tree[0] = if runs == 1 { 0 } else { winners[1] };
    }

    fn replay_if_built(&mut self, run: usize) {
        if !self.tree.is_empty() {
            self.replay(run);
        }
    }

    /// The last winner has a new first row: its matches are played again.
    fn replay(&mut self, run: usize) {
        let mut winner = run;
        let mut node = (self.runs.len() + run) / 2;
        while node > 0 {
            if self.is_before(self.tree[node], winner) {
                std::mem::swap(&mut self.tree[node], &mut winner);
            }
            node /= 2;
        }
        self.tree[0] = winner;
    }

    /// Whether the first row of one run comes before that of another; ended runs come last.
    fn is_before(&self, left: usize, right: usize) -> bool {
        let (left_keys, right_keys) = match (&self.runs[left], &self.runs[right]) {
            (Run::Ready(left), Run::Ready(right)) => (left, right),
            (Run::Ready(_), _) => return true,
            _ => return false,
        };
        let by_prefix = left_keys.prefixes[left_keys.next].cmp(&right_keys.prefixes[right_keys.next]);
        let order = by_prefix.then_with(|| match (&left_keys.encoded, &right_keys.encoded) {
            (Some(left), Some(right)) => left.compare(left_keys.next, right, right_keys.next),
            _ => Ordering::Equal,
        });
        order.then(left.cmp(&right)).is_lt()
    }
}
