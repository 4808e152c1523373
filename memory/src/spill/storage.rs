//! Where spill files live: a trait of three calls, and its implementation on a directory of a [`FileSystem`].

use flumen_io::{FileSystem, IoError, PositionedFile};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
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

/// Spill files in a directory, which is made if it is missing.
///
/// A file loses its name as soon as it is open, so that the system takes its space back when the process ends, however
/// it ends. Where the name cannot be removed then, it is tried again when the file is dropped.
#[derive(Debug, Clone)]
pub struct DirectoryStorage {
    files: Arc<dyn FileSystem>,
    directory: PathBuf,
}

/// Tells the files of one process apart in the moment that they have names.
static FILE_NUMBERS: AtomicU64 = AtomicU64::new(0);

impl DirectoryStorage {
    /// Files will be made in `directory` of `files`.
    pub fn new(files: Arc<dyn FileSystem>, directory: impl Into<PathBuf>) -> Self {
        Self { files, directory: directory.into() }
    }

    fn create_named(&self) -> Result<Arc<dyn PositionedFile>, IoError> {
        loop {
            let number = FILE_NUMBERS.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("flumen-spill-{}-{number}", std::process::id()));
            match self.files.create_positioned(&path) {
                // Left by another container's process of the same number; ours has others to offer.
                Err(IoError::AlreadyExists { .. }) => {}
                answer => return answer,
            }
        }
    }
}

impl SpillStorage for DirectoryStorage {
    fn create(&self) -> io::Result<Box<dyn SpillIo>> {
        self.files.create_directory_all(&self.directory).map_err(to_system)?;
        let file = self.create_named().map_err(to_system)?;
        let named = self.files.remove_file(file.path()).is_err();
        let name = file.path().display().to_string();
        Ok(Box::new(StoredFile { files: Arc::clone(&self.files), file, name, named }))
    }

    fn name(&self) -> String {
        self.directory.display().to_string()
    }
}

#[derive(Debug)]
struct StoredFile {
    files: Arc<dyn FileSystem>,
    file: Arc<dyn PositionedFile>,
    name: String,
    named: bool,
}

impl SpillIo for StoredFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        match self.file.read_exact_at(offset, bytes) {
            Ok(()) => Ok(bytes.len()),
            // Spill never reads past what it wrote, so this is a file that was cut, whatever is left of it.
            Err(IoError::UnexpectedEnd { .. }) => Ok(0),
            Err(error) => Err(to_system(error)),
        }
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(offset, bytes).map_err(to_system)?;
        Ok(bytes.len())
    }
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if self.named {
            // There is nobody to tell, and a file that cannot be removed twice is left to the directory's owner.
            let _ = self.files.remove_file(self.file.path());
        }
    }
}

/// Keeps whether the disk was full, which callers act on, and the whole error for the message.
fn to_system(error: IoError) -> io::Error {
    let kind = match error {
        IoError::StorageFull { .. } => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
