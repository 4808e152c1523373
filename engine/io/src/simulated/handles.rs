//! Open files of the simulated file system.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::content::Content;
use super::faults::Fault;
use super::{Shared, SimulatedFileSystem, State, disk, lock, stopped};
use crate::error::{IoError, Operation, Result};
use crate::file_system::{FileSystem, PositionedFile, ReadFile, WriteFile, directory_of, fill};
use crate::random::RandomSource;

/// The largest simulated file; keeps a wild offset from allocating.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// What every open file has. Counted while it lives.
#[derive(Debug)]
pub(super) struct Handle {
    shared: Arc<Shared>,
    content: Arc<Mutex<Content>>,
    path: PathBuf,
    /// The number of crashes when it was opened.
    crashes: u64,
}

impl Handle {
    pub(super) fn new(shared: &Arc<Shared>, content: Arc<Mutex<Content>>, path: &Path) -> Self {
        shared.handles_open.fetch_add(1, Ordering::Relaxed);
        let crashes = lock(&shared.state).crashes;
        Self { shared: Arc::clone(shared), content, path: path.to_path_buf(), crashes }
    }

    /// Runs one operation under the lock, with the fault that was decided for it.
    fn operate<T>(
        &self,
        operation: Operation,
        action: impl FnOnce(&mut State, &mut Content, Option<Fault>) -> Result<T>,
    ) -> Result<T> {
        let mut state = lock(&self.shared.state);
        if state.crashes != self.crashes {
            return Err(stopped(operation, &self.path));
        }
        let fault = state.faults.decide(operation, &disk::clean(&self.path));
        if fault == Some(Fault::Crash) {
            drop(state);
            SimulatedFileSystem { shared: Arc::clone(&self.shared) }.crash();
            return Err(stopped(operation, &self.path));
        }
        action(&mut state, &mut lock(&self.content), fault)
    }

    fn fail<T>(&self, state: &mut State, operation: Operation, fault: Fault) -> Result<T> {
        Err(self.shared.fail(state, operation, &self.path, fault))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.operate(Operation::Read, |state, content, fault| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes().len());
            let rest = &content.bytes()[start..];
            let mut count = rest.len().min(buffer.len());
            match fault {
                None => {}
                // One byte at least, since none would mean the end of the file.
                Some(Fault::Short) if count > 1 => {
                    count = 1 + state.faults.rng.below(count as u64 - 1) as usize;
                    self.shared.record(state, Operation::Read, &self.path, Fault::Short);
                }
                Some(Fault::Short) => {}
                Some(_) => return self.fail(state, Operation::Read, Fault::Failed),
            }
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let modified_millis = self.shared.clock.wall_millis();
        self.operate(Operation::Write, |state, content, fault| {
            let start = self.checked_offset(Operation::Write, offset, bytes.len() as u64)?;
            let room = state.faults.plan.capacity_bytes.saturating_sub(self.shared.used_bytes.load(Ordering::Relaxed));
            let growth = content.growth(start, bytes.len());
            // A device that is full takes what fits.
            let fits = bytes.len().saturating_sub(usize::try_from(growth.saturating_sub(room)).unwrap_or(usize::MAX));
            let (written, fault) = match fault {
                Some(Fault::Torn) => (state.faults.rng.below(bytes.len() as u64) as usize, Some(Fault::Torn)),
                Some(Fault::AppliedButFailed) => (bytes.len(), fault),
                Some(Fault::StorageFull) => (0, fault),
                Some(_) => (0, Some(Fault::Failed)),
                None => (bytes.len(), None),
            };
            let (written, fault) = if written > fits { (fits, Some(Fault::StorageFull)) } else { (written, fault) };
            if written > 0 {
                content.write(start, &bytes[..written]);
                content.modified_millis = modified_millis;
            }
            fault.map_or(Ok(()), |fault| self.fail(state, Operation::Write, fault))
        })
    }

    fn resize(&self, size: u64) -> Result<()> {
        self.operate(Operation::Resize, |state, content, fault| {
            let size = self.checked_offset(Operation::Resize, size, 0)?;
            let room = state.faults.plan.capacity_bytes.saturating_sub(self.shared.used_bytes.load(Ordering::Relaxed));
            if content.growth(size, 0) > room {
                return self.fail(state, Operation::Resize, Fault::StorageFull);
            }
            if matches!(fault, None | Some(Fault::AppliedButFailed)) {
                content.resize(size);
            }
            fault.map_or(Ok(()), |fault| self.fail(state, Operation::Resize, fault))
        })
    }

    fn sync(&self) -> Result<()> {
        self.operate(Operation::Sync, |state, content, fault| match fault {
            None => {
                content.sync();
                Ok(())
            }
            Some(Fault::AppliedButFailed) => {
                content.sync();
                self.fail(state, Operation::Sync, Fault::AppliedButFailed)
            }
            Some(fault) => {
                content.forget_pending();
                self.fail(state, Operation::Sync, if fault == Fault::StorageFull { fault } else { Fault::Failed })
            }
        })
    }

    fn size(&self) -> Result<u64> {
        self.operate(Operation::Stat, |state, content, fault| match fault {
            None => Ok(content.bytes().len() as u64),
            Some(_) => self.fail(state, Operation::Stat, Fault::Failed),
        })
    }

    fn checked_offset(&self, operation: Operation, offset: u64, length: u64) -> Result<usize> {
        if offset.checked_add(length).is_none_or(|end| end > FILE_BYTES_MAX) {
            return Err(IoError::StorageFull { operation, path: self.path.clone() });
        }
        usize::try_from(offset).map_err(|_| IoError::StorageFull { operation, path: self.path.clone() })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.handles_open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct SimulatedReadFile {
    handle: Handle,
    size: u64,
    modified_millis: i64,
}

impl SimulatedReadFile {
    pub(super) fn new(handle: Handle) -> Self {
        let (size, modified_millis) = {
            let content = lock(&handle.content);
            (content.bytes().len() as u64, content.modified_millis)
        };
        Self { handle, size, modified_millis }
    }
}

impl ReadFile for SimulatedReadFile {
    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn modified_millis(&self) -> i64 {
        self.modified_millis
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.handle.read_at(offset, buffer)
    }
}

#[derive(Debug)]
pub(super) struct SimulatedWriteFile {
    handle: Handle,
    position: u64,
    /// Set if the file's name is new: whom to ask to make it durable.
    created_in: Option<SimulatedFileSystem>,
    failed: bool,
}

impl SimulatedWriteFile {
    pub(super) fn new(handle: Handle, created_in: Option<SimulatedFileSystem>) -> Self {
        let position = lock(&handle.content).bytes().len() as u64;
        Self { handle, position, created_in, failed: false }
    }

    fn step(&mut self, operation: Operation, step: impl FnOnce(&Handle) -> Result<()>) -> Result<()> {
        if self.failed {
            let reason = "an earlier write or sync on it failed";
            return Err(IoError::HandleRefuses { operation, path: self.handle.path.clone(), reason });
        }
        let result = step(&self.handle);
        self.failed = result.is_err();
        result
    }
}

impl WriteFile for SimulatedWriteFile {
    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let position = self.position;
        self.step(Operation::Write, |handle| handle.write_at(position, bytes))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.step(Operation::Sync, Handle::sync)
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.sync()?;
        if let Some(files) = &self.created_in {
            files.sync_directory(directory_of(&self.handle.path))?;
        }
        Ok(self.position)
    }
}

#[derive(Debug)]
pub(super) struct SimulatedPositionedFile {
    handle: Handle,
    sync_failed: AtomicBool,
}

impl SimulatedPositionedFile {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, sync_failed: AtomicBool::new(false) }
    }

    fn refuse_after_failed_sync(&self, operation: Operation) -> Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            let reason = "an earlier sync on it failed";
            return Err(IoError::HandleRefuses { operation, path: self.handle.path.clone(), reason });
        }
        Ok(())
    }
}

impl PositionedFile for SimulatedPositionedFile {
    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn size(&self) -> Result<u64> {
        self.handle.size()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let size = || lock(&self.handle.content).bytes().len() as u64;
        fill(&self.handle.path, offset, buffer, |position, rest| self.handle.read_at(position, rest), size)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Write)?;
        self.handle.write_at(offset, bytes)
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Resize)?;
        self.handle.resize(size)
    }

    fn sync(&self) -> Result<()> {
        self.refuse_after_failed_sync(Operation::Sync)?;
        let result = self.handle.sync();
        if result.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        result
    }
}
