//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from; prints as it follows "in".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A `--set key=value`.
    Flag,
    /// The program itself, such as a test or an embedding application.
    Program,
    /// SQL `SET`.
    Statement,
}

impl Origin {
    /// Higher origins win.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Environment { .. } => 2,
            Self::Flag => 3,
            Self::Program => 4,
            Self::Statement => 5,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Flag => f.write_str("a flag (--set)"),
            Self::Program => f.write_str("the program"),
            Self::Statement => f.write_str("a SET statement"),
        }
    }
}
