//! From a checkpoint back to the state of subtasks, at whatever parallelism they have now.

use std::collections::BTreeMap;
use std::path::Path;

use flumen_core::graph::JobGraph;
use flumen_core::ids::{OperatorUid, SubtaskIndex};
use flumen_core::key_group::{KeyGroup, KeyGroupRange};
use flumen_core::spec::{OperatorSpec, StateKind};
use flumen_core::types::Schema;

use super::metadata::{CheckpointMetadata, OperatorCheckpoint, OperatorStateHandle};
use super::redistribute::redistribute;
use super::state_file::{FileRows, read_list};
use super::storage::CheckpointStorage;
use crate::error::{Result, StateError};
use crate::snapshot::{KeyedRows, RestoredState};

impl CheckpointMetadata {
    /// Whether a job can start from this checkpoint: every operator with state is still there with the same key groups,
    /// and every state still has its kind and the types of its columns.
    ///
    /// # Errors
    /// [`StateError::Incompatible`] with everything that does not fit; `location` is for the message. With
    /// `ignore_unclaimed`, state of operators that are gone is dropped instead of refused.
    pub fn check(&self, location: &Path, graph: &JobGraph, ignore_unclaimed: bool) -> Result<()> {
        let mut problems = Vec::new();
        for (uid, saved) in &self.operators {
            let found = graph
                .vertices
                .iter()
                .find_map(|v| v.operators.iter().find(|o| o.uid == *uid).map(|operator| (v.max_parallelism, operator)));
            match found {
                None if ignore_unclaimed => {}
                None => problems.push(format!("operator {uid} has state but is not in the job")),
                Some((max_parallelism, operator)) => {
                    if max_parallelism != saved.max_parallelism {
                        problems.push(format!(
                            "operator {uid} has maximum parallelism {max_parallelism}, its state {}",
                            saved.max_parallelism
                        ));
                    }
                    check_operator(saved, &operator.spec, ignore_unclaimed, &mut problems);
                }
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(StateError::Incompatible { path: location.to_owned(), problems })
    }
}

fn check_operator(saved: &OperatorCheckpoint, spec: &OperatorSpec, ignore_unclaimed: bool, problems: &mut Vec<String>) {
    let uid = &saved.uid;
    let before = problems.len();
    for handle in &saved.subtasks {
        let current = flumen_kernels::hash::HASH_VERSION;
        if handle.hash_version != current {
            let version = handle.hash_version;
            problems.push(format!("operator {uid} has keys of hash version {version}, this build has {current}"));
        }
        for keyed in &handle.keyed {
            match spec.state.iter().find(|s| s.name == keyed.name) {
                Some(state) if !matches!(state.kind, StateKind::Keyed { .. }) => {
                    problems.push(format!("state {} of operator {uid} was keyed and is not", keyed.name));
                }
                Some(state) => {
                    if let Some(difference) = difference(&keyed.schema, &state.schema) {
                        problems.push(format!("state {} of operator {uid}: {difference}", keyed.name));
                    }
                }
                None if ignore_unclaimed => {}
                None => problems.push(format!("operator {uid} has no state {} any more", keyed.name)),
            }
        }
        for list in &handle.lists {
            // List states need no descriptor: their entries are opaque. If there is one it must agree.
            if let Some(state) = spec.state.iter().find(|s| s.name == list.name)
                && state.kind != list.kind
            {
                problems
                    .push(format!("state {} of operator {uid} was {:?} and is {:?}", list.name, list.kind, state.kind));
            }
        }
        // The same complaint for every subtask helps no one.
        if problems.len() > before {
            return;
        }
    }
}

/// How the types of two schemas differ; names are labels.
fn difference(saved: &Schema, now: &Schema) -> Option<String> {
    if saved.fields.len() != now.fields.len() {
        return Some(format!("it was saved with {} columns and has {}", saved.fields.len(), now.fields.len()));
    }
    let pair = saved.fields.iter().zip(&now.fields).find(|(s, n)| s.data_type != n.data_type)?;
    Some(format!("column {} was {} and is {}", pair.1.name, pair.0.data_type, pair.1.data_type))
}

/// List entries by the former subtask that wrote them.
type FormerEntries = Vec<Vec<Vec<u8>>>;

impl CheckpointStorage {
    /// The state of one operator that a subtask takes over; `None` if the checkpoint has none for the operator.
    /// Keyed rows are read when they are asked for, and only those of key groups that the subtask owns.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the number of key groups differs.
    pub fn restore(
        &self,
        location: &Path,
        metadata: &CheckpointMetadata,
        uid: &OperatorUid,
        subtask: SubtaskIndex,
        parallelism: u32,
        max_parallelism: u32,
    ) -> Result<Option<RestoredState>> {
        let Some(operator) = metadata.operators.get(uid) else { return Ok(None) };
        if operator.max_parallelism != max_parallelism {
            let saved = operator.max_parallelism;
            let problem = format!("operator {uid} has maximum parallelism {max_parallelism}, its state {saved}");
            return Err(StateError::Incompatible { path: location.to_owned(), problems: vec![problem] });
        }
        let owned = KeyGroupRange::of_subtask(subtask.0, parallelism, max_parallelism);
        let mut restored = RestoredState::default();
        for handle in &operator.subtasks {
            self.restore_keyed(location, handle, owned, &mut restored)?;
        }
        self.restore_lists(location, operator, subtask, parallelism, &mut restored)?;
        Ok(Some(restored))
    }

    fn restore_keyed(
        &self,
        location: &Path,
        handle: &OperatorStateHandle,
        owned: KeyGroupRange,
        restored: &mut RestoredState,
    ) -> Result<()> {
        for keyed in &handle.keyed {
            let sources = restored.keyed.entry(keyed.name.clone()).or_default();
            let frames: Vec<_> = keyed.frames.iter().copied().filter(|f| owned.contains(KeyGroup(f.0))).collect();
            if !frames.is_empty() {
                let file = self.files().open(&location.join(&handle.file))?;
                let rows: Box<dyn KeyedRows> = Box::new(FileRows::new(file, keyed.schema.clone(), frames));
                sources.push(rows);
            }
        }
        Ok(())
    }

    fn restore_lists(
        &self,
        location: &Path,
        operator: &OperatorCheckpoint,
        subtask: SubtaskIndex,
        parallelism: u32,
        restored: &mut RestoredState,
    ) -> Result<()> {
        // A subtask without state left no handle, but its place among the former subtasks counts.
        let former = (operator.parallelism as usize).min(operator.max_parallelism as usize);
        let mut lists: BTreeMap<&str, (StateKind, FormerEntries)> = BTreeMap::new();
        for handle in &operator.subtasks {
            for list in &handle.lists {
                let index = handle.attempt.execution_vertex.subtask.0 as usize;
                let (_, entries) = lists.entry(&list.name).or_insert_with(|| (list.kind, vec![Vec::new(); former]));
                // Entries of all former subtasks are read, although only some are kept: lists are small.
                let file = self.files().open(&location.join(&handle.file))?;
                let more = read_list(file, list)?;
                match entries.get_mut(index) {
                    Some(own) => own.extend(more),
                    None => entries.push(more),
                }
            }
        }
        for (name, (kind, entries)) in lists {
            restored.lists.insert(name.to_owned(), redistribute(kind, entries, subtask.0, parallelism));
        }
        Ok(())
    }
}
