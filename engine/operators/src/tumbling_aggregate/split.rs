//! Which rows of a batch belong to which window.
//!
//! Rows mostly come in order, so a row is first compared with the bounds of the window before; a division is made only
//! for a window that the batch has not had yet.

use flumen_core::batch::Selection;
use flumen_core::time::window_start;

/// How times become windows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Windowing {
    /// By the time of the row.
    Tumbling { size_ms: i64, offset_ms: i64 },
    /// The time is the end of the window.
    ByEnd,
}

/// Times `first..=last` are in the window that ends before `end`.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: i64,
    last: i64,
    end: i64,
}

impl Windowing {
    fn window(self, time: i64) -> Window {
        match self {
            Self::Tumbling { size_ms, offset_ms } => {
                let start = window_start(time, offset_ms, size_ms);
                let end = start.saturating_add(size_ms);
                Window { first: start, last: end.saturating_sub(1).max(time), end }
            }
            Self::ByEnd => Window { first: time, last: time, end: time },
        }
    }
}

/// Windows looked through one by one at most; more are found by a map.
const SCANNED_MAX: usize = 16;

/// The windows of one batch. Keep it: its allocations are reused.
#[derive(Default)]
pub(super) struct WindowSplit {
    windows: Vec<Window>,
    rows: Vec<Vec<u32>>,
    by_end: std::collections::HashMap<i64, usize>,
}

/// What [`WindowSplit::split`] finds.
pub(super) enum Split {
    /// All rows are in the window with this end.
    One(i64),
    /// See [`WindowSplit::parts`].
    Many,
}

impl WindowSplit {
    /// Splits the selected rows.
    pub(super) fn split(&mut self, windowing: Windowing, times: &[i64], selection: Option<&Selection>) -> Split {
        self.windows.clear();
        self.by_end.clear();
        self.rows.iter_mut().for_each(Vec::clear);
        let (least, most) = match selection {
            None => extremes(times.iter().copied()),
            Some(selection) => extremes(selection.iter().map(|row| times[*row as usize])),
        };
        let window = windowing.window(least);
        if (window.first..=window.last).contains(&most) {
            return Split::One(window.end);
        }
        match selection {
            None => self.assign(windowing, times, 0..times.len() as u32),
            Some(selection) => self.assign(windowing, times, selection.iter().copied()),
        }
        Split::Many
    }

    fn assign(&mut self, windowing: Windowing, times: &[i64], rows: impl Iterator<Item = u32>) {
        let mut current = usize::MAX;
        for row in rows {
            let time = times[row as usize];
            let is_current = self.windows.get(current).is_some_and(|w| w.first <= time && time <= w.last);
            if !is_current {
                current = self.find(windowing, time);
            }
            self.rows[current].push(row);
        }
    }

    fn find(&mut self, windowing: Windowing, time: i64) -> usize {
        let scanned = &self.windows[..self.windows.len().min(SCANNED_MAX)];
        if let Some(found) = scanned.iter().position(|w| w.first <= time && time <= w.last) {
            return found;
        }
        let window = windowing.window(time);
        let next = self.windows.len();
        if next >= SCANNED_MAX {
            if let Some(found) = self.by_end.get(&window.end) {
                return *found;
            }
            self.by_end.insert(window.end, next);
        }
        self.windows.push(window);
        if self.rows.len() <= next {
            self.rows.push(Vec::new());
        }
        next
    }

    /// How many windows there are.
    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The end of a window, and its rows, ascending.
    pub(super) fn take_part(&mut self, index: usize) -> (i64, Vec<u32>) {
        (self.windows[index].end, std::mem::take(&mut self.rows[index]))
    }

    /// Gives the allocation of a part back.
    pub(super) fn give_back(&mut self, index: usize, rows: Vec<u32>) {
        self.rows[index] = rows;
    }
}

fn extremes(times: impl Iterator<Item = i64>) -> (i64, i64) {
    times.fold((i64::MAX, i64::MIN), |(least, most), time| (least.min(time), most.max(time)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    #[test]
    fn every_row_is_in_its_window() {
        let mut numbers = Numbers::new(3);
        for (spread, size_ms) in [(10, 100), (50, 7), (5000, 3), (2, 1)] {
            let times: Vec<i64> = (0..600).map(|i| i / 3 + numbers.below(spread) as i64 - 40).collect();
            let odd: Selection = (0..600).filter(|i| i % 2 == 1).collect();
            for selection in [None, Some(&odd)] {
                let windowing = Windowing::Tumbling { size_ms, offset_ms: 1 };
                let mut split = WindowSplit::default();
                for _ in 0..2 {
                    let mut seen = 0;
                    match split.split(windowing, &times, selection) {
                        Split::One(end) => {
                            assert!(times.iter().all(|t| window_start(*t, 1, size_ms) + size_ms == end));
                            seen = selection.map_or(600, |s| s.len());
                        }
                        Split::Many => {
                            for index in 0..split.len() {
                                let (end, rows) = split.take_part(index);
                                assert!(rows.is_sorted() && !rows.is_empty());
                                for row in &rows {
                                    assert_eq!(window_start(times[*row as usize], 1, size_ms) + size_ms, end);
                                }
                                seen += rows.len();
                                split.give_back(index, rows);
                            }
                        }
                    }
                    assert_eq!(seen, selection.map_or(600, |s| s.len()));
                }
            }
        }
    }
}
