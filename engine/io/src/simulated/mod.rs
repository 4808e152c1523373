//! A file system in memory, for tests: it has faults drawn from a seed, a full disk, and crashes.
//!
//! It keeps two pictures of everything: what programs see now, and what would be left if the machine stopped. Bytes
//! move to the second by `sync`, names by `sync_directory`; see `disk` and `content` for how a crash treats the
//! rest. [`FaultPlan`] and [`SimulatedFileSystem::inject`] say what fails; [`SimulatedFileSystem::faults`] says what
//! did. The same seed and the same calls in the same order give the same faults, bytes and log.
//!
//! Threading: one lock around everything, so it may be shared, but only a single-threaded run is repeatable.
//!
//! Sources: POSIX `fsync` and `rename`; T. Pillai and others, "All File Systems Are Not Created Equal", OSDI 2014.

mod content;
mod disk;
mod faults;
mod handles;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::faults::{Fault, FaultPlan, FaultRecord};

use self::content::Content;
use self::disk::{Disk, Node, clean};
use self::faults::Faults;
use self::handles::{Handle, SimulatedPositionedFile, SimulatedReadFile, SimulatedWriteFile};
use crate::clock::{Clock, SimulatedClock};
use crate::error::{IoError, Operation, Result};
use crate::file_system::{
    DirectoryEntry, FileKind, FileMetadata, FileSystem, PositionedFile, ReadFile, WriteFile, directory_of,
};
use crate::nearest::not_found_with;
use crate::random::{RandomSource, Rng};

/// A file system in memory with faults and crashes. Clones share the same disk. It starts with an empty root; relative
/// paths are taken from there.
#[derive(Clone, Debug)]
pub struct SimulatedFileSystem {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    /// Bytes of all files, also of removed ones that are still open.
    used_bytes: Arc<AtomicU64>,
    /// Handles that have not been dropped yet.
    handles_open: AtomicU64,
    /// Locked before any file's content.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    faults: Faults,
    /// How many crashes there were; a handle from before the last one refuses work.
    crashes: u64,
}

/// A lock is poisoned only when a test has panicked; what the lock guards is then still a valid disk.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedFileSystem {
    /// An empty disk without faults, whose files carry the times of `clock`.
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        let state = State { disk: Disk::new(), faults: Faults::new(Rng::stream(seed, "file system")), crashes: 0 };
        Self {
            shared: Arc::new(Shared {
                clock,
                used_bytes: Arc::default(),
                handles_open: AtomicU64::new(0),
                state: Mutex::new(state),
            }),
        }
    }

    /// An empty disk without faults and with a clock that stands still.
    pub fn without_faults() -> Self {
        Self::new(0, Arc::new(SimulatedClock::new()))
    }

    /// Changes how often operations fail from now on.
    pub fn set_plan(&self, mut plan: FaultPlan) {
        plan.below = plan.below.map(|below| clean(&below));
        lock(&self.shared.state).faults.plan = plan;
    }

    /// Lets one operation fail: the one of this kind after `skip` more have passed. Orders are kept until they are met.
    pub fn inject(&self, operation: Operation, skip: u64, fault: Fault) {
        lock(&self.shared.state).faults.order(operation, skip, fault);
    }

    /// The faults that happened so far, oldest first (the last 65,536 of them).
    pub fn faults(&self) -> Vec<FaultRecord> {
        lock(&self.shared.state).faults.records().cloned().collect()
    }

    /// How many faults happened so far.
    pub fn fault_count(&self) -> u64 {
        lock(&self.shared.state).faults.count()
    }

    /// How many operations there were so far, failed ones included; part of a run's fingerprint.
    pub fn operation_count(&self) -> u64 {
        lock(&self.shared.state).faults.operations()
    }

    /// Bytes of all files, also of removed ones that are still open.
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// How many handles are open; 0 when nothing leaks.
    pub fn handles_open(&self) -> u64 {
        self.shared.handles_open.load(Ordering::Relaxed)
    }

    /// Every path but the root, in order; directories too.
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.shared.state).disk.below(Path::new("/")).map(|(path, _)| path.clone()).collect()
    }

    /// Stops the machine and starts it again: all that was not synced is lost. Handles opened before refuse work.
    pub fn crash(&self) {
        self.crash_keeping(false);
    }

    /// As [`SimulatedFileSystem::crash`], but the seed decides what is lost: the latest unsynced names go, and each
    /// unsynced write is kept, torn or lost.
    pub fn crash_torn(&self) {
        self.crash_keeping(true);
    }

    fn crash_keeping(&self, some: bool) {
        let state = &mut *lock(&self.shared.state);
        let mut rng = some.then(|| state.faults.rng.split());
        let kept = rng.as_mut().map_or(0, |rng| rng.below(state.disk.unsynced() as u64 + 1) as usize);
        let names_lost = state.disk.unsynced() - kept;
        let files = state.disk.crash(kept);
        let writes_lost: u64 = files.iter().map(|content| lock(content).crash(rng.as_mut())).sum();
        state.crashes += 1;
        let now = self.shared.clock.now();
        let label = format!("/ ({names_lost} names and {writes_lost} writes lost)");
        state.faults.record(now, Operation::Sync, Path::new(&label), Fault::Crash);
    }

    /// Flips the bits of `mask` in one stored byte, as a failing medium does: nobody is told. Not in the fault log.
    ///
    /// # Errors
    /// [`IoError::NotFound`] if there is no such file, [`IoError::UnexpectedEnd`] if it is too short.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> Result<()> {
        // The lock is given back before the search for names takes it again.
        let found = lock(&self.shared.state).file(Operation::Write, &clean(path));
        let content = found.map_err(|error| self.with_nearest(error))?;
        let mut content = lock(&content);
        let size = content.bytes().len() as u64;
        if offset >= size {
            return Err(IoError::UnexpectedEnd { path: path.to_path_buf(), offset, length: 1, size });
        }
        content.corrupt(offset as usize, mask);
        Ok(())
    }

    /// Runs an operation that changes names or looks at them, with the faults that fit it.
    fn operate<T>(
        &self,
        operation: Operation,
        path: &Path,
        action: impl FnOnce(&mut State, &Path) -> Result<T>,
    ) -> Result<T> {
        let cleaned = clean(path);
        let mut state = lock(&self.shared.state);
        let result = match state.faults.decide(operation, &cleaned) {
            None => action(&mut state, &cleaned),
            Some(Fault::AppliedButFailed) => action(&mut state, &cleaned)
                .and_then(|_| Err(self.shared.fail(&mut state, operation, &cleaned, Fault::AppliedButFailed))),
            Some(Fault::Crash) => {
                drop(state);
                self.crash();
                return Err(stopped(operation, path));
            }
            Some(fault @ Fault::StorageFull) => Err(self.shared.fail(&mut state, operation, &cleaned, fault)),
            Some(_) => Err(self.shared.fail(&mut state, operation, &cleaned, Fault::Failed)),
        };
        drop(state);
        result.map_err(|error| self.with_nearest(error))
    }

    /// Adds the nearest names to a missing path; not under the lock, since it lists directories.
    fn with_nearest(&self, error: IoError) -> IoError {
        match error {
            // Probing for a path is an ordinary question; see the local file system.
            IoError::NotFound { operation, path, .. } if operation != Operation::Stat => {
                not_found_with(&Listing(self), operation, &path)
            }
            error => error,
        }
    }

    fn entries(state: &State, directory: &Path, newest: Option<crate::MonotonicTime>) -> Result<Vec<DirectoryEntry>> {
        match state.disk.get(directory) {
            None => return Err(missing(Operation::List, directory)),
            Some(Node::File { .. }) => return Err(wrong_kind(Operation::List, directory, FileKind::File)),
            Some(Node::Directory) => {}
        }
        let visible = |node: &Node| match (node, newest) {
            (Node::File { named_at, .. }, Some(newest)) => *named_at <= newest,
            _ => true,
        };
        Ok(state
            .disk
            .children(directory)
            .filter(|(_, node)| visible(node))
            .map(|(path, node)| DirectoryEntry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: path.clone(),
                kind: node.kind(),
            })
            .collect())
    }

    /// The file at `path`, made if need be.
    fn open_for_writes(&self, path: &Path, mode: WriteMode) -> Result<(Handle, bool)> {
        let mut created = false;
        let content = self.operate(Operation::Create, path, |state, cleaned| match state.disk.get(cleaned) {
            Some(Node::Directory) => Err(wrong_kind(Operation::Create, cleaned, FileKind::Directory)),
            Some(Node::File { .. }) if mode == WriteMode::New => {
                Err(IoError::AlreadyExists { operation: Operation::Create, path: cleaned.to_path_buf() })
            }
            Some(Node::File { content, .. }) => {
                if mode == WriteMode::Truncate {
                    lock(content).resize(0);
                }
                Ok(Arc::clone(content))
            }
            None => {
                state.needs_directory(Operation::Create, cleaned)?;
                let content = Content::new(self.shared.clock.wall_millis(), Arc::clone(&self.shared.used_bytes));
                let content = Arc::new(Mutex::new(content));
                let node = Node::File { content: Arc::clone(&content), named_at: self.shared.clock.now() };
                state.disk.link(cleaned.to_path_buf(), node);
                created = true;
                Ok(content)
            }
        })?;
        Ok((Handle::new(&self.shared, content, path), created))
    }

    fn create_with(&self, path: &Path, mode: WriteMode) -> Result<Box<dyn WriteFile>> {
        let (handle, created) = self.open_for_writes(path, mode)?;
        Ok(Box::new(SimulatedWriteFile::new(handle, created.then(|| self.clone()))))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteMode {
    New,
    Truncate,
    Append,
}

impl FileSystem for SimulatedFileSystem {
    fn open(&self, path: &Path) -> Result<Arc<dyn ReadFile>> {
        let content = self.operate(Operation::Open, path, |state, cleaned| state.file(Operation::Open, cleaned))?;
        Ok(Arc::new(SimulatedReadFile::new(Handle::new(&self.shared, content, path))))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.create_with(path, WriteMode::Truncate)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.create_with(path, WriteMode::New)
    }

    fn append(&self, path: &Path) -> Result<Box<dyn WriteFile>> {
        self.create_with(path, WriteMode::Append)
    }

    fn create_positioned(&self, path: &Path) -> Result<Arc<dyn PositionedFile>> {
        let (handle, _) = self.open_for_writes(path, WriteMode::New)?;
        Ok(Arc::new(SimulatedPositionedFile::new(handle)))
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata> {
        self.operate(Operation::Stat, path, |state, cleaned| match state.disk.get(cleaned) {
            None => Err(missing(Operation::Stat, cleaned)),
            Some(Node::Directory) => Ok(FileMetadata { kind: FileKind::Directory, size: 0, modified_millis: 0 }),
            Some(Node::File { content, .. }) => {
                let content = lock(content);
                let (size, modified_millis) = (content.bytes().len() as u64, content.modified_millis);
                Ok(FileMetadata { kind: FileKind::File, size, modified_millis })
            }
        })
    }

    fn list(&self, directory: &Path) -> Result<Vec<DirectoryEntry>> {
        let cleaned = clean(directory);
        let mut state = lock(&self.shared.state);
        match state.faults.decide(Operation::List, &cleaned) {
            None => Self::entries(&state, &cleaned, None),
            Some(Fault::Stale) => {
                let now = self.shared.clock.now().as_nanos();
                let delay = u64::try_from(state.faults.plan.listing_delay.as_nanos()).unwrap_or(u64::MAX);
                // Before the delay has passed once, everything there is counts as new.
                let newest = now.checked_sub(delay).map(crate::MonotonicTime::from_nanos);
                let mut seen = Self::entries(&state, &cleaned, newest)?;
                if newest.is_none() {
                    seen.retain(|entry| entry.kind == FileKind::Directory);
                }
                if seen.len() < Self::entries(&state, &cleaned, None)?.len() {
                    self.shared.record(&mut state, Operation::List, &cleaned, Fault::Stale);
                }
                Ok(seen)
            }
            Some(Fault::Crash) => {
                drop(state);
                self.crash();
                Err(stopped(Operation::List, directory))
            }
            Some(_) => Err(self.shared.fail(&mut state, Operation::List, &cleaned, Fault::Failed)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let target = clean(to);
        self.operate(Operation::Rename, from, |state, from| {
            let node = state.disk.get(from).ok_or_else(|| missing(Operation::Rename, from))?;
            let kind = node.kind();
            if from == target {
                return Ok(());
            }
            state.needs_directory(Operation::Rename, &target)?;
            if target.starts_with(from) {
                let source = io::Error::other("the new name is below the old one");
                return Err(IoError::System { operation: Operation::Rename, path: from.to_path_buf(), source });
            }
            match (kind, state.disk.get(&target).map(Node::kind)) {
                (FileKind::Directory, Some(FileKind::File)) => {
                    return Err(wrong_kind(Operation::Rename, &target, FileKind::File));
                }
                (FileKind::File, Some(FileKind::Directory)) => {
                    return Err(wrong_kind(Operation::Rename, &target, FileKind::Directory));
                }
                (FileKind::Directory, Some(FileKind::Directory)) => {
                    state.needs_empty(Operation::Rename, &target)?;
                }
                _ => {}
            }
            state.disk.rename(from, &target);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.operate(Operation::Remove, path, |state, path| match state.disk.get(path) {
            None => Err(missing(Operation::Remove, path)),
            Some(Node::Directory) => Err(wrong_kind(Operation::Remove, path, FileKind::Directory)),
            Some(Node::File { .. }) => {
                state.disk.unlink(path);
                Ok(())
            }
        })
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.operate(Operation::Remove, path, |state, path| match state.disk.get(path) {
            None => Err(missing(Operation::Remove, path)),
            Some(Node::File { .. }) => Err(wrong_kind(Operation::Remove, path, FileKind::File)),
            Some(Node::Directory) => {
                state.needs_empty(Operation::Remove, path)?;
                state.disk.unlink(path);
                Ok(())
            }
        })
    }

    fn remove_directory_all(&self, path: &Path) -> Result<()> {
        self.operate(Operation::Remove, path, |state, path| match state.disk.get(path) {
            None => Ok(()),
            Some(Node::File { .. }) => Err(wrong_kind(Operation::Remove, path, FileKind::File)),
            Some(Node::Directory) => {
                // Each name is a change of its own, deepest first, so that a crash may stop midway.
                let doomed: Vec<PathBuf> = state.disk.below(path).map(|(path, _)| path.clone()).collect();
                doomed.iter().rev().for_each(|path| state.disk.unlink(path));
                if path != Path::new("/") {
                    state.disk.unlink(path);
                }
                Ok(())
            }
        })
    }

    fn create_directory_all(&self, path: &Path) -> Result<()> {
        self.operate(Operation::CreateDirectory, path, |state, path| {
            let mut missing: Vec<&Path> = Vec::new();
            for directory in path.ancestors() {
                match state.disk.get(directory) {
                    Some(Node::Directory) => break,
                    Some(Node::File { .. }) => {
                        return Err(wrong_kind(Operation::CreateDirectory, directory, FileKind::File));
                    }
                    None => missing.push(directory),
                }
            }
            for directory in missing.into_iter().rev() {
                state.disk.link(directory.to_path_buf(), Node::Directory);
                state.disk.sync_directory(directory_of(directory));
            }
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.operate(Operation::SyncDirectory, path, |state, path| match state.disk.get(path) {
            None => Err(missing(Operation::SyncDirectory, path)),
            Some(Node::File { .. }) => Err(wrong_kind(Operation::SyncDirectory, path, FileKind::File)),
            Some(Node::Directory) => {
                state.disk.sync_directory(path);
                Ok(())
            }
        })
    }
}

impl Node {
    fn kind(&self) -> FileKind {
        match self {
            Self::Directory => FileKind::Directory,
            Self::File { .. } => FileKind::File,
        }
    }
}

impl State {
    fn file(&self, operation: Operation, path: &Path) -> Result<Arc<Mutex<Content>>> {
        match self.disk.get(path) {
            None => Err(missing(operation, path)),
            Some(Node::Directory) => Err(wrong_kind(operation, path, FileKind::Directory)),
            Some(Node::File { content, .. }) => Ok(Arc::clone(content)),
        }
    }

    fn needs_directory(&self, operation: Operation, path: &Path) -> Result<()> {
        let directory = directory_of(path);
        match self.disk.get(directory) {
            None => Err(missing(operation, path)),
            Some(Node::File { .. }) => Err(wrong_kind(operation, directory, FileKind::File)),
            Some(Node::Directory) => Ok(()),
        }
    }

    fn needs_empty(&self, operation: Operation, path: &Path) -> Result<()> {
        if self.disk.children(path).next().is_some() {
            return Err(IoError::NotEmpty { operation, path: path.to_path_buf() });
        }
        Ok(())
    }
}

impl Shared {
    fn record(&self, state: &mut State, operation: Operation, path: &Path, fault: Fault) -> u64 {
        state.faults.record(self.clock.now(), operation, path, fault)
    }

    /// Records a fault and makes the error that tells of it.
    fn fail(&self, state: &mut State, operation: Operation, path: &Path, fault: Fault) -> IoError {
        let sequence = self.record(state, operation, path, fault);
        let path = path.to_path_buf();
        if fault == Fault::StorageFull {
            return IoError::StorageFull { operation, path };
        }
        // Whether the operation took effect is for the log: a real caller is not told either.
        let source = io::Error::other(format!("injected fault, operation {sequence}"));
        IoError::System { operation, path, source }
    }
}

fn missing(operation: Operation, path: &Path) -> IoError {
    IoError::NotFound { operation, path: path.to_path_buf(), nearest: crate::NearestSiblings::default() }
}

fn wrong_kind(operation: Operation, path: &Path, found: FileKind) -> IoError {
    let (found, wanted) = match found {
        FileKind::File => ("a file", "a directory"),
        FileKind::Directory => ("a directory", "a file"),
    };
    IoError::WrongKind { operation, path: path.to_path_buf(), found, wanted }
}

fn stopped(operation: Operation, path: &Path) -> IoError {
    IoError::HandleRefuses { operation, path: path.to_path_buf(), reason: "the simulated machine crashed" }
}

/// The same disk, looked at without faults and without being counted: for the text of an error only.
#[derive(Debug)]
struct Listing<'a>(&'a SimulatedFileSystem);

impl crate::nearest::ListNames for Listing<'_> {
    fn list_names(&self, directory: &Path) -> Option<Vec<String>> {
        let state = lock(&self.0.shared.state);
        let entries = SimulatedFileSystem::entries(&state, &clean(directory), None).ok()?;
        Some(entries.into_iter().map(|entry| entry.name).collect())
    }
}
