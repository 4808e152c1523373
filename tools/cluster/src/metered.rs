//! Files that count the bytes that are read from them.
//!
//! Connectors get their files through this, so a client can say how much a statement has read. One addition a read; what
//! is written is not counted.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flumen_io::{DirectoryEntry, FileMetadata, FileSystem, IoError, PositionedFile, ReadFile, WriteFile};

type Result<T> = std::result::Result<T, IoError>;

/// Counts what is read from another file system.
#[derive(Debug)]
pub(crate) struct MeteredFileSystem {
    files: Arc<dyn FileSystem>,
    bytes: Arc<AtomicU64>,
}

impl MeteredFileSystem {
    pub(crate) fn new(files: Arc<dyn FileSystem>) -> Self {
        Self { files, bytes: Arc::default() }
    }

    /// The count; it grows while files are read.
    pub(crate) fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes)
    }
}

impl FileSystem for MeteredFileSystem {
    fn open(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(MeteredFile { file: self.files.open(path)?, bytes: Arc::clone(&self.bytes) }))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.files.create(path)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.files.create_new(path)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.files.append(path)
    }

    fn create_positioned(&self, path: &Path) -> Result<Arc<dyn PositionedFile>> {
        self.files.create_positioned(path)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata> {
        self.files.metadata(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.files.exists(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<DirectoryEntry>> {
        self.files.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.files.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.files.remove_directory(path)
    }

    fn remove_directory_all(&self, path: &Path) -> Result<()> {
        self.files.remove_directory_all(path)
    }

    fn create_directory_all(&self, path: &Path) -> Result<()> {
        self.files.create_directory_all(path)
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.files.sync_directory(path)
    }
}

#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn ReadFile>,
    bytes: Arc<AtomicU64>,
}

impl MeteredFile {
    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl ReadFile for MeteredFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn size(&self) -> u64 {
        self.file.size()
    }

    fn modified_millis(&self) -> i64 {
        self.file.modified_millis()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let read = self.file.read_at(offset, buffer)?;
        self.count(read);
        Ok(read)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(offset, buffer)?;
        self.count(buffer.len());
        Ok(())
    }

    fn read_range(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.file.read_range(range)?;
        self.count(bytes.len());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_reading_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let files = MeteredFileSystem::new(Arc::new(flumen_io::LocalFileSystem));
        let file = files.open(&path).unwrap();
        let mut buffer = [0; 4];
        assert_eq!(file.read_at(8, &mut buffer).unwrap(), 2);
        file.read_exact_at(0, &mut buffer).unwrap();
        assert_eq!(&file.read_range(2..5).unwrap()[..], b"234");
        assert!(file.read_range(2..50).is_err());
        assert_eq!(files.bytes_read().load(Ordering::Relaxed), 2 + 4 + 3);
    }
}
