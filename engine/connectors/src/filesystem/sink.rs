//! Writes rows to files: appends, or replaces one file as a whole.
//!
//! Every subtask writes a file of its own in the directory `path`, named `part-<subtask>-<job>-<number>`, and never
//! touches one that is there; if `path` has the suffix of a format it is the one file that a single subtask appends
//! to. Batches are encoded on the worker; bytes leave in pieces of 1 MiB through the blocking executor, one write at a
//! time.
//!
//! With `write-mode` `replace` a single subtask writes `.<name>.<job>.tmp` beside the file and renames it over the file
//! once all rows are in it and durable: readers see the old file or the new one. Without rows the new file is empty of
//! rows, not absent. A job that fails removes what it wrote.
//!
//! Durability: at a barrier and at the end of input everything taken is written and synced, the file's name too. A
//! Parquet file is finished there, because it cannot be read without its footer; the next rows start another. After a
//! restore a new file is begun: rows between the checkpoint and the failure are there twice, none is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkConnector, SinkWriter, WriterContext, WriterStatus};
use flumen_core::spec::connector::SinkSpec;
use flumen_core::types::Schema;
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats::Encoder;
use flumen_formats_csv::CsvEncoder;
use flumen_formats_json::JsonEncoder;
use flumen_formats_parquet::ParquetEncoder;
use flumen_io::{FileKind, FileSystem, WriteFile};

use super::options::{FileOptions, Format, NAME, WriteMode, format_by_suffix};
use crate::charge::Charge;
use crate::error::{ConnectorError, Result};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;
/// Encoded bytes that may wait for a write that is under way.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Files of one subtask in a directory at most.
const FILES_MAX: u32 = 1_000_000;

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

/// Where a subtask writes.
#[derive(Clone, Debug)]
enum Target {
    /// New files with this stem and suffix.
    Parts { directory: PathBuf, stem: String, suffix: &'static str },
    /// This file.
    One(PathBuf),
    /// This file, by way of a temporary one.
    Replaced { path: PathBuf, temporary: PathBuf },
}

/// Whether the options name one file, rather than a directory.
fn is_one_file(options: &FileOptions) -> bool {
    options.write_mode == WriteMode::Replace || format_by_suffix(Path::new(&options.path)).is_some()
}

fn target(options: &FileOptions, format: Format, context: &WriterContext) -> Result<Target> {
    let path = Path::new(&options.path);
    if !is_one_file(options) {
        let suffix = match format {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Json => "json",
        };
        let job = context.job.to_string();
        let stem = format!("part-{}-{}", context.subtask.0, &job[job.len().saturating_sub(12)..]);
        return Ok(Target::Parts { directory: path.to_path_buf(), stem, suffix });
    }
    if context.parallelism == 1 {
        return Ok(match options.write_mode {
            WriteMode::Append => Target::One(path.to_path_buf()),
            WriteMode::Replace => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let temporary = path.with_file_name(format!(".{name}.{}.tmp", context.job));
                Target::Replaced { path: path.to_path_buf(), temporary }
            }
        });
    }
    Err(ConnectorError::WrongOption {
        connector: NAME,
        option: "path".to_owned(),
        value: options.path.clone(),
        problem: format!(
            "{} subtasks cannot append to one file; name a directory, or set the parallelism to 1",
            context.parallelism
        ),
    })
}

/// The format that is written: as the options say, else as the path's suffix says, else CSV is not guessed.
fn sink_format(options: &FileOptions) -> Result<Format> {
    options.format.or_else(|| format_by_suffix(Path::new(&options.path))).ok_or(ConnectorError::MissingOption {
        connector: NAME,
        option: "format".to_owned(),
        purpose: "parquet, csv or json",
    })
}

impl SinkConnector for FileSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn validate(&self, options: &BTreeMap<String, String>, _schema: &Schema) -> Result<(), Failure> {
        let options = FileOptions::read(options)?;
        sink_format(&options)?;
        if options.path.contains(['*', '?']) {
            let problem = "a sink needs the name of a directory or file, not a pattern".to_owned();
            let (option, value) = ("path".to_owned(), options.path);
            return Err(ConnectorError::WrongOption { connector: NAME, option, value, problem }.into());
        }
        Ok(())
    }

    fn is_single(&self, options: &BTreeMap<String, String>) -> bool {
        FileOptions::read(options).is_ok_and(|options| is_one_file(&options))
    }

    fn create_writer(
        &self,
        spec: &SinkSpec,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Box<dyn SinkWriter>, Failure> {
        let options = FileOptions::read(&spec.options)?;
        let format = sink_format(&options)?;
        let target = target(&options, format, &context)?;
        let charge = Charge::new(&context.memory, 0)?;
        Ok(Box::new(FileWriter {
            files: Arc::clone(&self.files),
            options,
            format,
            target,
            schema: Arc::clone(schema),
            context,
            encoder: None,
            file: None,
            start_bytes: 0,
            buffer: Vec::new(),
            under_way: None,
            under_way_bytes: 0,
            is_dirty: false,
            has_ended: false,
            charge,
        }))
    }
}

/// How a piece of bytes is to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Written.
    Written,
    /// Durable.
    Synced,
    /// Durable, and the file closed.
    Finished,
}

type Written = Result<Option<Box<dyn WriteFile>>>;

/// Writes the rows of one subtask.
struct FileWriter {
    files: Arc<dyn FileSystem>,
    options: FileOptions,
    format: Format,
    target: Target,
    schema: Arc<Schema>,
    context: WriterContext,
    /// `None` until the first row of a file.
    encoder: Option<Box<dyn Encoder>>,
    /// `None` until the first write, and while a write has it.
    file: Option<Box<dyn WriteFile>>,
    /// Bytes at the front of the first piece that only an empty file gets.
    start_bytes: usize,
    buffer: Vec<u8>,
    under_way: Option<Pending<Written>>,
    under_way_bytes: usize,
    /// Something was written that is not durable yet.
    is_dirty: bool,
    /// The end of the input has been seen.
    has_ended: bool,
    charge: Charge,
}

impl FileWriter {
    fn in_file(&self, source: flumen_formats::FormatError) -> ConnectorError {
        ConnectorError::Format { path: self.options.path.clone(), source }
    }

    /// Takes the answer of the write that is under way; `false` if there is none yet.
    fn settle(&mut self) -> Result<bool> {
        let Some(pending) = &mut self.under_way else { return Ok(true) };
        match pending.poll() {
            Outcome::Waiting => Ok(false),
            Outcome::Lost => Err(ConnectorError::Lost { what: "a write to a file" }),
            Outcome::Ready(written) => {
                self.under_way = None;
                self.under_way_bytes = 0;
                self.file = written?;
                Ok(true)
            }
        }
    }

    /// Hands the buffer to the blocking executor. Nothing may be under way.
    fn submit(&mut self, leave: Leave) {
        let bytes = std::mem::take(&mut self.buffer);
        let (files, target, is_parquet) =
            (Arc::clone(&self.files), self.target.clone(), self.format == Format::Parquet);
        let (file, start_bytes) = (self.file.take(), std::mem::take(&mut self.start_bytes));
        self.under_way_bytes = bytes.len();
        self.is_dirty = leave == Leave::Written;
        let work = move || -> Written {
            let (mut file, bytes) = match file {
                Some(file) => (file, &bytes[..]),
                None => {
                    let file = open(files.as_ref(), &target, is_parquet)?;
                    // The header line is for the first row of a file, not for the first of this writer.
                    let skip = if file.position() == 0 { 0 } else { start_bytes };
                    (file, &bytes[skip..])
                }
            };
            file.write_all(bytes)?;
            match leave {
                Leave::Written => return Ok(Some(file)),
                Leave::Synced => file.sync()?,
                Leave::Finished => {
                    let mut path = file.path().to_path_buf();
                    file.finish()?;
                    if let Target::Replaced { path: final_path, temporary } = &target {
                        files.rename(temporary, final_path)?;
                        path.clone_from(final_path);
                    }
                    files.sync_directory(directory_of(&path))?;
                    return Ok(None);
                }
            }
            files.sync_directory(directory_of(file.path()))?;
            Ok(Some(file))
        };
        self.under_way = Some(Pending::spawn(self.context.blocking.as_ref(), self.context.waker.clone(), work));
    }

    /// Sets up the encoder of the next file, if there is none.
    fn begin_file(&mut self) -> Result<(), Failure> {
        if self.encoder.is_none() {
            let schema = Arc::clone(&self.schema);
            let mut encoder: Box<dyn Encoder> = match self.format {
                Format::Parquet => Box::new(ParquetEncoder::new(schema)),
                Format::Csv => Box::new(CsvEncoder::new(schema, self.options.csv)),
                Format::Json => Box::new(JsonEncoder),
            };
            let before = self.buffer.len();
            encoder.start(&mut self.buffer).map_err(|e| self.in_file(e))?;
            self.start_bytes = self.buffer.len() - before;
            self.encoder = Some(encoder);
        }
        Ok(())
    }

    fn status(&mut self) -> Result<WriterStatus, Failure> {
        let is_free = self.settle()?;
        if is_free && self.buffer.len() >= PIECE_BYTES {
            self.submit(Leave::Written);
        }
        let held = self.encoder.as_ref().map_or(0, |e| e.buffered_bytes());
        self.charge.resize(self.buffer.len() + self.under_way_bytes + held)?;
        Ok(match self.buffer.len() >= WAITING_BYTES_MAX {
            true => WriterStatus::Waiting,
            false => WriterStatus::Ready,
        })
    }
}

impl SinkWriter for FileWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        self.begin_file()?;
        let encoder = self.encoder.as_mut().expect("it was set above");
        if let Err(error) = encoder.encode(&batch, &mut self.buffer) {
            return Err(self.in_file(error).into());
        }
        self.status()
    }

    fn poll_ready(&mut self) -> Result<WriterStatus, Failure> {
        self.status()
    }

    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure> {
        loop {
            if !self.settle()? {
                return Ok(WriterStatus::Waiting);
            }
            let replaces = matches!(self.target, Target::Replaced { .. });
            if replaces && end_of_input && !self.has_ended {
                // A file without rows is a result, too.
                self.begin_file()?;
            }
            // One that replaces another is never cut: what a barrier makes durable is of no use before the end.
            if replaces && !end_of_input {
                return self.status();
            }
            self.has_ended |= end_of_input;
            let closes = end_of_input || self.format == Format::Parquet;
            if closes && let Some(mut encoder) = self.encoder.take() {
                encoder.finish(&mut self.buffer).map_err(|e| self.in_file(e))?;
                self.is_dirty = true;
            }
            if self.buffer.is_empty() && !self.is_dirty {
                self.charge.resize(0)?;
                return Ok(WriterStatus::Ready);
            }
            self.submit(if closes { Leave::Finished } else { Leave::Synced });
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        let Target::Replaced { temporary, .. } = &self.target else { return };
        // The last piece renames the file; before that, and whatever is still being written, it is of no use.
        let (files, temporary) = (Arc::clone(&self.files), temporary.clone());
        let unfinished = self.under_way.take();
        self.context.blocking.spawn_blocking(Box::new(move || {
            drop(unfinished);
            let _ = files.remove_file(&temporary);
        }));
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Opens the file that a writer goes on with. May block.
fn open(files: &dyn FileSystem, target: &Target, is_parquet: bool) -> Result<Box<dyn WriteFile>> {
    match target {
        Target::One(path) => {
            files.create_directory_all(directory_of(path))?;
            // Nothing can be appended to a Parquet file.
            Ok(if is_parquet { files.create_new(path)? } else { files.append(path)? })
        }
        Target::Replaced { temporary, .. } => {
            files.create_directory_all(directory_of(temporary))?;
            Ok(files.create(temporary)?)
        }
        Target::Parts { directory, stem, suffix } => {
            if files.metadata(directory).is_ok_and(|m| m.kind == FileKind::File) {
                return Err(ConnectorError::WrongOption {
                    connector: NAME,
                    option: "path".to_owned(),
                    value: directory.display().to_string(),
                    problem: "it is a file and has to be a directory".to_owned(),
                });
            }
            files.create_directory_all(directory)?;
            for number in 0..FILES_MAX {
                match files.create_new(&directory.join(format!("{stem}-{number}.{suffix}"))) {
                    Err(error) if error.is_already_exists() => {}
                    created => return Ok(created?),
                }
            }
            let path = directory.display().to_string();
            Err(ConnectorError::NoFiles {
                path,
                problem: format!("there are {FILES_MAX} files of this subtask already"),
            })
        }
    }
}
