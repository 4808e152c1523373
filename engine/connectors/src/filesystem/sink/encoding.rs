//! How files are written: format, compression, and what else the options say.

use std::io;
use std::path::Path;
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::types::Schema;
use flumen_formats::{Encoder, FormatError};
use flumen_formats_csv::{CsvEncoder, CsvLayout};
use flumen_formats_ipc::{IpcCompression, IpcEncoder};
use flumen_formats_json::JsonEncoder;
use flumen_formats_parquet::{ParquetCompression, ParquetEncoder, ParquetOptions};

use crate::error::{ConnectorError, Result};
use crate::filesystem::compression::{Codec, Compressor};
use crate::filesystem::options::{FileOptions, Format, NAME, format_by_suffix};

/// How files are written.
#[derive(Clone, Debug)]
pub(super) struct Encoding {
    kind: Kind,
    /// Of the file as a whole.
    codec: Option<Codec>,
    level: Option<i32>,
}

#[derive(Clone, Debug)]
enum Kind {
    Parquet(ParquetOptions),
    Csv(CsvLayout),
    Json { is_array: bool },
    Arrow { compression: IpcCompression, is_stream: bool },
}

impl Encoding {
    /// The format is what the options say, else what the path's suffix says; it is not guessed.
    pub(super) fn new(options: &FileOptions) -> Result<Self> {
        let path = Path::new(&options.path);
        let format = options.format.or_else(|| format_by_suffix(path)).ok_or(ConnectorError::MissingOption {
            connector: NAME,
            option: "format".to_owned(),
            purpose: Format::PURPOSE,
        })?;
        let wrong = |value: &str, problem: String| ConnectorError::WrongOption {
            connector: NAME,
            option: "compression".to_owned(),
            value: value.to_owned(),
            problem,
        };
        let kind = match format {
            Format::Parquet => {
                let compression = match options.compression.as_deref() {
                    None | Some("auto") => ParquetCompression::Snappy,
                    Some(name) => ParquetCompression::by_name(name, options.compression_level)
                        .map_err(|problem| wrong(name, problem))?,
                };
                let mut parquet = ParquetOptions { compression, ..ParquetOptions::default() };
                if let Some(rows) = options.row_group_rows {
                    parquet.row_group_rows = rows;
                }
                return Ok(Self { kind: Kind::Parquet(parquet), codec: None, level: None });
            }
            Format::Arrow | Format::ArrowStream => {
                let compression = match options.compression.as_deref() {
                    None | Some("auto" | "none" | "uncompressed") => IpcCompression::None,
                    Some("lz4") => IpcCompression::Lz4,
                    Some("zstd") => IpcCompression::Zstd,
                    Some(name) => return Err(wrong(name, "write lz4, zstd or none".to_owned())),
                };
                let kind = Kind::Arrow { compression, is_stream: format == Format::ArrowStream };
                return Ok(Self { kind, codec: None, level: None });
            }
            Format::Csv => Kind::Csv(options.csv_of(path).to_write()),
            Format::Json => Kind::Json { is_array: options.json_array },
        };
        let codec = options.whole_codec(path)?;
        let level = options.compression_level;
        match codec.map(|codec| Compressor::new(codec, level)) {
            None | Some(Some(Ok(_))) => Ok(Self { kind, codec, level }),
            Some(Some(Err(error))) => Err(wrong(codec.map_or("", Codec::name), error.to_string())),
            Some(None) => {
                Err(wrong(codec.map_or("", Codec::name), "it is only read; write gzip, zstd or none".to_owned()))
            }
        }
    }

    /// Whether a file cannot be read, or nothing appended to it, once it has its end.
    pub(super) fn has_end(&self) -> bool {
        self.codec.is_some() || !matches!(self.kind, Kind::Csv(_) | Kind::Json { is_array: false })
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.codec.is_some()
    }

    /// What names of files end in.
    pub(super) fn suffix(&self) -> String {
        let format = match &self.kind {
            Kind::Parquet(_) => Format::Parquet,
            Kind::Csv(_) => Format::Csv,
            Kind::Json { .. } => Format::Json,
            Kind::Arrow { is_stream: false, .. } => Format::Arrow,
            Kind::Arrow { is_stream: true, .. } => Format::ArrowStream,
        };
        match self.codec {
            Some(codec) => format!("{}.{}", format.suffix(), codec.suffix()),
            None => format.suffix().to_owned(),
        }
    }

    /// An encoder of one file.
    pub(super) fn encoder(&self, schema: &Arc<Schema>) -> Result<Box<dyn Encoder>, FormatError> {
        let schema = Arc::clone(schema);
        let plain: Box<dyn Encoder> = match &self.kind {
            Kind::Parquet(options) => Box::new(ParquetEncoder::with_options(schema, *options)),
            Kind::Csv(layout) => Box::new(CsvEncoder::new(schema, layout.clone())),
            Kind::Arrow { compression, is_stream } => Box::new(IpcEncoder::new(schema, *compression, *is_stream)),
            Kind::Json { is_array: true } => Box::new(JsonEncoder::array()),
            Kind::Json { is_array: false } => Box::new(JsonEncoder::default()),
        };
        Ok(match self.codec.and_then(|codec| Compressor::new(codec, self.level)) {
            None => plain,
            Some(compressor) => {
                let compressor = Some(compressor.map_err(library)?);
                Box::new(CompressedEncoder { inner: plain, compressor, bytes: Vec::new() })
            }
        })
    }
}

fn library(error: io::Error) -> FormatError {
    FormatError::Library { format: "compressed", source: Box::new(error) }
}

/// Compresses what another encoder writes.
struct CompressedEncoder {
    inner: Box<dyn Encoder>,
    /// `None` once the file is finished.
    compressor: Option<Compressor>,
    /// What the inner encoder wrote.
    bytes: Vec<u8>,
}

impl CompressedEncoder {
    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        if let Some(compressor) = &mut self.compressor {
            compressor.write(&self.bytes, out).map_err(library)?;
        }
        self.bytes.clear();
        Ok(())
    }
}

impl Encoder for CompressedEncoder {
    fn start(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.inner.start(&mut self.bytes)?;
        self.pass_on(out)
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.inner.encode(batch, &mut self.bytes)?;
        self.pass_on(out)
    }

    fn buffered_bytes(&self) -> usize {
        self.inner.buffered_bytes() + self.bytes.capacity()
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.inner.finish(&mut self.bytes)?;
        self.pass_on(out)?;
        match self.compressor.take() {
            Some(compressor) => compressor.finish(out).map_err(library),
            None => Ok(()),
        }
    }
}
