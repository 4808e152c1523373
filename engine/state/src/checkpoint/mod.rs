//! Checkpoints in a directory: `<directory>/<job>/chk-<n>/` with a file for each subtask and `_metadata`.
//!
//! Life of a checkpoint: every subtask writes its state to a file of its own and answers with handles; when all have,
//! `_metadata` is written, last and atomically, and from then on the checkpoint is complete. A directory without
//! `_metadata` never counts. Nothing is taken on trust when reading: metadata and files have lengths and checksums, and a
//! checkpoint with a damaged file is passed over for the one before it, saying which file and why.
//!
//! Restoring at another parallelism reads, for each subtask, the key groups it owns now from every file that has some;
//! list entries are dealt out round-robin, union and broadcast entries go to all. What cannot work (an operator gone, a
//! schema changed, another number of key groups) is refused before any task starts.
//!
//! `FORMAT.md` in this directory draws the bytes. All calls wait for storage: they are made on I/O threads.

mod metadata;
mod redistribute;
mod restore;
mod state_file;
mod storage;
#[cfg(test)]
mod tests;

pub use metadata::{CheckpointMetadata, KeyedHandle, ListHandle, OperatorCheckpoint, OperatorStateHandle};
pub use redistribute::redistribute;
pub use storage::{CheckpointStorage, Found, SubtaskOfCheckpoint, Verification};
