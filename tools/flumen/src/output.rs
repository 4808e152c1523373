//! Rows as text.
//!
//! Cells are formatted by arrow's display formatter; JSON by arrow's writer, so 64-bit integers stay exact and
//! timestamps are ISO 8601. A box shows the first and last rows and at most as many columns as the terminal is wide.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};
use unicode_width::UnicodeWidthStr;

use crate::arguments::Format;

/// Takes the rows of one result.
pub(crate) struct ResultWriter {
    format: Format,
    schema: SchemaRef,
    started: bool,
    rows: usize,
    max_rows: usize,
    width: usize,
    head: Vec<Vec<String>>,
    tail: std::collections::VecDeque<Vec<String>>,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl ResultWriter {
    /// For a result with this schema.
    pub(crate) fn new(format: Format, schema: SchemaRef, max_rows: usize) -> Self {
        let width = terminal_width();
        Self { format, schema, started: false, rows: 0, max_rows, width, head: Vec::new(), tail: Default::default() }
    }

    /// Writes the header of formats that have one, with the first rows: a statement that fails before them leaves no
    /// half of a document.
    fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Ok(());
        }
        match self.format {
            Format::Csv => {
                let names: Vec<_> = self.schema.fields().iter().map(|f| csv_cell(f.name())).collect();
                writeln!(out, "{}", names.join(","))
            }
            Format::Json => write!(out, "["),
            Format::Box | Format::None => Ok(()),
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Takes rows.
    pub(crate) fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        self.start(out)?;
        match self.format {
            Format::None => {}
            Format::Csv => self.write_csv(batch, out)?,
            Format::Json => self.write_json(batch, out)?,
            Format::Box => self.keep(batch)?,
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.start(out)?;
        match self.format {
            Format::None | Format::Csv => {}
            Format::Json => writeln!(out, "{}]", if self.rows == 0 { "" } else { "\n" })?,
            Format::Box => self.write_box(out)?,
        }
        out.flush()
    }

    fn write_csv(&self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let options = FormatOptions::default();
        let cells = formatters(batch, &options)?;
        for row in 0..batch.num_rows() {
            for (index, (column, cell)) in batch.columns().iter().zip(&cells).enumerate() {
                if index > 0 {
                    write!(out, ",")?;
                }
                // NULL is an empty cell; an empty string is a quoted one.
                if column.is_valid(row) {
                    let text = cell.value(row).try_to_string().map_err(failed)?;
                    write!(out, "{}", if text.is_empty() { "\"\"".to_owned() } else { csv_cell(&text) })?;
                }
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_json(&self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut writer = arrow_json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow_json::writer::LineDelimited>(&mut lines);
        writer.write(batch).map_err(failed)?;
        writer.finish().map_err(failed)?;
        for (index, line) in lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).enumerate() {
            out.write_all(if self.rows + index == 0 { b"\n" } else { b",\n" })?;
            out.write_all(line)?;
        }
        Ok(())
    }

    fn keep(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let options = FormatOptions::default().with_null("NULL");
        let cells = formatters(batch, &options)?;
        let half = if self.max_rows == 0 { usize::MAX } else { self.max_rows.div_ceil(2) };
        for row in 0..batch.num_rows() {
            let at_head = self.head.len() < half;
            if !at_head && batch.num_rows() - row > half && half != usize::MAX {
                // It would be pushed out of the tail again by the rest of this batch.
                continue;
            }
            let line = cells
                .iter()
                .map(|c| c.value(row).try_to_string().map_err(failed))
                .collect::<io::Result<Vec<String>>>()?;
            if at_head {
                self.head.push(line);
            } else {
                if self.tail.len() == half {
                    self.tail.pop_front();
                }
                self.tail.push_back(line);
            }
        }
        Ok(())
    }

    fn write_box(self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = self.schema.fields().iter().map(|f| f.name().clone()).collect();
        let types: Vec<String> = self.schema.fields().iter().map(|f| type_name(f.data_type())).collect();
        let lines: Vec<&Vec<String>> = self.head.iter().chain(&self.tail).collect();
        let mut widths: Vec<usize> = (0..names.len())
            .map(|c| {
                lines
                    .iter()
                    .map(|l| one_line(&l[c]).width())
                    .chain([names[c].width(), types[c].width()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let shown = columns_that_fit(&mut widths, self.width);
        let rule = |left: &str, middle: &str, right: &str| {
            let bars: Vec<_> = widths[..shown].iter().map(|w| "─".repeat(w + 2)).collect();
            format!("{left}{}{right}", bars.join(middle))
        };
        let numeric: Vec<bool> = self.schema.fields().iter().map(|f| f.data_type().is_numeric()).collect();
        let row = |cells: &dyn Fn(usize) -> String, right_aligned: bool| {
            let cells: Vec<_> = (0..shown).map(|c| pad(&cells(c), widths[c], right_aligned && numeric[c])).collect();
            format!("│ {} │", cells.join(" │ "))
        };
        writeln!(out, "{}", rule("┌", "┬", "┐"))?;
        writeln!(out, "{}", row(&|c| names[c].clone(), false))?;
        writeln!(out, "{}", row(&|c| types[c].clone(), false))?;
        writeln!(out, "{}", rule("├", "┼", "┤"))?;
        for (index, line) in lines.iter().enumerate() {
            if index == self.head.len() && self.rows > lines.len() {
                writeln!(out, "{}", row(&|_| "·".to_owned(), false))?;
            }
            writeln!(out, "{}", row(&|c| one_line(&line[c]), true))?;
        }
        writeln!(out, "{}", rule("└", "┴", "┘"))?;
        if self.rows > lines.len() {
            writeln!(out, "{} of {} rows shown", lines.len(), self.rows)?;
        }
        if shown < names.len() {
            writeln!(out, "{shown} of {} columns shown", names.len())?;
        }
        Ok(())
    }
}

fn formatters<'a>(batch: &'a RecordBatch, options: &'a FormatOptions<'a>) -> io::Result<Vec<ArrayFormatter<'a>>> {
    batch.columns().iter().map(|c| ArrayFormatter::try_new(c, options).map_err(failed)).collect()
}

fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Line breaks and other controls shown as escapes, so that a cell keeps to its line.
fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) { text.escape_debug().to_string() } else { text.to_owned() }
}

/// How many leading columns fit; the widest are cut to what is left if not even the first does.
fn columns_that_fit(widths: &mut [usize], terminal: usize) -> usize {
    let mut used = 1;
    for (index, width) in widths.iter_mut().enumerate() {
        if used + *width + 3 > terminal {
            if index > 0 {
                return index;
            }
            *width = terminal.saturating_sub(used + 3).max(1);
        }
        used += *width + 3;
    }
    widths.len()
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let mut cut = String::new();
    let text = if text.width() > width {
        for character in text.chars() {
            if cut.width() + 1 >= width {
                break;
            }
            cut.push(character);
        }
        cut.push('…');
        &cut
    } else {
        text
    };
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

fn type_name(data_type: &DataType) -> String {
    flumen_cluster::type_name(data_type)
}

fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).filter(|c| *c > 0).unwrap_or(160)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a,\"b\""), Some("")]));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    fn written(format: Format, max_rows: usize, batches: &[RecordBatch]) -> String {
        let mut out = Vec::new();
        let mut writer = ResultWriter::new(format, batches[0].schema(), max_rows);
        batches.iter().for_each(|b| writer.write(b, &mut out).unwrap());
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_quotes_what_needs_it_and_tells_null_from_empty() {
        assert_eq!(written(Format::Csv, 0, &[batch()]), "n,t\n9223372036854775807,\"a,\"\"b\"\"\"\n,\"\"\n");
    }

    #[test]
    fn json_keeps_integers_exact() {
        let text = written(Format::Json, 0, &[batch(), batch()]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0]["n"].as_i64(), Some(i64::MAX));
        assert!(rows[3]["n"].is_null());
    }

    #[test]
    fn a_box_shows_head_and_tail() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let text = written(Format::Box, 4, &[batch]);
        let shown: Vec<&str> = text.lines().collect();
        assert!(shown[4].contains(" 0 ") && shown[5].contains(" 1 "), "{text}");
        assert!(text.contains("98") && text.contains("99") && !text.contains("50"), "{text}");
        assert!(text.ends_with("4 of 100 rows shown\n"), "{text}");
    }
}
