//! The file source: listing, statistics, splits, and choosing a reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_core::expr::{Literal, Value};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::source::{
    Boundedness, ColumnStatistics, ReaderContext, ReaderStatus, RuntimeFilter, SourceConnector, SourceReader,
    SourceSplit, SplitEnumerator, TableStatistics,
};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::{Field, Schema};
use flumen_formats_csv::infer_csv_schema;
use flumen_formats_parquet::{
    Bounds, ColumnBinding, FooterCache, ParquetFile, RowGroupPruner, RowGroupReader, ScanFilter,
};
use flumen_io::{FileSystem, ReadFile};

use super::listing::{ListedFile, list_files};
use super::options::{FileOptions, Format, NAME};
use super::parquet_reader::{ParquetReader, ParquetScan};
use super::split::{FileEnumerator, FileSplit, split_bytes};
use super::text_reader::{TextReader, TextScan};
use crate::error::{ConnectorError, Result};

/// Rows that a schema of text files is inferred from.
const INFERENCE_ROWS: usize = 1_000;
/// Bytes that a schema of text files is inferred from at most.
const INFERENCE_BYTES: u64 = 4 << 20;

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

    fn footer(&self, file: &ListedFile) -> Result<(Arc<dyn ReadFile>, Arc<ParquetFile>)> {
        let source = self.files.open(&file.path)?;
        let footer = self.footers.open(source.as_ref())?;
        Ok((source, footer))
    }

    fn parquet_statistics(&self, spec: &SourceSpec) -> Result<Option<TableStatistics>> {
        let options = FileOptions::read(&spec.options)?;
        let fields = output_fields(spec)?;
        let mut total: Option<TableStatistics> = None;
        for file in list_files(self.files.as_ref(), &options.path)? {
            if options.format_of(self.files.as_ref(), &file.path)? != Format::Parquet {
                return Ok(None);
            }
            let (source, footer) = self.footer(&file)?;
            let bindings = ColumnBinding::bind(&footer, &fields)?;
            // Bounds of stored values say nothing exact about converted ones.
            let columns: Vec<_> = bindings.iter().map(|b| b.column.filter(|_| !b.is_cast)).collect();
            let mut statistics = footer.statistics(&columns);
            for ((column, binding), found) in columns.iter().zip(&bindings).zip(&mut statistics.columns) {
                match column {
                    Some(column) => found.distinct_count = distinct(&footer, source.as_ref(), *column, found),
                    None if binding.is_cast => *found = ColumnStatistics::default(),
                    None => {}
                }
            }
            total = Some(match total {
                None => statistics,
                Some(before) => merge(before, statistics),
            });
        }
        Ok(total)
    }

    fn splits(&self, spec: &SourceSpec, parallelism: u32) -> Result<Vec<FileSplit>> {
        let options = FileOptions::read(&spec.options)?;
        let fields = output_fields(spec)?;
        let pruner = RowGroupPruner::new(&spec.filters);
        let mut first_format = None;
        // Row groups that are left, as (file, row group, bytes).
        let mut units: Vec<(FileSplit, usize, u64)> = Vec::new();
        let mut splits = Vec::new();
        for file in list_files(self.files.as_ref(), &options.path)? {
            let format = options.format_of(self.files.as_ref(), &file.path)?;
            if *first_format.get_or_insert(format) != format {
                let problem = "its files are in several formats; narrow it down, or set the option 'format'";
                return Err(ConnectorError::NoFiles { path: options.path, problem: problem.to_owned() });
            }
            let path = file.path.display().to_string();
            let whole = FileSplit::new(path, format, file.metadata.size, file.metadata.modified_millis);
            if format != Format::Parquet {
                splits.push(whole);
                continue;
            }
            let (_, footer) = self.footer(&file)?;
            let bindings = ColumnBinding::bind(&footer, &fields)?;
            let columns = RowGroupReader::columns(&bindings);
            for group in 0..footer.row_groups() {
                if footer.row_group_rows(group) > 0 && pruner.may_match(&footer, group, &bindings) {
                    let plan = flumen_formats_parquet::RowGroupPlan::new(&footer, group, &columns)?;
                    units.push((whole.clone(), group, plan.bytes() as u64));
                }
            }
        }
        let target = split_bytes(units.iter().map(|(_, _, bytes)| bytes).sum(), parallelism);
        let mut open: Option<(FileSplit, usize, usize, u64)> = None;
        for (whole, group, bytes) in units {
            match &mut open {
                Some((file, _, end, sum)) if file.path == whole.path && *end == group && *sum < target => {
                    *end += 1;
                    *sum += bytes;
                }
                _ => {
                    let done = open.replace((whole, group, group + 1, bytes));
                    splits.extend(done.map(|(file, start, end, sum)| file.of_row_groups(start, end, sum)));
                }
            }
        }
        splits.extend(open.map(|(file, start, end, sum)| file.of_row_groups(start, end, sum)));
        Ok(splits)
    }
}

/// Fields of the output, which are the table's projected ones.
fn output_fields(spec: &SourceSpec) -> Result<Vec<Field>> {
    spec.projection
        .iter()
        .map(|column| {
            spec.table_schema.fields.get(*column).cloned().ok_or_else(|| ConnectorError::Column {
                connector: NAME,
                column: column.to_string(),
                problem: "the table has no column of this number".to_owned(),
            })
        })
        .collect()
}

/// An estimate: the dictionary of the first row group, if it is small enough to be the same everywhere, else the span
/// of integers.
fn distinct(file: &ParquetFile, source: &dyn ReadFile, column: usize, known: &ColumnStatistics) -> Option<u64> {
    let rows = file.rows().saturating_sub(known.null_count.unwrap_or(0));
    if rows == 0 {
        return Some(0);
    }
    let span = match (&known.min, &known.max) {
        (Some(Literal { value: Value::Int(min), .. }), Some(Literal { value: Value::Int(max), .. })) => {
            u64::try_from(max.checked_sub(*min)?.checked_add(1)?).ok()
        }
        _ => None,
    };
    let dictionary = (file.row_groups() > 0)
        .then(|| file.dictionary_size(source, 0, column).map(|size| (size, file.row_group_rows(0))))
        .flatten()
        // A dictionary with as many entries as a good part of the rows says that most values come once.
        .filter(|(size, group_rows)| file.row_groups() == 1 || *size < group_rows / 4)
        .map(|(size, _)| size);
    [span, dictionary].into_iter().flatten().min().map(|distinct| distinct.min(rows))
}

fn merge(a: TableStatistics, b: TableStatistics) -> TableStatistics {
    let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.saturating_add(b));
    let bounds = |c: &ColumnStatistics, rows: Option<u64>| Bounds {
        rows: rows.unwrap_or(0),
        min: c.min.clone(),
        max: c.max.clone(),
        null_count: c.null_count,
    };
    let columns = a.columns.iter().zip(&b.columns).map(|(x, y)| {
        let merged = bounds(x, a.rows).merge(bounds(y, b.rows));
        ColumnStatistics {
            min: merged.min,
            max: merged.max,
            null_count: merged.null_count,
            distinct_count: x.distinct_count.zip(y.distinct_count).map(|(x, y)| x.max(y)),
            clustered: false,
        }
    });
    TableStatistics {
        columns: columns.collect(),
        rows: sum(a.rows, b.rows),
        stored_bytes: sum(a.stored_bytes, b.stored_bytes),
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
        let options = FileOptions::read(options)?;
        let files = self.files.as_ref();
        let listed = list_files(files, &options.path)?;
        // A file of text without a line has no schema; Parquet always has one.
        let file = listed.iter().find(|f| f.metadata.size > 0).unwrap_or(&listed[0]);
        let format = options.format_of(files, &file.path)?;
        if format == Format::Parquet {
            let (_, footer) = self.footer(file)?;
            return Ok(Schema::clone(footer.schema()));
        }
        let source = files.open(&file.path).map_err(ConnectorError::from)?;
        let mut bytes = source.read_range(0..source.size().min(INFERENCE_BYTES)).map_err(ConnectorError::from)?;
        if bytes.len() as u64 == INFERENCE_BYTES {
            // The last row may be cut in two.
            let end = bytes.iter().rposition(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.truncate(end);
        }
        let schema = match format {
            Format::Csv => infer_csv_schema(&bytes, options.csv, INFERENCE_ROWS),
            _ => flumen_formats_json::infer_schema(&bytes, INFERENCE_ROWS),
        };
        let path = file.path.display().to_string();
        Ok(schema.map_err(|source| ConnectorError::Format { path, source })?)
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
        let options = FileOptions::read(&spec.options)?;
        let fields = output_fields(spec)?;
        let mut schema = Schema::new(fields);
        schema.event_time =
            spec.table_schema.event_time.and_then(|column| spec.projection.iter().position(|p| *p == column));
        // Every row counts for the watermark, also those that a filter above it leaves out.
        let filter = match schema.event_time {
            Some(_) => ScanFilter::default(),
            None => ScanFilter::new(&spec.filters, &schema),
        };
        let schema = Arc::new(schema);
        let parquet = ParquetScan {
            files: Arc::clone(&self.files),
            footers: Arc::clone(&self.footers),
            pruner: RowGroupPruner::new(&spec.filters),
            filter,
            runtime_filters: spec.runtime_filters.clone(),
            awaits_filters: spec.awaits_filters,
            schema: Arc::clone(&schema),
            limit: spec.limit,
        };
        let text = TextScan {
            files: Arc::clone(&self.files),
            csv: options.csv,
            table: Arc::clone(&spec.table_schema),
            projection: spec.projection.clone(),
            schema,
            limit: spec.limit,
        };
        Ok(Box::new(FileReader::Unknown { parquet, text, context, filters: Vec::new(), last: false }))
    }
}

/// A reader that learns from its first split what it reads.
#[allow(clippy::large_enum_variant, reason = "there is one for each subtask")]
enum FileReader {
    /// No split has come yet; runtime filters that have are kept for it.
    Unknown {
        parquet: ParquetScan,
        text: TextScan,
        context: ReaderContext,
        filters: Vec<(u32, RuntimeFilter)>,
        last: bool,
    },
    Parquet(ParquetReader),
    Text(TextReader),
}

impl FileReader {
    fn learn(&mut self, format: Format) {
        if let Self::Unknown { parquet, text, context, filters, last } = self {
            let last = *last;
            *self = match format {
                Format::Parquet => {
                    let mut reader = ParquetReader::new(parquet.clone(), context.clone());
                    for (filter, bounds) in std::mem::take(filters) {
                        reader.runtime_filter(filter, bounds);
                    }
                    Self::Parquet(reader)
                }
                Format::Csv | Format::Json => Self::Text(TextReader::new(text.clone(), context.clone(), format)),
            };
            if last {
                self.no_more_splits();
            }
        }
    }
}

impl SourceReader for FileReader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        match self {
            Self::Unknown { last: true, .. } => Ok(ReaderStatus::EndOfInput),
            Self::Unknown { .. } => Ok(ReaderStatus::NeedsSplit),
            Self::Parquet(reader) => reader.poll_next(),
            Self::Text(reader) => reader.poll_next(),
        }
    }

    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure> {
        let splits = splits.iter().map(FileSplit::decode).collect::<Result<Vec<_>>>()?;
        if let Some(first) = splits.first() {
            self.learn(first.format);
        }
        match self {
            Self::Unknown { .. } => {}
            Self::Parquet(reader) => reader.add_splits(splits),
            Self::Text(reader) => reader.add_splits(splits),
        }
        Ok(())
    }

    fn no_more_splits(&mut self) {
        match self {
            Self::Unknown { last, .. } => *last = true,
            Self::Parquet(reader) => reader.no_more_splits(),
            Self::Text(reader) => reader.no_more_splits(),
        }
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        let splits: &mut dyn Iterator<Item = &FileSplit> = match self {
            Self::Unknown { .. } => &mut std::iter::empty(),
            Self::Parquet(reader) => &mut reader.splits(),
            Self::Text(reader) => &mut reader.splits(),
        };
        Ok(splits.map(FileSplit::encode).collect::<Result<_>>()?)
    }

    fn runtime_filter(&mut self, filter: u32, bounds: RuntimeFilter) {
        match self {
            // It may come before the first split, whose format is not known yet.
            Self::Unknown { filters, .. } => filters.push((filter, bounds)),
            Self::Parquet(reader) => reader.runtime_filter(filter, bounds),
            Self::Text(_) => {}
        }
    }
}
