//! Batches to lines.

use arrow_array::Array;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_core::batch::Batch;
use flumen_core::types::SchemaRef;
use flumen_formats::{Encoder, FormatError, insertions_only, portable_batch};

use crate::{CsvLayout, FORMAT};

/// Batches to CSV lines. Text that is empty, or looks like a NULL, is quoted.
pub struct CsvEncoder {
    schema: SchemaRef,
    layout: CsvLayout,
    /// The value in hand.
    text: String,
}

impl CsvEncoder {
    /// An encoder of rows of this schema.
    #[must_use]
    pub fn new(schema: SchemaRef, layout: CsvLayout) -> Self {
        Self { schema, layout, text: String::new() }
    }

    fn is_special(&self, byte: u8) -> bool {
        byte == self.layout.delimiter || matches!(byte, b'\n' | b'\r') || Some(byte) == self.layout.quote
    }

    fn field(&self, text: &str, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let bytes = text.as_bytes();
        let is_plain = !bytes.is_empty() && text != self.layout.null && !bytes.iter().any(|b| self.is_special(*b));
        if is_plain {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        let Some(quote) = self.layout.quote else {
            // Without quotes an empty text is what a NULL is, and the rest cannot be told apart.
            if bytes.iter().any(|b| self.is_special(*b)) {
                let problem =
                    format!("the text {text:?} has a delimiter or end of line in it, and there are no quotes");
                return Err(FormatError::Unsupported { format: FORMAT, problem });
            }
            out.extend_from_slice(bytes);
            return Ok(());
        };
        out.push(quote);
        for byte in bytes {
            if *byte == quote || *byte == self.layout.escape {
                out.push(self.layout.escape);
            }
            out.push(*byte);
        }
        out.push(quote);
        Ok(())
    }
}

impl Encoder for CsvEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.layout.header {
            for (index, field) in self.schema.fields.iter().enumerate() {
                if index > 0 {
                    out.push(self.layout.delimiter);
                }
                self.field(&field.name, out)?;
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        let options = FormatOptions::default();
        let columns: Vec<_> = rows
            .columns()
            .iter()
            .map(|column| Ok((column, ArrayFormatter::try_new(column.as_ref(), &options).map_err(library)?)))
            .collect::<Result<_, FormatError>>()?;
        let mut text = std::mem::take(&mut self.text);
        for row in 0..rows.num_rows() {
            for (index, (column, formatter)) in columns.iter().enumerate() {
                if index > 0 {
                    out.push(self.layout.delimiter);
                }
                if column.is_null(row) {
                    out.extend_from_slice(self.layout.null.as_bytes());
                    continue;
                }
                text.clear();
                formatter.value(row).write(&mut text).map_err(library)?;
                self.field(&text, out)?;
            }
            out.push(b'\n');
        }
        self.text = text;
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}

fn library(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}
