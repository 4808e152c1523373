//! What a running statement is to its client.

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use flumen_connectors::CollectStream;
use flumen_core::failure::{Failure, FailureKind};
use flumen_core::ids::{JobId, OperatorUid};
use flumen_core::spec::connector::SourceSpec;
use flumen_gateway::{ClientEvent, JobStatus};
use flumen_sql::Summary;

use crate::error::SessionError;
use crate::job::Job;
use crate::process::Process;

/// How far a statement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatementProgress {
    /// Rows that sources have read.
    pub rows_read: u64,
    /// Rows that sinks have taken.
    pub rows_out: u64,
    /// Bytes that sources have read from files since the statement began.
    pub bytes_read: u64,
    /// Bytes that operators have spilled, as stored.
    pub spilled_bytes: u64,
    /// Managed memory in use.
    pub memory_bytes: u64,
    /// The most managed memory that was in use at once since the session began.
    pub peak_memory_bytes: u64,
}

/// How many rows a statement will read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRows {
    /// So many.
    Exactly(u64),
    /// Fewer if filters skip parts of files, or a LIMIT is reached.
    AtMost(u64),
}

/// Cancels a statement from another thread.
#[derive(Clone)]
pub struct CancelHandle(pub(crate) Arc<Job>);

impl CancelHandle {
    /// Asks it to stop.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

pub(crate) struct Running {
    pub(crate) process: Arc<Process>,
    pub(crate) job: Arc<Job>,
    pub(crate) plan_time: Duration,
    pub(crate) sources: Vec<OperatorUid>,
    pub(crate) sinks: Vec<OperatorUid>,
    pub(crate) scans: Vec<SourceSpec>,
    pub(crate) expected: OnceLock<Option<ExpectedRows>>,
    pub(crate) bytes_before: u64,
}

impl Running {
    fn progress(&self) -> StatementProgress {
        let mut progress = StatementProgress {
            bytes_read: self.process.bytes_read().saturating_sub(self.bytes_before),
            memory_bytes: self.process.memory().used_bytes(),
            peak_memory_bytes: self.process.memory().root().peak_bytes(),
            ..StatementProgress::default()
        };
        for (_, uid, _, counts) in self.process.task_executor().operator_counts(self.job.id()) {
            progress.spilled_bytes += counts.spilled_bytes;
            if self.sources.contains(&uid) {
                progress.rows_read += counts.rows_out;
            }
            if self.sinks.contains(&uid) {
                progress.rows_out += counts.rows_in;
            }
        }
        progress
    }

    /// Asks the connectors once; they may read metadata of files.
    fn expected_rows(&self) -> Option<ExpectedRows> {
        *self.expected.get_or_init(|| {
            let mut rows = 0_u64;
            let mut exact = true;
            for scan in &self.scans {
                exact &= scan.filters.is_empty() && scan.limit.is_none() && scan.runtime_filters.is_empty();
                // Without columns nothing but the rows is looked for.
                let counted = SourceSpec { projection: Vec::new(), filters: Vec::new(), ..scan.clone() };
                let connector = self.process.connectors().source(&scan.connector)?;
                rows = rows.saturating_add(connector.statistics(&counted).rows?);
            }
            Some(if exact { ExpectedRows::Exactly(rows) } else { ExpectedRows::AtMost(rows) })
        })
    }

    /// An error if the job ended otherwise than by finishing.
    fn check(&self, end: crate::job::JobEnd) -> Result<(), SessionError> {
        match end.status {
            JobStatus::Finished => Ok(()),
            JobStatus::Canceled => Err(SessionError::Cancelled),
            status => Err(end.failure.map_or_else(
                || SessionError::Job {
                    kind: FailureKind::Bug,
                    message: format!("the job ended as {} without a cause", status.name()),
                },
                SessionError::from,
            )),
        }
    }
}

/// What [`RowStream::next_within`] finds.
#[derive(Debug)]
pub enum Polled {
    /// Rows.
    Batch(RecordBatch),
    /// None yet.
    Waiting,
    /// There are no more.
    End,
}

/// The rows of a query, as they are made. Dropped before its end, it cancels the query.
pub struct RowStream {
    pub(crate) running: Running,
    pub(crate) stream: CollectStream,
    pub(crate) schema: SchemaRef,
    /// The rows are those of a `SUMMARIZE`.
    pub(crate) summary: Option<Summary>,
}

impl RowStream {
    /// Columns of the rows, in types that any Arrow reader knows.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; waits for them for at most so long.
    ///
    /// # Errors
    /// If the query failed or was cancelled.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Polled, SessionError> {
        // The end of the job, however it came, closes the stream.
        match self.stream.next_timeout(timeout) {
            Poll::Ready(Some(batch)) => {
                let batch = flumen_kernels::gather::to_portable_record_batch(&batch).map_err(Failure::bug)?;
                Ok(Polled::Batch(match &self.summary {
                    Some(summary) => crate::summary::table(summary, &batch).map_err(Failure::bug)?,
                    None => batch,
                }))
            }
            Poll::Ready(None) => match self.running.job.wait_within(timeout) {
                Some(end) => self.running.check(end).map(|()| Polled::End),
                None => Ok(Polled::Waiting),
            },
            Poll::Pending => Ok(Polled::Waiting),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> StatementProgress {
        self.running.progress()
    }

    /// How many rows will be read, where that is known. The first call may read metadata of files.
    #[must_use]
    pub fn expected_rows(&self) -> Option<ExpectedRows> {
        self.running.expected_rows()
    }

    /// How long planning took.
    #[must_use]
    pub fn plan_time(&self) -> Duration {
        self.running.plan_time
    }

    /// Cancels it from another thread.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::clone(&self.running.job))
    }

    /// The job that makes the rows.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        &self.running.job
    }
}

impl Drop for RowStream {
    fn drop(&mut self) {
        if self.running.job.end().is_none() {
            self.running.job.cancel();
        }
    }
}

/// That a job, or a part of it, started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Which one it is, from 1.
    pub number: u32,
    /// After how long.
    pub delay: Duration,
    /// The checkpoint that it starts from; `None` means from the beginning.
    pub checkpoint: Option<u64>,
    /// Why.
    pub cause: String,
}

/// What a job started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Directory of the checkpoint.
    pub location: String,
    /// Damaged checkpoints that would have come first, and what is wrong with them.
    pub passed_over: Vec<String>,
}

/// A job that a statement started.
pub struct JobHandle {
    pub(crate) running: Running,
    pub(crate) recovery: Option<Recovery>,
}

impl JobHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.running.job.id()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.running.job.name()
    }

    /// What it started from; `None` if it started anew.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    /// The restarts after the first `seen`, of the last that are remembered.
    #[must_use]
    pub fn restarts_after(&self, seen: u32) -> Vec<Restart> {
        let restart = |event| match event {
            ClientEvent::Restarting { number, delay_ms, restore, cause, .. } if number > seen => Some(Restart {
                number,
                delay: Duration::from_millis(delay_ms),
                checkpoint: restore.map(|checkpoint| checkpoint.0),
                cause: cause.message,
            }),
            _ => None,
        };
        self.running.job.history().into_iter().filter_map(restart).collect()
    }

    /// Waits for its end for at most so long; whether it has ended.
    ///
    /// # Errors
    /// If it failed or was cancelled.
    pub fn wait_within(&mut self, timeout: Duration) -> Result<bool, SessionError> {
        match self.running.job.wait_within(timeout) {
            Some(end) => self.running.check(end).map(|()| true),
            None => Ok(false),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> StatementProgress {
        self.running.progress()
    }

    /// How many rows will be read, where that is known. The first call may read metadata of files.
    #[must_use]
    pub fn expected_rows(&self) -> Option<ExpectedRows> {
        self.running.expected_rows()
    }

    /// How long planning took.
    #[must_use]
    pub fn plan_time(&self) -> Duration {
        self.running.plan_time
    }

    /// Cancels it from another thread.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(Arc::clone(&self.running.job))
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        &self.running.job
    }
}
