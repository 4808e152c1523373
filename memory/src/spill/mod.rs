//! Spilling: compressed, checksummed frames on disk extents that are used again and again.
//!
//! The first write of a file page costs ten times a rewrite of a cached one (performance notes, section 0: 0.35
//! against 5.5 GB/s), so spill space is one file of equal extents per pool ([`extent`]) that is created at the first
//! spill and kept; holders take extents and return them on drop. A [`SpillWriter`] appends frames ([`frame`]) and becomes a
//! [`SpillFile`], which is read at random and by any number of threads.
//!
//! The file has no name while it is in use ([`storage`]), so nothing is left behind by a process that was killed. All
//! I/O goes through [`SpillStorage`], on a [`flumen_io::FileSystem`] or where tests put disks that are full or broken. Calls block: operators make them
//! on I/O threads.

pub mod extent;
pub mod file;
pub mod frame;
pub mod storage;

#[cfg(test)]
mod tests;

pub use extent::{Extent, ExtentPool, ExtentPoolOptions};
pub use file::{SpillFile, SpillWriter};
pub use frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameCodec};
pub use storage::{DirectoryStorage, SpillIo, SpillStorage};
