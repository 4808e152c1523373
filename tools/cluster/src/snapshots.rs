//! Between the control plane's idea of a checkpoint and its files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_control::{CheckpointContents, RestorePoint};
use flumen_core::failure::Failure;
use flumen_core::graph::JobGraph;
use flumen_core::ids::{CheckpointId, JobId, OperatorUid};
use flumen_gateway::{RestoreDescriptor, StateHandle};
use flumen_io::FileSystem;
use flumen_runtime::task_executor::{SnapshotStore, SnapshotTask};
use flumen_state::{
    CheckpointMetadata, CheckpointStorage, OperatorSnapshot, OperatorStateHandle, RestoredState, SubtaskOfCheckpoint,
    Verification,
};
use parking_lot::Mutex;

use crate::options::CHECKPOINT_DIRECTORY;

/// Checkpoints on a file system. Every call may wait.
pub(crate) struct Snapshots {
    files: Arc<dyn FileSystem>,
    /// The metadata read last: all subtasks of a restored job read the same.
    loaded: Mutex<Option<(PathBuf, Arc<CheckpointMetadata>)>>,
}

impl Snapshots {
    pub(crate) fn new(files: Arc<dyn FileSystem>) -> Self {
        Self { files, loaded: Mutex::new(None) }
    }

    /// The storage that a job's configuration names.
    fn storage(&self, directory: Option<&String>) -> Result<CheckpointStorage, Failure> {
        let directory = directory.filter(|d| !d.is_empty()).ok_or_else(|| {
            let key = CHECKPOINT_DIRECTORY.key();
            Failure::user(format!("{key} is not set; set it to the directory that checkpoints go to"))
        })?;
        Ok(CheckpointStorage::new(Arc::clone(&self.files), directory))
    }

    /// Writes the metadata of a checkpoint, last of its files: its location and the bytes of its state.
    pub(crate) fn finalize(
        &self,
        contents: &CheckpointContents,
        directory: Option<&String>,
    ) -> Result<(String, u64), Failure> {
        let mut metadata =
            CheckpointMetadata::new(contents.checkpoint, contents.timestamp_ms, JobGraph::clone(&contents.graph));
        for vertex in &contents.vertices {
            for subtask in &vertex.subtasks {
                for handle in &subtask.handles {
                    metadata.add(OperatorStateHandle::from_bytes(&handle.payload)?);
                }
            }
            if vertex.subtasks.iter().all(|s| s.finished) {
                for operator in &contents.graph.vertex(vertex.vertex).operators {
                    metadata.mark_finished(&operator.uid);
                }
            }
        }
        for (operator, state) in &contents.enumerators {
            metadata.add_coordinator(operator, state.to_vec());
        }
        let location = self.storage(directory)?.complete(&metadata)?;
        Ok((location.display().to_string(), metadata.state_bytes()))
    }

    /// Deletes a checkpoint.
    pub(crate) fn discard(
        &self,
        job: JobId,
        checkpoint: CheckpointId,
        directory: Option<&String>,
    ) -> Result<(), Failure> {
        Ok(self.storage(directory)?.discard(job, checkpoint)?)
    }

    /// The job is over: nothing is left of it if its checkpoints are gone.
    pub(crate) fn job_ended(&self, job: JobId, directory: Option<&String>) {
        if let Ok(storage) = self.storage(directory) {
            storage.remove_empty_job(job);
        }
    }

    /// The newest checkpoint below a directory whose files are all right, of whatever job, and why newer ones are not
    /// used.
    pub(crate) fn latest(&self, directory: &str) -> Result<(String, Vec<String>), Failure> {
        let storage = CheckpointStorage::new(Arc::clone(&self.files), directory);
        let found = storage.latest_of_any_job(Verification::Checksums)?;
        let passed_over = found.passed_over.iter().map(|damaged| format!("{damaged}; it is passed over")).collect();
        Ok((found.location.display().to_string(), passed_over))
    }

    /// The key groups of the operators of a checkpoint's job: their state can only go into as many.
    pub(crate) fn key_groups(&self, location: &str) -> Result<BTreeMap<OperatorUid, u32>, Failure> {
        let path = Path::new(location);
        let storage = CheckpointStorage::new(Arc::clone(&self.files), path);
        let metadata = self.metadata(&storage, path)?;
        let operators = metadata.job_graph.vertices.iter().flat_map(|v| v.operators.iter().map(move |o| (o, v)));
        Ok(operators.map(|(operator, vertex)| (operator.uid.clone(), vertex.max_parallelism)).collect())
    }

    /// Makes the directory that checkpoints are to be written to, so that one that cannot be written is refused before
    /// the job starts.
    pub(crate) fn prepare(&self, directory: &str) -> Result<(), Failure> {
        self.files.create_directory_all(Path::new(directory)).map_err(|error| {
            let key = CHECKPOINT_DIRECTORY.key();
            Failure::user(format!(
                "checkpoints cannot be written: {error}; set {key} to a directory that can be written"
            ))
        })
    }

    /// Looks at every byte of a checkpoint, so that a damaged one is refused before a task starts.
    pub(crate) fn verify(&self, location: &str) -> Result<(), Failure> {
        let path = Path::new(location);
        CheckpointStorage::new(Arc::clone(&self.files), path).verify(path, Verification::Checksums)?;
        Ok(())
    }

    /// What a job starts from; refused if the checkpoint does not fit the job.
    pub(crate) fn restore_point(&self, location: &str, graph: &JobGraph) -> Result<RestorePoint, Failure> {
        let path = Path::new(location);
        let storage = CheckpointStorage::new(Arc::clone(&self.files), path);
        let metadata = storage.verify(path, Verification::Presence)?;
        metadata.check(path, graph, false)?;
        let enumerators = metadata
            .operators
            .iter()
            .filter_map(|(uid, operator)| Some((uid.clone(), Arc::from(operator.coordinator.as_deref()?))))
            .collect();
        let finished_vertices = graph
            .vertices
            .iter()
            .map(|v| v.operators.iter().any(|o| metadata.operators.get(&o.uid).is_some_and(|o| o.finished)))
            .collect();
        Ok(RestorePoint {
            checkpoint: metadata.checkpoint,
            location: location.to_owned(),
            enumerators,
            finished_vertices,
        })
    }

    fn metadata(&self, storage: &CheckpointStorage, location: &Path) -> Result<Arc<CheckpointMetadata>, Failure> {
        let mut loaded = self.loaded.lock();
        if let Some((path, metadata)) = &*loaded
            && path == location
        {
            return Ok(Arc::clone(metadata));
        }
        let metadata = Arc::new(storage.load(location)?);
        *loaded = Some((location.to_owned(), Arc::clone(&metadata)));
        Ok(metadata)
    }
}

impl SnapshotStore for Snapshots {
    fn write(
        &self,
        task: &SnapshotTask,
        checkpoint: CheckpointId,
        snapshots: Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<Vec<StateHandle>, Failure> {
        let storage = self.storage(task.information.configuration.get(CHECKPOINT_DIRECTORY.key()))?;
        let vertex = &task.information.vertex;
        let subtask = SubtaskOfCheckpoint {
            attempt: task.attempt,
            parallelism: vertex.parallelism,
            max_parallelism: vertex.max_parallelism,
            checkpoint,
        };
        let handles = storage.write_subtask(subtask, snapshots)?;
        let handle = |h: OperatorStateHandle| StateHandle {
            operator: h.operator.clone(),
            size_bytes: h.state_bytes,
            payload: h.to_bytes(),
        };
        Ok(handles.into_iter().map(handle).collect())
    }

    fn withdraw(&self, task: &SnapshotTask, checkpoint: CheckpointId) {
        if let Ok(storage) = self.storage(task.information.configuration.get(CHECKPOINT_DIRECTORY.key())) {
            storage.withdraw_subtask(task.attempt, checkpoint);
        }
    }

    fn restore(
        &self,
        task: &SnapshotTask,
        from: &RestoreDescriptor,
        operator: &OperatorUid,
    ) -> Result<Option<RestoredState>, Failure> {
        let location = Path::new(&from.location);
        let storage = CheckpointStorage::new(Arc::clone(&self.files), location);
        let metadata = self.metadata(&storage, location)?;
        let vertex = &task.information.vertex;
        let subtask = task.attempt.execution_vertex.subtask;
        Ok(storage.restore(location, &metadata, operator, subtask, vertex.parallelism, vertex.max_parallelism)?)
    }
}
