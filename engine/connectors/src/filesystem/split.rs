//! Parts of a file table, and handing them out.
//!
//! A split is a range of row groups of one Parquet file, or a whole text file, with the position reached in it. Splits
//! are about a quarter of a subtask's share, at most 64 MiB, so that subtasks that are ahead take more of them; large
//! ones go first, by powers of two, so that a late large one does not hold up the end, and neighbours of one file stay
//! together.
//!
//! Splits and enumerator state are JSON with a version, small beside what they describe.

use std::collections::VecDeque;

use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, SubtaskIndex};
use flumen_core::source::{SourceSplit, SplitEnumerator, SplitResponse};
use flumen_io::FileMetadata;
use serde::{Deserialize, Serialize};

use super::compression::Codec;
use super::hive::PathValue;
use super::listing::ListedFile;
use super::options::{Format, NAME};
use crate::error::{ConnectorError, Result};

/// Version of splits and enumerator state.
const VERSION: u32 = 2;
const SPLIT_BYTES_MIN: u64 = 1 << 20;
const SPLIT_BYTES_MAX: u64 = 64 << 20;
/// Splits for each subtask, about.
const SPLITS_PER_SUBTASK: u64 = 4;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSplit {
    version: u32,
    pub(crate) path: String,
    pub(crate) format: Format,
    /// How the file as a whole is compressed.
    #[serde(default)]
    pub(crate) codec: Option<Codec>,
    /// Columns that come from the path. All splits of a scan have the same ones.
    #[serde(default)]
    pub(crate) path_values: Vec<PathValue>,
    /// All columns of the table that come from paths, also those that are not read.
    #[serde(default)]
    pub(crate) path_columns: Vec<usize>,
    /// Size and time of the file when it was listed: a file that has changed is refused.
    pub(crate) size: u64,
    pub(crate) modified_millis: i64,
    /// The row group to go on with; 0 for text.
    pub(crate) row_group: usize,
    /// The first row group that is not part of it; 1 for text.
    pub(crate) row_group_end: usize,
    /// Rows of `row_group` that were returned already.
    pub(crate) row: u64,
    /// Bytes as stored, for balance.
    bytes: u64,
}

impl FileSplit {
    pub(crate) fn new(file: &ListedFile, format: Format, codec: Option<Codec>, path_values: Vec<PathValue>) -> Self {
        let FileMetadata { size, modified_millis, .. } = file.metadata;
        Self {
            version: VERSION,
            path: file.path.display().to_string(),
            format,
            codec,
            path_values,
            path_columns: Vec::new(),
            size,
            modified_millis,
            row_group: 0,
            row_group_end: 1,
            row: 0,
            bytes: size,
        }
    }

    /// The same, with the columns of the table that come from paths.
    pub(crate) fn with_path_columns(self, path_columns: Vec<usize>) -> Self {
        Self { path_columns, ..self }
    }

    /// Row groups `start..end` of the same file, `bytes` in all.
    pub(crate) fn of_row_groups(&self, start: usize, end: usize, bytes: u64) -> Self {
        Self { row_group: start, row_group_end: end, bytes, ..self.clone() }
    }

    /// The same split at the start of the next row group, if that is part of it.
    pub(crate) fn next_row_group(&self) -> Option<Self> {
        let row_group = self.row_group + 1;
        (row_group < self.row_group_end).then(|| Self { row_group, row: 0, ..self.clone() })
    }

    /// The same split with the rows of its row group before `row` returned.
    pub(crate) fn at_row(&self, row: u64) -> Self {
        Self { row, ..self.clone() }
    }

    pub(crate) fn encode(&self) -> Result<SourceSplit> {
        let payload = serde_json::to_vec(self).map_err(|e| damaged("a split", e))?;
        Ok(SourceSplit { id: format!("{}#{}..{}", self.path, self.row_group, self.row_group_end), payload })
    }

    pub(crate) fn decode(split: &SourceSplit) -> Result<Self> {
        let decoded: Self = serde_json::from_slice(&split.payload).map_err(|e| damaged("a split", e))?;
        check_version(decoded.version, "a split")?;
        Ok(decoded)
    }

    /// Refuses a file that is not the one that was listed.
    pub(crate) fn check_unchanged(&self, size: u64, modified_millis: i64) -> Result<()> {
        let problem = match () {
            () if size != self.size => format!("it had {} bytes and has {size}", self.size),
            () if modified_millis != self.modified_millis => "it was written to".to_owned(),
            () => return Ok(()),
        };
        Err(ConnectorError::FileChanged { path: self.path.clone(), problem })
    }
}

fn damaged(what: &'static str, problem: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::State { connector: NAME, what, problem: problem.to_string() }
}

fn check_version(version: u32, what: &'static str) -> Result<()> {
    match version <= VERSION {
        true => Ok(()),
        false => Err(damaged(what, format!("it has version {version}, this build reads up to {VERSION}"))),
    }
}

/// Bytes that a split should have.
pub(crate) fn split_bytes(total: u64, parallelism: u32) -> u64 {
    (total / (u64::from(parallelism.max(1)) * SPLITS_PER_SUBTASK)).clamp(SPLIT_BYTES_MIN, SPLIT_BYTES_MAX)
}

/// Hands out splits, the large ones first.
pub(crate) struct FileEnumerator {
    splits: VecDeque<SourceSplit>,
}

#[derive(Serialize, Deserialize)]
struct EnumeratorState {
    version: u32,
    splits: Vec<SourceSplit>,
}

impl FileEnumerator {
    pub(crate) fn new(mut splits: Vec<FileSplit>) -> Result<Self> {
        // A stable sort by size class: splits of about the same size stay in the order of their files.
        splits.sort_by_key(|split| std::cmp::Reverse(split.bytes.checked_ilog2()));
        Ok(Self { splits: splits.iter().map(FileSplit::encode).collect::<Result<_>>()? })
    }

    pub(crate) fn restore(state: &[u8]) -> Result<Self> {
        let state: EnumeratorState = serde_json::from_slice(state).map_err(|e| damaged("enumerator state", e))?;
        check_version(state.version, "enumerator state")?;
        Ok(Self { splits: state.splits.into() })
    }
}

impl SplitEnumerator for FileEnumerator {
    fn request_split(&mut self, _reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        Ok(match self.splits.pop_front() {
            Some(split) => SplitResponse::Assign(vec![split]),
            None => SplitResponse::NoMoreSplits,
        })
    }

    fn add_splits_back(&mut self, splits: Vec<SourceSplit>) {
        // They were begun earlier than the rest.
        splits.into_iter().rev().for_each(|split| self.splits.push_front(split));
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        let state = EnumeratorState { version: VERSION, splits: self.splits.iter().cloned().collect() };
        Ok(serde_json::to_vec(&state).map_err(|e| damaged("enumerator state", e))?)
    }
}
