//! Where spill files live: a trait of three calls, and its implementation on a directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes spill files.
pub trait SpillStorage: Send + Sync + std::fmt::Debug {
    /// A new, empty file that disappears when it is dropped.
    ///
    /// # Errors
    /// Of the system; the message should name the path.
    fn create(&self) -> io::Result<Box<dyn SpillIo>>;

    /// Where files are made, for messages.
    fn name(&self) -> String;
}

/// One spill file, written and read at positions, by any number of threads.
pub trait SpillIo: Send + Sync + std::fmt::Debug {
    /// Its path, for messages.
    fn name(&self) -> &str;

    /// Reads up to `bytes.len()` bytes; zero means the end of the file.
    ///
    /// # Errors
    /// Of the system.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes up to `bytes.len()` bytes.
    ///
    /// # Errors
    /// Of the system.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
}

/// Spill files in a directory of the local file system, which is made if it is missing.
///
/// A file loses its name as soon as it is open, so that the system takes its space back when the process ends, however
/// it ends.
#[derive(Debug, Clone)]
pub struct DirectoryStorage {
    directory: PathBuf,
}

/// Tells the files of one process apart in the moment that they have names.
static FILE_NUMBERS: AtomicU64 = AtomicU64::new(0);

impl DirectoryStorage {
    /// Files will be made in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn create_named(&self) -> io::Result<(File, PathBuf)> {
        loop {
            let number = FILE_NUMBERS.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("flumen-spill-{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((file, path)),
                // Left by another container's process of the same number; ours has others to offer.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl SpillStorage for DirectoryStorage {
    fn create(&self) -> io::Result<Box<dyn SpillIo>> {
        std::fs::create_dir_all(&self.directory)?;
        let (file, path) = self.create_named()?;
        std::fs::remove_file(&path)?;
        Ok(Box::new(UnnamedFile { file, name: display(&path) }))
    }

    fn name(&self) -> String {
        display(&self.directory)
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

#[derive(Debug)]
struct UnnamedFile {
    file: File,
    name: String,
}

impl SpillIo for UnnamedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }
}
