//! Least-significant-digit radix sort of rows by a 64-bit window of their prefixes.
//!
//! Bits that are the same in all rows do not count: the window begins at the highest that varies, and digits of eight
//! bits that do not vary are skipped. Where the varying bits lie farther apart (several keys, each with few values for
//! its width) they are packed together, if there are no more than 64 of them in a few runs. Few rows are sorted by
//! comparison, since a pass costs 256 counters.

/// Fewer rows are sorted by comparison.
const RADIX_ROWS_MIN: usize = 512;

#[derive(Clone, Copy)]
struct Item {
    window: u64,
    row: u32,
}

/// Bits that are not the same in all rows.
fn varying(prefixes: &[u128], rows: &[u32]) -> u128 {
    let first = rows.first().map_or(0, |row| prefixes[*row as usize]);
    rows.iter().fold(0, |bits, row| bits | (prefixes[*row as usize] ^ first))
}

/// How far the prefixes are shifted right so that the 64 highest bits that matter are the lowest.
pub(super) fn window_shift(prefixes: &[u128], rows: &[u32]) -> u32 {
    (128 - varying(prefixes, rows).leading_zeros()).saturating_sub(64)
}

/// Runs of varying bits that are packed at most; each costs a few instructions a row.
const PACKED_RUNS_MAX: usize = 8;

/// Runs of bits, from the highest: how far the prefix is shifted right, and how many bits are kept then. `None` if they
/// do not fit 64 bits or are too many.
fn packed_runs(varying: u128) -> Option<Vec<(u32, u32)>> {
    let (mut runs, mut left, mut bits) = (Vec::new(), varying, 0);
    while left != 0 {
        let shift = left.trailing_zeros();
        let count = (left >> shift).trailing_ones();
        runs.push((shift, count));
        bits += count;
        if bits > 64 || runs.len() > PACKED_RUNS_MAX {
            return None;
        }
        left = left.checked_shr(shift + count).unwrap_or(0).checked_shl(shift + count).unwrap_or(0);
    }
    runs.reverse();
    Some(runs)
}

/// The rows stably sorted by the varying bits packed together, which sorts them by the whole prefix.
fn sort_packed(prefixes: &[u128], rows: &[u32], runs: &[(u32, u32)]) -> Vec<u32> {
    let pack = |prefix: u128| {
        let add = |window: u64, &(shift, count): &(u32, u32)| {
            window << count | (prefix >> shift) as u64 & !(u64::MAX << count)
        };
        runs.iter().fold(0, add)
    };
    let items: Vec<Item> = rows.iter().map(|row| Item { window: pack(prefixes[*row as usize]), row: *row }).collect();
    let bits: u32 = runs.iter().map(|run| run.1).sum();
    radix_sort(items, u64::MAX >> (64 - bits)).iter().map(|item| item.row).collect()
}

/// The rows stably sorted by the window, and whether that sorts them by the whole prefix.
pub(super) fn sort_by_window(prefixes: &[u128], rows: Vec<u32>) -> (Vec<u32>, bool) {
    let varying = varying(prefixes, &rows);
    let shift = (128 - varying.leading_zeros()).saturating_sub(64);
    // Two runs at least: one that reaches below the window is longer than 64 bits.
    if shift > varying.trailing_zeros()
        && rows.len() >= RADIX_ROWS_MIN
        && let Some(runs) = packed_runs(varying)
    {
        return (sort_packed(prefixes, &rows, &runs), true);
    }
    let mut items: Vec<Item> =
        rows.iter().map(|row| Item { window: (prefixes[*row as usize] >> shift) as u64, row: *row }).collect();
    if items.len() < RADIX_ROWS_MIN {
        items.sort_by_key(|item| item.window);
    } else {
        items = radix_sort(items, (varying >> shift) as u64);
    }
    let sorted = items.iter().map(|item| item.row).collect();
    (sorted, shift == 0 || varying.trailing_zeros() >= shift)
}

fn radix_sort(mut items: Vec<Item>, varying: u64) -> Vec<Item> {
    let digits: Vec<u32> = (0..64).step_by(8).filter(|shift| varying >> shift & 0xff != 0).collect();
    // All histograms in one read.
    let mut counts = vec![[0u32; 256]; digits.len()];
    for item in &items {
        for (count, shift) in counts.iter_mut().zip(&digits) {
            count[(item.window >> shift & 0xff) as usize] += 1;
        }
    }
    let mut sorted = vec![Item { window: 0, row: 0 }; items.len()];
    for (mut offsets, shift) in counts.into_iter().zip(digits) {
        let mut next = 0;
        for offset in &mut offsets {
            next += std::mem::replace(offset, next);
        }
        for item in &items {
            let offset = &mut offsets[(item.window >> shift & 0xff) as usize];
            sorted[*offset as usize] = *item;
            *offset += 1;
        }
        std::mem::swap(&mut items, &mut sorted);
    }
    items
}
