//! Checkpoints of jobs below one directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_core::ids::{CheckpointId, ExecutionAttemptId, JobId, OperatorUid};
use flumen_io::{FileKind, FileSystem, read_file, replace_file};

use super::metadata::{CheckpointMetadata, METADATA_VERSION, OperatorStateHandle};
use super::state_file::{StateFileWriter, check_file_header};
use crate::error::{Result, StateError};
use crate::snapshot::OperatorSnapshot;

/// Name of the file that makes a checkpoint complete.
const METADATA_FILE: &str = "_metadata";
/// Metadata that is larger is not read.
const METADATA_BYTES_MAX: u64 = 1 << 30;
/// Files are verified in pieces of this.
const VERIFY_BYTES: usize = 1 << 20;

/// Checkpoints of jobs below one directory.
#[derive(Clone, Debug)]
pub struct CheckpointStorage {
    files: Arc<dyn FileSystem>,
    directory: PathBuf,
}

/// Who writes state.
#[derive(Clone, Copy, Debug)]
pub struct SubtaskOfCheckpoint {
    /// The attempt.
    pub attempt: ExecutionAttemptId,
    /// Subtasks of its vertex.
    pub parallelism: u32,
    /// Key groups of its vertex.
    pub max_parallelism: u32,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
}

/// How much of a checkpoint is looked at before it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Metadata, and that every file is there with its length.
    Presence,
    /// Also every byte of every file against its checksum.
    Checksums,
}

/// A checkpoint that can be restored.
#[derive(Debug)]
pub struct Found {
    /// Its directory.
    pub location: PathBuf,
    /// Its metadata.
    pub metadata: CheckpointMetadata,
    /// Newer checkpoints that were passed over, and why.
    pub passed_over: Vec<StateError>,
}

impl CheckpointStorage {
    /// Checkpoints below `directory`, which is created when the first is written.
    #[must_use]
    pub fn new(files: Arc<dyn FileSystem>, directory: impl Into<PathBuf>) -> Self {
        Self { files, directory: directory.into() }
    }

    /// The files it is on.
    #[must_use]
    pub fn files(&self) -> &Arc<dyn FileSystem> {
        &self.files
    }

    /// Where the checkpoints of a job are.
    #[must_use]
    pub fn job_directory(&self, job: JobId) -> PathBuf {
        self.directory.join(job.to_string())
    }

    /// Where a checkpoint is.
    #[must_use]
    pub fn location(&self, job: JobId, checkpoint: CheckpointId) -> PathBuf {
        self.job_directory(job).join(format!("chk-{}", checkpoint.0))
    }

    /// Writes the state of all operators of one subtask into one file, durably; answers a handle for each operator that
    /// has any. Without state no file is written.
    ///
    /// # Errors
    /// If the state cannot be read or the file not be written; what was written of it is removed, if that is possible.
    pub fn write_subtask(
        &self,
        subtask: SubtaskOfCheckpoint,
        snapshots: Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<Vec<OperatorStateHandle>> {
        let has_state = |s: &OperatorSnapshot| !s.keyed.is_empty() || s.lists.iter().any(|l| !l.entries.is_empty());
        if !snapshots.iter().any(|(_, snapshot)| has_state(snapshot)) {
            return Ok(Vec::new());
        }
        let directory = self.location(subtask.attempt.job, subtask.checkpoint);
        self.files.create_directory_all(&directory)?;
        let file = state_file(subtask.attempt);
        let path = directory.join(&file);
        self.write_file(&path, file, subtask, snapshots).inspect_err(|_| {
            let _ = self.files.remove_file(&path);
        })
    }

    /// Removes the file of one attempt and what is empty without it. A job that is over asks for nothing any more, so a
    /// file that stays is all that an error would mean.
    pub fn withdraw_subtask(&self, attempt: ExecutionAttemptId, checkpoint: CheckpointId) {
        let directory = self.location(attempt.job, checkpoint);
        let _ = self.files.remove_file(&directory.join(state_file(attempt)));
        let _ = self.files.remove_directory(&directory);
        self.remove_empty_job(attempt.job);
    }

    fn write_file(
        &self,
        path: &Path,
        file: String,
        subtask: SubtaskOfCheckpoint,
        snapshots: Vec<(OperatorUid, OperatorSnapshot)>,
    ) -> Result<Vec<OperatorStateHandle>> {
        let mut writer = StateFileWriter::create(self.files.as_ref(), path, subtask.checkpoint)?;
        let mut handles = Vec::new();
        for (operator, snapshot) in snapshots {
            let start = writer.position();
            let keyed = snapshot.keyed.into_iter().map(|part| writer.keyed(part)).collect::<Result<Vec<_>>>()?;
            let lists = snapshot.lists.iter().map(|part| writer.list(part)).collect::<Result<Vec<_>>>()?;
            if keyed.is_empty() && lists.iter().all(|l| l.entries == 0) {
                continue;
            }
            handles.push(OperatorStateHandle {
                version: METADATA_VERSION,
                operator,
                attempt: subtask.attempt,
                parallelism: subtask.parallelism,
                max_parallelism: subtask.max_parallelism,
                hash_version: flumen_kernels::hash::HASH_VERSION,
                file: file.clone(),
                file_bytes: 0,
                file_checksum: 0,
                state_bytes: writer.position() - start,
                keyed,
                lists,
            });
        }
        let (file_bytes, file_checksum) = writer.finish()?;
        for handle in &mut handles {
            (handle.file_bytes, handle.file_checksum) = (file_bytes, file_checksum);
        }
        Ok(handles)
    }

    /// Completes a checkpoint: writes its metadata, atomically. Answers its directory.
    ///
    /// # Errors
    /// If the metadata cannot be written; the checkpoint may or may not be complete then, never half.
    pub fn complete(&self, metadata: &CheckpointMetadata) -> Result<PathBuf> {
        let directory = self.location(metadata.job_graph.job, metadata.checkpoint);
        let bytes = metadata.to_bytes()?;
        self.files.create_directory_all(&directory)?;
        replace_file(self.files.as_ref(), &directory.join(METADATA_FILE), &bytes)?;
        Ok(directory)
    }

    /// Reads the metadata of the checkpoint in a directory.
    ///
    /// # Errors
    /// If it is not there, damaged, or newer than this build.
    pub fn load(&self, location: &Path) -> Result<CheckpointMetadata> {
        let path = location.join(METADATA_FILE);
        let bytes = read_file(self.files.as_ref(), &path, METADATA_BYTES_MAX)?;
        CheckpointMetadata::from_bytes(&path, &bytes)
    }

    /// Reads the metadata of the checkpoint in a directory and looks at its files.
    ///
    /// # Errors
    /// As [`Self::load`], and [`StateError::Damaged`] for the first file that is not as it was written.
    pub fn verify(&self, location: &Path, verification: Verification) -> Result<CheckpointMetadata> {
        let metadata = self.load(location)?;
        let mut last: Option<&str> = None;
        for handle in metadata.handles() {
            // Operators of one subtask share a file; they need not be neighbours, so some are looked at twice.
            if last != Some(&handle.file) {
                self.verify_file(location, metadata.checkpoint, handle, verification)?;
                last = Some(&handle.file);
            }
        }
        Ok(metadata)
    }

    fn verify_file(
        &self,
        location: &Path,
        checkpoint: CheckpointId,
        handle: &OperatorStateHandle,
        verification: Verification,
    ) -> Result<()> {
        let path = location.join(&handle.file);
        let damaged = |problem: String| StateError::Damaged { path: path.clone(), problem };
        let file = match self.files.open(&path) {
            Err(error) if error.is_not_found() => return Err(damaged("it is missing".into())),
            other => other?,
        };
        if file.size() != handle.file_bytes {
            return Err(damaged(format!("it has {} bytes, its metadata says {}", file.size(), handle.file_bytes)));
        }
        let mut buffer = vec![0; VERIFY_BYTES.min(usize::try_from(handle.file_bytes).unwrap_or(VERIFY_BYTES))];
        let (mut offset, mut checksum) = (0, 0);
        while offset < handle.file_bytes {
            let rest = usize::try_from(handle.file_bytes - offset).unwrap_or(usize::MAX).min(buffer.len());
            file.read_exact_at(offset, &mut buffer[..rest])?;
            if offset == 0 {
                check_file_header(&path, &buffer[..rest], checkpoint)?;
                if verification == Verification::Presence {
                    return Ok(());
                }
            }
            checksum = crc32c::crc32c_append(checksum, &buffer[..rest]);
            offset += rest as u64;
        }
        if checksum != handle.file_checksum {
            let expected = handle.file_checksum;
            return Err(damaged(format!("its checksum is {checksum:#010x}, its metadata says {expected:#010x}")));
        }
        Ok(())
    }

    /// Checkpoints of a job, complete or not, ascending.
    ///
    /// # Errors
    /// If the directory cannot be listed. A missing one has none.
    pub fn list(&self, job: JobId) -> Result<Vec<CheckpointId>> {
        let entries = match self.files.list(&self.job_directory(job)) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let number = |name: &str| name.strip_prefix("chk-")?.parse().ok().map(CheckpointId);
        let directories = entries.iter().filter(|e| e.kind == FileKind::Directory);
        let mut checkpoints: Vec<_> = directories.filter_map(|e| number(&e.name)).collect();
        checkpoints.sort_unstable();
        Ok(checkpoints)
    }

    /// Jobs that have directories here.
    ///
    /// # Errors
    /// If the directory cannot be listed. A missing one has none.
    pub fn jobs(&self) -> Result<Vec<JobId>> {
        let entries = match self.files.list(&self.directory) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        Ok(entries.into_iter().filter_map(|e| JobId::try_from(e.name).ok()).collect())
    }

    /// The newest complete checkpoint of a job whose files are all right. Those without metadata never counted and are
    /// not mentioned; damaged ones are passed over.
    ///
    /// # Errors
    /// [`StateError::NoCheckpoint`] with the reasons if there is none; [`StateError::Io`] if storage itself fails,
    /// because falling back then would lose a checkpoint that is there.
    pub fn latest(&self, job: JobId, verification: Verification) -> Result<Found> {
        let mut passed_over = Vec::new();
        for checkpoint in self.list(job)?.into_iter().rev() {
            let location = self.location(job, checkpoint);
            match self.verify(&location, verification) {
                Ok(metadata) => return Ok(Found { location, metadata, passed_over }),
                Err(error) => pass_over(error, &mut passed_over)?,
            }
        }
        let problems = passed_over.iter().map(ToString::to_string).collect();
        Err(StateError::NoCheckpoint { path: self.job_directory(job), problems })
    }

    /// The newest complete checkpoint of whatever job here whose files are all right. A job that was resumed goes on under
    /// another id, so newest means triggered last. Damaged ones are passed over, as in [`Self::latest`]; of older ones
    /// only the metadata is looked at.
    ///
    /// # Errors
    /// As [`Self::latest`].
    pub fn latest_of_any_job(&self, verification: Verification) -> Result<Found> {
        let (mut complete, mut passed_over) = (Vec::new(), Vec::new());
        for job in self.jobs()? {
            for checkpoint in self.list(job)? {
                let location = self.location(job, checkpoint);
                match self.load(&location) {
                    Ok(metadata) => complete.push((metadata.timestamp_millis, checkpoint, location)),
                    Err(error) => pass_over(error, &mut passed_over)?,
                }
            }
        }
        complete.sort_unstable();
        while let Some((_, _, location)) = complete.pop() {
            match self.verify(&location, verification) {
                Ok(metadata) => return Ok(Found { location, metadata, passed_over }),
                Err(error) => pass_over(error, &mut passed_over)?,
            }
        }
        let problems = passed_over.iter().map(ToString::to_string).collect();
        Err(StateError::NoCheckpoint { path: self.directory.clone(), problems })
    }

    /// Removes a checkpoint that will not complete, or is not needed any more. Its metadata goes first, so that a half
    /// removed one is not taken for complete.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn discard(&self, job: JobId, checkpoint: CheckpointId) -> Result<()> {
        let location = self.location(job, checkpoint);
        match self.files.remove_file(&location.join(METADATA_FILE)) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        self.files.remove_directory_all(&location)?;
        Ok(())
    }

    /// Removes the directory of a job that is over, if no checkpoint is left in it.
    pub fn remove_empty_job(&self, job: JobId) {
        // One that is not empty, or was never made, is not removed, and that is all there is to say.
        let _ = self.files.remove_directory(&self.job_directory(job));
    }

    /// Keeps the newest `retained` complete checkpoints up to `completed`, and all that are newer (they may be under
    /// way); removes the rest, incomplete ones too. Answers what was removed.
    ///
    /// # Errors
    /// If one cannot be removed; the others are.
    pub fn retain(&self, job: JobId, completed: CheckpointId, retained: usize) -> Result<Vec<CheckpointId>> {
        let mut kept = 0;
        let (mut removed, mut failed) = (Vec::new(), None);
        for checkpoint in self.list(job)?.into_iter().rev().filter(|c| *c <= completed) {
            if kept < retained.max(1) && self.files.exists(&self.location(job, checkpoint).join(METADATA_FILE))? {
                kept += 1;
                continue;
            }
            match self.discard(job, checkpoint) {
                Ok(()) => removed.push(checkpoint),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(removed), Err)
    }
}

/// The attempt is part of the name: one that was given up for dead must not write into its successor's file.
fn state_file(attempt: ExecutionAttemptId) -> String {
    let vertex = attempt.execution_vertex;
    format!("{}-{}-{}.state", vertex.vertex.0, vertex.subtask.0, attempt.attempt.0)
}

/// Notes why a checkpoint cannot be used. One without metadata never counted and is not mentioned.
///
/// # Errors
/// The error itself if it is not about the checkpoint but about storage.
fn pass_over(error: StateError, passed_over: &mut Vec<StateError>) -> Result<()> {
    match error {
        StateError::Io(error) if error.is_not_found() => {}
        error @ (StateError::Damaged { .. } | StateError::Version { .. }) => passed_over.push(error),
        error => return Err(error),
    }
    Ok(())
}
