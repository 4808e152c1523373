//! The cells of a batch as text.

use std::borrow::Cow;
use std::io;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{Field, SchemaRef};

/// NULL where it is a word.
pub(super) const NULL: &str = "NULL";

/// How arrow shows values; NULL inside of lists and structs is a word.
const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null(NULL);

/// Formats the cells of one batch.
pub(super) struct Cells<'a> {
    columns: Vec<(ArrayFormatter<'a>, Option<arrow_buffer::NullBuffer>)>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> io::Result<Self> {
        let column = |array: &'a arrow_array::ArrayRef| {
            // Logical nulls: those of an untyped NULL, too.
            Ok((ArrayFormatter::try_new(array, &OPTIONS).map_err(io::Error::other)?, array.logical_nulls()))
        };
        Ok(Self { columns: batch.columns().iter().map(column).collect::<io::Result<_>>()? })
    }

    /// A cell; `None` is NULL.
    pub(super) fn get(&self, row: usize, column: usize) -> io::Result<Option<String>> {
        let (formatter, nulls) = &self.columns[column];
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        formatter.value(row).try_to_string().map(Some).map_err(io::Error::other)
    }

    /// How many columns there are.
    pub(super) fn columns(&self) -> usize {
        self.columns.len()
    }
}

/// Names of the columns.
pub(super) fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|f| f.name().clone()).collect()
}

/// Whether a column's cells stand to the right.
pub(super) fn is_number(field: &Field) -> bool {
    field.data_type().is_numeric()
}

/// Line breaks and other controls shown as escapes, so that a cell keeps to its line and cannot steer the terminal.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::new(), |mut escaped, character| {
        if character.is_control() {
            escaped.extend(character.escape_debug());
        } else {
            escaped.push(character);
        }
        escaped
    });
    Cow::Owned(escaped)
}
