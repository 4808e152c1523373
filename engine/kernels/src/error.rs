//! What goes wrong in a kernel. Type errors are refused when a plan is made, so little is left.

use arrow_schema::{ArrowError, DataType};
use flumen_core::failure::{Failure, FailureKind};

/// What goes wrong in a kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A column cannot become one of another type, or an array outgrows its offsets.
    #[error("column {column:?} cannot be {action}; cast it to a supported type first")]
    Column {
        /// The column's name, or its position where names are not known.
        column: String,
        /// What was tried.
        action: &'static str,
        /// Arrow's reason.
        #[source]
        source: ArrowError,
    },
    /// Row numbers have 32 bits.
    #[error("{rows} rows are more than the 4294967294 that {what} can number; use a higher parallelism")]
    TooManyRows {
        /// How many there are.
        rows: usize,
        /// What has to number them.
        what: &'static str,
    },
    /// Rows of this type have no order.
    #[error("rows cannot be ordered by a value of type {data_type}; order by one of its parts")]
    NotOrdered {
        /// The type.
        data_type: DataType,
        /// Arrow's reason, if it was the one who refused.
        #[source]
        source: Option<ArrowError>,
    },
}

impl KernelError {
    /// What the restart strategy makes of it: restarting does not help against any of these.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        FailureKind::User
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}
