//! What can go wrong in state: memory refused, arithmetic that leaves its type, rows that do not fit, damaged files.

use std::path::PathBuf;

use flumen_core::failure::{Failure, FailureKind};

/// An error of keyed state, aggregates or checkpoint storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The budget of the operator is at its end.
    #[error("no memory for {bytes} more bytes of keyed state")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// Who refused, with the top consumers.
        #[source]
        source: Failure,
    },
    /// More groups than a table can address.
    #[error("a keyed table holds at most {max} groups; raise the parallelism")]
    TooManyGroups {
        /// The limit.
        max: usize,
    },
    /// A key column of a type that cannot be a key.
    #[error("column {column} of type {data_type} cannot be a key; cast it to a simple type")]
    KeyType {
        /// Position among the key columns.
        column: usize,
        /// Its type.
        data_type: String,
    },
    /// No aggregate function of this name for these arguments.
    #[error("no aggregate function {function}({args}) returning {returns} is registered; known names are {known}")]
    UnknownAggregate {
        /// Its name.
        function: String,
        /// The argument types.
        args: String,
        /// The return type.
        returns: String,
        /// All registered names.
        known: String,
    },
    /// The function exists, but not in this form.
    #[error("aggregate {function} {problem}")]
    UnsupportedAggregate {
        /// Its name.
        function: String,
        /// What it cannot do, and what to try.
        problem: String,
    },
    /// A result outside of its type.
    #[error("{function} is out of range for {data_type}; cast the argument to a wider type")]
    Overflow {
        /// The aggregate function.
        function: String,
        /// The type it returns.
        data_type: String,
    },
    /// A column is not what the schema promises.
    #[error("{what} is carried by {found}, expected {expected}")]
    ColumnType {
        /// Which column.
        what: String,
        /// The Arrow type found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A file of a checkpoint is not as it was written.
    #[error("checkpoint file {} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// The file was written by a newer build.
    #[error(
        "checkpoint file {} has format version {found}, this build reads up to {supported}; use a newer build",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest this build knows.
        supported: u32,
    },
    /// The checkpoint does not fit the job.
    #[error("cannot restore from {}: {}", path.display(), problems.join("; "))]
    Incompatible {
        /// The checkpoint's directory.
        path: PathBuf,
        /// Everything that does not fit, by operator.
        problems: Vec<String>,
    },
    /// There is no complete checkpoint.
    #[error("no complete checkpoint under {}{}", path.display(), describe(problems))]
    NoCheckpoint {
        /// Where it was looked for.
        path: PathBuf,
        /// Why those that are there could not be used.
        problems: Vec<String>,
    },
    /// Rows could not be encoded or decoded.
    #[error("state {what}: {problem}")]
    Codec {
        /// Which state.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// The storage failed.
    #[error("checkpoint storage failed")]
    Io(#[from] flumen_io::IoError),
    /// A source of rows failed while state was written or restored.
    #[error("state {name} cannot be read")]
    Rows {
        /// Which state.
        name: String,
        /// Why.
        #[source]
        source: Failure,
    },
}

fn describe(problems: &[String]) -> String {
    if problems.is_empty() { String::new() } else { format!(": {}", problems.join("; ")) }
}

/// Result of this crate.
pub type Result<T, E = StateError> = std::result::Result<T, E>;

impl StateError {
    /// How it is to be treated.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Memory { source, .. } | Self::Rows { source, .. } => source.failure_kind(),
            Self::Io(_) => FailureKind::Transient,
            Self::ColumnType { .. } => FailureKind::Bug,
            _ => FailureKind::User,
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure::new(error.failure_kind(), error)
    }
}
