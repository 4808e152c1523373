//! Batches to Parquet files.
//!
//! Rows are gathered into row groups by the library; its output is taken out after each batch, so that a writer can
//! pass it on. The bytes after `finish` are the footer, without which the file cannot be read.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use flumen_core::batch::Batch;
use flumen_core::types::SchemaRef;
use flumen_formats::{Encoder, FormatError, insertions_only, portable_batch};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::guarded;

const FORMAT: &str = "parquet";
/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// A row group is closed when it holds so many encoded bytes, whatever its rows.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes one Parquet file, compressed with Snappy.
pub struct ParquetEncoder {
    schema: SchemaRef,
    written: Written,
    writer: Option<ArrowWriter<Written>>,
}

impl ParquetEncoder {
    /// An encoder of rows of this schema.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, written: Written::default(), writer: None }
    }

    fn with_writer<T>(
        &mut self,
        work: impl FnOnce(&mut ArrowWriter<Written>) -> parquet::errors::Result<T>,
    ) -> Result<T, FormatError> {
        let Some(writer) = &mut self.writer else {
            let problem = "the file was not started, is finished, or failed before".to_owned();
            return Err(FormatError::Unsupported { format: FORMAT, problem });
        };
        let result = guarded(|| work(writer));
        if result.is_err() {
            self.writer = None;
        }
        result.map_err(library)
    }
}

impl Encoder for ParquetEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let (written, schema) = (self.written.clone(), self.schema.portable_arrow_schema());
        let writer = guarded(|| ArrowWriter::try_new(written, schema, Some(properties))).map_err(library)?;
        self.writer = Some(writer);
        self.written.take_into(out);
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        self.with_writer(|writer| {
            writer.write(&rows)?;
            match writer.in_progress_size() > ROW_GROUP_BYTES {
                true => writer.flush(),
                false => Ok(()),
            }
        })?;
        self.written.take_into(out);
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, ArrowWriter::memory_size)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.with_writer(|writer| writer.finish().map(drop))?;
        self.writer = None;
        self.written.take_into(out);
        Ok(())
    }
}

fn library(error: impl std::fmt::Display) -> FormatError {
    FormatError::Library { format: FORMAT, source: error.to_string().into() }
}

/// What the library has written and nobody has taken yet. Locked by the thread that encodes, twice a batch.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn take_into(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
