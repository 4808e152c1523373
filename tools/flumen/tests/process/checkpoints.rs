//! Looks at a directory of checkpoints from outside, by its documented layout: `<job>/chk-<id>/_metadata`.

use std::path::{Path, PathBuf};

/// A complete checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complete {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    // Checkpoints come and go while they are listed.
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The directories of jobs.
pub(crate) fn jobs(directory: &Path) -> Vec<PathBuf> {
    entries(directory)
}

/// The complete checkpoints of a job, oldest first.
pub(crate) fn of_job(job: &Path) -> Vec<Complete> {
    let id = |path: &Path| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse().ok();
    let mut complete: Vec<_> = entries(job)
        .into_iter()
        .filter(|path| path.join("_metadata").exists())
        .filter_map(|path| Some(Complete { id: id(&path)?, path }))
        .collect();
    complete.sort();
    complete
}

/// The complete checkpoint of whatever job that has the highest id.
pub(crate) fn newest(directory: &Path) -> Option<Complete> {
    jobs(directory).iter().filter_map(|job| of_job(job).pop()).max()
}

/// The files with state of a checkpoint.
pub(crate) fn state_files(checkpoint: &Path) -> Vec<PathBuf> {
    let mut files = entries(checkpoint);
    files.retain(|path| path.extension().is_some_and(|e| e == "state"));
    files.sort();
    files
}
