//! One line a column, for rows that are too wide for a box.

use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use unicode_width::UnicodeWidthStr;

use super::cells::{Cells, NULL, names, one_line};
use super::{Layout, RowWriter};

pub(super) struct Vertical {
    /// Names, padded to the widest.
    names: Vec<String>,
    width: usize,
    rows: usize,
    unicode: bool,
}

impl Vertical {
    pub(super) fn new(schema: &SchemaRef, layout: Layout) -> Self {
        let names: Vec<String> = names(schema).iter().map(|name| one_line(name).into_owned()).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        let padded = names.iter().map(|name| format!("{name}{}", " ".repeat(width - name.width()))).collect();
        Self { names: padded, width, rows: 0, unicode: layout.unicode }
    }
}

impl RowWriter for Vertical {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let (rule, bar) = if self.unicode { ("─", "│") } else { ("-", "|") };
        let cells = Cells::new(batch)?;
        for row in 0..batch.num_rows() {
            self.rows += 1;
            let title = format!(" row {} ", self.rows);
            let rest = (self.width + 4).saturating_sub(title.width() + 2).max(2);
            writeln!(out, "{}{title}{}", rule.repeat(2), rule.repeat(rest))?;
            for (column, name) in self.names.iter().enumerate() {
                let cell = cells.get(row, column)?;
                writeln!(out, "{name} {bar} {}", one_line(cell.as_deref().unwrap_or(NULL)))?;
            }
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}
