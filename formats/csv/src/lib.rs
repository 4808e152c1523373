//! CSV lines to batches, and back.
//!
//! Fields are matched to columns by position, so a file must have the table's columns in the table's order. An empty
//! field is NULL. Quotes are `"`, doubled inside. Rows decode straight into the engine's carriers; only the columns
//! that are wanted are built. About 50 to 100 MB/s on one core.
//!
//! Source: RFC 4180.

mod misfit;

use std::sync::Arc;

use arrow_csv::reader::{Decoder as LibraryDecoder, Format};
use arrow_csv::{ReaderBuilder, WriterBuilder};
use flumen_core::batch::Batch;
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_formats::{Decoder, Encoder, FormatError, insertions_only, portable_batch};

const FORMAT: &str = "csv";
/// A row longer than this is not believed: a quote was opened and never closed.
const ROW_BYTES_MAX: usize = 64 << 20;

/// How a CSV file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvLayout {
    /// The first line has the names of the columns.
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
}

impl Default for CsvLayout {
    fn default() -> Self {
        Self { header: true, delimiter: b',' }
    }
}

/// CSV bytes to batches.
pub struct CsvDecoder {
    schema: SchemaRef,
    decoder: LibraryDecoder,
    batch_rows: usize,
    buffered: usize,
    /// Bytes taken since a row was last complete.
    unfinished: usize,
    table: Schema,
    projection: Vec<usize>,
    layout: CsvLayout,
    /// Bytes of the rows in hand, looked at again if one does not fit.
    recent: Vec<u8>,
    /// `recent` begins with the header.
    has_header: bool,
    /// Lines before `recent`.
    lines_before: u64,
}

impl CsvDecoder {
    /// A decoder of a table's rows into the columns `projection`.
    #[must_use]
    pub fn new(table: &Schema, projection: &[usize], layout: CsvLayout, batch_rows: usize) -> Self {
        let schema = Arc::new(Schema::new(projection.iter().map(|c| table.fields[*c].clone()).collect()));
        let decoder = ReaderBuilder::new(table.arrow_schema())
            .with_header(layout.header)
            .with_delimiter(layout.delimiter)
            .with_projection(projection.to_vec())
            .with_batch_size(batch_rows)
            .build_decoder();
        Self {
            schema,
            decoder,
            batch_rows,
            buffered: 0,
            unfinished: 0,
            table: table.clone(),
            projection: projection.to_vec(),
            layout,
            recent: Vec::new(),
            has_header: layout.header,
            lines_before: 0,
        }
    }

    fn misfit(&self, error: arrow_schema::ArrowError) -> FormatError {
        let rows = misfit::Rows {
            table: &self.table,
            projection: &self.projection,
            layout: self.layout,
            has_header: self.has_header,
            bytes: &self.recent,
            lines_before: self.lines_before,
        };
        rows.explain(error)
    }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        if bytes.is_empty() || self.decoder.capacity() == 0 {
            return Ok(0);
        }
        let taken = match self.decoder.decode(bytes) {
            Ok(taken) => taken,
            Err(error) => {
                self.recent.extend_from_slice(bytes);
                return Err(self.misfit(error));
            }
        };
        self.recent.extend_from_slice(&bytes[..taken]);
        let buffered = self.batch_rows.saturating_sub(self.decoder.capacity());
        self.unfinished = if buffered == self.buffered { self.unfinished + taken } else { 0 };
        self.buffered = buffered;
        if self.unfinished > ROW_BYTES_MAX {
            let problem = format!("a row has more than {ROW_BYTES_MAX} bytes; is a quote left open?");
            return Err(FormatError::Unsupported { format: FORMAT, problem });
        }
        Ok(taken)
    }

    fn buffered_rows(&self) -> usize {
        self.buffered
    }

    fn flush(&mut self) -> Result<Option<Batch>, FormatError> {
        self.buffered = 0;
        let rows = self.decoder.flush().map_err(|error| self.misfit(error))?;
        if !self.recent.is_empty() {
            self.lines_before += self.recent.iter().filter(|b| **b == b'\n').count() as u64;
            self.recent.clear();
            self.has_header = false;
        }
        Ok(rows.map(|rows| Batch::from_record_batch(Arc::clone(&self.schema), &rows)))
    }

    fn finish(&mut self) -> Result<(), FormatError> {
        self.decoder.decode(&[]).map_err(|error| self.misfit(error))?;
        Ok(())
    }
}

/// The schema that the first rows of a file suggest; every column may be NULL.
///
/// # Errors
/// If they are not CSV.
pub fn infer_csv_schema(bytes: &[u8], layout: CsvLayout, rows_max: usize) -> Result<Schema, FormatError> {
    let format = Format::default().with_header(layout.header).with_delimiter(layout.delimiter);
    let (schema, _) = format.infer_schema(bytes, Some(rows_max)).map_err(|error| misshapen(bytes, layout, error))?;
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

/// Batches to CSV lines. NULL and the empty text look the same.
pub struct CsvEncoder {
    schema: SchemaRef,
    layout: CsvLayout,
}

impl CsvEncoder {
    /// An encoder of rows of this schema.
    #[must_use]
    pub fn new(schema: SchemaRef, layout: CsvLayout) -> Self {
        Self { schema, layout }
    }
}

impl Encoder for CsvEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if !self.layout.header {
            return Ok(());
        }
        let empty = arrow_array::RecordBatch::new_empty(self.schema.portable_arrow_schema());
        let mut writer = WriterBuilder::new().with_header(true).with_delimiter(self.layout.delimiter).build(out);
        writer.write(&empty).map_err(library)
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        insertions_only(FORMAT, batch)?;
        let rows = portable_batch(batch).map_err(library)?;
        let mut writer = WriterBuilder::new().with_header(false).with_delimiter(self.layout.delimiter).build(out);
        writer.write(&rows).map_err(library)
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}

/// The first row that has not as many fields as the first line.
fn misshapen(bytes: &[u8], layout: CsvLayout, error: arrow_schema::ArrowError) -> FormatError {
    let header = CsvLayout { header: true, ..layout };
    let format = Format::default().with_header(header.header).with_delimiter(header.delimiter);
    let Ok((names, _)) = format.infer_schema(bytes, Some(0)) else { return library(error) };
    let text = |name: &String| Field::new(name, LogicalType::Utf8, true);
    let table = Schema::new(names.fields().iter().map(|field| text(field.name())).collect());
    let projection: Vec<usize> = (0..table.fields.len()).collect();
    let rows = misfit::Rows {
        table: &table,
        projection: &projection,
        layout,
        has_header: layout.header,
        bytes,
        lines_before: 0,
    };
    rows.explain(error)
}

fn library(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flumen_formats::decode_all;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("n", LogicalType::Int64, true),
            Field::new("t", LogicalType::Utf8, true),
            Field::new("d", LogicalType::Decimal { precision: 9, scale: 2 }, true),
        ]))
    }

    const TEXT: &str = "n,t,d\n1,\"a,\"\"b\"\"\",1.50\n,,\n-3,c,-0.25\n";

    fn decoded(text: &str, projection: &[usize], batch_rows: usize) -> Result<(Vec<usize>, String), FormatError> {
        let mut decoder = CsvDecoder::new(&schema(), projection, CsvLayout::default(), batch_rows);
        let batches = decode_all(&mut decoder, text.as_bytes())?;
        let mut out = Vec::new();
        let mut encoder = CsvEncoder::new(Arc::clone(decoder.schema()), CsvLayout::default());
        encoder.start(&mut out)?;
        for batch in &batches {
            encoder.encode(batch, &mut out)?;
        }
        encoder.finish(&mut out)?;
        Ok((batches.iter().map(Batch::num_rows).collect(), String::from_utf8(out).unwrap()))
    }

    #[test]
    fn rows_survive_both_ways() {
        for (batch_rows, counts) in [(1, vec![1, 1, 1]), (2, vec![2, 1]), (8192, vec![3])] {
            assert_eq!(decoded(TEXT, &[0, 1, 2], batch_rows).unwrap(), (counts, TEXT.to_owned()));
        }
        assert_eq!(decoded(TEXT.trim_end(), &[0, 1, 2], 8192).unwrap().1, TEXT, "no newline at the end");
        assert_eq!(decoded(TEXT, &[2, 0], 8192).unwrap().1, "d,n\n1.50,1\n,\n-0.25,-3\n");
        assert_eq!(decoded("n,t,d\n", &[0], 7).unwrap().0, [] as [usize; 0]);
    }

    #[test]
    fn what_does_not_fit_names_the_line() {
        let error = decoded("n,t,d\n1,a,1\nx,b,2\n", &[0, 1, 2], 8192).unwrap_err();
        let text = flumen_core::failure::Failure::from(error).chain();
        assert!(text.contains("'x'") && text.contains("line 3"), "{text}");
        assert!(decoded("n,t,d\n1,a\n", &[0, 1, 2], 8192).is_err(), "a field is missing");
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        for (text, expected) in [
            ("n,t,d\n1,a,1\nx,b,2\n", "csv line 3: 'x' in column \"n\" is not BIGINT; "),
            ("n,t,d\r\n1,a,1\r\n2,b,y\r\n", "csv line 3: 'y' in column \"d\" is not DECIMAL(9, 2); "),
            // Text over two lines, and an empty line.
            ("n,t,d\n1,\"a\nb\",1\n\nx,b,2", "csv line 5: 'x' in column \"n\" is not BIGINT; "),
            ("n,t,d\n1,a,1\n1,a\n", "csv line 3: the row has 2 fields, and the table has 3 columns (n, t, d); "),
            ("n,t,d\n1,a,1,7\n", "csv line 2: the row has more than 3 fields, and the table has 3 columns (n, t, d); "),
            ("n,t\n1,a\n", "csv line 1: the row has 2 fields, and the table has 3 columns (n, t, d); "),
        ] {
            for batch_rows in [1, 2, 8192] {
                let error = decoded(text, &[0, 1, 2], batch_rows).unwrap_err().to_string();
                assert!(error.starts_with(expected), "{batch_rows} rows: {error}");
            }
        }
        let mut decoder = CsvDecoder::new(&schema(), &[1], CsvLayout::default(), 8192);
        let error = decode_all(&mut decoder, b"n,t,d\n1,a,1\n1,\xff,1\n").unwrap_err().to_string();
        assert_eq!(error, "csv line 3: the row is not UTF-8 text; convert the file's encoding");
        // A value of a column that is not read may be anything.
        assert_eq!(decoded("n,t,d\nx,a,1\n", &[1], 8192).unwrap().1, "t\na\n");
        let mut not_null = Schema::clone(&schema());
        not_null.fields[0].nullable = false;
        let mut decoder = CsvDecoder::new(&not_null, &[0], CsvLayout { header: false, delimiter: b';' }, 8192);
        let error = decode_all(&mut decoder, b"1;a;1\n;b;2\n").unwrap_err().to_string();
        assert_eq!(error, "csv line 2: column \"n\" is empty, which is NULL, and it is declared NOT NULL");
    }

    #[test]
    fn the_schema_is_inferred() {
        let schema = infer_csv_schema(b"a,b,c\n1,x,2024-01-01\n2.5,,2024-01-02\n", CsvLayout::default(), 100).unwrap();
        let types: Vec<_> = schema.fields.iter().map(|f| f.data_type.clone()).collect();
        assert_eq!(types, [LogicalType::Float64, LogicalType::Utf8, LogicalType::Date]);
        for (text, header, expected) in [
            ("a,b\n1,2\n\n3\n", true, "csv line 4: the row has 1 field, and the table has 2 columns (a, b); "),
            ("1,2\n3\n", false, "csv line 2: the row has 1 field, and the table has 2 columns (1, 2); "),
        ] {
            let layout = CsvLayout { header, ..CsvLayout::default() };
            let error = infer_csv_schema(text.as_bytes(), layout, 100).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
