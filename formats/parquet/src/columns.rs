//! The columns of a row group that we decode ourselves: filtered ones first, the others only where rows are left.
//!
//! Rows are taken in windows. In a window the filtered columns are decoded one after the other, each only at the rows
//! that those before have left; then the other columns at the rows that are left in the end. Windows are gathered until
//! half a batch has come together, so that a filter that leaves one row in a hundred does not make batches of eighty
//! rows. A window in which nothing is left costs the other columns nothing but a counter.
//!
//! A filter has to be worth it: one that leaves most rows is dropped for the rest of the row group, and the one that
//! leaves the fewest goes first. Whoever needs the rows filtered filters them again, so this changes no result.

use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::decode::Leaf;
use crate::filter::ScanFilter;

/// Rows after which it is known whether a filter is worth it.
const LEARNED_ROWS: u64 = 4096;

/// What went wrong, and with which column.
pub(crate) struct ColumnError {
    /// Index among the columns.
    pub(crate) column: usize,
    pub(crate) problem: String,
}

/// A filter on a column.
struct Step {
    column: usize,
    /// Index among the filter's conditions.
    condition: usize,
    rows_in: u64,
    rows_out: u64,
}

impl Step {
    /// One row in ten and more goes.
    fn is_worth_it(&self) -> bool {
        self.rows_in < LEARNED_ROWS || self.rows_out * 10 < self.rows_in * 9
    }
}

/// Columns of a row group.
pub(crate) struct Columns {
    leaves: Vec<Box<dyn Leaf>>,
    filter: ScanFilter,
    steps: Vec<Step>,
    kept: Vec<u32>,
}

/// Rows that were passed and rows that came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled {
    pub(crate) passed: u64,
    pub(crate) rows: usize,
}

impl Columns {
    pub(crate) fn new(leaves: Vec<Box<dyn Leaf>>) -> Self {
        Self { leaves, filter: ScanFilter::default(), steps: Vec::new(), kept: Vec::new() }
    }

    /// Filters the rows that are read from now on. `place` says which column (among these) an output column is, if it is
    /// one and as it is stored.
    pub(crate) fn set_filter(&mut self, filter: &ScanFilter, place: impl Fn(usize) -> Option<usize>) {
        self.filter = filter.clone();
        self.steps.clear();
        for (condition, (output, _)) in filter.conditions().iter().enumerate() {
            // Two output columns may be the same column of the file; the first filter on it is enough.
            if let Some(column) = place(*output).filter(|c| self.steps.iter().all(|step| step.column != *c)) {
                self.steps.push(Step { column, condition, rows_in: 0, rows_out: 0 });
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Reads the next rows, whatever the filter says.
    pub(crate) fn read(&mut self, rows: usize) -> Result<(), ColumnError> {
        each(&mut self.leaves, |leaf| leaf.read(rows, None))
    }

    /// Reads at most `rows_max` rows, of at most `left` that are left. None come out only at the end.
    pub(crate) fn fill(&mut self, rows_max: usize, left: u64) -> Result<Filled, ColumnError> {
        let mut filled = Filled::default();
        if self.steps.is_empty() {
            let rows = left.min(rows_max as u64) as usize;
            self.read(rows)?;
            return Ok(Filled { passed: rows as u64, rows });
        }
        while filled.passed < left && filled.rows * 2 <= rows_max && filled.rows < rows_max {
            let window = (left - filled.passed).min((rows_max - filled.rows) as u64) as usize;
            filled.rows += self.window(window, filled.rows)?;
            filled.passed += window as u64;
        }
        self.steps.retain(Step::is_worth_it);
        self.steps.sort_by(|a, b| (a.rows_out * b.rows_in).cmp(&(b.rows_out * a.rows_in)));
        Ok(filled)
    }

    /// Reads what the filter leaves of a window behind `before` rows; says how many.
    fn window(&mut self, rows: usize, before: usize) -> Result<usize, ColumnError> {
        let Self { leaves, filter, steps, kept } = self;
        let conditions = Arc::clone(filter.conditions());
        let mut wanted: Option<Vec<u32>> = None;
        for at in 0..steps.len() {
            let (done, rest) = steps.split_at_mut(at);
            let step = &mut rest[0];
            let error = |problem| ColumnError { column: step.column, problem };
            let condition = &conditions[step.condition].1;
            leaves[step.column].filter(rows, wanted.as_deref(), condition, kept).map_err(error)?;
            step.rows_in += wanted.as_ref().map_or(rows, Vec::len) as u64;
            step.rows_out += kept.len() as u64;
            if wanted.as_ref().is_some_and(|wanted| kept.len() < wanted.len()) {
                done.iter().for_each(|step| leaves[step.column].keep(before, kept));
            }
            wanted = Some(match wanted {
                None => kept.clone(),
                Some(wanted) => kept.iter().map(|position| wanted[*position as usize]).collect(),
            });
        }
        let wanted = wanted.unwrap_or_default();
        let all = wanted.len() == rows;
        each_with_index(leaves, |index, leaf| {
            if steps.iter().any(|step| step.column == index) {
                return Ok(());
            }
            match wanted.is_empty() {
                true => leaf.skip(rows),
                false => leaf.read(rows, (!all).then_some(wanted.as_slice()))?,
            }
            Ok(())
        })?;
        Ok(wanted.len())
    }

    /// Gives out the rows that were read, column by column.
    pub(crate) fn finish(&mut self) -> Result<Vec<ArrayRef>, ColumnError> {
        let mut arrays = Vec::with_capacity(self.leaves.len());
        each(&mut self.leaves, |leaf| {
            arrays.push(leaf.finish()?);
            Ok(())
        })?;
        Ok(arrays)
    }
}

fn each(
    leaves: &mut [Box<dyn Leaf>],
    mut work: impl FnMut(&mut dyn Leaf) -> Result<(), String>,
) -> Result<(), ColumnError> {
    each_with_index(leaves, |_, leaf| work(leaf))
}

fn each_with_index(
    leaves: &mut [Box<dyn Leaf>],
    mut work: impl FnMut(usize, &mut dyn Leaf) -> Result<(), String>,
) -> Result<(), ColumnError> {
    for (column, leaf) in leaves.iter_mut().enumerate() {
        work(column, leaf.as_mut()).map_err(|problem| ColumnError { column, problem })?;
    }
    Ok(())
}
