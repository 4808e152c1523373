//! Comma- and tab-separated values.
//!
//! NULL is an empty cell and an empty text is `""`, so that the two are told apart; which crates for CSV do not write.
//! Cells with a separator, a quote or a line break are quoted, quotes in them doubled (RFC 4180, with tabs for tsv);
//! lines end with a line feed.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::RowWriter;
use super::cells::{Cells, names};

pub(super) struct Delimited {
    names: Vec<String>,
    separator: char,
}

impl Delimited {
    pub(super) fn new(schema: &SchemaRef, separator: char) -> Self {
        Self { names: names(schema), separator }
    }

    fn line(&self, cells: impl Iterator<Item = io::Result<Option<String>>>, out: &mut dyn Write) -> io::Result<()> {
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                write!(out, "{}", self.separator)?;
            }
            if let Some(text) = cell? {
                if needs_quotes(&text, self.separator) {
                    write!(out, "\"{}\"", text.replace('"', "\"\""))?;
                } else {
                    out.write_all(text.as_bytes())?;
                }
            }
        }
        writeln!(out)
    }
}

fn needs_quotes(text: &str, separator: char) -> bool {
    text.is_empty() || text.contains([separator, '"', '\n', '\r'])
}

impl RowWriter for Delimited {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.line(self.names.iter().map(|name| Ok(Some(name.clone()))), out)
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let cells = Cells::new(batch)?;
        for row in 0..batch.num_rows() {
            self.line((0..cells.columns()).map(|column| cells.get(row, column)), out)?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
