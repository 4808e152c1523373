//! CSV lines to batches, and back.
//!
//! A [`CsvFormat`] holds what is known beforehand; what is not is told from the first bytes of a file ([`sniff`]), and
//! gives a [`CsvLayout`]. [`CsvDecoder`] cuts bytes into rows of fields ([`split`]) and builds the columns that are
//! wanted ([`decoder`]): text columns are views into the bytes of the batch, others are parsed from such views.
//!
//! NULL is a field that is empty, or [`CsvLayout::null`], and is not quoted; a quoted empty field is the empty text
//! (PostgreSQL's rule), so that [`CsvEncoder`]'s files come back as they were. In a column that is not text a quoted empty
//! field is NULL too. An empty line is a row of one NULL if there is one column, and nothing otherwise.
//!
//! Source: RFC 4180.

mod decoder;
mod encoder;
mod sniff;
mod split;
#[cfg(test)]
mod tests;
mod values;

pub use decoder::CsvDecoder;
pub use encoder::CsvEncoder;
pub use sniff::{CsvInference, header_names};

const FORMAT: &str = "csv";

/// How a CSV file is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvLayout {
    /// The first line has the names of the columns.
    pub header: bool,
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold a delimiter, a quote or an end of line; `None` if there are no quotes.
    pub quote: Option<u8>,
    /// Before a quote inside of quotes; mostly the quote itself.
    pub escape: u8,
    /// What stands for NULL besides nothing.
    pub null: String,
    /// Rows that do not fit are left out.
    pub ignore_errors: bool,
}

impl Default for CsvLayout {
    fn default() -> Self {
        Self {
            header: true,
            delimiter: b',',
            quote: Some(b'"'),
            escape: b'"',
            null: String::new(),
            ignore_errors: false,
        }
    }
}

/// What is known of CSV files beforehand; `None` is told from the first bytes of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvFormat {
    /// Whether the first line has the names of the columns.
    pub header: Option<bool>,
    /// Between fields.
    pub delimiter: Option<u8>,
    /// Around fields; `Some(None)` if there are no quotes.
    pub quote: Option<Option<u8>>,
    /// Before a quote inside of quotes; by default the quote itself.
    pub escape: Option<u8>,
    /// What stands for NULL besides nothing.
    pub null: String,
    /// Rows that do not fit are left out.
    pub ignore_errors: bool,
    /// Every column is text.
    pub all_text: bool,
}

impl CsvFormat {
    /// The layout to write in: what is not known has its default.
    #[must_use]
    pub fn to_write(&self) -> CsvLayout {
        let quote = self.quote.unwrap_or(Some(b'"'));
        CsvLayout {
            header: self.header.unwrap_or(true),
            delimiter: self.delimiter.unwrap_or(b','),
            quote,
            escape: self.escape.or(quote).unwrap_or(b'"'),
            null: self.null.clone(),
            ignore_errors: false,
        }
    }

    /// The layout of a file that begins with `head`. `names` are those that its columns are expected to have, if any:
    /// a first line of these is a header whatever follows.
    #[must_use]
    pub fn layout(&self, head: &[u8], names: &[&str]) -> CsvLayout {
        sniff::layout(self, head, names)
    }
}
