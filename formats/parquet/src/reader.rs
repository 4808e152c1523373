//! Row groups to batches.
//!
//! A reader decodes the fetched bytes of one row group, piece by piece, on the thread that calls it (a task's worker):
//! nothing here waits. It counts the rows it has given, so that a scan can be continued behind any of them; rows before
//! the start are skipped by the decoders, whole pages without being decompressed.
//!
//! A row group that ends early or late is damaged: its footer says how many rows there are.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};

use crate::error::{ParquetError, guarded};
use crate::fetch::RowGroupChunks;
use crate::file::ParquetFile;
use crate::schema::ColumnBinding;

/// Where an output column comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// A column of the decoded batch, converted to this type if there is one.
    Decoded(usize, Option<DataType>),
    /// The file lacks it.
    Null(ArrayRef),
}

/// Decodes one row group.
pub struct RowGroupReader {
    file: Arc<ParquetFile>,
    row_group: usize,
    schema: SchemaRef,
    origins: Vec<Origin>,
    /// `None` when no column of the file is wanted, only its rows, and after an error.
    decoder: Option<ParquetRecordBatchReader>,
    batch_rows: usize,
    rows: u64,
    position: u64,
}

impl RowGroupReader {
    /// Root columns of the file that the bindings need, ascending, each once: what to plan a fetch for.
    #[must_use]
    pub fn columns(bindings: &[ColumnBinding]) -> Vec<usize> {
        let mut columns: Vec<_> = bindings.iter().filter_map(|b| b.column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// A reader of a row group from its row `position` on. `schema` is that of its batches, one field per binding;
    /// `chunks` holds the bytes of [`RowGroupReader::columns`].
    ///
    /// # Errors
    /// If the row group has fewer rows or is damaged.
    pub fn new(
        file: &Arc<ParquetFile>,
        row_group: usize,
        bindings: &[ColumnBinding],
        schema: SchemaRef,
        chunks: &RowGroupChunks,
        batch_rows: usize,
        position: u64,
    ) -> Result<Self, ParquetError> {
        let rows = file.row_group_rows(row_group);
        let columns = Self::columns(bindings);
        let origins = bindings
            .iter()
            .map(|binding| match binding.column {
                Some(column) => {
                    let place = columns.partition_point(|c| *c < column);
                    Origin::Decoded(place, binding.is_cast.then(|| binding.field.data_type.arrow_type()))
                }
                None => Origin::Null(new_null_array(&binding.field.data_type.arrow_type(), 1)),
            })
            .collect();
        let mut reader = Self {
            file: Arc::clone(file),
            row_group,
            schema,
            origins,
            decoder: None,
            batch_rows: batch_rows.max(1),
            rows,
            position,
        };
        let fits = usize::try_from(rows).ok().zip(usize::try_from(position).ok()).filter(|(r, p)| p <= r);
        let Some((rows, skip)) = fits else {
            return Err(reader.damaged(format!("it has {rows} rows and was to be read from row {position}")));
        };
        if !columns.is_empty() && skip < rows {
            let mask = ProjectionMask::roots(file.metadata().file_metadata().schema_descr(), columns);
            let decoder = guarded(|| {
                let metadata = file.arrow_metadata().clone();
                let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks.clone(), metadata)
                    .with_row_groups(vec![row_group])
                    .with_projection(mask)
                    .with_batch_size(reader.batch_rows);
                if skip > 0 {
                    let selectors = vec![RowSelector::skip(skip), RowSelector::select(rows - skip)];
                    builder = builder.with_row_selection(RowSelection::from(selectors));
                }
                builder.build()
            });
            reader.decoder = Some(decoder.map_err(|problem| reader.damaged(problem))?);
        }
        Ok(reader)
    }

    /// Rows of the row group that have been given or skipped.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next rows, at most a batch; `None` at the end.
    ///
    /// # Errors
    /// If the bytes are damaged or a value does not fit the table's type; there is nothing more to read then.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ParquetError> {
        let left = self.rows - self.position;
        let decoded = match &mut self.decoder {
            Some(decoder) => match guarded(|| decoder.next().transpose()) {
                Ok(decoded) => decoded,
                Err(problem) => return Err(self.fail(problem)),
            },
            None if left > 0 && self.origins.iter().all(|o| matches!(o, Origin::Null(_))) => {
                let rows = left.min(self.batch_rows as u64);
                self.position += rows;
                return Ok(Some(self.nulls(rows as usize)));
            }
            None => return Ok(None),
        };
        let Some(decoded) = decoded else {
            self.decoder = None;
            return match left {
                0 => Ok(None),
                _ => Err(self.fail(format!("its pages end {left} rows before its footer says"))),
            };
        };
        let rows = decoded.num_rows() as u64;
        if rows == 0 || rows > left {
            return Err(self.fail(format!("a page gave {rows} rows where {left} are left")));
        }
        let batch = self.batch(&decoded)?;
        self.position += rows;
        Ok(Some(batch))
    }

    /// The output columns over the decoded ones.
    fn batch(&mut self, decoded: &RecordBatch) -> Result<Batch, ParquetError> {
        let mut columns = Vec::with_capacity(self.origins.len());
        for (index, origin) in self.origins.iter().enumerate() {
            columns.push(match origin {
                Origin::Null(value) => Column::Constant(Arc::clone(value)),
                Origin::Decoded(place, None) => Column::Array(Arc::clone(decoded.column(*place))),
                Origin::Decoded(place, Some(wanted)) => {
                    let options = CastOptions { safe: false, ..CastOptions::default() };
                    let array = decoded.column(*place);
                    let cast = guarded(|| cast_with_options(array, wanted, &options));
                    Column::Array(cast.map_err(|problem| ParquetError::Value {
                        path: self.file.path().to_path_buf(),
                        row_group: self.row_group,
                        column: self.schema.fields[index].name.clone(),
                        problem,
                    })?)
                }
            });
        }
        for (column, field) in columns.iter().zip(&self.schema.fields) {
            // A required column has no definition levels to be null by; only a conversion could make one.
            if !field.nullable && column.array().null_count() > 0 {
                let problem = format!("column {:?} holds NULL and must not", field.name);
                return Err(self.fail(problem));
            }
        }
        Ok(Batch::new(Arc::clone(&self.schema), columns, decoded.num_rows()))
    }

    /// Rows of which no column is in the file.
    fn nulls(&self, rows: usize) -> Batch {
        let columns = self.origins.iter().map(|origin| match origin {
            Origin::Null(value) => Column::Constant(Arc::clone(value)),
            Origin::Decoded(..) => unreachable!("the caller has found none"),
        });
        Batch::new(Arc::clone(&self.schema), columns.collect(), rows)
    }

    fn fail(&mut self, problem: String) -> ParquetError {
        self.decoder = None;
        self.position = self.rows;
        self.damaged(problem)
    }

    fn damaged(&self, problem: String) -> ParquetError {
        let path = self.file.path().to_path_buf();
        let column = match self.schema.fields.as_slice() {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        ParquetError::RowGroup { path, row_group: self.row_group, column, problem }
    }
}
