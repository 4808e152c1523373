//! Order: sort of indices, Top-N, and the merge of sorted runs.
//!
//! A row's keys become a *prefix*: 128 bits whose unsigned order is the keys' order as far as they fit, with NULLs and
//! direction folded in ([`PrefixLayout`]). Most sorts are decided by it: numbers and dates fit whole, a string's first
//! bytes nearly always differ. What it leaves undecided is compared by arrow-row's encoding of all keys
//! ([`KeyEncoder`]), which is made for those rows alone.
//!
//! * [`sort_indices`]: radix sort of (prefix window, row), then ties. Always stable.
//! * [`TopN`]: a heap of the best rows; a batch is filtered by the boundary's prefix before anything else is looked at.
//! * [`SortedMerge`]: a loser tree over runs, in bounded pieces.
//!
//! Cost, measured (`benches/RESULTS.md`): prefix 2.5 ns per row for one key, 4-6 for two; a million dates 15 ns per row; a
//! million dates and prices, which 64 bits do not tell apart, 75-79.

mod encoder;
mod merge;
mod prefix;
mod radix;
#[cfg(test)]
mod tests;
mod top_n;

use flumen_core::batch::{Column, Selection};
use flumen_core::spec::relational::SortKey;
use flumen_core::types::LogicalType;

pub use encoder::{EncodedKeys, KeyEncoder};
pub use merge::{MergeStatus, SortedMerge};
pub use prefix::{PrefixLayout, Prefixes};
pub use top_n::TopN;

use crate::error::KernelError;
use crate::gather::take_column;

/// Physical rows in the order of the keys; rows with equal keys stay in their order.
///
/// `types` are the columns' logical types, `selection` the rows that count (by default all).
///
/// # Panics
/// If a key names a column that is not there, or a column has fewer than `rows` rows.
///
/// # Errors
/// [`KernelError::NotOrdered`] for a type without order.
pub fn sort_indices(
    columns: &[&Column],
    types: &[LogicalType],
    rows: usize,
    selection: Option<&Selection>,
    keys: &[SortKey],
) -> Result<Vec<u32>, KernelError> {
    let has_nulls = |key: &SortKey| !columns[key.column].has_no_nulls();
    let layout = PrefixLayout::new(types, keys, has_nulls)?;
    let prefixes = layout.encode(columns, rows)?;
    let all: Vec<u32> = match selection {
        None => (0..rows as u32).collect(),
        Some(selection) => selection.to_vec(),
    };
    let values = &prefixes.values;
    let is_sorted = all.is_sorted_by(|a, b| values[*a as usize] <= values[*b as usize]);
    let (mut sorted, is_decided) = if is_sorted { (all, true) } else { radix::sort_by_window(values, all) };
    if is_decided && prefixes.is_exact {
        return Ok(sorted);
    }
    let same_window = |a: u32, b: u32, shift: u32| values[a as usize] >> shift == values[b as usize] >> shift;
    let shift = if is_decided { 0 } else { radix::window_shift(values, &sorted) };
    let runs: Vec<std::ops::Range<usize>> = runs_of(&sorted, |a, b| same_window(a, b, shift));
    if prefixes.is_exact {
        // The whole prefix decides what its window does not.
        for run in runs {
            sorted[run].sort_unstable_by_key(|row| (values[*row as usize], *row));
        }
        return Ok(sorted);
    }
    let encoder = KeyEncoder::new(types, keys)?;
    let tied: Vec<u32> = runs.iter().flat_map(|run| sorted[run.clone()].iter().copied()).collect();
    let encoded = encoder.encode(columns, &tied)?;
    // Positions in `tied`, run after run, sorted within each; rows ascend within a run already, so position breaks ties
    // as the row would, except after a window that was not sorted by the whole prefix, which compares first.
    let mut from = 0;
    for run in runs {
        let mut positions: Vec<u32> = (from as u32..(from + run.len()) as u32).collect();
        positions.sort_unstable_by(|a, b| {
            let prefix = |position: u32| values[tied[position as usize] as usize];
            prefix(*a)
                .cmp(&prefix(*b))
                .then_with(|| encoded.compare(*a as usize, &encoded, *b as usize))
                .then_with(|| tied[*a as usize].cmp(&tied[*b as usize]))
        });
        from += run.len();
        for (slot, position) in sorted[run].iter_mut().zip(positions) {
            *slot = tied[position as usize];
        }
    }
    Ok(sorted)
}

/// Ranges of at least two neighbours that are alike.
fn runs_of(rows: &[u32], alike: impl Fn(u32, u32) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for end in 1..=rows.len() {
        if end == rows.len() || !alike(rows[end - 1], rows[end]) {
            if end - start > 1 {
                runs.push(start..end);
            }
            start = end;
        }
    }
    runs
}

/// Rows of the key columns only, gathered.
fn take_rows(columns: &[&Column], rows: &[u32]) -> Result<Vec<Column>, KernelError> {
    let indices = arrow_array::UInt32Array::from(rows.to_vec());
    columns.iter().map(|c| take_column(c, &indices)).collect()
}
