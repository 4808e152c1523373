//! What the decoders of fixed-width values and of byte strings have in common: the values of a page behind its levels.
//!
//! The decoder holds the current page and appends to what it gives out next. NULLs are not its business: it sees present
//! values only, counted without NULLs, and opens gaps for NULLs afterwards ([`Values::spread`]). Where the current page
//! holds dictionary codes they can be taken before anything is looked up, which is how filters work on codes.

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;

use super::Checked;
use super::hybrid::Hybrid;
use super::page::Page;

/// Decodes the values of a column chunk's pages.
pub(crate) trait Values: Send {
    /// Takes the dictionary.
    fn set_dictionary(&mut self, page: Page) -> Checked<()>;

    /// Takes the next data page.
    fn set_page(&mut self, page: Page) -> Checked<()>;

    /// The current page.
    fn page(&self) -> &Page;

    /// Appends the next values.
    fn read(&mut self, count: usize) -> Checked<()>;

    /// Of the next `count` values appends those at `positions`, ascending and counted from `base`.
    fn read_at(&mut self, count: usize, positions: &[u32], base: usize) -> Checked<()>;

    /// Passes over the next values.
    fn skip(&mut self, count: usize) -> Checked<()>;

    /// Whether the current page holds dictionary codes.
    fn is_coded(&self) -> bool;

    /// Values of the dictionary.
    fn dictionary_len(&self) -> usize;

    /// The dictionary's values.
    fn dictionary(&self) -> ArrayRef;

    /// The next `count` codes, or those of them at positions; only if the page is coded. All are in the dictionary.
    fn take_codes(&mut self, count: usize, at: Option<(&[u32], usize)>, codes: &mut Vec<u32>) -> Checked<()>;

    /// Appends the values of codes that were taken.
    fn push_codes(&mut self, codes: &[u32]);

    /// Rows that will be given out.
    fn len(&self) -> usize;

    /// Makes the last `present` rows the present ones of `valid.len()` rows.
    fn spread(&mut self, present: usize, valid: &[bool]);

    /// Of the rows from `from` on keeps those at `kept` (ascending, counted from `from`).
    fn keep(&mut self, from: usize, kept: &[u32]);

    /// The rows from `from` on as an array, which stay.
    fn tail(&self, from: usize, nulls: Option<NullBuffer>) -> Checked<ArrayRef>;

    /// Gives all rows out.
    fn finish(&mut self, nulls: Option<NullBuffer>) -> Checked<ArrayRef>;
}

/// Dictionary codes of a page.
pub(crate) struct Codes {
    hybrid: Hybrid,
}

impl Codes {
    /// The codes of a page, whose first byte is their width.
    pub(crate) fn new(page: &Page) -> Checked<Self> {
        let range = page.values.clone();
        let hybrid = match page.body.bytes()[range.clone()].first() {
            Some(width) => Hybrid::new(range.start + 1..range.end, usize::from(*width))?,
            // A page of NULLs only.
            None => Hybrid::new(range, 0)?,
        };
        Ok(Self { hybrid })
    }

    /// Codes that stand for themselves, such as booleans.
    pub(crate) fn of(hybrid: Hybrid) -> Self {
        Self { hybrid }
    }

    pub(crate) fn skip(&mut self, page: &Page, count: usize) -> Checked<()> {
        self.hybrid.skip(page.body.bytes(), count)
    }

    /// Replaces `codes` by the next `count` codes, or by those of them at positions counted from a base. Each is below
    /// `limit`.
    pub(crate) fn read(
        &mut self,
        page: &Page,
        count: usize,
        at: Option<(&[u32], usize)>,
        limit: usize,
        codes: &mut Vec<u32>,
    ) -> Checked<()> {
        codes.clear();
        match at {
            // Unpacking a block costs about as much as picking a single value out of it.
            Some((positions, base)) if positions.len() * 6 < count => {
                self.hybrid.read_at(page.body.bytes(), count, positions, base, codes)?;
            }
            at => {
                codes.resize(count, 0);
                self.hybrid.read(page.body.bytes(), codes)?;
                if let Some((positions, base)) = at {
                    for (i, position) in positions.iter().enumerate() {
                        codes[i] = codes[*position as usize - base];
                    }
                    codes.truncate(positions.len());
                }
            }
        }
        match codes.iter().copied().fold(0, u32::max) {
            max if (max as usize) < limit || codes.is_empty() => Ok(()),
            max => Err(format!("code {max} of a dictionary of {limit} values")),
        }
    }
}

/// Makes the last `present` values the present ones of `valid.len()` values.
pub(crate) fn spread<T: Copy + Default>(values: &mut Vec<T>, present: usize, valid: &[bool]) {
    if present == valid.len() {
        return;
    }
    let start = values.len() - present;
    values.resize(start + valid.len(), T::default());
    let mut from = start + present;
    // From the back, so that nothing is overwritten before it has moved.
    for (row, is_valid) in valid.iter().enumerate().rev() {
        // Without a branch, since whether a row is NULL is what cannot be foreseen.
        from -= usize::from(*is_valid);
        let value = values[from];
        values[start + row] = if *is_valid { value } else { T::default() };
    }
}

/// Of the values from `from` on keeps those at `kept`.
pub(crate) fn keep<T: Copy>(values: &mut Vec<T>, from: usize, kept: &[u32]) {
    let tail = &mut values[from..];
    for (to, position) in kept.iter().enumerate() {
        tail[to] = tail[*position as usize];
    }
    values.truncate(from + kept.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_opened_and_rows_kept() {
        for valid in [&[][..], &[false], &[true], &[true, false, true], &[false, false, true, true], &[true, true]] {
            let present = valid.iter().filter(|v| **v).count();
            let mut values: Vec<u32> = (0..7 + present as u32).collect();
            spread(&mut values, present, valid);
            let mut next = 6;
            let mut number = |is_valid: &bool| {
                next += u32::from(*is_valid);
                if *is_valid { next } else { 0 }
            };
            let expected: Vec<u32> = valid.iter().map(&mut number).collect();
            assert_eq!(values[7..], expected);
            assert_eq!(values[..7], [0, 1, 2, 3, 4, 5, 6]);
        }
        let mut values = vec![9, 8, 7, 6, 5];
        keep(&mut values, 1, &[0, 2, 3]);
        assert_eq!(values, [9, 8, 6, 5]);
        keep(&mut values, 1, &[]);
        assert_eq!(values, [9]);
    }
}
