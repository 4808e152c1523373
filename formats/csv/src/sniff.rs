//! The layout and the types of a file, from its first rows.
//!
//! *Delimiter and quote*: every pair of candidates cuts the first rows; the one under which most rows have as many fields
//! as the first, and more than one, wins; then the one with more fields that are quoted from end to end, with more
//! columns, and the one listed first.
//!
//! *Header*: if the first line has the names that are expected, or a field that does not look like the values below it, or
//! if all columns are text and none of its fields is empty. So a file of nothing but text is taken to have one, as DuckDB
//! does.
//!
//! *Types*: the narrowest of BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP, TIMESTAMP_LTZ and VARCHAR that all values look
//! like; a column without a value has the type NULL.

use flumen_core::types::{Field, LogicalType, Schema};
use flumen_formats::{FormatError, SchemaInference};

use crate::split::Splitter;
use crate::values::Kind;
use crate::{CsvFormat, CsvLayout, FORMAT};

/// Bytes that a layout is told from.
const LAYOUT_BYTES_MAX: usize = 256 << 10;
/// Rows that a layout is told from.
const LAYOUT_ROWS_MAX: usize = 1_000;
/// Columns of a file at most.
const COLUMNS_MAX: usize = 100_000;
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
const QUOTES: [Option<u8>; 2] = [Some(b'"'), Some(b'\'')];

/// How well a layout fits.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    has_columns: bool,
    /// Rows of a thousand that are as wide as the first.
    regular: usize,
    quoted: usize,
    columns: usize,
}

pub(crate) fn layout(format: &CsvFormat, head: &[u8], names: &[&str]) -> CsvLayout {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let head = &head[..head.len().min(LAYOUT_BYTES_MAX)];
    let delimiters: &[u8] = match &format.delimiter {
        Some(delimiter) => std::slice::from_ref(delimiter),
        None => &DELIMITERS,
    };
    let quotes: &[Option<u8>] = match &format.quote {
        Some(quote) => std::slice::from_ref(quote),
        None => &QUOTES,
    };
    let mut best: Option<(Fit, CsvLayout, Splitter)> = None;
    for quote in quotes {
        for delimiter in delimiters {
            let mut layout = format.to_write();
            layout.ignore_errors = format.ignore_errors;
            layout.quote = *quote;
            layout.delimiter = *delimiter;
            layout.escape = format.escape.or(*quote).unwrap_or(b'"');
            let (fit, rows) = fit(&layout, head);
            if best.as_ref().is_none_or(|(known, ..)| fit > *known) {
                best = Some((fit, layout, rows));
            }
        }
    }
    let Some((_, mut layout, rows)) = best else { return format.to_write() };
    if format.header.is_none() {
        layout.header = has_header(&layout, &rows, names);
    }
    layout
}

/// Cuts the first rows; a last one that may be cut off is left out.
fn rows_of(layout: &CsvLayout, head: &[u8]) -> Splitter {
    let mut splitter = Splitter::new(layout);
    let mut at = 0;
    while at < head.len() && splitter.rows.len() < LAYOUT_ROWS_MAX {
        at += splitter.next_row(&head[at..]).0;
    }
    if at == head.len() && head.len() < LAYOUT_BYTES_MAX {
        splitter.finish();
    }
    splitter
}

fn fit(layout: &CsvLayout, head: &[u8]) -> (Fit, Splitter) {
    let splitter = rows_of(layout, head);
    let rows = splitter.rows.len();
    let columns = splitter.width(0);
    let regular = (0..rows).filter(|row| splitter.width(*row) == columns).count();
    let quoted = splitter.fields.iter().filter(|field| field.quoted).count();
    let fit = Fit {
        has_columns: columns > 1 && regular * 2 >= rows,
        regular: regular * 1_000 / rows.max(1),
        quoted,
        columns,
    };
    (fit, splitter)
}

fn kind_of(layout: &CsvLayout, field: (&[u8], bool)) -> Kind {
    let (bytes, quoted) = field;
    if bytes.is_empty() || !quoted && bytes == layout.null.as_bytes() {
        return Kind::Nothing;
    }
    std::str::from_utf8(bytes).map_or(Kind::Text, Kind::of)
}

fn has_header(layout: &CsvLayout, rows: &Splitter, names: &[&str]) -> bool {
    let width = rows.width(0);
    let first: Vec<_> = (0..width).map(|column| rows.field(column)).collect();
    let is_name = |(bytes, _): &(&[u8], bool)| {
        std::str::from_utf8(bytes).is_ok_and(|text| names.iter().any(|name| name.eq_ignore_ascii_case(text.trim())))
    };
    if !names.is_empty() && !first.is_empty() && first.iter().all(is_name) {
        return true;
    }
    let mut kinds = vec![Kind::Nothing; width];
    for (index, row) in rows.rows.iter().enumerate().skip(1) {
        for (column, kind) in kinds.iter_mut().enumerate().take(rows.width(index)) {
            *kind = kind.with(kind_of(layout, rows.field(row.first + column)));
        }
    }
    let differs = first.iter().zip(&kinds).any(|(field, kind)| {
        let own = kind_of(layout, *field);
        !matches!(kind, Kind::Nothing | Kind::Text) && own != Kind::Nothing && own.with(*kind) != *kind
    });
    let all_text = width > 0
        && kinds.iter().all(|kind| matches!(kind, Kind::Nothing | Kind::Text))
        && first.iter().all(|field| kind_of(layout, *field) == Kind::Text);
    differs || all_text
}

/// The names in the header of a file that begins with `head`, made different from each other; `column0` and so on if it
/// has none.
#[must_use]
pub fn header_names(layout: &CsvLayout, head: &[u8]) -> Vec<String> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut splitter = Splitter::new(layout);
    let mut at = 0;
    while at < head.len() && splitter.rows.is_empty() {
        at += splitter.next_row(&head[at..]).0;
    }
    if splitter.rows.is_empty() {
        splitter.finish();
    }
    names_of(layout, &splitter)
}

fn names_of(layout: &CsvLayout, rows: &Splitter) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut used = std::collections::HashSet::new();
    for column in 0..rows.width(0).min(COLUMNS_MAX) {
        let (bytes, _) = rows.field(column);
        let name = match layout.header {
            true => String::from_utf8_lossy(bytes).trim().to_owned(),
            false => String::new(),
        };
        let name = if name.is_empty() { format!("column{column}") } else { name };
        let mut unique = name.clone();
        let mut number = 0;
        while !used.insert(unique.to_lowercase()) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        names.push(unique);
    }
    names
}

/// Tells types from rows that come in pieces.
pub struct CsvInference {
    layout: CsvLayout,
    all_text: bool,
    splitter: Splitter,
    kinds: Vec<Kind>,
    names: Option<Vec<String>>,
    rows_left: u64,
    has_mark: bool,
}

impl CsvInference {
    /// Looks at `rows_max` rows at most.
    #[must_use]
    pub fn new(format: &CsvFormat, layout: CsvLayout, rows_max: u64) -> Self {
        Self {
            splitter: Splitter::new(&layout),
            layout,
            all_text: format.all_text,
            kinds: Vec::new(),
            names: None,
            rows_left: rows_max,
            has_mark: true,
        }
    }

    fn row(&mut self) -> Result<(), FormatError> {
        let width = self.splitter.width(0);
        match &self.names {
            None => {
                self.names = Some(names_of(&self.layout, &self.splitter));
                self.kinds = vec![Kind::Nothing; width];
                if !self.layout.header {
                    self.values(width);
                }
            }
            Some(names) if names.len() == width || self.layout.ignore_errors => self.values(width),
            Some(names) => {
                let line = self.splitter.rows.first().map_or(0, |row| row.line);
                let (fields, columns) = (if width == 1 { "field" } else { "fields" }, names.len());
                let problem = format!(
                    "the row has {width} {fields}, and the first has {columns}; is the delimiter right, or a quote left open? To leave such rows out, write ignore_errors => true in read_csv"
                );
                return Err(FormatError::Line { format: FORMAT, line, problem });
            }
        }
        let _ = self.splitter.take_complete();
        self.splitter.forget_rows();
        Ok(())
    }

    fn values(&mut self, width: usize) {
        self.rows_left = self.rows_left.saturating_sub(1);
        for column in 0..width.min(self.kinds.len()) {
            if self.kinds[column] != Kind::Text {
                self.kinds[column] = self.kinds[column].with(kind_of(&self.layout, self.splitter.field(column)));
            }
        }
    }
}

impl SchemaInference for CsvInference {
    fn push(&mut self, bytes: &[u8]) -> Result<bool, FormatError> {
        let bytes = match std::mem::take(&mut self.has_mark) {
            true => bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes),
            false => bytes,
        };
        let mut at = 0;
        while at < bytes.len() && self.rows_left > 0 {
            let (taken, is_complete) = self.splitter.next_row(&bytes[at..]);
            at += taken;
            if is_complete {
                self.row()?;
            } else if self.splitter.unfinished_bytes() > LAYOUT_BYTES_MAX * 64 {
                return Ok(false);
            }
        }
        Ok(self.rows_left > 0)
    }

    fn finish(&mut self, is_whole: bool) -> Result<Schema, FormatError> {
        if is_whole && self.rows_left > 0 {
            let before = self.splitter.rows.len();
            if self.splitter.finish() && self.splitter.rows.len() > before {
                self.row()?;
            }
        }
        let names = self.names.take().unwrap_or_default();
        let fields = names.into_iter().zip(&self.kinds).map(|(name, kind)| {
            let data_type = if self.all_text { LogicalType::Utf8 } else { kind.data_type() };
            Field::new(name, data_type, true)
        });
        Ok(Schema::new(fields.collect()))
    }
}
