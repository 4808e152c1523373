//! Reads the splits of a file table: the columns of the files by a reader for their format, those of the paths beside them.

use std::sync::Arc;

use arrow_array::ArrayRef;
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::ids::CheckpointId;
use flumen_core::source::{ReaderContext, ReaderStatus, RuntimeFilter, SourceReader, SourceSplit};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::{Field, Schema, SchemaRef};
use flumen_formats_parquet::{FooterCache, RowGroupPruner, ScanFilter};
use flumen_io::FileSystem;

use super::hive;
use super::options::{FileOptions, Format};
use super::parquet_reader::{ParquetReader, ParquetScan};
use super::plan::{in_files, output_fields};
use super::split::FileSplit;
use super::text_reader::{TextReader, TextScan};
use crate::error::Result;

/// Reads what it is given. From its first split it learns of which format the files are, and which columns the paths give.
pub(super) struct FileReader {
    setting: Setting,
    inner: Inner,
    /// The columns of the path of the file being read, by output column.
    constants: Option<(String, Vec<(usize, ArrayRef)>)>,
}

/// What a reader is made of.
struct Setting {
    files: Arc<dyn FileSystem>,
    footers: Arc<FooterCache>,
    spec: SourceSpec,
    options: FileOptions,
    fields: Vec<Field>,
    schema: SchemaRef,
    context: ReaderContext,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each subtask")]
enum Inner {
    /// No split has come yet; runtime filters that have are kept for it.
    Unknown {
        filters: Vec<(u32, RuntimeFilter)>,
        last: bool,
    },
    Parquet(ParquetReader),
    Text(TextReader),
}

impl FileReader {
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        footers: Arc<FooterCache>,
        spec: &SourceSpec,
        context: ReaderContext,
    ) -> Result<Self> {
        let options = FileOptions::read(&spec.options)?;
        let fields = output_fields(spec)?;
        let mut schema = Schema::new(fields.clone());
        schema.event_time =
            spec.table_schema.event_time.and_then(|column| spec.projection.iter().position(|p| *p == column));
        let (spec, schema) = (spec.clone(), Arc::new(schema));
        let setting = Setting { files, footers, spec, options, fields, schema, context };
        Ok(Self { setting, inner: Inner::Unknown { filters: Vec::new(), last: false }, constants: None })
    }

    fn learn(&mut self, first: &FileSplit) {
        let Inner::Unknown { filters, last } = &mut self.inner else { return };
        let (filters, last) = (std::mem::take(filters), *last);
        self.inner = match first.format {
            Format::Parquet => Inner::Parquet(self.setting.parquet(first)),
            Format::Csv | Format::Json | Format::Arrow | Format::ArrowStream => Inner::Text(self.setting.text(first)),
        };
        for (filter, bounds) in filters {
            self.runtime_filter(filter, bounds);
        }
        if last {
            self.no_more_splits();
        }
    }

    /// The batch with the columns of the path of its file.
    fn completed(&mut self, batch: Batch) -> Result<Batch, Failure> {
        let split = match &self.inner {
            Inner::Unknown { .. } => None,
            Inner::Parquet(reader) => reader.splits().next(),
            Inner::Text(reader) => reader.splits().next(),
        };
        // Readers keep the split of the batch they gave out last in front.
        let Some(split) = split.filter(|split| !split.path_values.is_empty()) else {
            return Ok(batch.with_columns(Arc::clone(&self.setting.schema), batch.columns().to_vec()));
        };
        if self.constants.as_ref().is_none_or(|(path, _)| *path != split.path) {
            let path = std::path::Path::new(&split.path);
            let values = hive::constants(path, &split.path_values, &self.setting.fields)?;
            self.constants = Some((split.path.clone(), values));
        }
        let mut own = batch.columns().iter();
        let constants = self.constants.as_ref().map_or(&[][..], |(_, values)| values);
        let columns = (0..self.setting.fields.len()).filter_map(|column| {
            match constants.iter().find(|(index, _)| *index == column) {
                Some((_, value)) => Some(Column::Constant(Arc::clone(value))),
                None => own.next().cloned(),
            }
        });
        Ok(batch.with_columns(Arc::clone(&self.setting.schema), columns.collect()))
    }
}

impl Setting {
    fn is_path<'a>(first: &'a FileSplit) -> impl Fn(usize) -> bool + 'a {
        move |column| first.path_values.iter().any(|value| value.column == column)
    }

    /// The columns of the files.
    fn inner_schema(&self, fields: Vec<Field>, first: &FileSplit) -> SchemaRef {
        let is_path = Self::is_path(first);
        let time = self.schema.event_time.filter(|column| !is_path(*column));
        let event_time = time.map(|time| time - (0..time).filter(|column| is_path(*column)).count());
        Arc::new(Schema { fields, event_time })
    }

    fn parquet(&self, first: &FileSplit) -> ParquetReader {
        let is_path = Self::is_path(first);
        let (fields, filters) = in_files(&self.fields, &self.spec.filters, &is_path);
        let schema = self.inner_schema(fields, first);
        // Every row counts for the watermark, also those that a filter above it leaves out.
        let filter = match self.schema.event_time {
            Some(_) => ScanFilter::default(),
            None => ScanFilter::new(&filters, &schema),
        };
        let place = |column: usize| column - (0..column).filter(|c| is_path(*c)).count();
        let own = self.spec.runtime_filters.iter().filter(|(_, column)| !is_path(*column));
        let runtime_filters = own.map(|(id, column)| (*id, place(*column))).collect();
        let scan = ParquetScan {
            files: Arc::clone(&self.files),
            footers: Arc::clone(&self.footers),
            pruner: RowGroupPruner::new(&filters),
            filter,
            runtime_filters,
            awaits_filters: self.spec.awaits_filters,
            schema,
            limit: self.spec.limit,
        };
        ParquetReader::new(scan, self.context.clone())
    }

    fn text(&self, first: &FileSplit) -> TextReader {
        let is_path = Self::is_path(first);
        let (fields, _) = in_files(&self.fields, &[], &is_path);
        let projection = self.spec.projection.iter().enumerate().filter(|(at, _)| !is_path(*at)).map(|(_, c)| *c);
        let scan = TextScan {
            files: Arc::clone(&self.files),
            options: self.options.clone(),
            table: Arc::clone(&self.spec.table_schema),
            projection: projection.collect(),
            schema: self.inner_schema(fields, first),
            limit: self.spec.limit,
        };
        TextReader::new(scan, self.context.clone())
    }
}

impl SourceReader for FileReader {
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure> {
        let status = match &mut self.inner {
            Inner::Unknown { last: true, .. } => ReaderStatus::EndOfInput,
            Inner::Unknown { .. } => ReaderStatus::NeedsSplit,
            Inner::Parquet(reader) => reader.poll_next()?,
            Inner::Text(reader) => reader.poll_next()?,
        };
        match status {
            ReaderStatus::Batch(batch) => Ok(ReaderStatus::Batch(self.completed(batch)?)),
            other => Ok(other),
        }
    }

    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure> {
        let splits = splits.iter().map(FileSplit::decode).collect::<Result<Vec<_>>>()?;
        if let Some(first) = splits.first() {
            self.learn(first);
        }
        match &mut self.inner {
            Inner::Unknown { .. } => {}
            Inner::Parquet(reader) => reader.add_splits(splits),
            Inner::Text(reader) => reader.add_splits(splits),
        }
        Ok(())
    }

    fn no_more_splits(&mut self) {
        match &mut self.inner {
            Inner::Unknown { last, .. } => *last = true,
            Inner::Parquet(reader) => reader.no_more_splits(),
            Inner::Text(reader) => reader.no_more_splits(),
        }
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure> {
        let splits: &mut dyn Iterator<Item = &FileSplit> = match &self.inner {
            Inner::Unknown { .. } => &mut std::iter::empty(),
            Inner::Parquet(reader) => &mut reader.splits(),
            Inner::Text(reader) => &mut reader.splits(),
        };
        Ok(splits.map(FileSplit::encode).collect::<Result<_>>()?)
    }

    fn runtime_filter(&mut self, filter: u32, bounds: RuntimeFilter) {
        match &mut self.inner {
            // It may come before the first split, whose format is not known yet.
            Inner::Unknown { filters, .. } => filters.push((filter, bounds)),
            Inner::Parquet(reader) => reader.runtime_filter(filter, bounds),
            Inner::Text(_) => {}
        }
    }
}
