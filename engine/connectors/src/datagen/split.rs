//! Row numbers dealt into splits.

use flumen_core::failure::Failure;
use flumen_core::ids::{CheckpointId, SubtaskIndex};
use flumen_core::source::{SourceSplit, SplitEnumerator, SplitResponse};
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::error::{ConnectorError, Result};

const VERSION: u32 = 1;
/// Splits of a table: many small numbers divide it.
const SPLITS: u64 = 60;

/// The rows `round * stride + lane` for all rounds from `round` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lane {
    version: u32,
    pub(super) stride: u64,
    pub(super) lane: u64,
    /// The round to go on with.
    pub(super) round: u64,
}

impl Lane {
    /// Its next row; `None` past the last row number there is.
    pub(super) fn next_row(self) -> Option<u64> {
        self.round.checked_mul(self.stride)?.checked_add(self.lane)
    }

    pub(super) fn encode(&self) -> Result<SourceSplit> {
        let payload = serde_json::to_vec(self).map_err(|e| damaged("a split", e))?;
        Ok(SourceSplit { id: format!("{}/{}", self.lane, self.stride), payload })
    }

    pub(super) fn decode(split: &SourceSplit) -> Result<Self> {
        let lane: Self = serde_json::from_slice(&split.payload).map_err(|e| damaged("a split", e))?;
        match lane.version <= VERSION && lane.lane < lane.stride {
            true => Ok(lane),
            false => {
                Err(damaged("a split", format!("version {}, lane {} of {}", lane.version, lane.lane, lane.stride)))
            }
        }
    }
}

fn damaged(what: &'static str, problem: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::State { connector: NAME, what, problem: problem.to_string() }
}

/// Gives each reader its share of the splits at its first request, nothing later.
pub(super) struct DatagenEnumerator {
    parallelism: u64,
    lanes: Vec<SourceSplit>,
    /// Splits of failed readers; whoever asks takes them.
    returned: Vec<SourceSplit>,
}

impl DatagenEnumerator {
    pub(super) fn new(parallelism: u32, state: Option<&[u8]>) -> Result<Self> {
        let parallelism = u64::from(parallelism.max(1));
        let lanes = match state {
            Some(state) => serde_json::from_slice(state).map_err(|e| damaged("enumerator state", e))?,
            None => {
                let stride = SPLITS.max(parallelism);
                (0..stride)
                    .map(|lane| Lane { version: VERSION, stride, lane, round: 0 }.encode())
                    .collect::<Result<_>>()?
            }
        };
        Ok(Self { parallelism, lanes, returned: Vec::new() })
    }
}

impl SplitEnumerator for DatagenEnumerator {
    fn request_split(&mut self, reader: SubtaskIndex) -> Result<SplitResponse, Failure> {
        let mut own = std::mem::take(&mut self.returned);
        let mut others = Vec::new();
        for split in std::mem::take(&mut self.lanes) {
            match Lane::decode(&split)?.lane % self.parallelism == u64::from(reader.0) {
                true => own.push(split),
                false => others.push(split),
            }
        }
        self.lanes = others;
        Ok(if own.is_empty() { SplitResponse::NoMoreSplits } else { SplitResponse::Assign(own) })
    }

    fn add_splits_back(&mut self, splits: Vec<SourceSplit>) {
        self.returned.extend(splits);
    }

    fn snapshot(&mut self, _checkpoint: CheckpointId) -> Result<Vec<u8>, Failure> {
        let all: Vec<_> = self.lanes.iter().chain(&self.returned).collect();
        Ok(serde_json::to_vec(&all).map_err(|e| damaged("enumerator state", e))?)
    }
}
