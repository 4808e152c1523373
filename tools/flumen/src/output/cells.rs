//! The cells of a batch as text.

use std::borrow::Cow;
use std::io;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use flumen_kernels::nested::NestedText;

/// NULL where it is a word.
pub(super) const NULL: &str = "NULL";

/// How arrow shows simple values.
const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null(NULL);

/// Formats the cells of one batch.
pub(super) struct Cells<'a> {
    columns: Vec<(Texts<'a>, Option<arrow_buffer::NullBuffer>)>,
}

/// The texts of a column.
enum Texts<'a> {
    Simple(ArrayFormatter<'a>),
    /// As a cast to text writes them: `[1, NULL]`, `{'a': 1}`, `{key=value}`.
    Nested(NestedText),
}

impl<'a> Texts<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        if !array.data_type().is_nested() || matches!(array.data_type(), DataType::Dictionary(..)) {
            return Ok(Self::Simple(ArrayFormatter::try_new(array, &OPTIONS)?));
        }
        let simple = &mut |part: &ArrayRef| {
            let formatter = ArrayFormatter::try_new(part, &OPTIONS)?;
            (0..part.len()).map(|row| formatter.value(row).try_to_string()).collect::<Result<Vec<_>, ArrowError>>()
        };
        Ok(Self::Nested(NestedText::new(array, simple)?))
    }
}

impl<'a> Cells<'a> {
    pub(super) fn new(batch: &'a RecordBatch) -> io::Result<Self> {
        let column = |array: &'a ArrayRef| {
            // Logical nulls: those of an untyped NULL, too.
            Ok((Texts::new(array).map_err(io::Error::other)?, array.logical_nulls()))
        };
        Ok(Self { columns: batch.columns().iter().map(column).collect::<io::Result<_>>()? })
    }

    /// A cell; `None` is NULL.
    pub(super) fn get(&self, row: usize, column: usize) -> io::Result<Option<String>> {
        let (texts, nulls) = &self.columns[column];
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        match texts {
            Texts::Simple(formatter) => formatter.value(row).try_to_string().map(Some).map_err(io::Error::other),
            Texts::Nested(texts) => {
                let mut text = String::new();
                texts.write(row, &mut text);
                Ok(Some(text))
            }
        }
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
