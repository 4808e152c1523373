//! Memory that is asked for, shared without copies, and provably given back.
//!
//! One [`Arena`] of 64 KiB pages backs the process. Two budgets divide it: network buffers ([`NetworkBufferPool`],
//! [`LocalBufferPool`]) and managed memory ([`MemoryManager`], [`MemoryBudget`], [`Reservation`]). Both hand out
//! [`MemorySegment`]s, which freeze into [`SharedSegment`]s and Arrow buffers and return by themselves when the last
//! share is dropped. What does not fit goes to a [`SpillFile`] on recycled extents of an [`ExtentPool`]. [`MemoryLayout`]
//! derives all sizes from one number.
//!
//! | module | idea |
//! |---|---|
//! | [`mod@arena`] | pages: mapping, slabs, magazines, free list |
//! | [`segment`] | exclusive, shared, and Arrow views of pages |
//! | [`pool`] | network buffers: minimum, maximum, redistribution |
//! | [`managed`] | budgets, reservations, revocation, weights |
//! | [`spill`] | extents and checksummed, compressed frames |
//! | [`layout`] | one configured size into all others |
//! | [`options`] | the configuration keys |
//!
//! The crate moves bytes: it knows no schema, no kernel and no async runtime, and reads no clock. Its leak checks
//! (`verify_empty` of arena, pools, budgets and extents) name what is still held.

// This is the crate where raw memory lives; each block states its claim.
#![allow(unsafe_code)]
// Under loom only the arena's free list is compiled and modelled (see `sync`).
#![cfg_attr(loom, allow(dead_code, unused_imports, unreachable_pub))]

#[cfg(not(loom))]
pub mod arena;
#[cfg(loom)]
mod arena;
mod error;
#[cfg(not(loom))]
pub mod layout;
#[cfg(not(loom))]
pub mod managed;
#[cfg(not(loom))]
pub mod options;
#[cfg(not(loom))]
pub mod pool;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod spill;
mod sync;

#[cfg(not(loom))]
pub use arena::{Arena, ArenaOptions, ArenaUsage, PAGE_BYTES, RUN_PAGES_MAX, SEGMENT_ALIGNMENT};
pub use error::{FrameProblem, Holder, MemoryError, Refusal};
#[cfg(not(loom))]
pub use layout::{MemoryLayout, MemoryOptions};
#[cfg(not(loom))]
pub use managed::{ConsumerKind, ConsumerWeights, MemoryBudget, MemoryManager, Reservation};
#[cfg(not(loom))]
pub use options::{OPTIONS, SPILL_DIRECTORIES};
#[cfg(not(loom))]
pub use pool::{BufferPoolOptions, LocalBufferPool, NetworkBufferPool};
#[cfg(not(loom))]
pub use segment::{MemorySegment, Pod, SharedSegment};
#[cfg(not(loom))]
pub use spill::{
    DirectoryStorage, ExtentPool, ExtentPoolOptions, FrameCodec, SpillFile, SpillIo, SpillStorage, SpillWriter,
};
