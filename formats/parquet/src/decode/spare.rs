//! Buffers that pages are decompressed into, used again by the next page on the same thread.
//!
//! A fresh page of memory costs 1.6 us when it is first touched, as much as decompressing 3 KB; a column chunk that
//! allocates for its pages and frees them pays that for every row group. So a thread keeps a few buffers, of limited
//! size, between pages, chunks and scans. Threads share nothing here.

use std::cell::RefCell;

/// Buffers kept by a thread.
const BUFFERS_MAX: usize = 6;
/// Largest buffer that is kept: writers cut pages and dictionaries soon behind a megabyte.
const BYTES_MAX: usize = 2 << 20;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of at least `size` bytes, which hold anything.
pub(crate) fn take(size: usize) -> Vec<u8> {
    let found = SPARE.with_borrow_mut(|spare| {
        let fits = spare.iter().enumerate().filter(|(_, b)| b.len() >= size).min_by_key(|(_, b)| b.len());
        let index = fits.map(|(index, _)| index);
        index.map(|index| spare.swap_remove(index))
    });
    found.unwrap_or_else(|| vec![0; if size <= BYTES_MAX { size.next_power_of_two() } else { size }])
}

/// Keeps a buffer for the next page.
pub(crate) fn give_back(buffer: Vec<u8>) {
    if buffer.is_empty() || buffer.len() > BYTES_MAX {
        return;
    }
    // A thread that ends has dropped what it kept; then the buffer is dropped too.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < BUFFERS_MAX {
            spare.push(buffer);
        } else if let Some(smallest) = spare.iter_mut().min_by_key(|b| b.len()).filter(|b| b.len() < buffer.len()) {
            *smallest = buffer;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_comes_back() {
        for size in [100, 5000, 70_000] {
            give_back(vec![7; size]);
        }
        give_back(vec![7; BYTES_MAX + 1]);
        assert_eq!(take(4000).len(), 5000);
        assert_eq!(take(4000).len(), 70_000);
        assert_eq!(take(4000).len(), 4096);
        assert_eq!(take(BYTES_MAX + 1).len(), BYTES_MAX + 1);
        for size in 1..20 {
            give_back(vec![0; size]);
        }
        assert_eq!(SPARE.with_borrow(Vec::len), BUFFERS_MAX);
        assert_eq!(take(18).len(), 18);
    }
}
