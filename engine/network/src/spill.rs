//! Room for stored partitions on the extents of the process's spill file.
//!
//! A region is what one flush wrote: the frames of every subpartition, one subpartition after the other, over as many
//! extents as it takes. Extents come from an [`ExtentPool`] and return to it when the last reference to the region is
//! gone, so file pages are used again and nothing is created and deleted for each batch. When no stored partition is
//! left the file itself is given up: a process without jobs holds no file and no descriptor.
//!
//! Threading: all calls that do I/O block and are made through a `BlockingExecutor`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flumen_io::FileSystem;
use flumen_memory::MemoryError;
use flumen_memory::spill::{DirectoryStorage, Extent, ExtentPool, ExtentPoolOptions};

/// The spill space of one environment.
pub(crate) struct SpillSpace {
    pool: ExtentPool,
    users: AtomicUsize,
}

impl SpillSpace {
    pub(crate) fn new(files: Arc<dyn FileSystem>, directory: std::path::PathBuf) -> Arc<Self> {
        let storage = Box::new(DirectoryStorage::new(files, directory));
        Arc::new(Self { pool: ExtentPool::new(storage, ExtentPoolOptions::default()), users: AtomicUsize::new(0) })
    }

    /// A stored partition begins.
    pub(crate) fn enter(self: &Arc<Self>, owner: String) -> SpillUser {
        self.users.fetch_add(1, Ordering::AcqRel);
        SpillUser { space: Arc::clone(self), owner: owner.into() }
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.pool.used_bytes()
    }

    fn give_up_unused(&self) {
        if self.users.load(Ordering::Acquire) == 0 {
            self.pool.release_file();
        }
    }
}

/// One partition's access to the space.
pub(crate) struct SpillUser {
    space: Arc<SpillSpace>,
    owner: Arc<str>,
}

impl SpillUser {
    /// A region to be written frame by frame.
    pub(crate) fn region(&self) -> RegionWriter<'_> {
        RegionWriter { user: self, extents: Vec::new(), filled: self.space.pool.extent_bytes(), position: 0 }
    }
}

impl Drop for SpillUser {
    fn drop(&mut self) {
        self.space.users.fetch_sub(1, Ordering::AcqRel);
        self.space.give_up_unused();
    }
}

/// Writes one region. Dropped unfinished, it gives its extents back.
pub(crate) struct RegionWriter<'a> {
    user: &'a SpillUser,
    extents: Vec<Extent>,
    /// Bytes of the last extent in use.
    filled: usize,
    position: u64,
}

impl RegionWriter<'_> {
    /// Appends bytes and returns where in the region they begin.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<u64, MemoryError> {
        let pool = &self.user.space.pool;
        let start = self.position;
        self.position += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filled == pool.extent_bytes() {
                self.extents.push(pool.allocate(&self.user.owner)?);
                self.filled = 0;
            }
            let part = bytes.len().min(pool.extent_bytes() - self.filled);
            if let Some(extent) = self.extents.last() {
                extent.write(self.filled, &bytes[..part])?;
            }
            self.filled += part;
            bytes = &bytes[part..];
        }
        Ok(start)
    }

    pub(crate) fn finish(self) -> Arc<Region> {
        let space = Arc::clone(&self.user.space);
        Arc::new(Region { extents: Some(self.extents), extent_bytes: space.pool.extent_bytes(), space })
    }
}

/// What one flush wrote.
pub(crate) struct Region {
    /// Taken only when dropped.
    extents: Option<Vec<Extent>>,
    extent_bytes: usize,
    space: Arc<SpillSpace>,
}

impl Region {
    /// Fills `bytes` from `offset`.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let extents = self.extents.as_deref().unwrap_or_default();
        let mut position = usize::try_from(offset).expect("a region fits into memory when it is written");
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = position % self.extent_bytes;
            let (part, tail) = rest.split_at_mut((self.extent_bytes - within).min(rest.len()));
            extents[position / self.extent_bytes].read(within, part)?;
            position += part.len();
            rest = tail;
        }
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.extents = None;
        self.space.give_up_unused();
    }
}
