//! Tables of benchmarks as Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Writes `name`.parquet; the number of its rows.
///
/// # Errors
/// If it cannot be written, or there are no rows.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    row_group_rows: usize,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArrowError>>,
) -> anyhow::Result<usize> {
    let path = directory.join(format!("{name}.parquet"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(row_group_rows))
        .build();
    let mut batches = batches.into_iter().peekable();
    let schema = match batches.peek() {
        Some(Ok(batch)) => batch.schema(),
        _ => anyhow::bail!("table {name} has no rows at this size"),
    };
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    let mut rows = 0;
    for batch in batches {
        let batch = batch?;
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(rows)
}

/// A path as it is written in SQL, in place of a table.
pub(crate) fn quoted(directory: &Path, table: &str) -> String {
    let path = directory.join(format!("{table}.parquet")).display().to_string();
    format!("'{}'", path.replace('\'', "''"))
}
