//! What can go wrong with a Parquet file.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use flumen_core::failure::{Failure, FailureKind};
use flumen_io::IoError;

/// What can go wrong with a Parquet file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParquetError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The file does not end as a Parquet file does.
    #[error("{} is not a Parquet file: {problem}", path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The footer is not what the format says.
    #[error("footer of Parquet file {}: {problem}", path.display())]
    Footer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A column has a type that the engine does not take.
    #[error("column {column:?} of Parquet file {} has type {data_type}, which is not supported; leave it out", path.display())]
    UnsupportedType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type, as Arrow calls it.
        data_type: String,
    },
    /// A column of the table cannot be made from the file's column.
    #[error("column {column:?} is {wanted} in the table but {found} in Parquet file {}", path.display())]
    TypeMismatch {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The table's type.
        wanted: String,
        /// The file's type.
        found: String,
    },
    /// A value of a column does not fit the table's type.
    #[error("row group {row_group} of Parquet file {}, column {column:?}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which row group, counted from 0.
        row_group: usize,
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// The bytes of a column chunk are not what the format says.
    #[error("row group {row_group} of Parquet file {}{}: {problem}", path.display(), in_column(column))]
    RowGroup {
        /// The file.
        path: PathBuf,
        /// Which row group, counted from 0.
        row_group: usize,
        /// The column, if it is known; else one of the columns read.
        column: Option<String>,
        /// What is wrong.
        problem: String,
    },
}

fn in_column(column: &Option<String>) -> String {
    column.as_ref().map_or_else(String::new, |c| format!(", column {c:?}"))
}

impl ParquetError {
    /// How control is to treat it: damage stays damage, a device may recover.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Io(error) if error.is_transient() => FailureKind::Transient,
            _ => FailureKind::User,
        }
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}

/// Runs `work` of the library underneath. A panic, which hostile bytes can cause there, becomes its text.
///
/// What `work` borrows is not used again after a panic: the callers drop their readers on any error.
pub(crate) fn guarded<T, E: std::fmt::Display>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(format!("the bytes are damaged ({})", panic_text(panic.as_ref()))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "the decoder gave up",
    }
}

pub(crate) fn footer(path: &Path, problem: impl Into<String>) -> ParquetError {
    ParquetError::Footer { path: path.to_path_buf(), problem: problem.into() }
}
