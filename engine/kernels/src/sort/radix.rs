//! Least-significant-digit radix sort of rows by a 64-bit window of their prefixes.
//!
//! Bits that are the same in all rows do not count: the window begins at the highest that varies, and digits of eight
//! bits that do not vary are skipped. Few rows are sorted by comparison, since a pass costs 256 counters.

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

/// The rows stably sorted by the window, and whether that sorts them by the whole prefix.
pub(super) fn sort_by_window(prefixes: &[u128], rows: Vec<u32>) -> (Vec<u32>, bool) {
    let varying = varying(prefixes, &rows);
    let shift = (128 - varying.leading_zeros()).saturating_sub(64);
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
