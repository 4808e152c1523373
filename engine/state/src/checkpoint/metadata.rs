//! What is written of a checkpoint beside the state itself: `_metadata`, and the handles it is made of.
//!
//! The types here are the stored form. `FORMAT.md` draws the bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, ExecutionAttemptId, OperatorUid};
use flumen_core::key_group::MAX_PARALLELISM_UPPER_BOUND;
use flumen_core::spec::StateKind;
use flumen_core::types::Schema;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StateError};

/// Version of metadata and handles that this build writes, and the newest it reads.
pub(super) const METADATA_VERSION: u32 = 1;
/// First bytes of `_metadata`.
const MAGIC: [u8; 4] = *b"FLCK";
/// Bytes before the sections.
const HEADER_BYTES: usize = 40;

/// One keyed state of one operator of one subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyedHandle {
    /// Name of the state.
    pub name: String,
    /// Columns of its rows.
    pub schema: Arc<Schema>,
    /// Frames in the order of the file: key group, offset, bytes, rows.
    pub frames: Vec<(u16, u64, u64, u64)>,
}

impl KeyedHandle {
    /// Rows of all frames.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.frames.iter().map(|f| f.3).fold(0, u64::saturating_add)
    }
}

/// One list state of one operator of one subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListHandle {
    /// Name of the state.
    pub name: String,
    /// How it is dealt out.
    pub kind: StateKind,
    /// Entries.
    pub entries: u64,
    /// Frames of entries: offset, bytes.
    pub frames: Vec<(u64, u64)>,
}

/// The state of one operator of one subtask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorStateHandle {
    /// Version of this form.
    pub version: u32,
    /// The operator.
    pub operator: OperatorUid,
    /// Who wrote it.
    pub attempt: ExecutionAttemptId,
    /// Subtasks of the operator.
    pub parallelism: u32,
    /// Its key groups.
    pub max_parallelism: u32,
    /// Version of the hash that chose the key groups.
    pub hash_version: u32,
    /// File in the checkpoint's directory.
    pub file: String,
    /// Its length.
    pub file_bytes: u64,
    /// CRC32C of all of it.
    pub file_checksum: u32,
    /// Bytes of this operator's frames.
    pub state_bytes: u64,
    /// Keyed states.
    pub keyed: Vec<KeyedHandle>,
    /// List states.
    pub lists: Vec<ListHandle>,
}

impl OperatorStateHandle {
    /// The stored form, which travels opaquely in acknowledgements.
    ///
    /// # Panics
    /// Never: plain data always has a form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("handles are plain data with text keys")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If it is malformed or newer than this build.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = |problem: String| StateError::Codec { what: "handle".into(), problem };
        let handle: Self = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        if handle.version > METADATA_VERSION {
            return Err(malformed(format!(
                "version {} is newer than {METADATA_VERSION}, which this build reads up to",
                handle.version
            )));
        }
        handle.check().map_err(malformed)?;
        Ok(handle)
    }

    /// Whether it holds together by itself.
    fn check(&self) -> Result<(), String> {
        let name = Path::new(&self.file);
        if self.file.is_empty() || name.file_name() != Some(name.as_os_str()) {
            return Err(format!("{:?} is not a file name", self.file));
        }
        if !(1..=MAX_PARALLELISM_UPPER_BOUND).contains(&self.max_parallelism)
            || !(1..=self.max_parallelism).contains(&self.parallelism)
        {
            return Err(format!("parallelism {} of at most {}", self.parallelism, self.max_parallelism));
        }
        let keyed = self.keyed.iter().flat_map(|k| &k.frames);
        if let Some(frame) = keyed.clone().find(|f| u32::from(f.0) >= self.max_parallelism) {
            return Err(format!("key group {} of {}", frame.0, self.max_parallelism));
        }
        let lists = self.lists.iter().flat_map(|l| l.frames.iter().copied());
        let within = |(offset, bytes): (u64, u64)| {
            offset.checked_add(bytes).is_some_and(|end| end <= self.file_bytes) && offset.is_multiple_of(64)
        };
        match keyed.map(|f| (f.1, f.2)).chain(lists).find(|frame| !within(*frame)) {
            Some((offset, bytes)) => {
                Err(format!("a frame of {bytes} bytes at {offset} in a file of {}", self.file_bytes))
            }
            None => Ok(()),
        }
    }
}

/// One operator in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorCheckpoint {
    /// Its stable name.
    pub uid: OperatorUid,
    /// Subtasks when the checkpoint was taken.
    pub parallelism: u32,
    /// Key groups.
    pub max_parallelism: u32,
    /// State of its subtasks, in their order; subtasks without state are left out.
    pub subtasks: Vec<OperatorStateHandle>,
    /// State of its coordinator (a source's enumerator, a sink's committer), in its own versioned form.
    pub coordinator: Option<Vec<u8>>,
    /// All its subtasks had finished: a restore has nothing left to do for it.
    pub finished: bool,
}

/// A complete checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointMetadata {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// When it was triggered, in milliseconds since 1970-01-01 UTC.
    pub timestamp_millis: i64,
    /// The job as it ran.
    pub job_graph: JobGraph,
    /// Operators with state, by name.
    pub operators: BTreeMap<OperatorUid, OperatorCheckpoint>,
}

/// The first section: everything but the job graph, which has a stored form of its own.
#[derive(Serialize, Deserialize)]
struct Operators {
    timestamp_millis: i64,
    operators: Vec<OperatorCheckpoint>,
}

impl CheckpointMetadata {
    /// Collects what the subtasks of a checkpoint acknowledged.
    #[must_use]
    pub fn new(checkpoint: CheckpointId, timestamp_millis: i64, job_graph: JobGraph) -> Self {
        Self { checkpoint, timestamp_millis, job_graph, operators: BTreeMap::new() }
    }

    fn operator(&mut self, uid: &OperatorUid) -> &mut OperatorCheckpoint {
        let vertex = self.job_graph.vertices.iter().find(|v| v.operators.iter().any(|o| o.uid == *uid));
        let (parallelism, max_parallelism) = vertex.map_or((1, 1), |v| (v.parallelism, v.max_parallelism));
        self.operators.entry(uid.clone()).or_insert_with(|| OperatorCheckpoint {
            uid: uid.clone(),
            parallelism,
            max_parallelism,
            subtasks: Vec::new(),
            coordinator: None,
            finished: false,
        })
    }

    /// Adds the state of one operator of one subtask.
    pub fn add(&mut self, handle: OperatorStateHandle) {
        let uid = handle.operator.clone();
        let operator = self.operator(&uid);
        operator.parallelism = handle.parallelism;
        operator.max_parallelism = handle.max_parallelism;
        let subtask = |h: &OperatorStateHandle| h.attempt.execution_vertex.subtask;
        let place = operator.subtasks.partition_point(|h| subtask(h) < subtask(&handle));
        operator.subtasks.insert(place, handle);
    }

    /// Adds the state of an operator's coordinator.
    pub fn add_coordinator(&mut self, uid: &OperatorUid, state: Vec<u8>) {
        self.operator(uid).coordinator = Some(state);
    }

    /// Notes that all subtasks of an operator had finished.
    pub fn mark_finished(&mut self, uid: &OperatorUid) {
        self.operator(uid).finished = true;
    }

    /// Bytes of all state.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.handles().map(|h| h.state_bytes).fold(0, u64::saturating_add)
    }

    /// The handles of all subtasks.
    pub fn handles(&self) -> impl Iterator<Item = &OperatorStateHandle> {
        self.operators.values().flat_map(|o| &o.subtasks)
    }

    /// The bytes of `_metadata`.
    ///
    /// # Errors
    /// If the job graph has no stored form.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let codec = |problem: String| StateError::Codec { what: "checkpoint metadata".into(), problem };
        let graph = self.job_graph.to_json().map_err(|e| codec(e.to_string()))?;
        let operators = self.operators.values().cloned().collect();
        let operators = Operators { timestamp_millis: self.timestamp_millis, operators };
        let operators = serde_json::to_vec(&operators).map_err(|e| codec(e.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + operators.len() + graph.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&METADATA_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.checkpoint.0.to_le_bytes());
        bytes.extend_from_slice(&(operators.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(graph.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&operators);
        bytes.extend_from_slice(graph.as_bytes());
        // The checksum covers everything but itself, lengths and version too.
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..32]), &bytes[36..]);
        bytes[32..36].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// Reads the bytes of `_metadata`; `path` is for messages.
    ///
    /// # Errors
    /// [`StateError::Damaged`] for whatever is not as it was written, [`StateError::Version`] if it is newer than this
    /// build.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |problem: String| StateError::Damaged { path: path.to_owned(), problem };
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(format!("{} bytes are fewer than its header", bytes.len())));
        };
        if head[..4] != MAGIC {
            return Err(damaged("it does not begin with FLCK".into()));
        }
        let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..32]), &bytes[36..]);
        if checksum != u32_at(32) {
            return Err(damaged(format!("its checksum is {checksum:#010x}, stored is {:#010x}", u32_at(32))));
        }
        // Checked after the checksum, so that a flipped bit is not taken for a newer build.
        if u32_at(4) > METADATA_VERSION {
            let (found, supported) = (u32_at(4), METADATA_VERSION);
            return Err(StateError::Version { path: path.to_owned(), found, supported });
        }
        let lengths = (usize::try_from(u64_at(16)), usize::try_from(u64_at(24)));
        let (Ok(operators_bytes), Ok(graph_bytes)) = lengths else {
            return Err(damaged("its sections are longer than memory".into()));
        };
        if operators_bytes.checked_add(graph_bytes) != Some(rest.len()) {
            return Err(damaged(format!(
                "sections of {operators_bytes} and {graph_bytes} bytes do not fill {}",
                rest.len()
            )));
        }
        let (operators, graph) = rest.split_at(operators_bytes);
        let Operators { timestamp_millis, operators } =
            serde_json::from_slice(operators).map_err(|e| damaged(format!("its operators: {e}")))?;
        let graph = std::str::from_utf8(graph).map_err(|e| damaged(format!("its job graph: {e}")))?;
        let job_graph = JobGraph::from_json(graph).map_err(|e| damaged(format!("its job graph: {e}")))?;
        for handle in operators.iter().flat_map(|o| &o.subtasks) {
            handle.check().map_err(|problem| damaged(format!("handle of {}: {problem}", handle.operator)))?;
        }
        let operators = operators.into_iter().map(|o| (o.uid.clone(), o)).collect();
        Ok(Self { checkpoint: CheckpointId(u64_at(8)), timestamp_millis, job_graph, operators })
    }
}
