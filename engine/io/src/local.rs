//! The machine's file system.
//!
//! Reads and writes carry their offset (`pread`, `pwrite`), so a handle is shared between threads without a lock.
//! Nothing is buffered here; callers read and write in large pieces.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::wall_millis_of;
use crate::error::{IoError, Operation, Result};
use crate::file_system::{
    DirectoryEntry, FileKind, FileMetadata, FileSystem, PositionedFile, ReadFile, WriteFile, directory_of, fill,
};
use crate::nearest::not_found;

/// The machine's file system. It has no state; relative paths start at the process's current directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalFileSystem;

impl LocalFileSystem {
    /// Sorts a system error and adds the nearest names to a missing path.
    fn error(&self, operation: Operation, path: &Path, source: io::Error) -> IoError {
        match IoError::from_system(operation, path, source) {
            IoError::NotFound { .. } => not_found(self, operation, path),
            error => error,
        }
    }

    fn create_with(&self, path: &Path, options: &OpenOptions, created: bool) -> Result<Box<dyn WriteFile>> {
        let file = options.open(path).map_err(|source| self.error(Operation::Create, path, source))?;
        let position = file.metadata().map_err(|source| self.error(Operation::Stat, path, source))?.len();
        Ok(Box::new(LocalWriteFile { file, path: path.to_path_buf(), position, created, failed: false }))
    }
}

impl FileSystem for LocalFileSystem {
    fn open(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        let file = File::open(path).map_err(|source| self.error(Operation::Open, path, source))?;
        let metadata = file.metadata().map_err(|source| self.error(Operation::Stat, path, source))?;
        // Opening a directory for reads succeeds on Unix and fails only at the first read.
        if metadata.is_dir() {
            let (found, wanted) = ("a directory", "a file");
            return Err(IoError::WrongKind { operation: Operation::Open, path: path.to_path_buf(), found, wanted });
        }
        let modified_millis = metadata.modified().map_or(0, wall_millis_of);
        Ok(Arc::new(LocalReadFile { file, path: path.to_path_buf(), size: metadata.len(), modified_millis }))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        // The name may be new or old; syncing the directory in `finish` is needed for the first and cheap for the second.
        self.create_with(path, OpenOptions::new().write(true).create(true).truncate(true), true)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.create_with(path, OpenOptions::new().write(true).create_new(true), true)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        let existed = self.exists(path)?;
        self.create_with(path, OpenOptions::new().append(true).create(true), !existed)
    }

    fn create_positioned(&self, path: &Path) -> Result<Arc<dyn PositionedFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|source| self.error(Operation::Create, path, source))?;
        Ok(Arc::new(LocalPositionedFile { file, path: path.to_path_buf(), sync_failed: AtomicBool::new(false) }))
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata> {
        // No search for names nearby: this is how callers probe for a path, and its absence is an ordinary answer.
        let metadata = std::fs::metadata(path).map_err(|source| IoError::from_system(Operation::Stat, path, source))?;
        let directory = metadata.is_dir();
        Ok(FileMetadata {
            kind: if directory { FileKind::Directory } else { FileKind::File },
            size: if directory { 0 } else { metadata.len() },
            modified_millis: metadata.modified().map_or(0, wall_millis_of),
        })
    }

    fn list(&self, directory: &Path) -> Result<Vec<DirectoryEntry>> {
        let wrap = |source| IoError::from_system(Operation::List, directory, source);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let path = entry.path();
            // A symbolic link counts as what it points to; one that points nowhere counts as a file.
            let directory = match entry.file_type().map_err(wrap)? {
                kind if kind.is_symlink() => std::fs::metadata(&path).is_ok_and(|target| target.is_dir()),
                kind => kind.is_dir(),
            };
            let kind = if directory { FileKind::Directory } else { FileKind::File };
            entries.push(DirectoryEntry { name: entry.file_name().to_string_lossy().into_owned(), path, kind });
        }
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to).map_err(|source| {
            // The system does not say which of the two paths is missing.
            let path = if from.symlink_metadata().is_ok() { to } else { from };
            self.error(Operation::Rename, path, source)
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        std::fs::remove_file(path).map_err(|source| self.error(Operation::Remove, path, source))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        std::fs::remove_dir(path).map_err(|source| self.error(Operation::Remove, path, source))
    }

    fn remove_directory_all(&self, path: &Path) -> Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(self.error(Operation::Remove, path, source)),
            _ => Ok(()),
        }
    }

    fn create_directory_all(&self, path: &Path) -> Result<()> {
        let wrap = |source| self.error(Operation::CreateDirectory, path, source);
        let missing = |directory: &&Path| !directory.as_os_str().is_empty() && !directory.exists();
        let created: Vec<&Path> = path.ancestors().take_while(missing).collect();
        std::fs::create_dir_all(path).map_err(wrap)?;
        created.into_iter().try_for_each(|directory| sync_directory(directory_of(directory)).map_err(wrap))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        sync_directory(path).map_err(|source| self.error(Operation::SyncDirectory, path, source))
    }
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Windows journals its directories and offers no way to sync one.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[derive(Debug)]
struct LocalReadFile {
    file: File,
    path: PathBuf,
    size: u64,
    modified_millis: i64,
}

impl ReadFile for LocalReadFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn modified_millis(&self) -> i64 {
        self.modified_millis
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        positioned_read(&self.file, &self.path, offset, buffer)
    }
}

#[derive(Debug)]
struct LocalWriteFile {
    file: File,
    path: PathBuf,
    position: u64,
    created: bool,
    failed: bool,
}

impl LocalWriteFile {
    /// Runs one step; any failure makes the handle refuse what follows.
    fn step(&mut self, operation: Operation, step: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        if self.failed {
            let reason = "an earlier write or sync on it failed";
            return Err(IoError::HandleRefuses { operation, path: self.path.clone(), reason });
        }
        step(&mut self.file).map_err(|source| {
            self.failed = true;
            IoError::from_system(operation, &self.path, source)
        })
    }
}

impl WriteFile for LocalWriteFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.step(Operation::Write, |file| io::Write::write_all(file, bytes))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.step(Operation::Sync, |file| file.sync_data())
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.sync()?;
        if self.created {
            LocalFileSystem.sync_directory(directory_of(&self.path))?;
        }
        Ok(self.position)
    }
}

#[derive(Debug)]
struct LocalPositionedFile {
    file: File,
    path: PathBuf,
    sync_failed: AtomicBool,
}

impl LocalPositionedFile {
    fn refuse_after_failed_sync(&self, operation: Operation) -> Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            let reason = "an earlier sync on it failed";
            return Err(IoError::HandleRefuses { operation, path: self.path.clone(), reason });
        }
        Ok(())
    }
}

impl PositionedFile for LocalPositionedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|source| IoError::from_system(Operation::Stat, &self.path, source))?.len())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let read = |position, rest: &mut [u8]| positioned_read(&self.file, &self.path, position, rest);
        fill(&self.path, offset, buffer, read, || self.size().unwrap_or(0))
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Write)?;
        write_all_at(&self.file, offset, bytes)
            .map_err(|source| IoError::from_system(Operation::Write, &self.path, source))
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Resize)?;
        self.file.set_len(size).map_err(|source| IoError::from_system(Operation::Resize, &self.path, source))
    }

    fn sync(&self) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Sync)?;
        self.file.sync_data().map_err(|source| {
            self.sync_failed.store(true, Ordering::Release);
            IoError::from_system(Operation::Sync, &self.path, source)
        })
    }
}

fn positioned_read(file: &File, path: &Path, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match read_at(file, offset, buffer) {
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|source| IoError::from_system(Operation::Read, path, source)),
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
