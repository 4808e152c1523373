//! What can go wrong with a statement.

use flumen_core::failure::{Failure, FailureKind};
use flumen_gateway::FailureReport;
use flumen_sql::SqlError;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The statement is at fault.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// A setting is.
    #[error("{0}")]
    Configuration(#[from] flumen_config::ConfigError),
    /// The job failed.
    #[error("{message}")]
    Job {
        /// How it is to be treated.
        kind: FailureKind,
        /// The chain of causes.
        message: String,
    },
    /// The statement was cancelled.
    #[error("the statement was cancelled")]
    Cancelled,
    /// The process could not be set up.
    #[error("{0:#}")]
    Setup(anyhow::Error),
}

impl SessionError {
    /// The error for people: with the place in the statement where there is one.
    #[must_use]
    pub fn render(&self) -> String {
        match self {
            Self::Sql(error) => error.render(),
            Self::Job { kind: FailureKind::Bug, message } => {
                format!("{message}\n  this is a bug in flumen; please report it with the statement")
            }
            other => other.to_string(),
        }
    }
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        match failure.failure_kind() {
            FailureKind::Cancelled => Self::Cancelled,
            kind => Self::Job { kind, message: failure.chain() },
        }
    }
}

impl From<FailureReport> for SessionError {
    fn from(report: FailureReport) -> Self {
        match report.kind {
            FailureKind::Cancelled => Self::Cancelled,
            kind => Self::Job { kind, message: report.message },
        }
    }
}
