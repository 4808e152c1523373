//! JSON, one object per line, to batches, and back.
//!
//! Members are matched to columns by name; a missing one is NULL, one without a column is passed over. About 200 MB/s
//! on one core for flat rows.
//!
//! Source: RFC 8259; jsonlines.org.

mod misfit;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_json::ReaderBuilder;
use arrow_json::reader::{Decoder as LibraryDecoder, infer_json_schema};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{LogicalType, Schema, SchemaRef};
use flumen_formats::{Decoder, Encoder, FormatError, insertions_only, portable_batch};

const FORMAT: &str = "json";
/// A row longer than this is not believed: something was opened and never closed.
const ROW_BYTES_MAX: usize = 64 << 20;

/// JSON bytes to batches.
pub struct JsonDecoder {
    schema: SchemaRef,
    decoder: LibraryDecoder,
    /// Bytes taken since a row was last complete.
    unfinished: usize,
    /// Bytes of the rows in hand, looked at again if one does not fit.
    recent: Vec<u8>,
    /// Lines before `recent`.
    lines_before: u64,
}

impl JsonDecoder {
    /// A decoder of a table's rows into the columns `projection`.
    ///
    /// # Errors
    /// If a column has a type that JSON cannot give.
    pub fn new(table: &Schema, projection: &[usize], batch_rows: usize) -> Result<Self, FormatError> {
        let schema = Arc::new(Schema::new(projection.iter().map(|c| table.fields[*c].clone()).collect()));
        let decoder = ReaderBuilder::new(schema.portable_arrow_schema())
            .with_batch_size(batch_rows)
            .build_decoder()
            .map_err(library)?;
        Ok(Self { schema, decoder, unfinished: 0, recent: Vec::new(), lines_before: 0 })
    }

    fn rows(&self) -> misfit::Rows<'_> {
        misfit::Rows { columns: &self.schema, bytes: &self.recent, lines_before: self.lines_before }
    }

    /// The library's columns in the engine's carriers.
    fn carried(&self, rows: &RecordBatch) -> Result<Batch, FormatError> {
        let columns = rows
            .columns()
            .iter()
            .zip(&self.schema.fields)
            .map(|(array, field)| match field.data_type.arrow_type() {
                carrier if carrier == *array.data_type() => Ok(Column::Array(Arc::clone(array))),
                carrier => cast(array, &carrier).map(Column::Array).map_err(library),
            })
            .collect::<Result<_, _>>()?;
        Ok(Batch::new(Arc::clone(&self.schema), columns, rows.num_rows()))
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        let before = self.decoder.len();
        let taken = match self.decoder.decode(bytes) {
            Ok(taken) => taken,
            Err(error) => {
                self.recent.extend_from_slice(bytes);
                return Err(self.rows().explain(error));
            }
        };
        self.recent.extend_from_slice(&bytes[..taken]);
        self.unfinished = if self.decoder.len() == before { self.unfinished + taken } else { 0 };
        if self.unfinished > ROW_BYTES_MAX {
            let problem = format!("a row has more than {ROW_BYTES_MAX} bytes; is a brace or quote left open?");
            return Err(FormatError::Unsupported { format: FORMAT, problem });
        }
        Ok(taken)
    }

    fn buffered_rows(&self) -> usize {
        self.decoder.len()
    }

    fn flush(&mut self) -> Result<Option<Batch>, FormatError> {
        let rows = self.decoder.flush().map_err(|error| self.rows().explain(error))?;
        self.lines_before += self.recent.iter().filter(|b| **b == b'\n').count() as u64;
        self.recent.clear();
        rows.map(|rows| self.carried(&rows)).transpose()
    }

    fn finish(&mut self) -> Result<(), FormatError> {
        match self.decoder.has_partial_record() {
            true => Err(self.rows().unfinished()),
            false => Ok(()),
        }
    }
}

/// The schema that the first rows of a file suggest, columns in order of their names; every column may be NULL.
///
/// # Errors
/// If they are not JSON objects.
pub fn infer_schema(bytes: &[u8], rows_max: usize) -> Result<Schema, FormatError> {
    let (schema, _) = infer_json_schema(bytes, Some(rows_max)).map_err(|error| {
        let columns = Schema::new(Vec::new());
        misfit::Rows { columns: &columns, bytes, lines_before: 0 }.explain(error)
    })?;
    let mut schema = Schema::from_arrow(&schema).map_err(|field| FormatError::Unsupported {
        format: FORMAT,
        problem: format!("column {:?} looks like {}", field.name(), field.data_type()),
    })?;
    for field in &mut schema.fields {
        field.nullable = true;
        if field.data_type == LogicalType::Null {
            field.data_type = LogicalType::Utf8;
        }
    }
    Ok(schema)
}

/// Batches to JSON lines. A NULL is written as `null`, so that every row has every member.
#[derive(Debug, Default)]
pub struct JsonEncoder;

impl Encoder for JsonEncoder {
    fn start(&mut self, _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
        writer.write(&rows).map_err(library)?;
        writer.finish().map_err(library)
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}

fn library(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_core::types::Field;
    use flumen_formats::decode_all;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("n", LogicalType::Int64, true),
            Field::new("t", LogicalType::Utf8, true),
            Field::new("d", LogicalType::Decimal { precision: 9, scale: 2 }, true),
        ])
    }

    const TEXT: &str = "{\"n\":1,\"t\":\"a\\\"b\",\"d\":1.50}\n{\"n\":null,\"t\":null,\"d\":null}\n{\"n\":-3,\"t\":\"\",\"d\":-0.25}\n";

    fn decoded(text: &str, projection: &[usize], batch_rows: usize) -> Result<(Vec<usize>, String), FormatError> {
        let mut decoder = JsonDecoder::new(&schema(), projection, batch_rows)?;
        let batches = decode_all(&mut decoder, text.as_bytes())?;
        let mut out = Vec::new();
        batches.iter().try_for_each(|batch| JsonEncoder.encode(batch, &mut out))?;
        Ok((batches.iter().map(Batch::num_rows).collect(), String::from_utf8(out).unwrap()))
    }

    #[test]
    fn rows_survive_both_ways() {
        for (batch_rows, counts) in [(1, vec![1, 1, 1]), (2, vec![2, 1]), (8192, vec![3])] {
            let (rows, text) = decoded(TEXT, &[0, 1, 2], batch_rows).unwrap();
            assert_eq!((rows, text.replace(".50", ".5")), (counts, TEXT.replace(".50", ".5")));
        }
        let other = "{\"x\":[1,2],\"n\":4}\n\n{}";
        assert_eq!(decoded(other, &[0], 8192).unwrap().1, "{\"n\":4}\n{\"n\":null}\n");
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for text in ["{\"n\":1", "{\"n\":1}x", "{\"n\":\"one\"}", "[1,2]"] {
            assert!(decoded(text, &[0, 1, 2], 8192).is_err(), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_names_the_line() {
        for (text, expected) in [
            ("{\"n\":1}\n\n{\"t\":\"x\",\"n\":\"one\"}\n{\"n\":3}", "json line 3: column \"n\" is BIGINT: "),
            ("{\"n\":1}\n{\"d\":\"much\"}\n", "json line 2: column \"d\" is DECIMAL(9, 2): "),
            ("{\"n\":1}\n[1,2]\n", "json line 2: "),
            ("{\"n\":1}\n{\"n\":2}x", "json line 2: "),
            ("{\"n\":1}\n{\"n\":\n", "json line 2: the file ends in the middle of a row"),
        ] {
            for batch_rows in [1, 2, 8192] {
                let error = decoded(text, &[0, 1, 2], batch_rows).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{batch_rows} rows: {error}");
            }
        }
        let error = decoded("{\"n\":\"one\"}", &[0], 8192).unwrap_err().to_string();
        assert!(error.contains("one") && error.ends_with("The row is: {\"n\":\"one\"}"), "{error}");
    }

    #[test]
    fn the_schema_is_inferred() {
        let schema = infer_schema(b"{\"a\":1,\"b\":\"x\"}\n{\"a\":2.5,\"c\":null}\n", 100).unwrap();
        let types: Vec<_> = schema.fields.iter().map(|f| (f.name.as_str(), f.data_type.clone())).collect();
        assert_eq!(types, [("a", LogicalType::Float64), ("b", LogicalType::Utf8), ("c", LogicalType::Utf8)]);
        for text in ["{\"a\":1}\n{\"a\":\n", "{\"a\":1}\n{\"a\":x}\n"] {
            let error = infer_schema(text.as_bytes(), 100).unwrap_err().to_string();
            assert!(error.starts_with("json line 2: "), "{error}");
        }
    }
}
