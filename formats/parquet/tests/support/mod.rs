//! Small Parquet files in a simulated file system, and reading them back whole.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Field, SchemaRef};
use flumen_formats_parquet::{
    ColumnBinding, FetchBuffers, PageMap, ParquetError, ParquetFile, RowGroupPlan, RowGroupReader, ScanFilter,
};
use flumen_io::{FileSystem, ReadFile, SimulatedClock, SimulatedFileSystem};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// The bytes of a file with these rows.
pub(crate) fn parquet_bytes(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// A file with these bytes.
pub(crate) fn file_of(bytes: &[u8]) -> Arc<dyn ReadFile> {
    let files = SimulatedFileSystem::new(1, Arc::new(SimulatedClock::new()));
    let path = Path::new("/t.parquet");
    let mut file = files.create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
    files.open(path).unwrap()
}

/// Everything that a scan needs of a file.
pub(crate) struct Scan {
    pub(crate) source: Arc<dyn ReadFile>,
    pub(crate) file: Arc<ParquetFile>,
    pub(crate) bindings: Vec<ColumnBinding>,
    pub(crate) schema: SchemaRef,
    pub(crate) buffers: FetchBuffers,
    /// Row groups that take more are fetched in pieces.
    pub(crate) piece_bytes: usize,
    /// Pieces that were fetched, row groups that were not divided among them.
    pub(crate) pieces: std::cell::Cell<usize>,
}

impl Scan {
    /// A scan of the columns `fields`; all of the file's if `None`.
    pub(crate) fn open(bytes: &[u8], fields: Option<Vec<Field>>) -> Result<Self, ParquetError> {
        let source = file_of(bytes);
        let file = Arc::new(ParquetFile::open(source.as_ref())?);
        let fields = fields.unwrap_or_else(|| file.schema().fields.clone());
        let bindings = ColumnBinding::bind(&file, &fields)?;
        Ok(Self {
            source,
            file,
            bindings,
            schema: Arc::new(flumen_core::types::Schema::new(fields)),
            buffers: FetchBuffers::default(),
            piece_bytes: usize::MAX,
            pieces: std::cell::Cell::new(0),
        })
    }

    /// The batches of a row group from a row on.
    pub(crate) fn row_group(&self, row_group: usize, batch_rows: usize, from: u64) -> Result<Vec<Batch>, ParquetError> {
        let batches = self.filtered(row_group, batch_rows, from, &ScanFilter::default())?;
        let rows: usize = batches.iter().map(Batch::num_rows).sum();
        assert_eq!(from + rows as u64, self.file.row_group_rows(row_group), "every row comes once");
        Ok(batches)
    }

    /// The batches of a row group from a row on, without (some of) the rows that fail a filter.
    pub(crate) fn filtered(
        &self,
        row_group: usize,
        batch_rows: usize,
        from: u64,
        filter: &ScanFilter,
    ) -> Result<Vec<Batch>, ParquetError> {
        let whole = RowGroupPlan::new(&self.file, row_group, &RowGroupReader::columns(&self.bindings))?;
        let map = match whole.bytes() > self.piece_bytes {
            true => PageMap::read(&whole, self.source.as_ref())?,
            false => None,
        };
        let mut batches = Vec::new();
        let mut position = from;
        loop {
            let plan = map.as_ref().map_or(whole.clone(), |map| whole.piece(map, position, self.piece_bytes));
            let chunks = plan.fetch(self.source.as_ref(), &self.buffers)?;
            let (schema, end) = (Arc::clone(&self.schema), chunks.rows().end);
            let mut reader =
                RowGroupReader::new(&self.file, row_group, &self.bindings, schema, &chunks, batch_rows, position)?;
            reader.set_filter(filter);
            while let Some(batch) = reader.next_batch()? {
                assert!(batch.num_rows() > 0 && batch.num_rows() <= batch_rows);
                position += batch.num_rows() as u64;
                assert!(reader.position() >= position);
                position = reader.position();
                batches.push(batch);
            }
            assert_eq!(reader.position(), end);
            position = end;
            self.pieces.set(self.pieces.get() + 1);
            if end == self.file.row_group_rows(row_group) {
                return Ok(batches);
            }
        }
    }

    /// All rows, column by column.
    pub(crate) fn columns(&self, batch_rows: usize) -> Result<Vec<ArrayRef>, ParquetError> {
        let mut batches = Vec::new();
        for group in 0..self.file.row_groups() {
            batches.extend(self.row_group(group, batch_rows, 0)?);
        }
        Ok(concat(&batches, self.bindings.len()))
    }
}

/// Rows of several batches, column by column; constants are spread out.
pub(crate) fn concat(batches: &[Batch], columns: usize) -> Vec<ArrayRef> {
    (0..columns)
        .map(|column| {
            let arrays: Vec<ArrayRef> = batches
                .iter()
                .map(|batch| match batch.column(column) {
                    Column::Array(array) => flat(array),
                    Column::Constant(value) => {
                        let rows = arrow_array::UInt32Array::from(vec![0; batch.num_rows()]);
                        arrow_select::take::take(value, &rows, None).unwrap()
                    }
                })
                .collect();
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            arrow_select::concat::concat(&arrays).unwrap()
        })
        .collect()
}

/// The column without a dictionary.
pub(crate) fn flat(array: &ArrayRef) -> ArrayRef {
    match array.as_any_dictionary_opt() {
        Some(dictionary) => arrow_select::take::take(dictionary.values(), dictionary.keys(), None).unwrap(),
        None => Arc::clone(array),
    }
}
