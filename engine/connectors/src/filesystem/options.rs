//! Options of file tables.

use std::collections::BTreeMap;
use std::path::Path;

use flumen_formats_csv::CsvLayout;
use flumen_io::FileSystem;

use crate::error::{ConnectorError, Result};
use crate::options::OptionReader;

/// Name of the connector.
pub(crate) const NAME: &str = "filesystem";

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Parquet,
    Csv,
    Json,
}

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WriteMode {
    /// Rows are added to it, or to new files beside it.
    #[default]
    Append,
    /// A new file takes its place when it is complete.
    Replace,
}

/// The options of a file table, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct FileOptions {
    pub(crate) path: String,
    pub(crate) format: Option<Format>,
    pub(crate) csv: CsvLayout,
    pub(crate) write_mode: WriteMode,
}

impl FileOptions {
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let reader = OptionReader::new(NAME, options);
        let format = match reader.text("format") {
            None => None,
            Some(text) => Some(match text.to_lowercase().as_str() {
                "parquet" => Format::Parquet,
                "csv" => Format::Csv,
                "json" => Format::Json,
                _ => return Err(reader.wrong("format", text, "write parquet, csv or json")),
            }),
        };
        let mut csv = CsvLayout::default();
        if let Some(header) = reader.parsed("csv.header")? {
            csv.header = header;
        }
        if let Some(text) = reader.text("csv.field-delimiter") {
            csv.delimiter = match text.as_bytes() {
                [byte] => *byte,
                b"\\t" => b'\t',
                _ => return Err(reader.wrong("csv.field-delimiter", text, "write one ASCII letter, or \\t")),
            };
        }
        let write_mode = match reader.text("write-mode") {
            None | Some("append") => WriteMode::Append,
            Some("replace") => WriteMode::Replace,
            Some(text) => return Err(reader.wrong("write-mode", text, "write append or replace")),
        };
        let path = reader.required("path", "the file, directory or pattern")?;
        reader.finish()?;
        if path.is_empty() {
            return Err(reader.wrong("path", path, "write the name of a file or directory"));
        }
        Ok(Self { path: path.strip_prefix("file://").unwrap_or(path).to_owned(), format, csv, write_mode })
    }

    /// The format of a file: as the options say, else by its suffix, else by its first bytes. May block.
    pub(crate) fn format_of(&self, files: &dyn FileSystem, path: &Path) -> Result<Format> {
        if let Some(format) = self.format.or_else(|| format_by_suffix(path)) {
            return Ok(format);
        }
        let file = files.open(path)?;
        let first = file.read_range(0..file.size().min(64))?;
        let text = first.trim_ascii_start();
        match () {
            () if first.starts_with(b"PAR1") => Ok(Format::Parquet),
            () if text.starts_with(b"{") => Ok(Format::Json),
            () => Err(ConnectorError::WrongOption {
                connector: NAME,
                option: "path".to_owned(),
                value: path.display().to_string(),
                problem: "its format cannot be told from its name or first bytes; set the option 'format', as in CREATE TABLE t WITH ('connector' = 'filesystem', 'path' = '...', 'format' = 'csv')".to_owned(),
            }),
        }
    }
}

/// The format that a name suggests.
pub(crate) fn format_by_suffix(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_lowercase().as_str() {
        "parquet" | "parq" | "pq" => Some(Format::Parquet),
        "csv" => Some(Format::Csv),
        "json" | "jsonl" | "ndjson" => Some(Format::Json),
        _ => None,
    }
}
