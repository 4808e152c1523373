//! Row groups to batches.
//!
//! A reader decodes the fetched bytes of one row group, piece by piece, on the thread that calls it (a task's worker):
//! nothing here waits. It counts the rows it has given or left out, so that a scan can be continued behind any of them;
//! rows before the start are skipped by the decoders, whole pages without being decompressed.
//!
//! Which columns are decoded by our own code and which by the library is decided when the reader is made. A filter is
//! applied only if all are ours; it leaves rows out, but not surely all that fail it ([`ScanFilter`]).
//!
//! A row group that ends early or late is damaged: its footer says how many rows there are.

use std::ops::Range;
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

use crate::columns::{ColumnError, Columns, Filled};
use crate::decode::{Leaf, leaf};
use crate::error::{ParquetError, guarded};
use crate::fetch::RowGroupChunks;
use crate::file::ParquetFile;
use crate::filter::ScanFilter;
use crate::schema::ColumnBinding;

/// Largest dictionary of text that is given out as such.
const CODES_MAX: usize = 4096;

/// Where an output column comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// A decoded column, converted to this type if there is one.
    Decoded(Place, Option<DataType>),
    /// The file lacks it.
    Null(ArrayRef),
}

/// Who decodes a column, and which of theirs it is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Own(usize),
    Library(usize),
}

/// Decodes one row group.
pub struct RowGroupReader {
    file: Arc<ParquetFile>,
    row_group: usize,
    schema: SchemaRef,
    origins: Vec<Origin>,
    own: Columns,
    /// The file's columns behind `own`.
    own_columns: Vec<usize>,
    /// `None` when it has no column to decode, only rows, and after an error.
    library: Option<ParquetRecordBatchReader>,
    batch_rows: usize,
    /// Where it ends: behind the last row of the row group or of the piece of it.
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

    /// A reader of a row group from its row `position` on, to the last row that `chunks` holds the bytes of, for
    /// [`RowGroupReader::columns`]. `schema` is that of its batches, one field per binding.
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
        let Range { start, end: rows } = chunks.rows();
        let mut reader = Self {
            file: Arc::clone(file),
            row_group,
            schema,
            origins: Vec::new(),
            own: Columns::new(Vec::new()),
            own_columns: Vec::new(),
            library: None,
            batch_rows: batch_rows.max(1),
            rows,
            position,
        };
        let fits = usize::try_from(rows)
            .ok()
            .zip(usize::try_from(position).ok())
            .filter(|_| start <= position && position <= rows);
        let Some((rows, skip)) = fits else {
            let problem = format!("its rows {start} to {rows} are there and it was to be read from row {position}");
            return Err(reader.damaged(None, problem));
        };
        let mut leaves = Vec::new();
        let mut others = Vec::new();
        for column in Self::columns(bindings) {
            match reader.leaf(chunks, column, bindings) {
                Some((mut leaf, first_row)) => {
                    // The page that holds the first row may begin before it.
                    leaf.skip(usize::try_from(position.saturating_sub(first_row)).unwrap_or(usize::MAX));
                    leaves.push(leaf);
                    reader.own_columns.push(column);
                }
                None => others.push(column),
            }
        }
        let place = |column: usize| match reader.own_columns.binary_search(&column) {
            Ok(own) => Place::Own(own),
            Err(_) => Place::Library(others.partition_point(|c| *c < column)),
        };
        reader.origins = bindings
            .iter()
            .map(|binding| match binding.column {
                Some(column) => {
                    Origin::Decoded(place(column), binding.is_cast.then(|| binding.field.data_type.arrow_type()))
                }
                None => Origin::Null(new_null_array(&binding.field.data_type.arrow_type(), 1)),
            })
            .collect();
        reader.own = Columns::new(leaves);
        if !others.is_empty() && skip < rows {
            if chunks.rows() != (0..file.row_group_rows(row_group)) {
                let problem = "a column that must be read as a whole was fetched in part".to_owned();
                return Err(reader.damaged(None, problem));
            }
            let mask = ProjectionMask::roots(file.metadata().file_metadata().schema_descr(), others);
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
            reader.library = Some(decoder.map_err(|problem| reader.damaged(None, problem))?);
        }
        Ok(reader)
    }

    /// Our own decoder of a column of the file, if it is one that we decode, and the row that its pages begin with.
    fn leaf(&self, chunks: &RowGroupChunks, column: usize, bindings: &[ColumnBinding]) -> Option<(Box<dyn Leaf>, u64)> {
        let index = self.file.leaf_of(column)?;
        let data_type = self.file.arrow_metadata().schema().field(column).data_type();
        // Conversions take flat columns.
        let is_cast = bindings.iter().any(|b| b.column == Some(column) && b.is_cast);
        let codes_max = if is_cast { 0 } else { CODES_MAX.min(self.batch_rows) };
        let (metadata, chunk) = (self.file.metadata().row_group(self.row_group), chunks.column(index)?);
        Some((leaf(metadata.column(index), chunk, data_type, codes_max)?, chunk.first_row))
    }

    /// Leaves out rows that fail a filter over the output columns, where that saves decoding the others. Rows that fail
    /// may still come.
    pub fn set_filter(&mut self, filter: &ScanFilter) {
        if self.library.is_some() {
            return;
        }
        let Self { own, origins, .. } = self;
        own.set_filter(filter, |output| match origins.get(output) {
            Some(Origin::Decoded(Place::Own(column), None)) => Some(*column),
            _ => None,
        });
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
        let (filled, library) = if self.library.is_some() {
            match self.next_of_library(left)? {
                Some(decoded) => decoded,
                None => return Ok(None),
            }
        } else if left == 0 {
            return Ok(None);
        } else if self.own.is_empty() {
            let rows = left.min(self.batch_rows as u64);
            (Filled { passed: rows, rows: rows as usize }, None)
        } else {
            (self.own(|own, rows| own.fill(rows, left))?, None)
        };
        let own = self.own(|own, _| own.finish())?;
        self.position += filled.passed;
        match filled.rows {
            0 => Ok(None),
            rows => self.batch(&own, library.as_ref(), rows).map(Some),
        }
    }

    /// The next rows of the columns that the library decodes; ours have read as many.
    fn next_of_library(&mut self, left: u64) -> Result<Option<(Filled, Option<RecordBatch>)>, ParquetError> {
        let Some(library) = &mut self.library else { return Ok(None) };
        let decoded = match guarded(|| library.next().transpose()) {
            Ok(decoded) => decoded,
            Err(problem) => return Err(self.fail(None, problem)),
        };
        let Some(decoded) = decoded else {
            self.library = None;
            return match left {
                0 => Ok(None),
                _ => Err(self.fail(None, format!("its pages end {left} rows before its footer says"))),
            };
        };
        let rows = decoded.num_rows();
        if rows == 0 || rows as u64 > left {
            return Err(self.fail(None, format!("a page gave {rows} rows where {left} are left")));
        }
        self.own(|own, _| own.read(rows))?;
        Ok(Some((Filled { passed: rows as u64, rows }, Some(decoded))))
    }

    /// Lets our own columns work. A panic is a bug of ours, but not one that a file may end the process by.
    fn own<T>(&mut self, work: impl FnOnce(&mut Columns, usize) -> Result<T, ColumnError>) -> Result<T, ParquetError> {
        let Self { own, batch_rows, .. } = self;
        match guarded(|| Ok::<_, String>(work(own, *batch_rows))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(ColumnError { column, problem })) => Err(self.fail(Some(column), problem)),
            Err(problem) => Err(self.fail(None, problem)),
        }
    }

    /// The output columns over the decoded ones.
    fn batch(&mut self, own: &[ArrayRef], library: Option<&RecordBatch>, rows: usize) -> Result<Batch, ParquetError> {
        let mut columns = Vec::with_capacity(self.origins.len());
        for (index, origin) in self.origins.iter().enumerate() {
            let (array, wanted) = match origin {
                Origin::Null(value) => {
                    columns.push(Column::Constant(Arc::clone(value)));
                    continue;
                }
                Origin::Decoded(Place::Own(place), wanted) => (&own[*place], wanted),
                Origin::Decoded(Place::Library(place), wanted) => {
                    (library.expect("it was read for its columns").column(*place), wanted)
                }
            };
            columns.push(match wanted {
                None => Column::Array(Arc::clone(array)),
                Some(wanted) => {
                    let options = CastOptions { safe: false, ..CastOptions::default() };
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
                return Err(self.fail(None, problem));
            }
        }
        Ok(Batch::new(Arc::clone(&self.schema), columns, rows))
    }

    /// There is nothing more to read.
    fn fail(&mut self, own_column: Option<usize>, problem: String) -> ParquetError {
        let error = self.damaged(own_column, problem);
        self.library = None;
        self.own = Columns::new(Vec::new());
        self.position = self.rows;
        error
    }

    fn damaged(&self, own_column: Option<usize>, problem: String) -> ParquetError {
        let path = self.file.path().to_path_buf();
        let own = own_column.and_then(|own| self.own_columns.get(own));
        let column = match (own, self.schema.fields.as_slice()) {
            (Some(column), _) => Some(self.file.schema().fields[*column].name.clone()),
            (None, [only]) => Some(only.name.clone()),
            _ => None,
        };
        ParquetError::RowGroup { path, row_group: self.row_group, column, problem }
    }
}
