//! JSON to batches, and back: one object per line, or an array of objects.
//!
//! Members are matched to columns by name; a missing one is NULL, one without a column is passed over. About 200 MB/s
//! on one core for flat rows.
//!
//! Source: RFC 8259; jsonlines.org.

mod infer;
mod misfit;
mod records;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder as LibraryDecoder;
use arrow_json::writer::{JsonArray, LineDelimited, WriterBuilder};
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Schema, SchemaRef};
use flumen_formats::{Decoder, Encoder, FormatError, insertions_only, portable_batch};

pub use infer::JsonInference;

use records::Records;

const FORMAT: &str = "json";
/// Bytes of an array of objects that are looked at at once.
const CHUNK_BYTES: usize = 64 << 10;
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
    /// Where in an array of objects the bytes are.
    records: Records,
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
            // A column of numbers and text is one of text.
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(library)?;
        let (recent, records) = Default::default();
        Ok(Self { schema, decoder, unfinished: 0, recent, lines_before: 0, records })
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
        self.records.begin(bytes);
        if !self.records.is_array() {
            return self.decode_lines(bytes);
        }
        let mut taken = 0;
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let mut lines = chunk.to_vec();
            let mut records = self.records.clone();
            records.blank(&mut lines);
            let count = self.decode_lines(&lines)?;
            taken += count;
            if count < chunk.len() {
                // The rest comes again.
                self.records.pass(&chunk[..count]);
                break;
            }
            self.records = records;
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
        match self.decoder.has_partial_record() || self.records.is_open() {
            true => Err(self.rows().unfinished()),
            false => Ok(()),
        }
    }
}

impl JsonDecoder {
    fn decode_lines(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
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
}

/// Batches to JSON lines, or to one array. A NULL is written as `null`, so that every row has every member.
#[derive(Debug, Default)]
pub struct JsonEncoder {
    is_array: bool,
    has_rows: bool,
}

impl JsonEncoder {
    /// An encoder of one array of all rows.
    #[must_use]
    pub fn array() -> Self {
        Self { is_array: true, has_rows: false }
    }
}

impl Encoder for JsonEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.is_array {
            out.push(b'[');
        }
        Ok(())
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        if !self.is_array {
            let mut writer = builder.build::<_, LineDelimited>(out);
            writer.write(&rows).map_err(library)?;
            return writer.finish().map_err(library);
        }
        let mut array = Vec::new();
        let mut writer = builder.build::<_, JsonArray>(&mut array);
        writer.write(&rows).map_err(library)?;
        writer.finish().map_err(library)?;
        drop(writer);
        // Its brackets are those of this batch alone.
        let rows = array.strip_prefix(b"[").and_then(|rows| rows.strip_suffix(b"]")).unwrap_or(&array);
        out.extend_from_slice(if std::mem::replace(&mut self.has_rows, true) { b",\n" } else { b"\n" });
        out.extend_from_slice(rows);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.is_array {
            out.extend_from_slice(b"\n]\n");
        }
        Ok(())
    }
}

fn library(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_core::types::{Field, LogicalType};
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
        batches.iter().try_for_each(|batch| JsonEncoder::default().encode(batch, &mut out))?;
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
    fn arrays_are_rows_too() {
        let lines = "{\"n\":1,\"t\":\"[a],{b}\\\"]\"}\n{\"n\":2,\"t\":\"x\"}\n{\"n\":3,\"t\":null}\n";
        let array =
            " [\n {\"n\":1, \"t\":\"[a],{b}\\\"]\", \"x\":[1,{\"y\":[]}]},\n{\"n\":2\n,\"t\":\"x\"} , {\"n\":3}\n]\n";
        for batch_rows in [1, 2, 8192] {
            assert_eq!(decoded(array, &[0, 1], batch_rows).unwrap().1, lines, "{batch_rows} rows");
            for piece in 1..array.len() {
                let mut decoder = JsonDecoder::new(&schema(), &[0, 1], batch_rows).unwrap();
                let mut out = Vec::new();
                for mut bytes in array.as_bytes().chunks(piece) {
                    loop {
                        bytes = &bytes[decoder.decode(bytes).unwrap()..];
                        if bytes.is_empty() {
                            break;
                        }
                        // It takes no more before its batch is taken.
                        JsonEncoder::default().encode(&decoder.flush().unwrap().unwrap(), &mut out).unwrap();
                    }
                }
                decoder.finish().unwrap();
                if let Some(rest) = decoder.flush().unwrap() {
                    JsonEncoder::default().encode(&rest, &mut out).unwrap();
                }
                assert_eq!(String::from_utf8(out).unwrap(), lines, "pieces of {piece}, {batch_rows} rows");
            }
        }
        assert_eq!(decoded("[]", &[0], 7).unwrap().0, [] as [usize; 0]);
        let error = decoded("[\n{\"n\":1},\n{\"n\":\"one\"}\n]", &[0], 7).unwrap_err().to_string();
        assert!(error.starts_with("json line 3: column \"n\" is BIGINT: "), "{error}");
        for text in ["[{\"n\":1}", "[{\"n\":1},", "[1,2]", "[{\"n\":1}] x", "[{\"n\":1}][{\"n\":2}]", "[[{\"n\":1}]]"] {
            assert!(decoded(text, &[0], 7).is_err(), "{text}");
        }
    }

    #[test]
    fn arrays_can_be_written() {
        let mut decoder = JsonDecoder::new(&schema(), &[0], 2).unwrap();
        let batches = decode_all(&mut decoder, b"{\"n\":1}\n{\"n\":2}\n{\"n\":null}").unwrap();
        let mut out = Vec::new();
        let mut encoder = JsonEncoder::array();
        encoder.start(&mut out).unwrap();
        batches.iter().for_each(|batch| encoder.encode(batch, &mut out).unwrap());
        encoder.finish(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "[\n{\"n\":1},{\"n\":2},\n{\"n\":null}\n]\n");
        let mut empty = Vec::new();
        let mut encoder = JsonEncoder::array();
        encoder.start(&mut empty).unwrap();
        encoder.finish(&mut empty).unwrap();
        assert_eq!(empty, b"[\n]\n");
    }

    #[test]
    fn numbers_in_a_column_of_text_are_text() {
        assert_eq!(
            decoded("{\"t\":1}\n{\"t\":true}\n{\"t\":\"x\"}", &[1], 7).unwrap().1,
            "{\"t\":\"1\"}\n{\"t\":\"true\"}\n{\"t\":\"x\"}\n"
        );
    }
}
