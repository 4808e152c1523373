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
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::guarded;

const FORMAT: &str = "parquet";
/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// A row group is closed when it holds so many encoded bytes, whatever its rows.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetCompression {
    /// Not at all.
    None,
    /// Snappy.
    Snappy,
    /// LZ4, as the format's `LZ4_RAW`.
    Lz4,
    /// Gzip with a level of 0 to 9.
    Gzip(u32),
    /// Zstandard with a level of 1 to 22.
    Zstd(i32),
}

impl ParquetCompression {
    /// The codec of this name, with its usual level if none is given; what is wrong if there is none.
    pub fn by_name(name: &str, level: Option<i32>) -> Result<Self, String> {
        let between = |low: i32, high: i32, usual: i32| match level {
            None => Ok(usual),
            Some(level) if (low..=high).contains(&level) => Ok(level),
            Some(level) => Err(format!("its level is {low} to {high}, and not {level}")),
        };
        let without_level = |codec: Self| match level {
            None => Ok(codec),
            Some(_) => Err("it has no levels".to_owned()),
        };
        match name.to_lowercase().as_str() {
            "none" | "uncompressed" => without_level(Self::None),
            "snappy" => without_level(Self::Snappy),
            "lz4" | "lz4_raw" => without_level(Self::Lz4),
            "gzip" => Ok(Self::Gzip(between(0, 9, 6)?.unsigned_abs())),
            "zstd" => Ok(Self::Zstd(between(1, 22, 3)?)),
            _ => Err("write snappy, zstd, gzip, lz4 or none".to_owned()),
        }
    }

    fn library(self) -> Compression {
        match self {
            Self::None => Compression::UNCOMPRESSED,
            Self::Snappy => Compression::SNAPPY,
            Self::Lz4 => Compression::LZ4_RAW,
            Self::Gzip(level) => Compression::GZIP(GzipLevel::try_new(level).unwrap_or_default()),
            Self::Zstd(level) => Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default()),
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// How its pages are compressed.
    pub compression: ParquetCompression,
    /// Rows of a row group at most.
    pub row_group_rows: usize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { compression: ParquetCompression::Snappy, row_group_rows: ROW_GROUP_ROWS }
    }
}

/// Writes one Parquet file.
pub struct ParquetEncoder {
    schema: SchemaRef,
    options: ParquetOptions,
    written: Written,
    writer: Option<ArrowWriter<Written>>,
}

impl ParquetEncoder {
    /// An encoder of rows of this schema, compressed with Snappy.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self::with_options(schema, ParquetOptions::default())
    }

    /// An encoder of rows of this schema.
    #[must_use]
    pub fn with_options(schema: SchemaRef, options: ParquetOptions) -> Self {
        Self { schema, options, written: Written::default(), writer: None }
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
            .set_compression(self.options.compression.library())
            .set_max_row_group_row_count(Some(self.options.row_group_rows.max(1)))
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
