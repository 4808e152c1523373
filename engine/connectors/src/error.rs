//! What can go wrong in a connector.

use flumen_core::failure::{Failure, FailureKind};
use flumen_formats::FormatError;
use flumen_formats_parquet::ParquetError;
use flumen_io::IoError;

/// What can go wrong in a connector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// A table has an option that its connector does not know.
    #[error("connector '{connector}' has no option '{option}'{nearest}")]
    UnknownOption {
        /// The connector.
        connector: &'static str,
        /// The option.
        option: String,
        /// The end of the sentence: a name that looks like it, or the known ones.
        nearest: String,
    },
    /// A table lacks an option that its connector needs.
    #[error("connector '{connector}' needs option '{option}': {purpose}")]
    MissingOption {
        /// The connector.
        connector: &'static str,
        /// The option.
        option: String,
        /// What it is for.
        purpose: &'static str,
    },
    /// An option has a value that makes no sense.
    #[error("option '{option}' of connector '{connector}' is '{value}': {problem}")]
    WrongOption {
        /// The connector.
        connector: &'static str,
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// A column cannot be read or written by the connector.
    #[error("column '{column}' of a table with connector '{connector}': {problem}")]
    Column {
        /// The connector.
        connector: &'static str,
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// A path names nothing.
    #[error("no file matches '{path}': {problem}")]
    NoFiles {
        /// The path or pattern.
        path: String,
        /// Where the search ended.
        problem: String,
    },
    /// Files of one table have types that do not go together.
    #[error("column {column:?} is {data_type} in '{path}' and {other_type} in '{other_path}', and no type holds both")]
    Misfit {
        /// The column.
        column: String,
        /// The file that does not fit those before it.
        path: String,
        /// Its type there.
        data_type: String,
        /// A file before it.
        other_path: String,
        /// The type in that file, or of all before.
        other_type: String,
    },
    /// A directory's name has a value that is none of its column's type.
    #[error("column {column:?} is {data_type}, and the path '{path}' says {value}")]
    PathValue {
        /// The file.
        path: String,
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// The column's type.
        data_type: String,
    },
    /// The bytes of a file that is compressed as a whole are damaged, or ask for too much memory.
    #[error("file '{path}' cannot be decompressed ({codec}): {problem}")]
    Compressed {
        /// The file.
        path: String,
        /// How it is compressed.
        codec: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A file is not what it was when its splits were made.
    #[error("file '{path}' has changed since the job began to read it: {problem}; start the job anew")]
    FileChanged {
        /// The file.
        path: String,
        /// What is different.
        problem: String,
    },
    /// State of another version, or damaged.
    #[error("{what} of connector '{connector}' cannot be read: {problem}")]
    State {
        /// The connector.
        connector: &'static str,
        /// A split or an enumerator's state.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A file or directory cannot be used.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A Parquet file cannot be read.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// The content of a file is not in its format, or rows cannot be written in it.
    #[error("file '{path}'")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: FormatError,
    },
    /// The work that was waited for has panicked.
    #[error("{what} was lost: its thread has panicked")]
    Lost {
        /// The work.
        what: &'static str,
    },
    /// A table went away while a query read it.
    #[error("a table with connector '{connector}' was dropped while it was read")]
    Dropped {
        /// The connector.
        connector: &'static str,
    },
    /// A failure that was asked for.
    #[error("failure after {rows} rows, as the table's options ask for")]
    Injected {
        /// Rows before it.
        rows: u64,
    },
}

impl ConnectorError {
    /// How control is to treat it.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Io(error) if error.is_transient() => FailureKind::Transient,
            Self::Parquet(error) => error.failure_kind(),
            Self::Injected { .. } => FailureKind::Transient,
            Self::Lost { .. } => FailureKind::Bug,
            _ => FailureKind::User,
        }
    }
}

impl From<ConnectorError> for Failure {
    fn from(error: ConnectorError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}

/// What this crate answers.
pub type Result<T, E = ConnectorError> = std::result::Result<T, E>;
