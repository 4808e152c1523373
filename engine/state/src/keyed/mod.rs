//! Keyed state by batches: the table that groups a batch query is the table that keeps a stream's state.
//!
//! A [`KeyedTable`] gives every distinct key a slot. [`KeyedTable::group`] turns the keys of a batch into slots, once;
//! everything else (accumulators, window state, deduplication) is columns addressed by slot, updated by loops over the
//! batch. There is no lookup, allocation or virtual call for a single row.
//!
//! Parts: keys as rows of words in pages ([`layout`](self), one cache line per compare), the hash of each key (for key
//! groups at snapshots and for output), a directory of tagged words in sub-tables of at most 2 MiB that split, or for dense
//! keys of one word an array of slots, and the accumulators. One thread writes; a snapshot (see [`KeyedTable::snapshot`]) shares pages with it and is read on any
//! other thread.
//!
//! Cost: 16 bytes of key and hash and about 13 of directory for a group with a key of at most 8 bytes, before
//! accumulators.

mod direct;
mod directory;
mod group;
mod layout;
mod snapshot;
mod store;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use group::{Groups, KeyInput};
pub use snapshot::TableSnapshot;
pub use table::{KeyedTable, RowInput, SlotCursor};

pub(crate) use layout::{as_strings, from_strings, view_array};
