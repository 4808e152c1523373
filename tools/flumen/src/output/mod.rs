//! Rows in the format that was asked for.
//!
//! A [`ResultWriter`] takes the batches of one result and hands them to the [`RowWriter`] of its format. What a format
//! opens with (a header, a bracket, a schema) is written with the first rows or at the end, whichever comes first: a
//! statement that fails before its first row leaves no half of a document. Formats that must see every row before they
//! can write one (box and table, whose columns have a width) keep as many rows as they show and no more.
//!
//! Cells are formatted by arrow's display formatter, JSON by arrow's JSON writer, so 64-bit integers and decimals are
//! exact and timestamps are ISO 8601 everywhere. Where NULL is written: an empty cell in csv and tsv (an empty text is
//! `""`), `null` in json, `NULL` in what people read.

mod binary;
mod box_table;
mod cells;
mod delimited;
mod destination;
mod fit;
mod html;
mod json;
mod markdown;
mod pager;
mod vertical;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clap::ValueEnum;

pub(crate) use destination::Destination;
pub(crate) use pager::Pager;

use crate::terminal::Terminal;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table with lines around it, cut to the terminal
    Box,
    /// The same in plain ASCII
    Table,
    /// A Markdown table
    Markdown,
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// An array of objects
    Json,
    /// One JSON object a line
    Jsonl,
    /// One line a column, for wide rows
    Vertical,
    /// An HTML table
    Html,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
    /// Nothing; for timing
    None,
}

impl Format {
    /// The format that a file's name asks for.
    pub(crate) fn from_path(path: &Path) -> Option<Self> {
        let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match suffix.as_str() {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "json" => Self::Json,
            "jsonl" | "ndjson" => Self::Jsonl,
            "md" | "markdown" => Self::Markdown,
            "html" | "htm" => Self::Html,
            "arrow" | "arrows" => Self::Arrow,
            "parquet" | "pq" => Self::Parquet,
            "txt" => Self::Table,
            _ => return None,
        })
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Bytes that are not for a terminal, and of which a file holds one result.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// Shows one picture of a whole result.
    pub(crate) fn is_picture(self) -> bool {
        matches!(self, Self::Box | Self::Table)
    }
}

/// How much of a result is shown, and with what means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Rows of a box at most; `None` means all.
    pub(crate) rows_max: Option<usize>,
    /// Terminal columns of a box at most; `None` means any number.
    pub(crate) width_max: Option<usize>,
    /// Lines may be drawn with Unicode.
    pub(crate) unicode: bool,
    /// Colours may be used.
    pub(crate) color: bool,
}

impl Layout {
    /// Rows shown of a long result on a terminal.
    const TERMINAL_ROWS: usize = 40;

    /// Rows kept for one that is looked at in pages.
    const PAGED_ROWS: usize = 10_000;

    /// For a terminal, or what stands in its place; 0 means all, `None` what fits a terminal if there is one.
    pub(crate) fn new(terminal: &Terminal, rows_max: Option<usize>, width_max: Option<usize>) -> Self {
        let or = |asked: Option<usize>, fitting: Option<usize>| match asked {
            Some(0) => None,
            Some(asked) => Some(asked),
            None => fitting.filter(|_| terminal.is_terminal),
        };
        Self {
            rows_max: or(rows_max, Some(Self::TERMINAL_ROWS)),
            width_max: or(width_max, terminal.width),
            unicode: terminal.unicode,
            color: terminal.color,
        }
    }

    /// The same for a result that is looked at in pages: more rows than a terminal has, if no number was asked for.
    pub(crate) fn paged(self, rows_max: Option<usize>) -> Self {
        Self { rows_max: if rows_max.is_none() { Some(Self::PAGED_ROWS) } else { self.rows_max }, ..self }
    }
}

/// Writes the rows of one result in one format.
trait RowWriter {
    /// What comes before the first row.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;

    /// Rows.
    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()>;

    /// What comes after the last row.
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// Takes the rows of one result.
pub(crate) struct ResultWriter {
    writer: Box<dyn RowWriter>,
    schema: SchemaRef,
    begun: bool,
    rows: usize,
}

impl ResultWriter {
    /// For a result with this schema.
    pub(crate) fn new(format: Format, schema: SchemaRef, layout: Layout) -> Self {
        let writer: Box<dyn RowWriter> = match format {
            Format::Box => Box::new(box_table::BoxTable::new(&schema, layout)),
            Format::Table => Box::new(box_table::BoxTable::new(&schema, Layout { unicode: false, ..layout })),
            Format::Markdown => Box::new(markdown::Markdown::new(&schema)),
            Format::Csv => Box::new(delimited::Delimited::new(&schema, ',')),
            Format::Tsv => Box::new(delimited::Delimited::new(&schema, '\t')),
            Format::Json => Box::new(json::Json::array(&schema)),
            Format::Jsonl => Box::new(json::Json::lines(&schema)),
            Format::Vertical => Box::new(vertical::Vertical::new(&schema, layout)),
            Format::Html => Box::new(html::Html::new(&schema)),
            Format::Arrow => Box::new(binary::ArrowStream::new(&schema)),
            Format::Parquet => Box::new(binary::ParquetFile::new(&schema)),
            Format::None => Box::new(Nothing),
        };
        Self { writer, schema, begun: false, rows: 0 }
    }

    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) { Ok(()) } else { self.writer.begin(out) }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        self.begin(out)?;
        if batch.schema_ref() == &self.schema {
            self.writer.rows(batch, out)?;
        } else {
            // Formats with a schema of their own hold rows to it.
            let same = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec()).map_err(io::Error::other)?;
            self.writer.rows(&same, out)?;
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.begin(out)?;
        self.writer.end(out)?;
        out.flush()
    }
}

/// Takes rows and writes none.
struct Nothing;

impl RowWriter for Nothing {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn rows(&mut self, _: &RecordBatch, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
