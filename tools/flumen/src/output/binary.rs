//! Arrow IPC streams and Parquet files.
//!
//! Both writers work into memory that is handed on after every batch, so a stream flows and a Parquet file costs one row
//! group.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::RowWriter;

/// A stream in the format of the Arrow specification, "IPC Streaming Format".
pub(super) struct ArrowStream {
    schema: SchemaRef,
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl ArrowStream {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: Arc::clone(schema), writer: None }
    }
}

fn hand_on(bytes: &mut Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(bytes)?;
    bytes.clear();
    Ok(())
}

impl RowWriter for ArrowStream {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        self.writer = Some(StreamWriter::try_new(Vec::new(), &self.schema).map_err(io::Error::other)?);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let writer = self.writer.as_mut().expect("it has begun");
        writer.write(batch).map_err(io::Error::other)?;
        hand_on(writer.get_mut(), out)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = self.writer.take().expect("it has begun");
        writer.finish().map_err(io::Error::other)?;
        hand_on(writer.get_mut(), out)
    }
}

/// A Parquet file.
pub(super) struct ParquetFile {
    schema: SchemaRef,
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl ParquetFile {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { schema: Arc::clone(schema), writer: None }
    }
}

impl RowWriter for ParquetFile {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), Some(properties));
        self.writer = Some(writer.map_err(io::Error::other)?);
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let writer = self.writer.as_mut().expect("it has begun");
        writer.write(batch).map_err(io::Error::other)?;
        // Where it stands is counted apart from these bytes.
        hand_on(writer.inner_mut(), out)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut bytes = self.writer.take().expect("it has begun").into_inner().map_err(io::Error::other)?;
        hand_on(&mut bytes, out)
    }
}
