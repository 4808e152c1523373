//! The crate's error: every variant names the operation and the path, and a missing path comes with names near it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::nearest::NearestSiblings;

/// The result of a file operation.
pub type Result<T, E = IoError> = std::result::Result<T, E>;

/// What was being done to a path when something went wrong; prints as the verb that fits after "cannot".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Opening for reads.
    Open,
    /// Creating, truncating or opening for writes.
    Create,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making written bytes durable.
    Sync,
    /// Changing a file's length.
    Resize,
    /// Giving a path another name.
    Rename,
    /// Listing a directory.
    List,
    /// Reading size and times.
    Stat,
    /// Removing a file or directory.
    Remove,
    /// Creating a directory.
    CreateDirectory,
    /// Making the entries of a directory durable.
    SyncDirectory,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Resize => "resize",
            Self::Rename => "rename",
            Self::List => "list",
            Self::Stat => "look at",
            Self::Remove => "remove",
            Self::CreateDirectory => "create directory",
            Self::SyncDirectory => "sync directory",
        })
    }
}

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The path, or a directory on the way to it, does not exist.
    #[error("cannot {operation} {}: no such file or directory{nearest}", path.display())]
    NotFound {
        /// What was being done.
        operation: Operation,
        /// The path that is missing.
        path: PathBuf,
        /// Names beside it that look like it.
        nearest: NearestSiblings,
    },
    /// The path exists although it must not.
    #[error("cannot {operation} {}: it already exists", path.display())]
    AlreadyExists {
        /// What was being done.
        operation: Operation,
        /// The path that is in the way.
        path: PathBuf,
    },
    /// The path is of the other kind: a directory where a file is needed, or the reverse.
    #[error("cannot {operation} {}: it is {found}, not {wanted}", path.display())]
    WrongKind {
        /// What was being done.
        operation: Operation,
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// A directory to be removed still has entries.
    #[error("cannot {operation} {}: the directory is not empty", path.display())]
    NotEmpty {
        /// What was being done.
        operation: Operation,
        /// The directory.
        path: PathBuf,
    },
    /// The process may not do this.
    #[error("cannot {operation} {}: permission denied; check its owner and mode", path.display())]
    PermissionDenied {
        /// What was being done.
        operation: Operation,
        /// The path.
        path: PathBuf,
    },
    /// The device or quota is full.
    #[error("cannot {operation} {}: no space left; free some or choose another directory", path.display())]
    StorageFull {
        /// What was being done.
        operation: Operation,
        /// The path.
        path: PathBuf,
    },
    /// A read went past the end of the file.
    #[error("cannot read {length} bytes at {offset} of {}: the file ends at {size}", path.display())]
    UnexpectedEnd {
        /// The file.
        path: PathBuf,
        /// Where the read began.
        offset: u64,
        /// How much was wanted.
        length: u64,
        /// The size of the file.
        size: u64,
    },
    /// The handle refuses work because an earlier call on it failed, or because the simulated machine has crashed.
    #[error("cannot {operation} {}: the handle refuses work since {reason}", path.display())]
    HandleRefuses {
        /// What was being done.
        operation: Operation,
        /// The file.
        path: PathBuf,
        /// What happened before, as the end of a sentence.
        reason: &'static str,
    },
    /// Anything else the operating system, or the simulated one, reports.
    #[error("cannot {operation} {}", path.display())]
    System {
        /// What was being done.
        operation: Operation,
        /// The path.
        path: PathBuf,
        /// The system's own words.
        #[source]
        source: io::Error,
    },
}

impl IoError {
    /// Sorts an error of the operating system into the variants above. For [`IoError::NotFound`] prefer
    /// [`crate::nearest::not_found`], which looks for names nearby.
    pub fn from_system(operation: Operation, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { operation, path, nearest: NearestSiblings::default() },
            io::ErrorKind::AlreadyExists => Self::AlreadyExists { operation, path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied { operation, path }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::StorageFull { operation, path }
            }
            io::ErrorKind::DirectoryNotEmpty => Self::NotEmpty { operation, path },
            io::ErrorKind::IsADirectory => Self::WrongKind { operation, path, found: "a directory", wanted: "a file" },
            io::ErrorKind::NotADirectory => {
                Self::WrongKind { operation, path, found: "a file or below one", wanted: "a directory" }
            }
            _ => Self::System { operation, path, source },
        }
    }

    /// What was being done.
    pub fn operation(&self) -> Operation {
        match self {
            Self::NotFound { operation, .. }
            | Self::AlreadyExists { operation, .. }
            | Self::WrongKind { operation, .. }
            | Self::NotEmpty { operation, .. }
            | Self::PermissionDenied { operation, .. }
            | Self::StorageFull { operation, .. }
            | Self::HandleRefuses { operation, .. }
            | Self::System { operation, .. } => *operation,
            Self::UnexpectedEnd { .. } => Operation::Read,
        }
    }

    /// The path it was done to.
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path, .. }
            | Self::AlreadyExists { path, .. }
            | Self::WrongKind { path, .. }
            | Self::NotEmpty { path, .. }
            | Self::PermissionDenied { path, .. }
            | Self::StorageFull { path, .. }
            | Self::HandleRefuses { path, .. }
            | Self::UnexpectedEnd { path, .. }
            | Self::System { path, .. } => path,
        }
    }

    /// True if the path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// True if the path exists although it must not.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists { .. })
    }

    /// True if the same operation on a fresh handle may succeed later: the device failed, was full, or the handle died.
    ///
    /// False where only a person can help: the path is wrong, of the wrong kind, forbidden, or the file too short.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::StorageFull { .. } | Self::HandleRefuses { .. } | Self::System { .. })
    }
}
