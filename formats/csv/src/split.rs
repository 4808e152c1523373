//! Bytes to rows of fields.
//!
//! A machine of six states that is fed pieces of any length. The bytes of the fields that are wanted are kept, without
//! their quotes, one after the other; a field is known by where it ends. Outside of quotes the end of a field is found by
//! a table of the bytes that matter, inside by a search for two bytes.
//!
//! A quote in the middle of an unquoted field is a letter, and so is what follows a closing quote.

use arrow_buffer::Buffer;

use crate::CsvLayout;

/// Where a field ends in the bytes kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldEnd {
    pub(crate) end: u32,
    pub(crate) quoted: bool,
}

/// A row, by its fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The first of its fields.
    pub(crate) first: usize,
    /// The line where it begins, counted from 1.
    pub(crate) line: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the row has been seen.
    RowStart,
    /// A field begins.
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind an escape that is not the quote.
    Escaped,
    /// Behind a quote inside of quotes.
    QuoteSeen,
}

/// Cuts bytes into rows.
pub(crate) struct Splitter {
    delimiter: u8,
    quote: Option<u8>,
    escape: u8,
    /// Ends an unquoted run.
    special: [bool; 256],
    state: State,
    /// The last byte was a carriage return that ended a row.
    after_return: bool,
    /// The field in hand was quoted.
    quoted: bool,
    /// Which fields are kept; all if empty.
    wanted: Vec<bool>,
    /// Empty lines are rows.
    keeps_empty_lines: bool,
    /// The line being read.
    line: u64,
    row_line: u64,
    /// Bytes of the row in hand.
    row_bytes: usize,
    pub(crate) data: Vec<u8>,
    pub(crate) fields: Vec<FieldEnd>,
    pub(crate) rows: Vec<Row>,
    /// First field of the row in hand.
    first: usize,
}

impl Splitter {
    pub(crate) fn new(layout: &CsvLayout) -> Self {
        let mut special = [false; 256];
        for byte in [layout.delimiter, b'\n', b'\r'] {
            special[usize::from(byte)] = true;
        }
        Self {
            delimiter: layout.delimiter,
            quote: layout.quote,
            escape: layout.escape,
            special,
            state: State::RowStart,
            after_return: false,
            quoted: false,
            wanted: Vec::new(),
            keeps_empty_lines: false,
            line: 1,
            row_line: 1,
            row_bytes: 0,
            data: Vec::new(),
            fields: Vec::new(),
            rows: Vec::new(),
            first: 0,
        }
    }

    /// Keeps the bytes of these fields only, of as many as there should be.
    pub(crate) fn wanting(mut self, wanted: Vec<bool>) -> Self {
        self.keeps_empty_lines = wanted.len() == 1;
        self.wanted = wanted;
        self
    }

    /// Bytes of the row that has no end yet.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Number of fields of a row.
    pub(crate) fn width(&self, row: usize) -> usize {
        let end = self.rows.get(row + 1).map_or(self.first, |next| next.first);
        self.rows.get(row).map_or(0, |row| end - row.first)
    }

    /// The bytes of the complete rows. Their fields stay known until [`Self::forget_rows`], which has to follow.
    pub(crate) fn take_complete(&mut self) -> Buffer {
        let end = self.complete_end();
        let rest = self.data.split_off(end);
        Buffer::from_vec(std::mem::replace(&mut self.data, rest))
    }

    /// Forgets the complete rows, whose bytes are gone.
    pub(crate) fn forget_rows(&mut self) {
        let end = self.complete_end() as u32;
        self.fields.drain(..self.first);
        for field in &mut self.fields {
            field.end -= end;
        }
        self.rows.clear();
        self.first = 0;
    }

    fn complete_end(&self) -> usize {
        self.first.checked_sub(1).and_then(|last| self.fields.get(last)).map_or(0, |field| field.end as usize)
    }

    /// Forgets the last complete row.
    pub(crate) fn drop_row(&mut self) {
        let Some(row) = self.rows.pop() else { return };
        self.fields.truncate(row.first);
        self.data.truncate(self.fields.last().map_or(0, |f| f.end as usize));
        self.first = row.first;
    }

    fn is_wanted(&self) -> bool {
        self.wanted.is_empty() || self.wanted.get(self.fields.len() - self.first).copied().unwrap_or(false)
    }

    fn end_field(&mut self) {
        // A row and with it the data of a batch is limited far below 4 GiB by the decoder.
        let end = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        self.fields.push(FieldEnd { end, quoted: self.quoted });
        self.row_bytes += size_of::<FieldEnd>();
        self.quoted = false;
        self.state = State::FieldStart;
    }

    fn end_row(&mut self) {
        self.end_field();
        self.rows.push(Row { first: self.first, line: self.row_line });
        self.first = self.fields.len();
        self.row_bytes = 0;
        self.state = State::RowStart;
    }

    /// Takes bytes up to the end of the next row; says how many, and whether a row was completed.
    pub(crate) fn next_row(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.state {
                State::RowStart => {
                    let is_rest_of_end = byte == b'\n' && std::mem::take(&mut self.after_return);
                    self.after_return = false;
                    let is_end = matches!(byte, b'\n' | b'\r');
                    if is_rest_of_end {
                        at += 1;
                    } else if is_end && !self.keeps_empty_lines {
                        at += 1;
                        self.end_line(byte);
                    } else {
                        self.row_line = self.line;
                        self.state = State::FieldStart;
                    }
                }
                State::FieldStart if Some(byte) == self.quote => {
                    at += 1;
                    self.quoted = true;
                    self.state = State::Quoted;
                }
                State::FieldStart | State::Unquoted => {
                    let run = bytes[at..].iter().position(|b| self.special[usize::from(*b)]);
                    let end = run.map_or(bytes.len(), |run| at + run);
                    if self.is_wanted() {
                        self.data.extend_from_slice(&bytes[at..end]);
                    }
                    self.row_bytes += end - at;
                    self.state = State::Unquoted;
                    at = end;
                    if let Some(&byte) = bytes.get(at) {
                        at += 1;
                        if self.end(byte) {
                            return (at, true);
                        }
                    }
                }
                State::Quoted => {
                    let (quote, escape) = (self.quote.unwrap_or(self.escape), self.escape);
                    let run = bytes[at..].iter().position(|b| *b == quote || *b == escape);
                    let end = run.map_or(bytes.len(), |run| at + run);
                    self.line += bytes[at..end].iter().filter(|b| **b == b'\n').count() as u64;
                    if self.is_wanted() {
                        self.data.extend_from_slice(&bytes[at..end]);
                    }
                    self.row_bytes += end - at;
                    at = end;
                    if let Some(&byte) = bytes.get(at) {
                        at += 1;
                        self.state = if byte == quote { State::QuoteSeen } else { State::Escaped };
                    }
                }
                State::Escaped => {
                    self.push(byte);
                    at += 1;
                    self.state = State::Quoted;
                }
                State::QuoteSeen if Some(byte) == self.quote && self.escape == byte => {
                    self.push(byte);
                    at += 1;
                    self.state = State::Quoted;
                }
                State::QuoteSeen => match byte == self.delimiter || matches!(byte, b'\n' | b'\r') {
                    true => {
                        at += 1;
                        if self.end(byte) {
                            return (at, true);
                        }
                    }
                    false => self.state = State::Unquoted,
                },
            }
        }
        (at, false)
    }

    fn push(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.row_bytes += 1;
        if self.is_wanted() {
            self.data.push(byte);
        }
    }

    fn end_line(&mut self, byte: u8) {
        self.line += 1;
        self.after_return = byte == b'\r';
    }

    /// A byte that ends a field; `true` if it ends the row.
    fn end(&mut self, byte: u8) -> bool {
        if byte == self.delimiter {
            self.end_field();
            return false;
        }
        self.end_row();
        self.end_line(byte);
        true
    }

    /// No bytes follow: completes the last row, if one was begun. `false` if a quote is open.
    pub(crate) fn finish(&mut self) -> bool {
        match self.state {
            State::RowStart => true,
            State::Quoted | State::Escaped => false,
            State::FieldStart | State::Unquoted | State::QuoteSeen => {
                self.end_row();
                true
            }
        }
    }

    /// The line where the row in hand begins.
    pub(crate) fn row_line(&self) -> u64 {
        self.row_line
    }

    /// The bytes of a field.
    pub(crate) fn field(&self, index: usize) -> (&[u8], bool) {
        let start = index.checked_sub(1).and_then(|before| self.fields.get(before)).map_or(0, |f| f.end as usize);
        match self.fields.get(index) {
            Some(field) => (self.data.get(start..field.end as usize).unwrap_or_default(), field.quoted),
            None => (&[], false),
        }
    }
}
