//! Rows to a directory of partitions: `year=2024/month=5/data_0.parquet`.
//!
//! 1. Everything is written below a hidden directory beside the one that is wanted.
//! 2. Each partition has an encoder and a file; at most [`OPEN_MAX`] are open. When another is needed, the one used longest
//!    ago is finished, and rows that come for it later begin its next file. The same is done with all of them when memory
//!    is refused.
//! 3. When the last row is in a file, all are finished and the directory is renamed to its place. One that is there and
//!    not empty is only replaced if the options say so, and then under a hidden name until the new one is in place.
//!
//! Encoding is done on the worker, file work on the blocking executor, in order. The partition's columns are not in the
//! files. Memory: what the encoders keep, and 4 MiB that wait to be written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkWriter, WriterContext, WriterStatus};
use flumen_core::types::Schema;
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats::{Encoder, FormatError, insertions_only, portable_batch};
use flumen_io::{FileKind, FileSystem, WriteFile};

use super::encoding::Encoding;
use super::{PIECE_BYTES, WAITING_BYTES_MAX, directory_of, temporary};
use crate::charge::Charge;
use crate::error::{ConnectorError, Result};
use crate::filesystem::hive::{NULL_VALUE, encode_into};
use crate::filesystem::options::{FileOptions, NAME};

/// Files that are open at once.
const OPEN_MAX: usize = 100;
/// Partitions at most: each is a directory, and costs an entry of a table here.
const PARTITIONS_MAX: usize = 100_000;

/// A partition.
#[derive(Default)]
struct Part {
    /// Files that were begun.
    files: u32,
    open: Option<Open>,
}

/// The file that rows of a partition go to.
struct Open {
    path: PathBuf,
    encoder: Box<dyn Encoder>,
    buffer: Vec<u8>,
    /// When it was used last.
    used: u64,
}

/// Something to be done with files.
enum Job {
    Write { path: PathBuf, bytes: Vec<u8>, is_last: bool },
    Publish,
}

/// The files that are being written. Whoever does file work has it.
struct Disk {
    files: Arc<dyn FileSystem>,
    target: PathBuf,
    temporary: PathBuf,
    overwrite: bool,
    open: HashMap<PathBuf, Box<dyn WriteFile>>,
}

/// Writes all rows.
pub(super) struct PartitionedWriter {
    encoding: Encoding,
    /// Names and numbers of the columns that make directories.
    keys: Vec<(String, usize)>,
    /// The other columns.
    kept: Vec<usize>,
    schema: Arc<Schema>,
    context: WriterContext,
    target: PathBuf,
    temporary: PathBuf,
    parts: HashMap<String, Part>,
    open: usize,
    uses: u64,
    jobs: Vec<Job>,
    waiting_bytes: usize,
    /// `None` while file work is under way.
    disk: Option<Disk>,
    under_way: Option<Pending<Result<Disk>>>,
    has_ended: bool,
    charge: Charge,
    files: Arc<dyn FileSystem>,
}

impl PartitionedWriter {
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        options: &FileOptions,
        encoding: Encoding,
        schema: &Schema,
        context: WriterContext,
    ) -> Result<Self, Failure> {
        let keys: Vec<(String, usize)> = options.partition_columns(schema)?;
        let kept: Vec<usize> = (0..schema.fields.len()).filter(|c| !keys.iter().any(|(_, key)| key == c)).collect();
        let own = Schema::new(kept.iter().map(|column| schema.fields[*column].clone()).collect());
        let target = PathBuf::from(options.path.trim_end_matches('/'));
        let temporary = temporary(&target, &context.job.to_string());
        let disk = Disk {
            files: Arc::clone(&files),
            target: target.clone(),
            temporary: temporary.clone(),
            overwrite: options.overwrite,
            open: HashMap::new(),
        };
        let charge = Charge::new(&context.memory, 0)?;
        Ok(Self {
            encoding,
            keys,
            kept,
            schema: Arc::new(own),
            context,
            target,
            temporary,
            parts: HashMap::new(),
            open: 0,
            uses: 0,
            jobs: Vec::new(),
            waiting_bytes: 0,
            disk: Some(disk),
            under_way: None,
            has_ended: false,
            charge,
            files,
        })
    }

    fn in_file(&self, source: FormatError) -> ConnectorError {
        ConnectorError::Format { path: self.target.display().to_string(), source }
    }

    /// Rows of the batch by partition, in the order in which partitions are met.
    fn split(&self, rows: &RecordBatch) -> Result<Vec<(String, Vec<u32>)>> {
        let options = FormatOptions::default();
        let library = |error| self.in_file(FormatError::Library { format: "partition", source: Box::new(error) });
        let columns: Vec<_> = self
            .keys
            .iter()
            .map(|(name, column)| {
                let array = rows.column(*column);
                let formatter = ArrayFormatter::try_new(array.as_ref(), &options).map_err(library)?;
                let mut key = String::new();
                encode_into(name, &mut key);
                Ok((key, array, formatter))
            })
            .collect::<Result<_>>()?;
        let mut found: Vec<(String, Vec<u32>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let (mut value, mut directory) = (String::new(), String::new());
        for row in 0..rows.num_rows() {
            directory.clear();
            for (name, array, formatter) in &columns {
                if !directory.is_empty() {
                    directory.push('/');
                }
                directory.push_str(name);
                directory.push('=');
                if array.is_null(row) {
                    directory.push_str(NULL_VALUE);
                    continue;
                }
                value.clear();
                formatter.value(row).write(&mut value).map_err(library)?;
                encode_into(&value, &mut directory);
            }
            let place = match places.get(&directory) {
                Some(place) => *place,
                None => {
                    found.push((directory.clone(), Vec::new()));
                    places.insert(directory.clone(), found.len() - 1);
                    found.len() - 1
                }
            };
            found[place].1.push(row as u32);
        }
        Ok(found)
    }

    fn encode(&mut self, directory: String, batch: &Batch) -> Result<()> {
        if self.parts.len() >= PARTITIONS_MAX && !self.parts.contains_key(&directory) {
            return Err(ConnectorError::WrongOption {
                connector: NAME,
                option: "partition-by".to_owned(),
                value: self.keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
                problem: format!("it gives more than {PARTITIONS_MAX} directories; take columns with fewer values"),
            });
        }
        let is_open = self.parts.get(&directory).is_some_and(|part| part.open.is_some());
        if !is_open && self.open >= OPEN_MAX {
            self.close_oldest()?;
        }
        self.uses += 1;
        let uses = self.uses;
        let path =
            |files: u32| self.temporary.join(&directory).join(format!("data_{files}.{}", self.encoding.suffix()));
        let part = self.parts.entry(directory.clone()).or_default();
        let in_file = |source| ConnectorError::Format { path: self.target.display().to_string(), source };
        if part.open.is_none() {
            let mut open = Open {
                path: path(part.files),
                encoder: self.encoding.encoder(&self.schema).map_err(in_file)?,
                buffer: Vec::new(),
                used: uses,
            };
            open.encoder.start(&mut open.buffer).map_err(in_file)?;
            part.files += 1;
            part.open = Some(open);
            self.open += 1;
        }
        let Some(open) = &mut part.open else { return Ok(()) };
        open.used = uses;
        open.encoder.encode(batch, &mut open.buffer).map_err(in_file)?;
        if open.buffer.len() >= PIECE_BYTES {
            let bytes = std::mem::take(&mut open.buffer);
            self.waiting_bytes += bytes.len();
            self.jobs.push(Job::Write { path: open.path.clone(), bytes, is_last: false });
        }
        Ok(())
    }

    fn close_oldest(&mut self) -> Result<()> {
        let oldest = self.parts.iter().filter_map(|(name, part)| Some((part.open.as_ref()?.used, name))).min();
        match oldest.map(|(_, name)| name.clone()) {
            Some(name) => self.close(&name),
            None => Ok(()),
        }
    }

    fn close(&mut self, directory: &str) -> Result<()> {
        let Some(mut open) = self.parts.get_mut(directory).and_then(|part| part.open.take()) else { return Ok(()) };
        self.open -= 1;
        open.encoder.finish(&mut open.buffer).map_err(|e| self.in_file(e))?;
        self.waiting_bytes += open.buffer.len();
        self.jobs.push(Job::Write { path: open.path, bytes: open.buffer, is_last: true });
        Ok(())
    }

    fn close_all(&mut self) -> Result<()> {
        let mut open: Vec<String> =
            self.parts.iter().filter(|(_, part)| part.open.is_some()).map(|(name, _)| name.clone()).collect();
        open.sort_unstable();
        open.iter().try_for_each(|name| self.close(name))
    }

    /// Takes back the disk from file work that is done, and starts what is there to do; `true` if nothing is left.
    fn work(&mut self) -> Result<bool> {
        if let Some(pending) = &mut self.under_way {
            match pending.poll() {
                Outcome::Waiting => return Ok(false),
                Outcome::Lost => return Err(ConnectorError::Lost { what: "a write to a file" }),
                Outcome::Ready(disk) => {
                    self.under_way = None;
                    self.disk = Some(disk?);
                }
            }
        }
        if self.jobs.is_empty() {
            return Ok(true);
        }
        let Some(mut disk) = self.disk.take() else { return Err(ConnectorError::Lost { what: "a write to a file" }) };
        let jobs = std::mem::take(&mut self.jobs);
        self.waiting_bytes = 0;
        self.under_way = Some(Pending::spawn(self.context.blocking.as_ref(), self.context.waker.clone(), move || {
            jobs.into_iter().try_for_each(|job| disk.run(job))?;
            Ok(disk)
        }));
        Ok(false)
    }

    fn held(&self) -> usize {
        let open = self.parts.values().filter_map(|part| part.open.as_ref());
        self.waiting_bytes + open.map(|open| open.buffer.capacity() + open.encoder.buffered_bytes()).sum::<usize>()
    }

    fn status(&mut self) -> Result<WriterStatus, Failure> {
        // File work is begun when there is some to speak of.
        if self.under_way.is_some() || self.waiting_bytes >= PIECE_BYTES {
            self.work()?;
        }
        if let Err(refused) = self.charge.resize(self.held()) {
            if self.open == 0 {
                return Err(refused);
            }
            // What encoders keep goes to files; the next rows of each partition begin another.
            self.close_all()?;
            self.work()?;
            self.charge.resize(self.held())?;
        }
        Ok(match self.waiting_bytes >= WAITING_BYTES_MAX && self.under_way.is_some() {
            true => WriterStatus::Waiting,
            false => WriterStatus::Ready,
        })
    }
}

impl SinkWriter for PartitionedWriter {
    fn write(&mut self, batch: Batch) -> Result<WriterStatus, Failure> {
        insertions_only("partition", &batch).map_err(|e| self.in_file(e))?;
        let rows = portable_batch(&batch)
            .map_err(|e| self.in_file(FormatError::Library { format: "partition", source: Box::new(e) }))?;
        let kept = rows
            .project(&self.kept)
            .map_err(|e| self.in_file(FormatError::Library { format: "partition", source: Box::new(e) }))?;
        let kept = Batch::from_record_batch(Arc::clone(&self.schema), &kept);
        for (directory, selected) in self.split(&rows)? {
            self.encode(directory, &kept.clone().with_selection(Some(selected.into())))?;
        }
        self.status()
    }

    fn poll_ready(&mut self) -> Result<WriterStatus, Failure> {
        self.status()
    }

    fn flush(&mut self, end_of_input: bool) -> Result<WriterStatus, Failure> {
        // What a barrier would make durable is of no use before the end.
        if !end_of_input {
            return self.status();
        }
        if !std::mem::replace(&mut self.has_ended, true) {
            self.close_all()?;
            self.jobs.push(Job::Publish);
        }
        if !self.work()? {
            return Ok(WriterStatus::Waiting);
        }
        self.charge.resize(0)?;
        Ok(WriterStatus::Ready)
    }
}

/// Whether there is something where the directory is to be, which is an error unless it may be replaced. May block.
pub(super) fn check_target(files: &dyn FileSystem, target: &Path, overwrite: bool) -> Result<bool> {
    let is_taken = match files.metadata(target) {
        Ok(found) if found.kind == FileKind::File => true,
        Ok(_) => !files.list(target)?.is_empty(),
        Err(error) if error.is_not_found() => false,
        Err(error) => return Err(error.into()),
    };
    if is_taken && !overwrite {
        return Err(ConnectorError::WrongOption {
            connector: NAME,
            option: "path".to_owned(),
            value: target.display().to_string(),
            problem: "it is there and not empty; write OVERWRITE to replace it with all it holds".to_owned(),
        });
    }
    Ok(is_taken)
}

impl Disk {
    fn run(&mut self, job: Job) -> Result<()> {
        let Job::Write { path, bytes, is_last } = job else { return self.publish() };
        let mut file = match self.open.remove(&path) {
            Some(file) => file,
            None => {
                self.files.create_directory_all(directory_of(&path))?;
                self.files.create_new(&path)?
            }
        };
        file.write_all(&bytes)?;
        if is_last {
            file.finish()?;
        } else {
            self.open.insert(path, file);
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let files = self.files.as_ref();
        files.create_directory_all(&self.temporary)?;
        let parent = directory_of(&self.target);
        let is_taken = check_target(files, &self.target, self.overwrite)?;
        let replaced = self.temporary.with_extension("old");
        if is_taken {
            files.rename(&self.target, &replaced)?;
        }
        if let Err(error) = files.rename(&self.temporary, &self.target) {
            if is_taken {
                let _ = files.rename(&replaced, &self.target);
            }
            return Err(error.into());
        }
        files.sync_directory(parent)?;
        if is_taken {
            match files.metadata(&replaced)?.kind {
                FileKind::File => files.remove_file(&replaced)?,
                FileKind::Directory => files.remove_directory_all(&replaced)?,
            }
        }
        Ok(())
    }
}

impl Drop for PartitionedWriter {
    fn drop(&mut self) {
        let (files, temporary) = (Arc::clone(&self.files), self.temporary.clone());
        let (unfinished, disk) = (self.under_way.take(), self.disk.take());
        self.context.blocking.spawn_blocking(Box::new(move || {
            drop((unfinished, disk));
            // Once it is in place there is nothing under this name.
            let _ = files.remove_directory_all(&temporary);
        }));
    }
}
