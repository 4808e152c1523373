//! Which rows of one side have found a match: what all joins but inner ones need to know.

use arrow_buffer::{BooleanBuffer, Buffer};
use flumen_core::batch::Selection;

/// One bit for each row of a batch.
#[derive(Clone, Debug)]
pub struct MatchBitmap {
    words: Vec<u64>,
    rows: usize,
}

impl MatchBitmap {
    /// No row has a match.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], rows }
    }

    /// No row of another batch has a match; the allocation is kept.
    pub fn reset(&mut self, rows: usize) {
        self.words.clear();
        self.words.resize(rows.div_ceil(64), 0);
        self.rows = rows;
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// The row has a match.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn mark(&mut self, row: u32) {
        self.words[row as usize / 64] |= 1 << (row % 64);
    }

    /// All these rows have a match.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn mark_all(&mut self, rows: &[u32]) {
        rows.iter().for_each(|row| self.mark(*row));
    }

    /// Whether the row has a match.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    #[must_use]
    pub fn is_marked(&self, row: u32) -> bool {
        self.words[row as usize / 64] >> (row % 64) & 1 == 1
    }

    /// Rows of the selection (by default all) with a match.
    #[must_use]
    pub fn marked(&self, selection: Option<&Selection>) -> Selection {
        self.rows_where(selection, true)
    }

    /// Rows of the selection (by default all) without a match.
    #[must_use]
    pub fn unmarked(&self, selection: Option<&Selection>) -> Selection {
        self.rows_where(selection, false)
    }

    /// The first row from `from` on without a match.
    #[must_use]
    pub fn next_unmarked(&self, from: usize) -> Option<usize> {
        self.next_where(from, u64::MAX)
    }

    /// The first row from `from` on with a match.
    #[must_use]
    pub fn next_marked(&self, from: usize) -> Option<usize> {
        self.next_where(from, 0)
    }

    /// The first row from `from` on whose bit differs from that of `not`.
    fn next_where(&self, from: usize, not: u64) -> Option<usize> {
        let mut word = from / 64;
        let mut found = (self.words.get(word)? ^ not) & (u64::MAX << (from % 64));
        while found == 0 {
            word += 1;
            found = self.words.get(word)? ^ not;
        }
        // The bits behind the last row are never set.
        Some(word * 64 + found.trailing_zeros() as usize).filter(|row| *row < self.rows)
    }

    /// Row by row, whether it has a match.
    #[must_use]
    pub fn to_values(&self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_slice_ref(&self.words), 0, self.rows)
    }

    fn rows_where(&self, selection: Option<&Selection>, marked: bool) -> Selection {
        match selection {
            None => (0..self.rows as u32).filter(|row| self.is_marked(*row) == marked).collect(),
            Some(selection) => selection.iter().copied().filter(|row| self.is_marked(*row) == marked).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmarked_rows_are_found_across_words() {
        for rows in [0, 1, 63, 64, 65, 200] {
            for step in [1, 2, 63, 64, 1000] {
                let mut bitmap = MatchBitmap::new(rows);
                (0..rows).filter(|row| row % step != 0).for_each(|row| bitmap.mark(row as u32));
                let mut found = Vec::new();
                let mut next = bitmap.next_unmarked(0);
                while let Some(row) = next {
                    found.push(row);
                    next = bitmap.next_unmarked(row + 1);
                }
                assert_eq!(found, (0..rows).step_by(step).collect::<Vec<_>>(), "{rows} rows, {step}");
                let marked: Vec<usize> =
                    std::iter::successors(bitmap.next_marked(0), |row| bitmap.next_marked(row + 1)).collect();
                assert_eq!(marked, (0..rows).filter(|row| row % step != 0).collect::<Vec<_>>(), "{rows} rows, {step}");
                let values = bitmap.to_values();
                assert_eq!(values.len(), rows);
                assert!((0..rows).all(|row| values.value(row) == (row % step != 0)));
            }
        }
    }
}
