//! Buffers that row groups are fetched into, used again by the same scan.
//!
//! What is fetched is as large as a row group and lives as long as one. Fresh memory for each costs 1.6 us for every 4 KiB
//! when it is first touched, more than the copy out of the page cache. A buffer comes back when the last array or page
//! that points into it is gone, on whichever thread that is; it is locked twice per fetch. What is kept is bounded and
//! ends with the scan. It is not charged to the scan's memory while nothing is in it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers kept by a scan: a row group takes one for each run of neighbouring columns.
const BUFFERS_MAX: usize = 16;
/// Bytes kept by a scan in all, and so the largest buffer that is kept.
const BYTES_MAX: usize = 16 << 20;

/// Buffers that wait for the next fetch. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct FetchBuffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl FetchBuffers {
    /// Bytes that `fill` has put into a buffer of `size`, which comes back when they are dropped.
    pub(crate) fn filled<E>(&self, size: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let mut lease = Lease { buffer: self.take(size), size, home: self.clone() };
        fill(&mut lease.buffer[..size])?;
        Ok(Bytes::from_owner(lease))
    }

    fn take(&self, size: usize) -> Vec<u8> {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = spare.iter().enumerate().filter(|(_, b)| b.len() >= size).min_by_key(|(_, b)| b.len());
        match fits.map(|(index, _)| index) {
            Some(index) => spare.swap_remove(index),
            None => {
                drop(spare);
                // Row groups differ a little in size; a bit of room lets the next one fit too.
                vec![0; if size <= BYTES_MAX { (size + size / 8).next_multiple_of(4096).min(BYTES_MAX) } else { size }]
            }
        }
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = spare.iter().map(Vec::len).sum();
        if kept + buffer.len() <= BYTES_MAX && spare.len() < BUFFERS_MAX {
            spare.push(buffer);
        }
    }
}

/// A buffer that is out.
struct Lease {
    buffer: Vec<u8>,
    size: usize,
    home: FetchBuffers,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.size]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_with_the_last_clone() {
        let buffers = FetchBuffers::default();
        let spare = || buffers.0.lock().unwrap().len();
        let fill = |buffer: &mut [u8]| {
            buffer.fill(7);
            Ok::<_, ()>(())
        };
        let bytes = buffers.filled(10_000, fill).unwrap();
        let part = bytes.slice(5..9);
        drop(bytes);
        assert_eq!((spare(), &part[..]), (0, &[7; 4][..]));
        drop(part);
        assert_eq!(spare(), 1);
        assert_eq!(buffers.filled(11_000, fill).unwrap().len(), 11_000);
        assert_eq!(buffers.filled(9, |_| Err(3)).unwrap_err(), 3);
        assert_eq!(spare(), 1, "the same one, whatever came of it");
        drop(buffers.filled(BYTES_MAX + 1, fill).unwrap());
        assert_eq!(spare(), 1, "a large one is not kept");
    }
}
