//! Files as traits: what the engine may ask of storage, and the helpers that need nothing else.
//!
//! Threading: every call may block and is made on I/O threads, never by a task's worker. Handles for reads and for
//! positioned writes are shared between threads (`&self`); a [`WriteFile`] has one owner. Offsets and sizes are bytes.
//!
//! Durability: written bytes survive a crash of the machine only after [`WriteFile::sync`] (or `finish`), and a name
//! (created, renamed or removed) only after [`FileSystem::sync_directory`] of the directory it is in. `finish` does
//! both for a file it created. [`replace_file`] is the whole protocol for small files that must be old or new, never
//! in between.
//!
//! After a failure: a [`WriteFile`] whose write or sync failed refuses all further work, since its position and what
//! the device holds are unknown. A [`PositionedFile`] keeps working after a failed write, because writing the same
//! range again is well defined (a full disk may have room later), but not after a failed sync: the system may have
//! dropped the dirty pages and would report success next time (A. Rebello and others, "Can Applications Recover from
//! fsync Failures?", USENIX ATC 2020).

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{IoError, Operation, Result};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Bytes. Anything that is neither a directory nor a regular file (a pipe, a device) also counts as a file.
    File,
    /// A directory.
    Directory,
}

/// What is known about a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMetadata {
    /// File or directory; symbolic links are followed.
    pub kind: FileKind,
    /// Length in bytes; 0 for a directory.
    pub size: u64,
    /// Last change of the content, in milliseconds since 1970-01-01 UTC.
    pub modified_millis: i64,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The last part of the path. Bytes that are not UTF-8 are replaced, so use `path` to open it.
    pub name: String,
    /// The whole path: the listed directory and the name.
    pub path: PathBuf,
    /// File or directory.
    pub kind: FileKind,
}

/// Storage, addressed by paths. See the module for threads, durability and failures.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Opens a file for reads.
    ///
    /// # Errors
    /// [`IoError::NotFound`] with the nearest names beside it, [`IoError::WrongKind`] for a directory.
    fn open(&self, path: &Path) -> Result<Arc<dyn ReadFile>>;

    /// Creates a file, or empties the one that is there, for writes from its start.
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>>;

    /// Creates a file for writes from its start; exactly one of several racing callers succeeds.
    ///
    /// # Errors
    /// [`IoError::AlreadyExists`] if the path exists.
    fn create_new(&self, path: &Path) -> Result<Box<dyn WriteFile>>;

    /// Opens a file for writes at its end, creating it if it does not exist.
    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>>;

    /// Creates a file for reads and writes at any position, such as spill extents. The path must not exist. The file
    /// may be removed while it is open: the handle keeps its bytes until it is dropped.
    ///
    /// # Errors
    /// [`IoError::AlreadyExists`] if the path exists.
    fn create_positioned(&self, path: &Path) -> Result<Arc<dyn PositionedFile>>;

    /// Kind, size and time of a path.
    fn metadata(&self, path: &Path) -> Result<FileMetadata>;

    /// True if the path is there; false only if it is known not to be.
    fn exists(&self, path: &Path) -> Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The entries of a directory, sorted by name, without `.` and `..`.
    fn list(&self, directory: &Path) -> Result<Vec<DirectoryEntry>>;

    /// Gives `from` the name `to`, replacing a file that is there, in one step: others see the old or the new.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> Result<()>;

    /// Removes a directory and all below it; it is not an error if it does not exist. Not atomic.
    fn remove_directory_all(&self, path: &Path) -> Result<()>;

    /// Creates a directory and those above it that are missing; it is not an error if it exists. The names it created
    /// are durable when it returns.
    fn create_directory_all(&self, path: &Path) -> Result<()>;

    /// Makes the names in a directory durable: entries created, renamed and removed so far survive a crash.
    fn sync_directory(&self, path: &Path) -> Result<()>;
}

/// A file open for reads. Its size is that of the moment it was opened.
pub trait ReadFile: Send + Sync + fmt::Debug {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Length in bytes when the file was opened.
    fn size(&self) -> u64;

    /// Last change of the content before the file was opened, in milliseconds since 1970-01-01 UTC.
    fn modified_millis(&self) -> i64;

    /// Reads at most `buffer.len()` bytes at `offset` and returns how many; 0 only at the end of the file or for an
    /// empty buffer. Fewer than asked for is not an error, nor the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`IoError::UnexpectedEnd`] if the file ends first.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        fill(self.path(), offset, buffer, |position, rest| self.read_at(position, rest), || self.size())
    }

    /// The bytes of `range`. The range is checked against the file's size before anything is allocated, so it may come
    /// from a file that is not trusted; the caller still limits and reserves what it asks for.
    ///
    /// # Errors
    /// [`IoError::UnexpectedEnd`] if the range is not within the file.
    fn read_range(&self, range: Range<u64>) -> Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        let past_end = || IoError::UnexpectedEnd {
            path: self.path().to_path_buf(),
            offset: range.start,
            length,
            size: self.size(),
        };
        if range.start > range.end || range.end > self.size() {
            return Err(past_end());
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| past_end())?];
        self.read_exact_at(range.start, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// A file open for writes in order. Dropping it without `finish` closes it and promises nothing about its bytes.
pub trait WriteFile: Send + fmt::Debug {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Where the next byte goes: the file's length so far.
    fn position(&self) -> u64;

    /// Writes all of `bytes` at the position. Nothing is buffered in the process, so write in large pieces.
    ///
    /// # Errors
    /// On any error an unknown part of the bytes may have been written, and the handle refuses further work.
    fn write_all(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the bytes written so far durable.
    fn sync(&mut self) -> Result<()>;

    /// Syncs the bytes, makes the file's name durable if this handle created it, and closes it. Returns its length.
    fn finish(self: Box<Self>) -> Result<u64>;
}

/// A file for reads and writes at any position, from any thread. Concurrent calls must not overlap where one writes.
pub trait PositionedFile: Send + Sync + fmt::Debug {
    /// The path it was created by.
    fn path(&self) -> &Path;

    /// Length in bytes now.
    fn size(&self) -> Result<u64>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`IoError::UnexpectedEnd`] if the file ends first.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file as needed; a gap reads as zeros.
    ///
    /// # Errors
    /// On any error an unknown part of the range may have changed; it may be written again.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Cuts the file to `size`, giving the space back, or grows it with zeros.
    fn set_size(&self, size: u64) -> Result<()>;

    /// Makes the bytes written so far durable. Spill does not need it.
    fn sync(&self) -> Result<()>;
}

/// Reads until `buffer` is full; `read` may return less than it is asked for.
pub(crate) fn fill(
    path: &Path,
    offset: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> Result<usize>,
    size: impl FnOnce() -> u64,
) -> Result<()> {
    let wanted = buffer.len();
    let mut filled = 0;
    while filled < wanted {
        let position = offset.saturating_add(filled as u64);
        match read(position, &mut buffer[filled..])? {
            0 => {
                let length = wanted as u64;
                return Err(IoError::UnexpectedEnd { path: path.to_path_buf(), offset, length, size: size() });
            }
            count => filled += count,
        }
    }
    Ok(())
}

/// The whole content of a file.
///
/// # Errors
/// [`IoError::System`] if the file is larger than `size_max` bytes; nothing has been allocated then.
pub fn read_file(files: &dyn FileSystem, path: &Path, size_max: u64) -> Result<Bytes> {
    let file = files.open(path)?;
    if file.size() > size_max {
        let reason = format!("it has {} bytes, more than the limit of {size_max}", file.size());
        return Err(IoError::System {
            operation: Operation::Read,
            path: path.to_path_buf(),
            source: std::io::Error::other(reason),
        });
    }
    file.read_range(0..file.size())
}

/// Replaces the content of `path` so that a reader, also one after a crash, sees all of the old or all of the new.
///
/// Steps: write `<path>.tmp`, sync it, rename it over `path`, sync the directory. One writer at a time. If an error is
/// returned the new content may or may not be in place, but never a part of it.
pub fn replace_file(files: &dyn FileSystem, path: &Path, content: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = files.create(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.finish().map(drop));
    if let Err(error) = written.and_then(|()| files.rename(&temporary, path)) {
        // The first error is the one to report; what is left of the temporary file is overwritten by the next call.
        let _ = files.remove_file(&temporary);
        return Err(error);
    }
    files.sync_directory(directory_of(path))
}

/// The directory a path is in; the current one for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests;
