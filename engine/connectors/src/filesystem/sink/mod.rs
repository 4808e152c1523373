//! Writes rows to files: appends, or puts a file or a directory of partitions in place as a whole.
//!
//! Appending, every subtask writes files of its own in the directory `path`, named `part-<subtask>-<job>-<number>`, and
//! never touches one that is there; if `path` has the suffix of a format it is the one file that a single subtask appends
//! to.
//!
//! With `write-mode` `replace` a single subtask writes `.<name>.<job>.tmp` beside the file and renames it over the file
//! once all rows are in it and durable: readers see the old file or the new one. Without rows the new file is empty of
//! rows, not absent. A job that fails removes what it wrote; of one that is killed a hidden name is left, which no reader
//! takes for a part of a table. With `partition-by` the same is done with a directory ([`partitioned`]).
//!
//! | option | meaning |
//! |---|---|
//! | `write-mode` | `append`, the default, or `replace` |
//! | `partition-by` | columns whose values become directories `key=value`, a line each; needs `replace` |
//! | `overwrite` | whether a directory that holds something may be replaced; `false` by default |
//! | `compression` | for Parquet `snappy` (the default), `zstd`, `gzip`, `lz4` or `none`; for Arrow `lz4`, `zstd` or `none` (the default); for text `gzip`, `zstd` or `none`, by default as the name of the file says |
//! | `compression-level` | as the codec has it |
//! | `parquet.row-group-rows` | rows of a row group at most; 1048576 by default |
//! | `json.array` | whether rows are written as one array; `false` by default |

mod encoding;
mod file;
mod partitioned;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flumen_core::failure::Failure;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::Schema;
use flumen_io::FileSystem;

use super::listing::is_pattern;
use super::options::{FileOptions, NAME, WriteMode, format_by_suffix};
use crate::error::{ConnectorError, Result};
use encoding::Encoding;
use file::{FileWriter, Target};
use partitioned::PartitionedWriter;

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Encoded bytes that may wait for a write that is under way.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Writes files.
pub struct FileSink {
    files: Arc<dyn FileSystem>,
}

impl FileSink {
    /// A sink over a file system.
    #[must_use]
    pub fn new(files: Arc<dyn FileSystem>) -> Self {
        Self { files }
    }
}

/// Whether the options name one file or directory that is one thing, rather than a directory of parts.
fn is_one(options: &FileOptions) -> bool {
    options.write_mode == WriteMode::Replace || format_by_suffix(Path::new(&options.path)).is_some()
}

fn target(options: &FileOptions, encoding: &Encoding, context: &WriterContext) -> Result<Target> {
    let path = Path::new(&options.path);
    let job = context.job.to_string();
    if !is_one(options) {
        let stem = format!("part-{}-{}", context.subtask.0, &job[job.len().saturating_sub(12)..]);
        return Ok(Target::Parts { directory: path.to_path_buf(), stem, suffix: encoding.suffix() });
    }
    let problem = match options.write_mode {
        _ if context.parallelism > 1 => format!(
            "{} subtasks cannot append to one file; name a directory, or set the parallelism to 1",
            context.parallelism
        ),
        WriteMode::Append if encoding.is_compressed() => {
            "nothing is appended to a compressed file; name a directory".to_owned()
        }
        WriteMode::Append => return Ok(Target::One(path.to_path_buf())),
        WriteMode::Replace => {
            return Ok(Target::Replaced { path: path.to_path_buf(), temporary: temporary(path, &job) });
        }
    };
    let (option, value) = ("path".to_owned(), options.path.clone());
    Err(ConnectorError::WrongOption { connector: NAME, option, value, problem })
}

/// A hidden name beside a path.
fn temporary(path: &Path, job: &str) -> std::path::PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{job}.tmp"))
}

fn check(options: &FileOptions, schema: &Schema) -> Result<()> {
    let wrong = |option: &str, value: &str, problem: &str| ConnectorError::WrongOption {
        connector: NAME,
        option: option.to_owned(),
        value: value.to_owned(),
        problem: problem.to_owned(),
    };
    if is_pattern(&options.path) {
        return Err(wrong("path", &options.path, "a sink needs the name of a directory or file, not a pattern"));
    }
    if Path::new(&options.path).file_name().is_none() {
        return Err(wrong("path", &options.path, "it has no name to write to"));
    }
    if options.partition_by.is_empty() {
        return Ok(());
    }
    let text = options.partition_by.join(", ");
    if options.write_mode != WriteMode::Replace {
        return Err(wrong("partition-by", &text, "set 'write-mode' to 'replace', as COPY does"));
    }
    let columns = options.partition_columns(schema)?;
    if columns.len() == schema.fields.len() {
        return Err(wrong("partition-by", &text, "it has all columns, and none is left for the files"));
    }
    Ok(())
}

impl SinkConnector for FileSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, schema: &Schema) -> Result<(), Failure> {
        let options = FileOptions::read(options)?;
        Encoding::new(&options)?;
        check(&options, schema)?;
        if !options.partition_by.is_empty() {
            partitioned::check_target(self.files.as_ref(), Path::new(&options.path), options.overwrite)?;
        }
        Ok(())
    }

    fn is_single(&self, options: &BTreeMap<String, String>) -> bool {
        FileOptions::read(options).is_ok_and(|options| is_one(&options))
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        let options = FileOptions::read(&spec.options)?;
        let encoding = Encoding::new(&options)?;
        let files = Arc::clone(&self.files);
        if options.partition_by.is_empty() {
            let target = target(&options, &encoding, &context)?;
            return Ok(Box::new(FileWriter::new(files, encoding, target, schema, context)?));
        }
        check(&options, schema)?;
        Ok(Box::new(PartitionedWriter::new(files, &options, encoding, schema, context)?))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
