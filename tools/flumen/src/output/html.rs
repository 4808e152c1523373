//! An HTML table, to be put into a page.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::RowWriter;
use super::cells::{Cells, NULL, is_number, names};

pub(super) struct Html {
    names: Vec<String>,
    numbers: Vec<bool>,
}

impl Html {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        Self { names: names(schema), numbers: schema.fields().iter().map(|f| is_number(f)).collect() }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl RowWriter for Html {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let heads: String = self.names.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
        writeln!(out, "<table>\n<thead>\n<tr>{heads}</tr>\n</thead>\n<tbody>")
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let cells = Cells::new(batch)?;
        for row in 0..batch.num_rows() {
            write!(out, "<tr>")?;
            for column in 0..cells.columns() {
                match cells.get(row, column)? {
                    None => write!(out, "<td class=\"null\">{NULL}</td>")?,
                    Some(text) if self.numbers[column] => write!(out, "<td class=\"number\">{}</td>", escaped(&text))?,
                    Some(text) => write!(out, "<td>{}</td>", escaped(&text))?,
                }
            }
            writeln!(out, "</tr>")?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "</tbody>\n</table>")
    }
}
