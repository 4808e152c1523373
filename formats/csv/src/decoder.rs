//! Rows of fields to columns.
//!
//! All columns of a batch are made from one buffer: a text column is views into it, another type is parsed from such
//! views by Arrow's casts, and a value that becomes NULL there although it is not is a misfit.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_buffer::{Buffer, NullBufferBuilder, ScalarBuffer};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::DataType;
use flumen_core::batch::{Batch, Column};
use flumen_core::types::{Field, LogicalType, Schema, SchemaRef};
use flumen_formats::{Decoder, FormatError};

use crate::split::Splitter;
use crate::{CsvLayout, FORMAT};

/// A row longer than this is not believed: a quote was opened and never closed.
const ROW_BYTES_MAX: usize = 64 << 20;
/// A batch is full when it holds so many bytes, whatever its rows.
const BATCH_BYTES: usize = 8 << 20;
/// Characters of a value or name that a message shows.
const SHOWN_CHARS_MAX: usize = 80;
/// What an editor may put before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// CSV bytes to batches.
pub struct CsvDecoder {
    schema: SchemaRef,
    splitter: Splitter,
    /// Names of the file's columns, in order.
    names: Vec<String>,
    projection: Vec<usize>,
    batch_rows: usize,
    null: String,
    ignore_errors: bool,
    /// The header has not been seen yet.
    before_header: bool,
    /// Bytes of a byte order mark seen so far; `None` once it is known whether there is one.
    mark: Option<usize>,
}

impl CsvDecoder {
    /// A decoder of rows of `table` into the columns `projection`. The file has the table's columns in their order.
    #[must_use]
    pub fn new(table: &Schema, projection: &[usize], layout: CsvLayout, batch_rows: usize) -> Self {
        let schema = Arc::new(Schema::new(projection.iter().map(|c| table.fields[*c].clone()).collect()));
        let wanted = (0..table.fields.len()).map(|column| projection.contains(&column)).collect();
        Self {
            schema,
            splitter: Splitter::new(&layout).wanting(wanted),
            names: table.fields.iter().map(|f| f.name.clone()).collect(),
            projection: projection.to_vec(),
            batch_rows,
            null: layout.null,
            ignore_errors: layout.ignore_errors,
            before_header: layout.header,
            mark: Some(0),
        }
    }

    /// Whether the rows in hand are a batch. One row may be longer than a batch.
    fn is_full(&self) -> bool {
        let rows = self.splitter.rows.len();
        rows >= self.batch_rows || rows > 0 && self.splitter.data.len() >= BATCH_BYTES
    }

    /// Takes a byte order mark, or what may be the start of one; says how many bytes.
    fn take_mark(&mut self, bytes: &[u8]) -> usize {
        let Some(seen) = self.mark else { return 0 };
        let rest = &BYTE_ORDER_MARK[seen..];
        let same = bytes.iter().zip(rest).take_while(|(a, b)| a == b).count();
        if same < rest.len() && same == bytes.len() {
            self.mark = Some(seen + same);
            return same;
        }
        self.mark = None;
        if same == rest.len() {
            return same;
        }
        // No mark after all: what looked like one belongs to the first field.
        self.splitter.next_row(&BYTE_ORDER_MARK[..seen]);
        0
    }

    /// Looks at a row that has just been completed.
    fn check_row(&mut self) -> Result<(), FormatError> {
        let last = self.splitter.rows.len() - 1;
        let width = self.splitter.width(last);
        let is_header = std::mem::take(&mut self.before_header);
        if width != self.names.len() {
            if self.ignore_errors {
                self.splitter.drop_row();
                return Ok(());
            }
            return Err(self.misshapen(self.splitter.rows[last].line, width));
        }
        if is_header {
            self.splitter.drop_row();
        }
        Ok(())
    }

    fn misshapen(&self, line: u64, width: usize) -> FormatError {
        let count = self.names.len();
        let more = if width > count { format!("more than {count}") } else { width.to_string() };
        let names = shown(&self.names.join(", "));
        let (fields, columns) = (plural("field", width.min(count + 1)), plural("column", count));
        let problem = format!(
            "the row has {more} {fields}, and the table has {count} {columns} ({names}); is the delimiter right, or a quote left open? To leave such rows out, write ignore_errors => true in read_csv"
        );
        FormatError::Line { format: FORMAT, line, problem }
    }

    /// Views of a column's fields; `is_text` tells whether spaces and quoted empty fields count.
    fn views(
        &self,
        column: usize,
        is_text: bool,
        buffer: &Buffer,
        bad: &mut [bool],
    ) -> Result<StringViewArray, FormatError> {
        let rows = &self.splitter.rows;
        let mut views = Vec::with_capacity(rows.len());
        let mut nulls = NullBufferBuilder::new(rows.len());
        for row in rows {
            let field = row.first + column;
            let (bytes, quoted, start) = field_of(&self.splitter, field, buffer);
            let skipped = if is_text { 0 } else { bytes.iter().take_while(|b| **b == b' ').count() };
            let bytes = if is_text { bytes } else { bytes[skipped..].trim_ascii_end() };
            let is_null = match quoted {
                true => !is_text && bytes.is_empty(),
                false => bytes.is_empty() || !self.null.is_empty() && bytes == self.null.as_bytes(),
            };
            nulls.append(!is_null);
            views.push(make_view(if is_null { &[] } else { bytes }, 0, (start + skipped) as u32));
        }
        let nulls = nulls.finish();
        let views = ScalarBuffer::from(views);
        match StringViewArray::try_new(views.clone(), vec![buffer.clone()], nulls.clone()) {
            Ok(array) => Ok(array),
            Err(_) => {
                // Some field is no text; only then are they looked at one by one.
                let mut views = views.to_vec();
                for (index, row) in rows.iter().enumerate() {
                    let (bytes, ..) = field_of(&self.splitter, row.first + column, buffer);
                    if std::str::from_utf8(bytes).is_ok() {
                        continue;
                    }
                    if !self.ignore_errors {
                        let problem =
                            format!("column {:?} is not UTF-8 text; convert the file's encoding", self.names[column]);
                        return Err(FormatError::Line { format: FORMAT, line: row.line, problem });
                    }
                    bad[index] = true;
                    views[index] = make_view(&[], 0, 0);
                }
                StringViewArray::try_new(views.into(), vec![buffer.clone()], nulls).map_err(library)
            }
        }
    }

    /// A column of the output; rows that do not fit are marked, or the first is the error.
    fn column(&self, column: usize, field: &Field, buffer: &Buffer, bad: &mut [bool]) -> Result<ArrayRef, FormatError> {
        let is_text = field.data_type == LogicalType::Utf8;
        let views = self.views(column, is_text, buffer, bad)?;
        if !field.nullable && views.null_count() > 0 {
            let empty = (0..views.len()).filter(|row| views.is_null(*row) && !bad[*row]).collect::<Vec<_>>();
            if let (Some(row), false) = (empty.first(), self.ignore_errors) {
                let problem = format!("column {:?} is empty, which is NULL, and it is declared NOT NULL", field.name);
                return Err(FormatError::Line { format: FORMAT, line: self.splitter.rows[*row].line, problem });
            }
            empty.into_iter().for_each(|row| bad[row] = true);
        }
        if is_text {
            return Ok(Arc::new(views));
        }
        let parsed = parse(&views, &field.data_type)?;
        if parsed.null_count() == views.null_count() {
            return Ok(parsed);
        }
        for row in (0..views.len()).filter(|row| parsed.is_null(*row) && views.is_valid(*row)) {
            if !self.ignore_errors {
                let line = self.splitter.rows[row].line;
                return Err(FormatError::Line { format: FORMAT, line, problem: misfit(field, views.value(row)) });
            }
            bad[row] = true;
        }
        Ok(parsed)
    }
}

/// The bytes of a field in a buffer that was the splitter's, whether it was quoted, and where it begins.
fn field_of<'a>(splitter: &Splitter, field: usize, buffer: &'a Buffer) -> (&'a [u8], bool, usize) {
    let start = field.checked_sub(1).map_or(0, |before| splitter.fields[before].end as usize);
    let field = &splitter.fields[field];
    (&buffer[start..field.end as usize], field.quoted, start)
}

/// Text to values; what cannot be parsed is NULL.
fn parse(views: &StringViewArray, data_type: &LogicalType) -> Result<ArrayRef, FormatError> {
    let target = data_type.arrow_type();
    let options = CastOptions { safe: true, ..CastOptions::default() };
    match can_cast_types(views.data_type(), &target) {
        true => cast_with_options(views, &target, &options),
        false => cast_with_options(views, &DataType::Utf8, &options)
            .and_then(|text| cast_with_options(&text, &target, &options)),
    }
    .map_err(|_| FormatError::Unsupported {
        format: FORMAT,
        problem: format!("a column of type {data_type}; declare it VARCHAR and convert it"),
    })
}

fn misfit(field: &Field, value: &str) -> String {
    let (name, data_type) = (&field.name, &field.data_type);
    format!(
        "'{}' in column {name:?} is not {data_type}; look at more rows for the types (sample_size => -1), give the column a type (types => {{'{name}': 'VARCHAR'}}), or leave such rows out (ignore_errors => true), as in read_csv('file', ...)",
        shown(value)
    )
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        let mut at = self.take_mark(bytes);
        while at < bytes.len() && !self.is_full() {
            let (taken, is_complete) = self.splitter.next_row(&bytes[at..]);
            at += taken;
            if is_complete {
                self.check_row()?;
            } else if self.splitter.unfinished_bytes() > ROW_BYTES_MAX {
                let line = self.splitter.row_line();
                let problem = format!("the row has more than {ROW_BYTES_MAX} bytes; is a quote left open?");
                return Err(FormatError::Line { format: FORMAT, line, problem });
            }
        }
        Ok(at)
    }

    fn buffered_rows(&self) -> usize {
        self.splitter.rows.len()
    }

    fn flush(&mut self) -> Result<Option<Batch>, FormatError> {
        let rows = self.splitter.rows.len();
        if rows == 0 {
            return Ok(None);
        }
        let buffer = self.splitter.take_complete();
        let mut bad = vec![false; rows];
        let mut columns = Vec::with_capacity(self.projection.len());
        for (column, field) in self.projection.iter().zip(&self.schema.fields) {
            columns.push(self.column(*column, field, &buffer, &mut bad)?);
        }
        self.splitter.forget_rows();
        let mut left = rows;
        if bad.contains(&true) {
            let keep: BooleanArray = bad.iter().map(|bad| Some(!bad)).collect();
            left = keep.true_count();
            for column in &mut columns {
                *column = arrow_select::filter::filter(column, &keep).map_err(library)?;
            }
        }
        let columns = columns.into_iter().map(Column::Array).collect();
        Ok((left > 0).then(|| Batch::new(Arc::clone(&self.schema), columns, left)))
    }

    fn finish(&mut self) -> Result<(), FormatError> {
        if let Some(seen) = self.mark.take() {
            self.splitter.next_row(&BYTE_ORDER_MARK[..seen]);
        }
        let before = self.splitter.rows.len();
        if !self.splitter.finish() {
            if self.ignore_errors {
                return Ok(());
            }
            let line = self.splitter.row_line();
            let problem = "the file ends inside of quotes; is a quote left open?".to_owned();
            return Err(FormatError::Line { format: FORMAT, line, problem });
        }
        match self.splitter.rows.len() > before {
            true => self.check_row(),
            false => Ok(()),
        }
    }
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn library(error: arrow_schema::ArrowError) -> FormatError {
    FormatError::Library { format: FORMAT, source: Box::new(error) }
}
