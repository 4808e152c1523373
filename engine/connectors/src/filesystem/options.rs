//! Options of file tables.

use std::collections::BTreeMap;
use std::path::Path;

use flumen_core::types::Schema;
use flumen_formats_csv::CsvFormat;
use flumen_io::FileSystem;

use super::compression::{ByteStream, Codec};
use crate::error::{ConnectorError, Result};
use crate::options::{OptionReader, nearest};

/// Name of the connector.
pub(crate) const NAME: &str = "filesystem";
/// Rows that the types of text files are told from, as many as DuckDB takes.
const SAMPLE_ROWS: u64 = 20_480;

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Parquet,
    Csv,
    Json,
    /// An Arrow IPC file.
    Arrow,
    /// An Arrow IPC stream.
    ArrowStream,
}

impl Format {
    /// The formats there are.
    pub(super) const PURPOSE: &str = "parquet, csv, json, arrow or arrows";

    fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Csv,
            "json" => Self::Json,
            "arrow" | "ipc" | "feather" => Self::Arrow,
            "arrows" => Self::ArrowStream,
            _ => return None,
        })
    }

    /// What names of files of this format end in.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
            Self::ArrowStream => "arrows",
        }
    }

    /// Whether its values are text, so that a column of different ones may as well be VARCHAR.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Json)
    }

    /// What the first bytes of a file say.
    fn by_magic(bytes: &[u8]) -> Option<Self> {
        let text = bytes.trim_ascii_start();
        match () {
            () if bytes.starts_with(b"PAR1") => Some(Self::Parquet),
            () if bytes.starts_with(b"ARROW1\0\0") => Some(Self::Arrow),
            () if bytes.starts_with(&[0xff; 4]) => Some(Self::ArrowStream),
            () if text.starts_with(b"{") || text.starts_with(b"[") => Some(Self::Json),
            () => None,
        }
    }
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
    /// In lower case. Of Parquet files its codec; else how files are compressed as a whole, told from each if it is not
    /// given.
    pub(crate) compression: Option<String>,
    pub(crate) compression_level: Option<i32>,
    /// Rows of a Parquet row group that is written.
    pub(crate) row_group_rows: Option<usize>,
    /// Rows are written as one JSON array.
    pub(crate) json_array: bool,
    /// Columns whose values become directories.
    pub(crate) partition_by: Vec<String>,
    /// A directory that holds something may be replaced.
    pub(crate) overwrite: bool,
    pub(crate) csv: CsvFormat,
    /// Rows that types are told from.
    pub(crate) sample_rows: u64,
    /// Directories named `key=value` give columns.
    pub(crate) hive: bool,
    /// ... with types.
    pub(crate) hive_types: bool,
    /// There is a column with the path of each row's file.
    pub(crate) filename: bool,
    pub(crate) write_mode: WriteMode,
}

impl FileOptions {
    pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let reader = OptionReader::new(NAME, options);
        let format = match reader.text("format") {
            None => None,
            Some(text) => Some(
                Format::by_name(text)
                    .ok_or_else(|| reader.wrong("format", text, format!("write {}", Format::PURPOSE)))?,
            ),
        };
        let sample_rows = match reader.parsed::<i64>("sample-rows")? {
            None => SAMPLE_ROWS,
            Some(-1) => u64::MAX,
            Some(rows) => u64::try_from(rows).ok().filter(|rows| *rows > 0).ok_or_else(|| {
                reader.wrong("sample-rows", &rows.to_string(), "write a number of rows, or -1 for all")
            })?,
        };
        let write_mode = match reader.text("write-mode") {
            None | Some("append") => WriteMode::Append,
            Some("replace") => WriteMode::Replace,
            Some(text) => return Err(reader.wrong("write-mode", text, "write append or replace")),
        };
        let this = Self {
            path: String::new(),
            format,
            compression: reader.text("compression").map(str::to_lowercase),
            compression_level: reader.parsed("compression-level")?,
            row_group_rows: reader.positive("parquet.row-group-rows")?.and_then(|rows| usize::try_from(rows).ok()),
            json_array: reader.parsed("json.array")?.unwrap_or(false),
            partition_by: reader.text("partition-by").into_iter().flat_map(str::lines).map(str::to_owned).collect(),
            overwrite: reader.parsed("overwrite")?.unwrap_or(false),
            csv: csv(&reader)?,
            sample_rows,
            hive: reader.parsed("hive-partitioning")?.unwrap_or(true),
            hive_types: reader.parsed("hive-types")?.unwrap_or(true),
            filename: reader.parsed("filename")?.unwrap_or(false),
            write_mode,
        };
        let path = reader.required("path", "the file, directory or pattern")?;
        reader.finish()?;
        if path.is_empty() {
            return Err(reader.wrong("path", path, "write the name of a file or directory"));
        }
        Ok(Self { path: path.strip_prefix("file://").unwrap_or(path).to_owned(), ..this })
    }

    /// How a file is compressed as a whole, as far as the options or its name say.
    pub(crate) fn whole_codec(&self, path: &Path) -> Result<Option<Codec>> {
        match self.compression.as_deref() {
            None | Some("auto") => Ok(Codec::by_suffix(path)),
            Some("none" | "uncompressed") => Ok(None),
            Some(name) => Codec::by_name(name).map(Some).ok_or_else(|| ConnectorError::WrongOption {
                connector: NAME,
                option: "compression".to_owned(),
                value: name.to_owned(),
                problem: "write gzip, zstd, bzip2, xz or none".to_owned(),
            }),
        }
    }

    /// Names and numbers of the columns that make directories.
    pub(crate) fn partition_columns(&self, schema: &Schema) -> Result<Vec<(String, usize)>> {
        let mut found: Vec<(String, usize)> = Vec::new();
        for name in &self.partition_by {
            let position = schema.fields.iter().position(|field| field.name.eq_ignore_ascii_case(name));
            let problem = match position {
                Some(at) if found.iter().any(|(_, known)| *known == at) => "it is named twice".to_owned(),
                Some(at) => {
                    found.push((schema.fields[at].name.clone(), at));
                    continue;
                }
                None => {
                    let names: Vec<String> = schema.fields.iter().map(|field| field.name.to_lowercase()).collect();
                    format!("there is no such column{}", nearest(name, names.iter().map(String::as_str)))
                }
            };
            let (option, value) = ("partition-by".to_owned(), name.clone());
            return Err(ConnectorError::WrongOption { connector: NAME, option, value, problem });
        }
        Ok(found)
    }

    /// How a file is written: as the options say, else by its suffix, else by its first bytes. May block.
    pub(crate) fn format_of(&self, files: &dyn FileSystem, path: &Path) -> Result<(Format, Option<Codec>)> {
        if let Some(format) = self.format.or_else(|| format_by_suffix(path)) {
            // The codec of a Parquet file is its own affair.
            let codec = if format.is_text() { self.whole_codec(path)? } else { None };
            return Ok((format, codec));
        }
        let file = files.open(path)?;
        let mut first = file.read_range(0..file.size().min(64))?;
        let codec = match self.compression {
            None => Codec::by_suffix(path).or_else(|| Codec::by_magic(&first)),
            Some(_) => self.whole_codec(path)?,
        };
        if codec.is_some() {
            first = ByteStream::new(file, codec)?.piece(64)?;
        }
        match Format::by_magic(&first) {
            Some(format) => Ok((format, codec)),
            None => Err(ConnectorError::WrongOption {
                connector: NAME,
                option: "path".to_owned(),
                value: path.display().to_string(),
                problem: "its format cannot be told from its name or first bytes; set the option 'format', as in CREATE TABLE t WITH ('connector' = 'filesystem', 'path' = '...', 'format' = 'csv')".to_owned(),
            }),
        }
    }

    /// What is known of the CSV in a file: tabs are what `.tsv` says.
    pub(crate) fn csv_of(&self, path: &Path) -> CsvFormat {
        let mut csv = self.csv.clone();
        if csv.delimiter.is_none() && suffix(path).is_some_and(|suffix| suffix == "tsv") {
            csv.delimiter = Some(b'\t');
        }
        csv
    }
}

fn csv(reader: &OptionReader<'_>) -> Result<CsvFormat> {
    let letter = |option: &str| match reader.text(option) {
        None => Ok(None),
        Some("\\t") => Ok(Some(b'\t')),
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
            _ => Err(reader.wrong(option, text, "write one ASCII letter, or \\t")),
        },
    };
    let quote = match reader.text("csv.quote-character") {
        Some("") => Some(None),
        _ => letter("csv.quote-character")?.map(Some),
    };
    let format = CsvFormat {
        header: reader.parsed("csv.header")?,
        delimiter: letter("csv.field-delimiter")?,
        quote,
        escape: letter("csv.escape-character")?,
        null: reader.text("csv.null-literal").unwrap_or_default().to_owned(),
        ignore_errors: reader.parsed("csv.ignore-parse-errors")?.unwrap_or(false),
        all_text: reader.parsed("csv.all-varchar")?.unwrap_or(false),
    };
    if format.delimiter.is_some() && format.quote.flatten() == format.delimiter {
        let text = reader.text("csv.quote-character").unwrap_or_default();
        return Err(reader.wrong("csv.quote-character", text, "it is the delimiter, too"));
    }
    Ok(format)
}

/// The suffix of a name, in lower case, without that of a compression.
fn suffix(path: &Path) -> Option<String> {
    let path = if Codec::by_suffix(path).is_some() { Path::new(path.file_stem()?) } else { path };
    Some(path.extension()?.to_str()?.to_lowercase())
}

/// The format that a name suggests.
pub(crate) fn format_by_suffix(path: &Path) -> Option<Format> {
    match suffix(path)?.as_str() {
        "parquet" | "parq" | "pq" => Some(Format::Parquet),
        "csv" | "tsv" => Some(Format::Csv),
        "json" | "jsonl" | "ndjson" => Some(Format::Json),
        "arrow" | "ipc" | "feather" => Some(Format::Arrow),
        "arrows" => Some(Format::ArrowStream),
        _ => None,
    }
}
