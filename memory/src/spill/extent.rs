//! Equal extents of one file, taken and returned like pages.
//!
//! The most recently returned extent is given out first: it is the one most likely still in the page cache. The file is
//! made when the first extent is taken, and grows by one extent when none is free; it never shrinks, but
//! [`ExtentPool::release_file`] gives all of it up while nothing is in use. Offsets and sizes are in bytes. Any thread
//! may call; I/O runs without the lock, except for making the file.

use super::storage::{SpillIo, SpillStorage};
use crate::error::{FrameProblem, Holder, MemoryError};
use crate::sync::Lock;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How an [`ExtentPool`] is set up.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ExtentPoolOptions {
    /// Size of one extent.
    pub extent_bytes: u32,
    /// The most that the file may hold; `None` leaves it to the disk.
    pub bytes_max: Option<u64>,
}

impl Default for ExtentPoolOptions {
    fn default() -> Self {
        Self { extent_bytes: 256 << 10, bytes_max: None }
    }
}

impl ExtentPoolOptions {
    /// Sets the size of an extent (not zero).
    #[must_use]
    pub fn with_extent_bytes(mut self, extent_bytes: u32) -> Self {
        self.extent_bytes = extent_bytes.max(1);
        self
    }

    /// Limits the file.
    #[must_use]
    pub fn with_bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = Some(bytes_max);
        self
    }
}

/// The spill space of one directory; clones share it.
#[derive(Debug, Clone)]
pub struct ExtentPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    storage: Box<dyn SpillStorage>,
    options: ExtentPoolOptions,
    state: Lock<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<dyn SpillIo>>,
    /// Extents of the file that nobody holds, the last returned last.
    free: Vec<u32>,
    /// Extents that the file has, free or held.
    created: u32,
    /// Extents held, by owner.
    held: BTreeMap<Arc<str>, u32>,
    peak: u32,
}

impl State {
    fn in_use(&self) -> u32 {
        self.created - self.free.len() as u32
    }
}

/// One extent, returned on drop.
#[derive(Debug)]
pub struct Extent {
    shared: Arc<Shared>,
    file: Arc<dyn SpillIo>,
    owner: Arc<str>,
    index: u32,
    /// A write failed: the disk may have nothing behind (all of) this extent.
    failed: AtomicBool,
}

impl ExtentPool {
    /// A pool whose file will be made by `storage`.
    pub fn new(storage: Box<dyn SpillStorage>, options: ExtentPoolOptions) -> Self {
        Self { shared: Arc::new(Shared { storage, options, state: Lock::new(State::default()) }) }
    }

    /// Size of an extent.
    pub fn extent_bytes(&self) -> usize {
        self.shared.options.extent_bytes as usize
    }

    /// Takes an extent for `owner` (its name in leak reports).
    ///
    /// # Errors
    /// [`MemoryError::SpillFull`] at the limit; [`MemoryError::SpillIo`] if the file cannot be made.
    pub fn allocate(&self, owner: &Arc<str>) -> Result<Extent, MemoryError> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let file = match &state.file {
            Some(file) => Arc::clone(file),
            None => {
                let create = |source| io_error("create", &shared.storage.name(), 0, source);
                let file: Arc<dyn SpillIo> = Arc::from(shared.storage.create().map_err(create)?);
                state.file = Some(Arc::clone(&file));
                file
            }
        };
        let index = match state.free.pop() {
            Some(index) => index,
            None => {
                let extent_bytes = u64::from(shared.options.extent_bytes);
                let limit = shared.options.bytes_max.unwrap_or(u64::MAX) / extent_bytes;
                if u64::from(state.created) >= limit.min(u64::from(u32::MAX)) {
                    return Err(MemoryError::SpillFull {
                        file: file.name().to_owned(),
                        used_bytes: u64::from(state.in_use()) * extent_bytes,
                        limit_bytes: shared.options.bytes_max,
                        source: None,
                    });
                }
                state.created += 1;
                state.created - 1
            }
        };
        *state.held.entry(Arc::clone(owner)).or_default() += 1;
        state.peak = state.peak.max(state.in_use());
        drop(state);
        Ok(Extent { shared: Arc::clone(shared), file, owner: Arc::clone(owner), index, failed: AtomicBool::new(false) })
    }

    /// Bytes of extents held.
    pub fn used_bytes(&self) -> u64 {
        self.bytes(State::in_use)
    }

    /// The most that was ever held.
    pub fn peak_bytes(&self) -> u64 {
        self.bytes(|state| state.peak)
    }

    /// Bytes of extents that the file has: what it may occupy on the disk.
    pub fn file_bytes(&self) -> u64 {
        self.bytes(|state| state.created)
    }

    /// Gives the disk its space back if nothing is held; answers whether.
    pub fn release_file(&self) -> bool {
        let mut state = self.shared.state.lock();
        if state.in_use() > 0 {
            return false;
        }
        state.file = None;
        state.free = Vec::new();
        state.created = 0;
        true
    }

    /// The leak check: no extent is held.
    ///
    /// # Errors
    /// [`MemoryError::Leak`] with the owners.
    pub fn verify_empty(&self) -> Result<(), MemoryError> {
        let extent_bytes = u64::from(self.shared.options.extent_bytes);
        let state = self.shared.state.lock();
        let held = state.held.iter().map(|(owner, count)| Holder::new(&**owner, u64::from(*count) * extent_bytes));
        let held: Vec<_> = held.collect();
        let owner = format!("spill space in {}", self.shared.storage.name());
        if held.is_empty() { Ok(()) } else { Err(MemoryError::leak(owner, held)) }
    }

    fn bytes(&self, extents: impl Fn(&State) -> u32) -> u64 {
        u64::from(extents(&self.shared.state.lock())) * u64::from(self.shared.options.extent_bytes)
    }
}

impl Extent {
    /// Name of the file, for messages.
    pub fn file_name(&self) -> &str {
        self.file.name()
    }

    /// Where the extent starts in the file.
    pub fn offset(&self) -> u64 {
        u64::from(self.index) * u64::from(self.shared.options.extent_bytes)
    }

    /// Writes all of `bytes` at `at` within the extent.
    ///
    /// # Errors
    /// [`MemoryError::SpillFull`] if the disk is full, else [`MemoryError::SpillIo`].
    ///
    /// # Panics
    /// If the bytes do not lie within the extent.
    pub fn write(&self, at: usize, mut bytes: &[u8]) -> Result<(), MemoryError> {
        self.check(at, bytes.len());
        let mut offset = self.offset() + at as u64;
        while !bytes.is_empty() {
            let written = match self.file.write_at(offset, bytes) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => Ok(written.min(bytes.len())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                Err(error) => Err(error),
            };
            let written = written.map_err(|source| self.write_error(offset, source))?;
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// Fills `bytes` from `at` within the extent.
    ///
    /// # Errors
    /// [`MemoryError::SpillIo`]; [`MemoryError::SpillCorrupt`] if the file ends before.
    ///
    /// # Panics
    /// If the bytes do not lie within the extent.
    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.check(at, bytes.len());
        let start = self.offset() + at as u64;
        let mut done = 0;
        while done < bytes.len() {
            let offset = start + done as u64;
            match self.file.read_at(offset, &mut bytes[done..]) {
                Ok(0) => {
                    let problem = FrameProblem::Truncated { needed: bytes.len() as u64, available: done as u64 };
                    return Err(MemoryError::SpillCorrupt {
                        file: self.file_name().to_owned(),
                        offset: start,
                        problem,
                    });
                }
                Ok(read) => done += read.min(bytes.len() - done),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read", self.file_name(), offset, error)),
            }
        }
        Ok(())
    }

    fn check(&self, at: usize, length: usize) {
        let size = self.shared.options.extent_bytes as usize;
        assert!(at <= size && length <= size - at, "{length} bytes at {at} are not within an extent of {size}");
    }

    fn write_error(&self, offset: u64, source: io::Error) -> MemoryError {
        self.failed.store(true, Ordering::Relaxed);
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        if !full.contains(&source.kind()) {
            return io_error("write", self.file_name(), offset, source);
        }
        let state = self.shared.state.lock();
        MemoryError::SpillFull {
            file: self.file_name().to_owned(),
            used_bytes: u64::from(state.in_use()) * u64::from(self.shared.options.extent_bytes),
            limit_bytes: None,
            source: Some(source),
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if self.failed.load(Ordering::Relaxed) {
            // The last to be tried again: extents that the disk does back come first.
            state.free.insert(0, self.index);
        } else {
            state.free.push(self.index);
        }
        if let Some(count) = state.held.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                state.held.remove(&self.owner);
            }
        }
    }
}

fn io_error(action: &'static str, file: &str, offset: u64, source: io::Error) -> MemoryError {
    MemoryError::SpillIo { action, file: file.to_owned(), offset, source }
}
