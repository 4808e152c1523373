//! Which row does not fit, and why.
//!
//! The library says little of that: nothing of the row for decimals, and elsewhere it counts rows where people count
//! lines. So the bytes of the rows in hand are decoded once more, row by row and column by column, and the first that
//! fails is named. Only a scan that fails pays for it.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_csv::ReaderBuilder;
use arrow_csv::reader::Decoder;
use arrow_schema::{ArrowError, DataType, Field, Schema as ArrowSchema};
use flumen_core::types::Schema;
use flumen_formats::FormatError;

use crate::{CsvLayout, FORMAT};

/// Characters of a value or line that a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// The rows in hand when something failed.
pub(super) struct Rows<'a> {
    pub(super) table: &'a Schema,
    pub(super) projection: &'a [usize],
    pub(super) layout: CsvLayout,
    /// The first row is the header.
    pub(super) has_header: bool,
    pub(super) bytes: &'a [u8],
    /// Lines before `bytes`.
    pub(super) lines_before: u64,
}

impl Rows<'_> {
    /// Names the first row that fails as `error` says; `error` alone if none does.
    pub(super) fn explain(&self, error: ArrowError) -> FormatError {
        let mut at = 0;
        let mut is_header = self.has_header;
        while at < self.bytes.len() {
            at += self.bytes[at..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            let taken = match self.one(self.table, &[], &self.bytes[at..]) {
                Ok(taken) => taken,
                Err(error) => return self.at(at, row_problem(&error.to_string(), self.table)),
            };
            let row = &self.bytes[at..at + taken];
            if !is_header && let Some(problem) = self.value_problem(row) {
                return self.at(at, problem);
            }
            is_header = false;
            if taken == 0 {
                break;
            }
            at += taken;
        }
        FormatError::Library { format: FORMAT, source: Box::new(error) }
    }

    fn at(&self, at: usize, problem: String) -> FormatError {
        let before = self.bytes[..at].iter().filter(|b| **b == b'\n').count() as u64;
        FormatError::Line { format: FORMAT, line: self.lines_before + before + 1, problem }
    }

    fn decoder(&self, table: &Schema, projection: &[usize]) -> Decoder {
        self.decoder_of(table.arrow_schema(), projection)
    }

    fn decoder_of(&self, schema: arrow_schema::SchemaRef, projection: &[usize]) -> Decoder {
        ReaderBuilder::new(schema)
            .with_header(false)
            .with_delimiter(self.layout.delimiter)
            .with_projection(projection.to_vec())
            .with_batch_size(1)
            .build_decoder()
    }

    /// Decodes one row; how many bytes it has.
    fn one(&self, table: &Schema, projection: &[usize], bytes: &[u8]) -> Result<usize, ArrowError> {
        let mut decoder = self.decoder(table, projection);
        let taken = decoder.decode(bytes)?;
        decoder.decode(&[])?;
        decoder.flush()?;
        Ok(taken)
    }

    /// What is wrong with a value of a row that has the right number of fields.
    fn value_problem(&self, row: &[u8]) -> Option<String> {
        let column = self.projection.iter().find(|column| self.one(self.table, &[**column], row).is_err())?;
        let field = &self.table.fields[*column];
        let name = &field.name;
        Some(match self.text(*column, row) {
            None => format!("column {name:?} is empty, which is NULL, and it is declared NOT NULL"),
            Some(value) => format!(
                "'{}' in column {name:?} is not {}; correct the file, or declare the column VARCHAR and convert it with TRY_CAST. The row is: {}",
                shown(&value),
                field.data_type,
                shown(String::from_utf8_lossy(row).trim_end())
            ),
        })
    }

    /// A field as text; `None` if it is empty.
    fn text(&self, column: usize, row: &[u8]) -> Option<String> {
        let fields: Vec<_> =
            self.table.fields.iter().map(|field| Field::new(&field.name, DataType::Utf8, true)).collect();
        let mut decoder = self.decoder_of(ArrowSchema::new(fields).into(), &[column]);
        decoder.decode(row).ok()?;
        decoder.decode(&[]).ok()?;
        let rows = decoder.flush().ok()??;
        let values = rows.column(0).as_string::<i32>();
        values.is_valid(0).then(|| values.value(0).to_owned())
    }
}

/// What is wrong with a row as a whole, from the library's words.
fn row_problem(message: &str, table: &Schema) -> String {
    let fields = message.split(" got ").nth(1);
    match fields {
        Some(fields) => format!(
            "the row has {fields} {}, and the table has {} {} ({}); is the delimiter right, or a quote left open?",
            if fields.ends_with(" 1") || fields == "1" { "field" } else { "fields" },
            table.fields.len(),
            if table.fields.len() == 1 { "column" } else { "columns" },
            shown(&table.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", "))
        ),
        None if message.contains("UTF-8") => "the row is not UTF-8 text; convert the file's encoding".to_owned(),
        None => message.to_owned(),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
