//! A table with lines around it: the first and last rows, cut to the terminal.
//!
//! A cell is one line as wide as a terminal shows it (`unicode-width`: wide characters take two places). What is not
//! shown is said below: `100 rows (40 shown), 12 of 40 columns shown`.

use std::collections::VecDeque;
use std::io::{self, Write};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use nu_ansi_term::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cells::{Cells, NULL, is_number, names, one_line};
use super::fit::{Fit, fit};
use super::{Layout, RowWriter};

/// A cell; `None` is NULL.
type Cell = Option<String>;

pub(super) struct BoxTable {
    layout: Layout,
    names: Vec<String>,
    types: Vec<String>,
    numbers: Vec<bool>,
    rows: usize,
    head: Vec<Vec<Cell>>,
    tail: VecDeque<Vec<Cell>>,
}

/// The lines: left, between columns, right, of top, middle and bottom; and what runs along and down.
struct Lines {
    corners: [[&'static str; 3]; 3],
    along: &'static str,
    down: &'static str,
    /// Where text was cut, and in place of columns.
    cut: &'static str,
    /// In place of rows.
    skipped: &'static str,
}

const UNICODE: Lines = Lines {
    corners: [["┌", "┬", "┐"], ["├", "┼", "┤"], ["└", "┴", "┘"]],
    along: "─",
    down: "│",
    cut: "…",
    skipped: "·",
};
const ASCII: Lines = Lines { corners: [["+"; 3]; 3], along: "-", down: "|", cut: "~", skipped: "." };

impl BoxTable {
    pub(super) fn new(schema: &SchemaRef, layout: Layout) -> Self {
        Self {
            layout,
            names: names(schema).iter().map(|name| one_line(name).into_owned()).collect(),
            types: schema.fields().iter().map(|f| flumen_cluster::type_name(f.data_type())).collect(),
            numbers: schema.fields().iter().map(|f| is_number(f)).collect(),
            rows: 0,
            head: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    /// Widths that would show everything.
    fn natural(&self) -> Vec<usize> {
        let column = |index: usize| {
            let cells = self.head.iter().chain(&self.tail).map(|row| shown(&row[index]).width());
            cells.chain([self.names[index].width(), self.types[index].width()]).max().unwrap_or(0)
        };
        (0..self.names.len()).map(column).collect()
    }
}

fn shown(cell: &Cell) -> &str {
    cell.as_deref().unwrap_or(NULL)
}

/// Draws the lines of one table.
struct Pen<'a> {
    fit: &'a Fit,
    lines: &'static Lines,
    color: bool,
}

impl Pen<'_> {
    /// Indices of the shown columns and their widths; `None` where columns are missing.
    fn columns(&self, count: usize) -> Vec<Option<(usize, usize)>> {
        let index = |shown: usize| if shown < self.fit.left { shown } else { shown + self.fit.hidden };
        let mut columns: Vec<_> = self.fit.widths.iter().enumerate().map(|(s, w)| Some((index(s), *w))).collect();
        debug_assert_eq!(self.fit.widths.len() + self.fit.hidden, count);
        if self.fit.hidden > 0 {
            columns.insert(self.fit.left, None);
        }
        columns
    }

    fn rule(&self, place: usize, count: usize) -> String {
        let [left, between, right] = self.lines.corners[place];
        let width = |column: &Option<(usize, usize)>| column.map_or(1, |(_, width)| width) + 2;
        let bars: Vec<_> = self.columns(count).iter().map(|column| self.lines.along.repeat(width(column))).collect();
        format!("{left}{}{right}", bars.join(between))
    }

    /// A line of cells; `cell` gives text, whether it stands to the right, and whether it stands back.
    fn row<'c>(&self, count: usize, missing: &str, cell: impl Fn(usize) -> (&'c str, bool, bool)) -> String {
        let paint = |column: &Option<(usize, usize)>| match column {
            None => missing.to_owned(),
            Some((index, width)) => {
                let (text, right, back) = cell(*index);
                let padded = pad(text, *width, right, self.lines.cut);
                if back && self.color { Style::new().dimmed().paint(padded).to_string() } else { padded }
            }
        };
        let cells: Vec<_> = self.columns(count).iter().map(paint).collect();
        let down = self.lines.down;
        format!("{down} {} {down}", cells.join(&format!(" {down} ")))
    }
}

/// The text in so many places, cut or filled up.
fn pad(text: &str, width: usize, right: bool, cut_mark: &str) -> String {
    let mut kept = String::new();
    let text = if text.width() > width {
        let mut used = cut_mark.width();
        for character in text.chars() {
            used += character.width().unwrap_or(0);
            if used > width {
                break;
            }
            kept.push(character);
        }
        kept.push_str(cut_mark);
        &kept
    } else {
        text
    };
    let blanks = " ".repeat(width.saturating_sub(text.width()));
    if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

impl RowWriter for BoxTable {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn rows(&mut self, batch: &RecordBatch, _: &mut dyn Write) -> io::Result<()> {
        let cells = Cells::new(batch)?;
        let (head, tail) = match self.layout.rows_max {
            None => (usize::MAX, 0),
            Some(rows) => (rows.div_ceil(2), rows / 2),
        };
        for row in 0..batch.num_rows() {
            let at_head = self.head.len() < head;
            // Not worth formatting: the rest of this batch would push it out of the tail again.
            if !at_head && batch.num_rows() - row > tail {
                continue;
            }
            let line = (0..cells.columns())
                .map(|column| Ok(cells.get(row, column)?.map(|text| one_line(&text).into_owned())))
                .collect::<io::Result<Vec<Cell>>>()?;
            if at_head {
                self.head.push(line);
                continue;
            }
            if self.tail.len() == tail {
                self.tail.pop_front();
            }
            self.tail.push_back(line);
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let count = self.names.len();
        let fit = fit(&self.natural(), self.layout.width_max);
        let lines = if self.layout.unicode { &UNICODE } else { &ASCII };
        let pen = Pen { fit: &fit, lines, color: self.layout.color };
        writeln!(out, "{}", pen.rule(0, count))?;
        writeln!(out, "{}", pen.row(count, lines.cut, |c| (&self.names[c], false, false)))?;
        writeln!(out, "{}", pen.row(count, " ", |c| (&self.types[c], false, true)))?;
        writeln!(out, "{}", pen.rule(1, count))?;
        let kept = self.head.len() + self.tail.len();
        for (index, cells) in self.head.iter().chain(&self.tail).enumerate() {
            if index == self.head.len() && self.rows > kept {
                writeln!(out, "{}", pen.row(count, lines.skipped, |_| (lines.skipped, false, true)))?;
            }
            let cell = |c: usize| (shown(&cells[c]), self.numbers[c], cells[c].is_none());
            writeln!(out, "{}", pen.row(count, lines.cut, cell))?;
        }
        writeln!(out, "{}", pen.rule(2, count))?;
        let mut left_out = Vec::new();
        if self.rows > kept {
            left_out.push(format!("{} rows ({kept} shown)", self.rows));
        }
        if fit.hidden > 0 {
            left_out.push(format!("{} of {count} columns shown", fit.widths.len()));
        }
        if left_out.is_empty() { Ok(()) } else { writeln!(out, "{}", left_out.join(", ")) }
    }
}
