//! Which row does not fit, and why.
//!
//! The library does not say where it fails, so the bytes of the rows in hand are decoded once more, row by row and
//! member by member, and the first that fails is named. Only a scan that fails pays for it.

use std::sync::Arc;

use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, Schema as ArrowSchema, SchemaRef};
use flumen_core::types::Schema;
use flumen_formats::FormatError;

use crate::FORMAT;

/// Characters of a row that a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// The rows in hand when something failed.
pub(super) struct Rows<'a> {
    pub(super) columns: &'a Schema,
    pub(super) bytes: &'a [u8],
    /// Lines before `bytes`.
    pub(super) lines_before: u64,
}

impl Rows<'_> {
    /// Names the first row that fails; `error` alone if none does.
    pub(super) fn explain(&self, error: ArrowError) -> FormatError {
        let schema = self.columns.portable_arrow_schema();
        let mut at = 0;
        loop {
            at = self.next_row(at);
            match one(&schema, &self.bytes[at..]) {
                Ok(0) => return FormatError::Library { format: FORMAT, source: Box::new(error) },
                Ok(taken) => at += taken,
                Err(error) => return self.at(at, self.problem(&self.bytes[at..], &error)),
            }
        }
    }

    /// The error for a last row that has no end.
    pub(super) fn unfinished(&self) -> FormatError {
        let schema = self.columns.portable_arrow_schema();
        let mut at = self.next_row(0);
        while let Ok(taken @ 1..) = one(&schema, &self.bytes[at..]) {
            let next = self.next_row(at + taken);
            if next >= self.bytes.len() {
                break;
            }
            at = next;
        }
        self.at(at, "the file ends in the middle of a row".to_owned())
    }

    fn next_row(&self, at: usize) -> usize {
        at + self.bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count()
    }

    fn at(&self, at: usize, problem: String) -> FormatError {
        let before = self.bytes[..at].iter().filter(|b| **b == b'\n').count() as u64;
        FormatError::Line { format: FORMAT, line: self.lines_before + before + 1, problem }
    }

    fn problem(&self, bytes: &[u8], error: &ArrowError) -> String {
        let row = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let row = String::from_utf8_lossy(row);
        let row = match row.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => format!("{}...", &row[..end]),
            None => row.trim_end().to_owned(),
        };
        let words = error.to_string();
        // The library repeats its prefix at every level.
        let words = words.replace("Json error: ", "");
        let schema = self.columns.portable_arrow_schema();
        let column = self.columns.fields.iter().zip(schema.fields()).find(|(_, field)| {
            let alone = ArrowSchema::new(vec![Arc::clone(field)]);
            one(&Arc::new(alone), bytes).is_err()
        });
        match column.filter(|_| one(&Arc::new(ArrowSchema::empty()), bytes).is_ok()) {
            Some((field, _)) => {
                let words = words.rsplit("': ").next().unwrap_or(&words);
                let (name, data_type) = (&field.name, &field.data_type);
                format!(
                    "column {name:?} is {data_type}: {words}; look at more rows for the types (sample_size => -1) or give the column a type (types => {{'{name}': 'VARCHAR'}}), as in read_json('file', ...), or correct the file. The row is: {row}"
                )
            }
            None => format!("{words}. The row is: {row}"),
        }
    }
}

/// Decodes one row; how many bytes it has.
fn one(schema: &SchemaRef, bytes: &[u8]) -> Result<usize, ArrowError> {
    let mut decoder =
        ReaderBuilder::new(Arc::clone(schema)).with_batch_size(1).with_coerce_primitive(true).build_decoder()?;
    let taken = decoder.decode(bytes)?;
    decoder.flush()?;
    Ok(taken)
}
