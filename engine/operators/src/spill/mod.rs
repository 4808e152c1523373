//! Spilling: rows that an operator cannot hold, as frames on the process's spill extents.
//!
//! Rows are written once and read in sequence, any number of times ([`SpillWriter`], [`SpilledRows`]); many files at a
//! time are filled by the hash of a key ([`SpillPartitions`]). A frame is `flumen-formats-ipc`'s, about [`FRAME_BYTES`]
//! long, in the checksummed LZ4 envelope of `flumen-memory`. Row kinds go with the rows; key hashes are computed again.
//!
//! *Who yields.* An operator grows by `resize_spillable`, which leaves a quarter of the budget to holders that cannot
//! spill. Refused, it spills what it holds and tries again; only the least that it needs is taken from the rest. What it
//! holds and could spill now it declares as revocable, so that the arbiter of `flumen-memory` may ask for it when
//! someone else is refused (`Operator::revoke_memory`, between any two calls).
//!
//! *I/O.* Frames are written and read on the worker that steps the task, one or a few for each call, mostly to and from
//! the page cache. It is the one place where an operator touches a disk; a read of a frame that the cache has lost holds
//! its worker up for that long.
//!
//! *Lifetime.* Extents return to the pool when the rows are dropped, with their operator at the latest; a pool that
//! nobody uses gives its file up.
//!
//! Cost: LZ4 and two checksums, about 2 ns a byte, once each way.

mod partitions;
mod rows;
mod space;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use partitions::{LEVELS, PARTITIONS, SpillPartitions, partition_of};
pub(crate) use rows::{SpillReader, SpillWriter, SpilledRows};
pub use space::{SpillSpace, SpilledBytes};

/// Bytes of a frame, about: long enough for the disk, and for a dozen of them to be read side by side in little memory.
pub(crate) const FRAME_BYTES: usize = 64 << 10;
/// What is less than this is not spilled while there is any other room: tiny runs cost more than they give.
pub(crate) const SPILL_BYTES_MIN: usize = 256 << 10;
