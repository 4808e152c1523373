//! Writes the rows of one subtask to one file after the other.
//!
//! Batches are encoded on the worker; bytes leave in pieces of 1 MiB through the blocking executor, one write at a time.
//!
//! Durability: at a barrier and at the end of input everything taken is written and synced, the file's name too. A file
//! that cannot be read without its end is finished there; the next rows start another. After a restore a new file is
//! begun: rows between the checkpoint and the failure are there twice, none is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_core::batch::Batch;
use flumen_core::failure::Failure;
use flumen_core::sink::{SinkWriter, WriterContext, WriterStatus};
use flumen_core::types::Schema;
use flumen_core::waiting::{Outcome, Pending};
use flumen_formats::Encoder;
use flumen_io::{FileKind, FileSystem, WriteFile};

use super::encoding::Encoding;
use super::{PIECE_BYTES, WAITING_BYTES_MAX, directory_of};
use crate::charge::Charge;
use crate::error::{ConnectorError, Result};
use crate::filesystem::options::NAME;

/// Files of one subtask in a directory at most.
const FILES_MAX: u32 = 1_000_000;

/// Where a subtask writes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// New files with this stem and suffix.
    Parts { directory: PathBuf, stem: String, suffix: String },
    /// This file.
    One(PathBuf),
    /// This file, by way of a temporary one.
    Replaced { path: PathBuf, temporary: PathBuf },
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
pub(super) struct FileWriter {
    files: Arc<dyn FileSystem>,
    encoding: Encoding,
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
    pub(super) fn new(
        files: Arc<dyn FileSystem>,
        encoding: Encoding,
        target: Target,
        schema: &Arc<Schema>,
        context: WriterContext,
    ) -> Result<Self, Failure> {
        let charge = Charge::new(&context.memory, 0)?;
        Ok(Self {
            files,
            encoding,
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
        })
    }

    fn in_file(&self, source: flumen_formats::FormatError) -> ConnectorError {
        ConnectorError::Format { path: self.target.path().display().to_string(), source }
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
        let (files, target, has_end) = (Arc::clone(&self.files), self.target.clone(), self.encoding.has_end());
        let (file, start_bytes) = (self.file.take(), std::mem::take(&mut self.start_bytes));
        self.under_way_bytes = bytes.len();
        self.is_dirty = leave == Leave::Written;
        let work = move || -> Written {
            let (mut file, bytes) = match file {
                Some(file) => (file, &bytes[..]),
                None => {
                    let file = open(files.as_ref(), &target, has_end)?;
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
            let mut encoder = self.encoding.encoder(&self.schema).map_err(|e| self.in_file(e))?;
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
            let closes = end_of_input || self.encoding.has_end();
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

impl Target {
    /// What people know it by.
    fn path(&self) -> &Path {
        match self {
            Self::Parts { directory, .. } => directory,
            Self::One(path) | Self::Replaced { path, .. } => path,
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

/// Opens the file that a writer goes on with. May block.
fn open(files: &dyn FileSystem, target: &Target, has_end: bool) -> Result<Box<dyn WriteFile>> {
    match target {
        Target::One(path) => {
            files.create_directory_all(directory_of(path))?;
            // Nothing can be appended to a file that has an end.
            Ok(if has_end { files.create_new(path)? } else { files.append(path)? })
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
