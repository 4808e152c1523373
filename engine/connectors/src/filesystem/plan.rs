//! What a scan of files will read: the files that its filters leave, their row groups, and what is known of them.

use std::collections::BTreeSet;
use std::path::Path;

use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::source::{ColumnStatistics, TableStatistics};
use flumen_core::spec::connector::SourceSpec;
use flumen_core::types::Field;
use flumen_formats_parquet::{Bounds, ColumnBinding, ParquetFile, RowGroupPlan, RowGroupPruner, RowGroupReader};
use flumen_io::ReadFile;

use super::hive::{self, PathColumns};
use super::listing::list_files;
use super::options::{FileOptions, Format, NAME};
use super::source::FileSource;
use super::split::{FileSplit, split_bytes};
use crate::error::{ConnectorError, Result};

/// The files of a scan.
pub(super) struct ScanFiles {
    /// Those that the filters leave.
    pub(super) splits: Vec<FileSplit>,
    /// All.
    pub(super) listed: usize,
    pub(super) path_columns: PathColumns,
}

/// Fields of the output, which are the table's projected ones.
pub(super) fn output_fields(spec: &SourceSpec) -> Result<Vec<Field>> {
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

/// The columns that are read from files, in order: their fields, and the filters over nothing else.
pub(super) fn in_files(
    fields: &[Field],
    filters: &[Expr],
    is_path: &impl Fn(usize) -> bool,
) -> (Vec<Field>, Vec<Expr>) {
    let kept: Vec<usize> = (0..fields.len()).filter(|column| !is_path(*column)).collect();
    let place = |column: usize| kept.iter().position(|known| *known == column).unwrap_or(0);
    let filters = filters.iter().filter(|filter| !filter.columns().iter().any(|column| is_path(*column)));
    let filters = filters.map(|filter| filter.map_columns(&place)).collect();
    (kept.iter().map(|column| fields[*column].clone()).collect(), filters)
}

impl FileSource {
    /// Lists files and leaves out those of which the paths tell that no row passes.
    pub(super) fn scan_files(&self, spec: &SourceSpec, options: &FileOptions) -> Result<ScanFiles> {
        let fields = output_fields(spec)?;
        let files = list_files(self.files(), &options.path)?;
        let path_columns = PathColumns::find(options, &files, &fields);
        let all = PathColumns::find(options, &files, &spec.table_schema.fields);
        let mut first_format = None;
        let mut splits = Vec::with_capacity(files.len());
        for file in &files {
            let values = path_columns.values(&file.path);
            if !hive::may_match(&spec.filters, &file.path, &values, &fields)? {
                continue;
            }
            let (format, codec) = options.format_of(self.files(), &file.path)?;
            if *first_format.get_or_insert(format) != format {
                let problem = "its files are in several formats; narrow it down, or set the option 'format'";
                return Err(ConnectorError::NoFiles { path: options.path.clone(), problem: problem.to_owned() });
            }
            let split = FileSplit::new(file, format, codec, values);
            splits.push(split.with_path_columns(all.numbers()));
        }
        Ok(ScanFiles { splits, listed: files.len(), path_columns })
    }

    pub(super) fn splits(&self, spec: &SourceSpec, parallelism: u32) -> Result<Vec<FileSplit>> {
        let options = FileOptions::read(&spec.options)?;
        let files = self.scan_files(spec, &options)?;
        let is_path = |column: usize| files.path_columns.contains(column);
        let (fields, filters) = in_files(&output_fields(spec)?, &spec.filters, &is_path);
        let pruner = RowGroupPruner::new(&filters);
        // Row groups that are left, as (file, row group, bytes).
        let mut units: Vec<(FileSplit, usize, u64)> = Vec::new();
        let mut splits = Vec::new();
        for whole in files.splits {
            if whole.format != Format::Parquet {
                splits.push(whole);
                continue;
            }
            let (_, footer) = self.footer(Path::new(&whole.path))?;
            let bindings = ColumnBinding::bind(&footer, &fields)?;
            let columns = RowGroupReader::columns(&bindings);
            for group in 0..footer.row_groups() {
                if footer.row_group_rows(group) > 0 && pruner.may_match(&footer, group, &bindings) {
                    let plan = RowGroupPlan::new(&footer, group, &columns)?;
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

    /// What is known of a table of Parquet files; `None` of others.
    pub(super) fn parquet_statistics(&self, spec: &SourceSpec) -> Result<Option<TableStatistics>> {
        let options = FileOptions::read(&spec.options)?;
        let fields = output_fields(spec)?;
        let files = self.scan_files(spec, &options)?;
        let (inner, _) = in_files(&fields, &[], &|column| files.path_columns.contains(column));
        let mut total: Option<TableStatistics> = None;
        let mut values: Vec<BTreeSet<Option<String>>> = vec![BTreeSet::new(); fields.len()];
        for split in &files.splits {
            if split.format != Format::Parquet {
                return Ok(None);
            }
            let (source, footer) = self.footer(Path::new(&split.path))?;
            let mut statistics = of_file(&footer, source.as_ref(), &inner)?;
            for value in &split.path_values {
                // In ascending order of columns, so that each comes to its place.
                let bounds = value.bounds(Path::new(&split.path), &fields[value.column])?;
                let rows = footer.rows();
                let column = ColumnStatistics {
                    null_count: Some(if bounds.min.is_none() && value.value.is_none() { rows } else { 0 }),
                    min: bounds.min,
                    max: bounds.max,
                    ..ColumnStatistics::default()
                };
                statistics.columns.insert(value.column.min(statistics.columns.len()), column);
                values[value.column].insert(value.value.clone());
            }
            total = Some(match total {
                None => statistics,
                Some(before) => merge(before, statistics),
            });
        }
        for (column, values) in total.iter_mut().flat_map(|t| &mut t.columns).zip(&values) {
            if !values.is_empty() {
                column.distinct_count = Some(values.iter().flatten().count() as u64);
            }
        }
        Ok(total)
    }
}

fn of_file(footer: &ParquetFile, source: &dyn ReadFile, fields: &[Field]) -> Result<TableStatistics> {
    let bindings = ColumnBinding::bind(footer, fields)?;
    // Bounds of stored values say nothing exact about converted ones.
    let columns: Vec<_> = bindings.iter().map(|b| b.column.filter(|_| !b.is_cast)).collect();
    let mut statistics = footer.statistics(&columns);
    for ((column, binding), found) in columns.iter().zip(&bindings).zip(&mut statistics.columns) {
        match column {
            Some(column) => found.distinct_count = distinct(footer, source, *column, found),
            None if binding.is_cast => *found = ColumnStatistics::default(),
            None => {}
        }
    }
    Ok(statistics)
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
