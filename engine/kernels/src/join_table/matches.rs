//! Which rows of one side have found a match: for left, semi and anti joins with a further condition.

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

    fn rows_where(&self, selection: Option<&Selection>, marked: bool) -> Selection {
        match selection {
            None => (0..self.rows as u32).filter(|row| self.is_marked(*row) == marked).collect(),
            Some(selection) => selection.iter().copied().filter(|row| self.is_marked(*row) == marked).collect(),
        }
    }
}
