//! Collecting rows by target until there is a batch of them.

use std::sync::Arc;

use flumen_core::batch::{Batch, KeyHashes, RowKind};
use flumen_core::types::SchemaRef;

use super::PartitionedRows;
use super::column::ColumnBuilders;
use crate::error::KernelError;
use crate::hash::hash_batch;

/// When a target has a batch.
#[derive(Clone, Copy, Debug)]
pub struct PartitionLimits {
    /// Rows of a batch at most.
    pub rows_max: usize,
    /// Bytes after which a batch is made although it has fewer rows.
    pub bytes_max: usize,
}

/// Builders for each column and target. Batches come out in the canonical carriers.
///
/// With one target it coalesces small batches.
pub struct PartitionBuilders {
    schema: SchemaRef,
    columns: Vec<ColumnBuilders>,
    /// Rows, and what else is held by row, for each target.
    targets: Vec<Target>,
    /// Key columns whose hashes travel with the rows.
    hash_columns: Option<Arc<[usize]>>,
    limits: PartitionLimits,
}

#[derive(Default)]
struct Target {
    rows: usize,
    /// Absent while all rows are insertions.
    kinds: Option<Vec<i8>>,
    hashes: Vec<u64>,
}

impl PartitionBuilders {
    /// Empty builders. With `hash_columns` the hashes of these columns travel with the rows.
    ///
    /// # Panics
    /// If `limits.rows_max` is zero.
    #[must_use]
    pub fn new(schema: SchemaRef, targets: usize, hash_columns: Option<Arc<[usize]>>, limits: PartitionLimits) -> Self {
        assert!(limits.rows_max > 0, "room for a row");
        let columns = schema.fields.iter().map(|f| ColumnBuilders::new(&f.name, &f.data_type, targets)).collect();
        let targets = (0..targets).map(|_| Target::default()).collect();
        Self { schema, columns, targets, hash_columns, limits }
    }

    /// Appends the rows of a batch to their targets; batches that are thereby full go to `full`, in order.
    ///
    /// # Panics
    /// If the rows were assigned for another number of targets, or the batch has other columns.
    ///
    /// # Errors
    /// [`KernelError::Column`] if a column cannot become its type's carrier. Then some columns have the rows and some
    /// not: the builders must not be used any more.
    pub fn append(
        &mut self,
        batch: &Batch,
        rows: &PartitionedRows,
        full: &mut Vec<(usize, Batch)>,
    ) -> Result<(), KernelError> {
        assert_eq!(rows.targets(), self.targets.len(), "rows are assigned to these targets");
        assert_eq!(batch.columns().len(), self.columns.len(), "the batch has the builders' columns");
        for target in 0..self.targets.len() {
            let held = self.targets[target].rows;
            if held > 0 && held + rows.rows_of(target).len() > self.limits.rows_max {
                self.finish_into(target, full)?;
            }
        }
        for (builder, column) in self.columns.iter_mut().zip(batch.columns()) {
            builder.append(column, batch.physical_rows(), rows)?;
        }
        self.append_kinds(batch, rows);
        if let Some(columns) = &self.hash_columns {
            let hashes = hash_batch(batch, columns);
            for (index, target) in self.targets.iter_mut().enumerate() {
                target.hashes.extend(rows.rows_of(index).iter().map(|row| hashes[*row as usize]));
            }
        }
        for (index, target) in self.targets.iter_mut().enumerate() {
            target.rows += rows.rows_of(index).len();
        }
        for target in 0..self.targets.len() {
            if self.targets[target].rows >= self.limits.rows_max || self.bytes(target) >= self.limits.bytes_max {
                self.finish_into(target, full)?;
            }
        }
        Ok(())
    }

    fn append_kinds(&mut self, batch: &Batch, rows: &PartitionedRows) {
        let unpaired = batch.row_kinds().and_then(|kinds| rows.unpaired_kinds(kinds, batch.selection()));
        let kinds: Option<&[i8]> = unpaired.as_deref().or(batch.row_kinds().map(|k| k.as_ref()));
        for (index, target) in self.targets.iter_mut().enumerate() {
            let rows = rows.rows_of(index);
            match kinds {
                None => {
                    if let Some(own) = &mut target.kinds {
                        own.resize(own.len() + rows.len(), RowKind::Insert as i8);
                    }
                }
                Some(kinds) => {
                    let own = target.kinds.get_or_insert_with(|| vec![RowKind::Insert as i8; target.rows]);
                    own.extend(rows.iter().map(|row| kinds[*row as usize]));
                }
            }
        }
    }

    /// Rows that a target holds.
    ///
    /// # Panics
    /// If there is no such target.
    #[must_use]
    pub fn rows(&self, target: usize) -> usize {
        self.targets[target].rows
    }

    /// Bytes that a target holds.
    ///
    /// # Panics
    /// If there is no such target.
    #[must_use]
    pub fn bytes(&self, target: usize) -> usize {
        let row_bytes: usize = self.columns.iter().map(ColumnBuilders::row_bytes).sum();
        let data_bytes: usize = self.columns.iter().map(|c| c.data_bytes(target)).sum();
        self.targets[target].rows * row_bytes + data_bytes
    }

    /// Bytes that all targets hold.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        (0..self.targets.len()).map(|target| self.bytes(target)).sum()
    }

    /// What a target holds, as batches of at most the limit's rows (more than one only if a single batch had brought
    /// more); it is empty afterwards.
    ///
    /// # Panics
    /// If there is no such target.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn finish_into(&mut self, target: usize, batches: &mut Vec<(usize, Batch)>) -> Result<(), KernelError> {
        let held = std::mem::take(&mut self.targets[target]);
        if held.rows == 0 {
            return Ok(());
        }
        let columns = self.columns.iter_mut().map(|c| c.finish(target, held.rows)).collect::<Result<_, _>>()?;
        let hashes = self
            .hash_columns
            .as_ref()
            .map(|columns| KeyHashes { columns: Arc::clone(columns), values: held.hashes.into() });
        let batch = Batch::new(Arc::clone(&self.schema), columns, held.rows)
            .with_row_kinds(held.kinds.map(Into::into))
            .with_hashes(hashes);
        for offset in (0..held.rows).step_by(self.limits.rows_max) {
            let rows = self.limits.rows_max.min(held.rows - offset);
            batches.push((target, if rows == held.rows { batch.clone() } else { batch.slice(offset, rows) }));
        }
        Ok(())
    }

    /// What every target holds, target by target; all are empty afterwards.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn finish_all(&mut self, batches: &mut Vec<(usize, Batch)>) -> Result<(), KernelError> {
        (0..self.targets.len()).try_for_each(|target| self.finish_into(target, batches))
    }
}
