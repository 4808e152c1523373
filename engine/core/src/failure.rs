//! What ended a task, reduced to the one question that control asks: may it be tried again?
//!
//! Every error enum of the engine answers `failure_kind()`. Traits whose implementations live in other crates
//! (sources, sinks, operators) return [`Failure`], which carries the original error as its source.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ResultPartitionId;

/// How a failure is to be treated; the restart strategy reads only this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureKind {
    /// The statement, the data or the configuration is at fault: trying again gives the same answer.
    User,
    /// A resource, a peer or a device is at fault: trying again may succeed.
    Transient,
    /// An input partition is gone; its producer must run again first.
    PartitionMissing,
    /// An invariant of the engine is broken (a panic, for instance).
    Bug,
    /// The producer of an input failed: a consequence, whose cause that producer reports.
    ProducerFailed,
    /// The work was cancelled; nothing went wrong.
    Cancelled,
}

/// An error with its kind.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    // Boxed, so that a result that may hold a failure stays small.
    partition: Option<Box<ResultPartitionId>>,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Wraps `source`.
    pub fn new(kind: FailureKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, partition: None, source: source.into() }
    }

    /// A fault of the statement, data or configuration.
    pub fn user(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::User, source)
    }

    /// A fault that may pass.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Transient, source)
    }

    /// A broken invariant.
    pub fn bug(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(FailureKind::Bug, source)
    }

    /// The same, about a partition that could not be read.
    #[must_use]
    pub fn of_partition(self, partition: ResultPartitionId) -> Self {
        Self { partition: Some(Box::new(partition)), ..self }
    }

    /// The partition that could not be read, if that was it.
    pub fn partition(&self) -> Option<ResultPartitionId> {
        self.partition.as_deref().copied()
    }

    /// How it is to be treated.
    pub fn failure_kind(&self) -> FailureKind {
        self.kind
    }

    /// The chain of causes, outermost first, as one line.
    pub fn chain(&self) -> String {
        let mut text = self.source.to_string();
        let mut cause = self.source.source();
        while let Some(error) = cause {
            let line = error.to_string();
            // Wrappers that repeat their source in Display would otherwise print it twice.
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
