//! A Markdown table (GitHub's), one line a row.
//!
//! Bars and what would be read as HTML are escaped, line breaks are `<br>`; columns of numbers stand to the right.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::RowWriter;
use super::cells::{Cells, NULL, is_number, names, one_line};

pub(super) struct Markdown {
    names: Vec<String>,
    numbers: Vec<bool>,
}

impl Markdown {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { names: names(schema), numbers: schema.fields().iter().map(|f| is_number(f)).collect() }
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|").replace('&', "&amp;").replace('<', "&lt;");
    one_line(&text.replace("\r\n", "\n").replace('\n', "<br>")).into_owned()
}

impl RowWriter for Markdown {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<_> = self.names.iter().map(|name| escaped(name)).collect();
        let rules: Vec<_> = self.numbers.iter().map(|number| if *number { "---:" } else { "---" }).collect();
        writeln!(out, "| {} |\n| {} |", names.join(" | "), rules.join(" | "))
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let cells = Cells::new(batch)?;
        for row in 0..batch.num_rows() {
            write!(out, "|")?;
            for column in 0..cells.columns() {
                let cell = cells.get(row, column)?;
                write!(out, " {} |", cell.map_or_else(|| NULL.to_owned(), |text| escaped(&text)))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
