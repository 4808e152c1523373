//! The file source: its schema, and who does the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::source::{
    Boundedness, ReaderContext, SourceConnector, SourceReader, SplitEnumerator, TableStatistics,
};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::{Field, LogicalType, Schema};
use flumen_formats::SchemaInference;
use flumen_formats_csv::CsvInference;
use flumen_formats_ipc::IpcInference;
use flumen_formats_json::JsonInference;
use flumen_formats_parquet::{FooterCache, ParquetFile};
use flumen_io::{FileSystem, ReadFile};

use super::compression::{ByteStream, Codec};
use super::hive;
use super::listing::{ListedFile, is_pattern, list_files};
use super::options::{FileOptions, Format, NAME};
use super::reader::FileReader;
use super::schema::SchemaUnion;
use super::split::FileEnumerator;
use crate::error::{ConnectorError, Result};

/// Bytes that the types of text files are told from, unless all rows are asked for; each file gets its share.
const SAMPLE_BYTES: u64 = 4 << 20;
/// The share of a file is never less.
const SAMPLE_BYTES_MIN: u64 = 64 << 10;
/// Bytes read at once while types are told from them.
const PIECE_BYTES: usize = 1 << 20;

/// Reads files.
pub struct FileSource {
    files: Arc<dyn FileSystem>,
    footers: Arc<FooterCache>,
}

impl FileSource {
    /// A source over a file system. Footers of Parquet files are kept as long as it lives.
    #[must_use]
    pub fn new(files: Arc<dyn FileSystem>) -> Self {
        Self { files, footers: Arc::default() }
    }

    pub(super) fn files(&self) -> &dyn FileSystem {
        self.files.as_ref()
    }

    pub(super) fn footer(&self, path: &Path) -> Result<(Arc<dyn ReadFile>, Arc<ParquetFile>)> {
        let source = self.files.open(path)?;
        let footer = self.footers.open(source.as_ref())?;
        Ok((source, footer))
    }

    fn schema(&self, options: &FileOptions) -> Result<Schema> {
        let listed = list_files(self.files(), &options.path)?;
        let sample_bytes = (SAMPLE_BYTES / listed.len() as u64).max(SAMPLE_BYTES_MIN);
        let mut union = SchemaUnion::default();
        let mut first: Option<(Format, &Path)> = None;
        for file in &listed {
            let (format, codec) = options.format_of(self.files(), &file.path)?;
            let (known, path) = *first.get_or_insert((format, file.path.as_path()));
            if known != format {
                let problem = format!(
                    "its files are in several formats ({} is {}, {} is {}); narrow it down, or set the option 'format'",
                    path.display(),
                    known.suffix(),
                    file.path.display(),
                    format.suffix()
                );
                return Err(ConnectorError::NoFiles { path: options.path.clone(), problem });
            }
            match format {
                Format::Parquet => union.add(&file.path, self.footer(&file.path)?.1.schema(), false)?,
                // A file of text without a byte has no columns, and lacks none.
                _ if file.metadata.size == 0 && format.is_text() => {}
                _ => {
                    let schema = self.inferred_schema(options, file, format, codec, sample_bytes)?;
                    union.add(&file.path, &schema, format.is_text())?;
                }
            }
        }
        let mut fields = union.finish();
        let mut from_paths = if options.hive { hive::columns(&listed, options.hive_types) } else { Vec::new() };
        if options.filename {
            from_paths.push(Field::new(hive::FILE_NAME, LogicalType::Utf8, false));
        }
        for field in from_paths {
            match fields.iter_mut().find(|known| known.name.to_lowercase() == field.name.to_lowercase()) {
                Some(known) => *known = field,
                None => fields.push(field),
            }
        }
        Ok(Schema::new(fields))
    }

    /// What the first bytes of a file say.
    fn inferred_schema(
        &self,
        options: &FileOptions,
        file: &ListedFile,
        format: Format,
        codec: Option<Codec>,
        bytes_max: u64,
    ) -> Result<Schema> {
        let in_file = |source| ConnectorError::Format { path: file.path.display().to_string(), source };
        let mut stream = ByteStream::new(self.files.open(&file.path)?, codec)?;
        // A schema is read to its end.
        let is_all = options.sample_rows == u64::MAX || !format.is_text();
        let bytes_max = if is_all { u64::MAX } else { bytes_max };
        let piece = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let head = stream.piece(piece)?;
        let mut inference: Box<dyn SchemaInference> = match format {
            Format::Json => Box::new(JsonInference::new(options.sample_rows)),
            Format::Arrow | Format::ArrowStream => Box::new(IpcInference::default()),
            Format::Csv | Format::Parquet => {
                let csv = options.csv_of(&file.path);
                Box::new(CsvInference::new(&csv, csv.layout(&head, &[]), options.sample_rows))
            }
        };
        let mut bytes = head;
        let mut seen = 0;
        let is_whole = loop {
            let is_last = bytes.len() < piece;
            seen += bytes.len() as u64;
            if !inference.push(&bytes).map_err(in_file)? || is_last || seen >= bytes_max {
                break is_last;
            }
            bytes = stream.piece(piece)?;
        };
        inference.finish(is_whole).map_err(in_file)
    }
}

impl SourceConnector for FileSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<Boundedness, Failure> {
        FileOptions::read(options)?;
        Ok(Boundedness::Bounded)
    }

    fn infer_schema(&self, options: &BTreeMap<String, String>) -> Result<Schema, Failure> {
        Ok(self.schema(&FileOptions::read(options)?)?)
    }

    fn scan_note(&self, spec: &SourceSpec) -> Option<String> {
        let options = FileOptions::read(&spec.options).ok()?;
        let is_file = !is_pattern(&options.path) && Path::new(&options.path).extension().is_some();
        // What cannot be read is reported when the job runs.
        let files = if is_file { None } else { self.scan_files(spec, &options).ok() }?;
        (files.listed > 1).then(|| format!("{} of {} files", files.splits.len(), files.listed))
    }

    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        // What cannot be read is reported when the job runs.
        self.parquet_statistics(spec).ok().flatten().unwrap_or_default()
    }

    fn create_enumerator(
        &self,
        spec: &SourceSpec,
        parallelism: u32,
        state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure> {
        Ok(Box::new(match state {
            Some(state) => FileEnumerator::restore(state)?,
            None => FileEnumerator::new(self.splits(spec, parallelism)?)?,
        }))
    }

    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure> {
        Ok(Box::new(FileReader::new(Arc::clone(&self.files), Arc::clone(&self.footers), spec, context)?))
    }
}
