//! Build rows by whether a probe row has met them, once all probe rows have been: those without a partner of full and
//! build anti joins, those with one of build semi joins.
//!
//! The rows are found in the bitmap that probing has marked, a word at a time, and come out in pieces of a batch. Cost: a
//! bit for each build row, and a gather for each build column of the output; probe columns are a constant NULL.

use std::sync::Arc;

use arrow_buffer::ScalarBuffer;
use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::spec::relational::JoinKind;
use flumen_kernels::gather::{index_array, take_column};
use flumen_kernels::join_table::JoinTable;

use super::probe::{Probe, Source};
use crate::contract::Output;

impl Probe {
    /// The next piece of the build rows from `from` on that are to come out; answers where to go on, or `None` if
    /// there are no more.
    pub(super) fn emit_unmatched(
        &self,
        table: &JoinTable,
        from: usize,
        out: &mut Output,
    ) -> Result<Option<usize>, Failure> {
        let mut rows: Vec<u32> = Vec::new();
        let find = |from| match self.spec.kind {
            JoinKind::BuildSemi => self.build_matched.next_marked(from),
            _ => self.build_matched.next_unmarked(from),
        };
        let mut next = find(from);
        while let Some(row) = next
            && rows.len() < self.pairs_max
        {
            rows.push(row as u32);
            next = find(row + 1);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let count = rows.len();
        let rows = index_array(&ScalarBuffer::from(rows), None);
        let columns = self
            .spec
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| match source {
                Source::Build(column) => Ok(take_column(table.batch().column(*column), &rows)?),
                _ => Ok(self.null_column(index)),
            })
            .collect::<Result<_, Failure>>()?;
        out.emit(Batch::new(Arc::clone(&self.output), columns, count));
        Ok(next)
    }
}
