//! Sources: splits handed out on demand by an enumerator, read by readers (Flink's FLIP-27).
//!
//! The [`SplitEnumerator`] runs once per job, beside the JobMaster; a [`SourceReader`] runs in every source subtask.
//! A reader that has nothing to do asks for a split; the enumerator assigns one, or says that there are no more.
//! At a barrier the reader gives back the splits it holds with their positions, the enumerator what it has not handed
//! out; together they are the source's state, and the reader's part is dealt out anew on rescale.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::expr::Expr;
use crate::failure::Failure;
use crate::ids::{CheckpointId, SubtaskIndex};
use crate::meter::MemoryMeter;
use crate::spec::connector::SourceSpec;
use crate::time::Watermark;
use crate::types::Schema;
use crate::waiting::{BlockingExecutor, TimerService, Waker};

/// Whether a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boundedness {
    /// It ends.
    Bounded,
    /// It does not.
    Unbounded,
}

/// A part of a source that one reader reads, with the position reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSplit {
    /// Unique in the source.
    pub id: String,
    /// The connector's own description, position included; versioned by the connector.
    pub payload: Vec<u8>,
}

/// A connector's answer to what the planner would like to push into it.
#[derive(Clone, Debug, Default)]
pub struct ScanPushdown {
    /// For each filter, whether the source applies it exactly, so that none is needed above.
    pub filters_applied: Vec<bool>,
}

/// What the planner may know of a table. Absent means unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableStatistics {
    /// Rows, exact if the source knows.
    pub rows: Option<u64>,
    /// Bytes as stored.
    pub stored_bytes: Option<u64>,
    /// By column.
    pub columns: Vec<ColumnStatistics>,
}

/// What the planner may know of a column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnStatistics {
    /// Smallest value.
    pub min: Option<crate::expr::Literal>,
    /// Largest value.
    pub max: Option<crate::expr::Literal>,
    /// NULLs.
    pub null_count: Option<u64>,
    /// Distinct values, about.
    pub distinct_count: Option<u64>,
    /// Rows lie in ascending order of this column.
    pub clustered: bool,
}

/// A connector that reads; registered by name, built from a [`SourceSpec`] wherever the source runs.
pub trait SourceConnector: Send + Sync {
    /// Name in `'connector' = '...'`.
    fn name(&self) -> &'static str;

    /// Checks the options of a table definition (unknown ones are errors with the nearest name) and says whether the
    /// table ends.
    ///
    /// # Errors
    /// If an option is unknown, missing or malformed.
    fn validate(&self, options: &BTreeMap<String, String>, schema: &Schema) -> Result<Boundedness, Failure>;

    /// The schema of the data itself, for tables defined without columns.
    ///
    /// # Errors
    /// If the data cannot be read, or has no schema of its own.
    fn infer_schema(&self, options: &BTreeMap<String, String>) -> Result<Schema, Failure>;

    /// Which filters (over the output columns of `spec`) the source would apply exactly.
    fn pushdown(&self, spec: &SourceSpec, filters: &[Expr]) -> ScanPushdown {
        let _ = spec;
        ScanPushdown { filters_applied: vec![false; filters.len()] }
    }

    /// What people see of a scan in a plan, besides its columns and filters: parts of the table that it leaves out, say.
    fn scan_note(&self, spec: &SourceSpec) -> Option<String> {
        let _ = spec;
        None
    }

    /// What is known of the table without reading its rows.
    fn statistics(&self, spec: &SourceSpec) -> TableStatistics {
        let _ = spec;
        TableStatistics::default()
    }

    /// The enumerator of a fresh job, or of one restored from `state`.
    ///
    /// # Errors
    /// If the source cannot be listed, or the state cannot be read.
    fn create_enumerator(
        &self,
        spec: &SourceSpec,
        parallelism: u32,
        state: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>, Failure>;

    /// A reader for one subtask.
    ///
    /// # Errors
    /// If the reader cannot be set up.
    fn create_reader(&self, spec: &SourceSpec, context: ReaderContext) -> Result<Box<dyn SourceReader>, Failure>;
}

/// What an enumerator answers to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitResponse {
    /// Read this.
    Assign(Vec<SourceSplit>),
    /// Nothing now; an assignment follows by [`SplitEnumerator::poll`].
    Wait,
    /// Nothing ever; the reader ends when it has read what it holds.
    NoMoreSplits,
}

/// Hands out splits. Called by one thread at a time; may read metadata when created, not afterwards.
pub trait SplitEnumerator: Send {
    /// A reader asks for work.
    ///
    /// # Errors
    /// If the source fails.
    fn request_split(&mut self, reader: SubtaskIndex) -> Result<SplitResponse, Failure>;

    /// Splits of a failed reader, as of its last checkpoint.
    fn add_splits_back(&mut self, splits: Vec<SourceSplit>);

    /// Assignments to readers that were told to wait, if any came up.
    ///
    /// # Errors
    /// If the source fails.
    fn poll(&mut self) -> Result<Vec<(SubtaskIndex, SplitResponse)>, Failure> {
        Ok(Vec::new())
    }

    /// What has not been handed out, in the connector's own versioned form.
    ///
    /// # Errors
    /// If it cannot be written.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<u8>, Failure>;
}

/// What a reader is given.
#[derive(Clone)]
pub struct ReaderContext {
    /// Which subtask it reads for.
    pub subtask: SubtaskIndex,
    /// How many there are.
    pub parallelism: u32,
    /// Rows of a batch at most.
    pub batch_rows: usize,
    /// Where reads that wait are run.
    pub blocking: Arc<dyn BlockingExecutor>,
    /// Makes the task runnable again after [`ReaderStatus::Waiting`].
    pub waker: Waker,
    /// Wall clock and monotonic time, for rate limits and processing time.
    pub clock: Arc<dyn flumen_io::Clock>,
    /// Calls the waker when a time has come.
    pub timers: Arc<dyn TimerService>,
    /// Charged for what the reader holds: read-ahead, dictionaries, decoded pages.
    pub memory: Arc<dyn MemoryMeter>,
}

/// What a reader found.
#[derive(Debug)]
pub enum ReaderStatus {
    /// Rows, never none.
    Batch(Batch),
    /// The reader wants one more split: it holds none, or is about to read its last and would read ahead. Returned
    /// again only after an answer; asked once more at once, since there may be rows or something to wait for too.
    NeedsSplit,
    /// A promise about event time that the source itself can make.
    Watermark(Watermark),
    /// Nothing now; the waker is called when that changes.
    Waiting,
    /// All splits are read and there are no more.
    EndOfInput,
}

/// Reads splits. Never waits: reads that would are started on the blocking executor and answered by `Waiting`.
pub trait SourceReader: Send {
    /// The next rows.
    ///
    /// # Errors
    /// If the source fails or its data is malformed; names the file and place.
    fn poll_next(&mut self) -> Result<ReaderStatus, Failure>;

    /// New work.
    ///
    /// # Errors
    /// If a split cannot be read.
    fn add_splits(&mut self, splits: Vec<SourceSplit>) -> Result<(), Failure>;

    /// No split follows.
    fn no_more_splits(&mut self);

    /// The splits held, with the position right after the last row returned. Not changed by read-ahead.
    ///
    /// # Errors
    /// If they cannot be written.
    fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<Vec<SourceSplit>, Failure>;

    /// A filter that a join published while the scan runs; the reader may use it to skip data.
    fn runtime_filter(&mut self, filter: u32, bounds: RuntimeFilter) {
        let _ = (filter, bounds);
    }
}

/// What a join build knows of one of its keys, for scans to skip data by.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeFilter {
    /// Smallest value; NULL if it is not known.
    pub min: crate::expr::Literal,
    /// Largest value; NULL if it is not known.
    pub max: crate::expr::Literal,
    /// For integers of a small span: one bit for each value from `min` on.
    pub bitmap: Option<Arc<[u64]>>,
}

impl RuntimeFilter {
    /// Nothing is known: any value may match. Who waits for a filter need not wait longer.
    #[must_use]
    pub fn unknown() -> Self {
        let null = || crate::expr::Literal::null(crate::types::LogicalType::Null);
        Self { min: null(), max: null(), bitmap: None }
    }
}
