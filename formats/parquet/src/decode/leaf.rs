//! A column of a row group, from its pages: levels, values, and only those rows that are wanted.
//!
//! Rows that nobody wants are counted and passed over when the next wanted one comes: whole pages by their headers,
//! the rest of a page without decoding its values. A window of rows may lie in several pages; each page's part is
//! decoded by itself.
//!
//! A filter on the column narrows the window while it is decoded. On a coded page the condition was evaluated once for
//! each value of the dictionary; a row then costs unpacking its code and one look into that table, and only codes that
//! pass are looked up. Elsewhere the part is decoded, the condition evaluated over it and what fails is taken out again.

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::Checked;
use super::hybrid::Hybrid;
use super::page::Pages;
use super::values::{Values, keep};
use crate::filter::Condition;

/// Decodes a column of a row group. Rows are counted from the first that was neither read nor skipped.
pub(crate) trait Leaf: Send {
    /// Passes over rows.
    fn skip(&mut self, rows: usize);

    /// Of the next `rows` rows appends those at `wanted` (ascending; by default all).
    fn read(&mut self, rows: usize, wanted: Option<&[u32]>) -> Checked<()>;

    /// As `read`, but only those that meet the condition, whose positions are put into `kept`: positions in `wanted`, or
    /// of rows if all are wanted.
    fn filter(
        &mut self,
        rows: usize,
        wanted: Option<&[u32]>,
        condition: &Condition,
        kept: &mut Vec<u32>,
    ) -> Checked<()>;

    /// Of the appended rows from `from` on keeps those at `kept` (ascending, counted from `from`).
    fn keep(&mut self, from: usize, kept: &[u32]);

    /// Gives the appended rows out.
    fn finish(&mut self) -> Checked<ArrayRef>;
}

/// A column over the pages of its chunk.
pub(crate) struct PagedLeaf<V> {
    pages: Pages,
    values: V,
    /// Definition levels of the current page, if values may be NULL.
    levels: Option<Hybrid>,
    is_optional: bool,
    has_begun: bool,
    /// Rows of the current page that are left.
    page_rows: usize,
    /// Rows to pass over before the next that is wanted.
    to_skip: usize,
    /// Which of the appended rows are not NULL; empty as long as all are.
    valid: Vec<bool>,
    /// The dictionary's values that meet the condition, found out once.
    passing: Option<Vec<bool>>,
    /// No value of the dictionary meets it, so no row of a coded page does.
    passes_none: bool,
    /// The condition cannot be evaluated over the dictionary.
    is_hopeless: bool,
    codes: Vec<u32>,
    present: Vec<u32>,
    part_valid: Vec<bool>,
}

/// A piece of a window that lies in one page.
#[derive(Clone, Copy)]
struct Part<'a> {
    rows: usize,
    /// Positions that are wanted, counted as the window's.
    wanted: Option<&'a [u32]>,
    /// The window's row at which it begins.
    base: usize,
}

impl Part<'_> {
    fn wanted_rows(&self) -> usize {
        self.wanted.map_or(self.rows, <[u32]>::len)
    }
}

impl<V: Values> PagedLeaf<V> {
    pub(crate) fn new(pages: Pages, values: V, is_optional: bool) -> Self {
        Self {
            pages,
            values,
            levels: None,
            is_optional,
            has_begun: false,
            page_rows: 0,
            to_skip: 0,
            valid: Vec::new(),
            passing: None,
            passes_none: false,
            is_hopeless: false,
            codes: Vec::new(),
            present: Vec::new(),
            part_valid: Vec::new(),
        }
    }

    /// Makes the page of the next wanted row the current one, at that row.
    fn arrive(&mut self) -> Checked<()> {
        loop {
            if self.to_skip < self.page_rows {
                let rows = std::mem::take(&mut self.to_skip);
                return self.skip_in_page(rows);
            }
            self.to_skip -= self.page_rows;
            self.page_rows = 0;
            let mut rows = self.pages.next_count()?;
            while self.to_skip >= rows {
                self.to_skip -= rows;
                self.pages.skip();
                rows = self.pages.next_count()?;
            }
            if !self.has_begun {
                self.has_begun = true;
                if let Some(dictionary) = self.pages.dictionary()? {
                    self.values.set_dictionary(dictionary)?;
                }
            }
            let page = self.pages.load_next()?;
            self.page_rows = page.count;
            self.levels = match self.is_optional {
                true => Some(Hybrid::new(page.levels.clone(), 1)?),
                false => None,
            };
            self.values.set_page(page)?;
        }
    }

    fn skip_in_page(&mut self, rows: usize) -> Checked<()> {
        if rows == 0 {
            return Ok(());
        }
        self.page_rows -= rows;
        let present = self.read_levels(rows)?;
        self.values.skip(present)
    }

    /// Reads the levels of the next rows and says how many rows are not NULL; if not all are, `part_valid` says which,
    /// for up to [`LEVELS_KEPT`] rows.
    fn read_levels(&mut self, rows: usize) -> Checked<usize> {
        let Some(levels) = &mut self.levels else { return Ok(rows) };
        match levels.take_repeated(self.values.page().body.bytes(), rows)? {
            Some(0) => {
                self.part_valid.clear();
                self.part_valid.resize(rows.min(LEVELS_KEPT), false);
                return Ok(0);
            }
            Some(_) => return Ok(rows),
            None => {}
        }
        // In pieces, since a page may claim any number of NULLs.
        let mut left = rows;
        let mut present = 0;
        self.part_valid.clear();
        let keeps = rows <= LEVELS_KEPT;
        while left > 0 {
            let piece = left.min(LEVELS_KEPT);
            if !keeps {
                self.part_valid.clear();
            }
            levels.read_flags(self.values.page().body.bytes(), piece, &mut self.part_valid)?;
            present += self.part_valid[self.part_valid.len() - piece..].iter().filter(|v| **v).count();
            left -= piece;
        }
        Ok(present)
    }

    /// Calls `each` for every part of the window in which a row is wanted.
    fn parts(
        &mut self,
        rows: usize,
        wanted: Option<&[u32]>,
        mut each: impl FnMut(&mut Self, Part<'_>, usize) -> Checked<()>,
    ) -> Checked<()> {
        let (mut base, mut taken) = (0, 0);
        while base < rows {
            let first = match wanted {
                Some(wanted) => match wanted.get(taken) {
                    Some(row) => *row as usize,
                    None => break,
                },
                None => base,
            };
            self.to_skip += first - base;
            base = first;
            self.arrive()?;
            let here = self.page_rows.min(rows - base).min(LEVELS_KEPT);
            let end = match wanted {
                Some(wanted) => taken + wanted[taken..].partition_point(|row| (*row as usize) < base + here),
                None => base + here,
            };
            let part = Part { rows: here, wanted: wanted.map(|wanted| &wanted[taken..end]), base };
            let first_position = if wanted.is_some() { taken } else { base };
            each(self, part, first_position)?;
            self.page_rows -= here;
            base += here;
            taken = end;
        }
        self.to_skip += rows - base;
        Ok(())
    }

    fn read_part(&mut self, part: Part<'_>) -> Checked<()> {
        let present = self.read_levels(part.rows)?;
        self.read_present(part, present)
    }

    /// Reads a part of which so many rows are not NULL.
    fn read_present(&mut self, part: Part<'_>, present: usize) -> Checked<()> {
        let before = self.values.len();
        if present == part.rows {
            match part.wanted {
                Some(wanted) => self.values.read_at(present, wanted, part.base)?,
                None => self.values.read(present)?,
            }
            if !self.valid.is_empty() {
                self.valid.resize(self.values.len(), true);
            }
            return Ok(());
        }
        if let Some(wanted) = part.wanted {
            // Positions among the values that are present, and which of the wanted rows have one.
            self.present.clear();
            let mut value = 0u32;
            let mut row = 0;
            let mut is_valid = Vec::with_capacity(wanted.len());
            for position in wanted {
                let position = *position as usize - part.base;
                value += self.part_valid[row..position].iter().map(|v| u32::from(*v)).sum::<u32>();
                row = position;
                is_valid.push(self.part_valid[row]);
                if self.part_valid[row] {
                    self.present.push(value);
                }
            }
            self.part_valid = is_valid;
            self.values.read_at(present, &self.present, 0)?;
        } else {
            self.values.read(present)?;
        }
        let appended = self.values.len() - before;
        self.values.spread(appended, &self.part_valid);
        if self.valid.len() < before {
            self.valid.resize(before, true);
        }
        self.valid.extend_from_slice(&self.part_valid);
        Ok(())
    }

    fn filter_part(&mut self, part: Part<'_>, first: usize, condition: &Condition, kept: &mut Vec<u32>) -> Checked<()> {
        let present = self.read_levels(part.rows)?;
        if present == part.rows && self.knows_passing(part, condition) {
            let passing = self.passing.as_deref().expect("found out just now");
            if self.passes_none {
                return self.values.skip(present);
            }
            self.values.take_codes(part.rows, part.wanted.map(|wanted| (wanted, part.base)), &mut self.codes)?;
            let count = narrow(passing, &mut self.codes, first as u32, kept);
            self.values.push_codes(&self.codes[..count]);
            if !self.valid.is_empty() {
                self.valid.resize(self.values.len(), true);
            }
            return Ok(());
        }
        let from = self.values.len();
        self.read_present(part, present)?;
        let array = self.values.tail(from, nulls(self.valid.get(from..).unwrap_or_default()))?;
        let Some(passing) = condition.passing(&array) else {
            kept.extend((first..first + part.wanted_rows()).map(|row| row as u32));
            return Ok(());
        };
        self.keep(from, &passing);
        kept.extend(passing.iter().map(|row| first as u32 + row));
        Ok(())
    }

    /// Whether the page is coded and it is known which codes pass. A dictionary much larger than what is asked for is not
    /// worth looking at.
    fn knows_passing(&mut self, part: Part<'_>, condition: &Condition) -> bool {
        if !self.values.is_coded() || self.is_hopeless {
            return false;
        }
        if self.passing.is_none() {
            if self.values.dictionary_len() > (part.wanted_rows() + self.page_rows) * 2 {
                return false;
            }
            let Some(rows) = condition.passing(&self.values.dictionary()) else {
                self.is_hopeless = true;
                return false;
            };
            let mut passing = vec![false; self.values.dictionary_len()];
            for row in rows {
                passing[row as usize] = true;
            }
            self.passes_none = !passing.contains(&true);
            self.passing = Some(passing);
        }
        true
    }
}

/// Rows whose levels are looked at together.
const LEVELS_KEPT: usize = 8192;

/// Moves the codes that pass to the front, appends their positions (counted from `first`), and says how many there are.
///
/// First a bit for each code, 64 at a time and without a branch; then a word without bits costs nothing, one with few
/// bits those bits, and one with many all of them, since a branch on each could not be foreseen.
fn narrow(passing: &[bool], codes: &mut [u32], first: u32, kept: &mut Vec<u32>) -> usize {
    let mut count = 0;
    for start in (0..codes.len()).step_by(64) {
        let end = (start + 64).min(codes.len());
        let mut word = 0u64;
        for (bit, code) in codes[start..end].iter().enumerate() {
            word |= u64::from(passing[*code as usize]) << bit;
        }
        let base = first + start as u32;
        if word.count_ones() <= 24 {
            while word != 0 {
                let bit = word.trailing_zeros();
                kept.push(base + bit);
                codes[count] = codes[start + bit as usize];
                count += 1;
                word &= word - 1;
            }
        } else {
            let before = kept.len();
            kept.resize(before + 64, 0);
            let rows = &mut kept[before..];
            let mut found = 0;
            for bit in 0..end - start {
                rows[found & 63] = base + bit as u32;
                codes[count] = codes[start + bit];
                let passes = (word >> bit & 1) as usize;
                found += passes;
                count += passes;
            }
            kept.truncate(before + found);
        }
    }
    count
}

fn nulls(valid: &[bool]) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(valid.len(), |row| valid[row]));
    (nulls.null_count() > 0).then_some(nulls)
}

impl<V: Values> Leaf for PagedLeaf<V> {
    fn skip(&mut self, rows: usize) {
        self.to_skip += rows;
    }

    fn read(&mut self, rows: usize, wanted: Option<&[u32]>) -> Checked<()> {
        self.parts(rows, wanted, |leaf, part, _| leaf.read_part(part))
    }

    fn filter(
        &mut self,
        rows: usize,
        wanted: Option<&[u32]>,
        condition: &Condition,
        kept: &mut Vec<u32>,
    ) -> Checked<()> {
        kept.clear();
        self.parts(rows, wanted, |leaf, part, first| leaf.filter_part(part, first, condition, kept))
    }

    fn keep(&mut self, from: usize, kept: &[u32]) {
        self.values.keep(from, kept);
        if !self.valid.is_empty() {
            keep(&mut self.valid, from, kept);
        }
    }

    fn finish(&mut self) -> Checked<ArrayRef> {
        let nulls = nulls(&self.valid);
        self.valid.clear();
        self.values.finish(nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_pass_move_to_the_front() {
        for modulus in [1, 2, 3, 50, 1000] {
            for len in [0, 1, 63, 64, 65, 200] {
                let codes: Vec<u32> = (0..len).map(|i| (i * 7) % 300).collect();
                let passing: Vec<bool> = (0..300u32).map(|code| code.is_multiple_of(modulus)).collect();
                let expected: Vec<usize> = (0..codes.len()).filter(|i| codes[*i].is_multiple_of(modulus)).collect();
                let (mut found, mut kept) = (codes.clone(), vec![9]);
                let count = narrow(&passing, &mut found, 100, &mut kept);
                assert_eq!(count, expected.len());
                assert!(expected.iter().zip(&found).all(|(i, code)| codes[*i] == *code));
                assert_eq!(kept[1..], expected.iter().map(|i| *i as u32 + 100).collect::<Vec<_>>());
            }
        }
    }
}
