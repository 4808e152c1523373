//! Keyed and operator state, aggregates over it, snapshots and checkpoint storage.
//!
//! | module | idea |
//! |---|---|
//! | [`keyed`] | groups by key, a batch at a time; the table of every aggregate and keyed state |
//! | [`aggregate`] | columns of accumulators: update, merge, retract, export |
//! | [`pages`] | charged memory that snapshots share and writers copy |
//! | [`checkpoint`] | checkpoints in a directory: writing, finding, verifying, restoring at another parallelism |
//! | [`snapshot`] | what an operator hands over at a barrier, and gets back on restore |
//!
//! State is written by one thread and never waits; snapshots and storage are read and written on I/O threads. There is
//! no clock here, and no file but through `flumen_io::FileSystem`.

pub mod aggregate;
pub mod checkpoint;
mod error;
pub mod keyed;
pub mod pages;
pub mod snapshot;
mod values;

pub use aggregate::{Accumulator, AccumulatorContext, AggregateFunction, AggregateRegistry, StateInput, UpdateInput};
pub use checkpoint::{
    CheckpointMetadata, CheckpointStorage, Found, OperatorStateHandle, SubtaskOfCheckpoint, Verification,
};
pub use error::{Result, StateError};
pub use keyed::{Groups, KeyInput, KeyedTable, RowInput, SlotCursor, TableSnapshot};
pub use pages::{MeteredPages, PageSource, SegmentPages};
pub use snapshot::{KeyedPart, KeyedRows, ListPart, OperatorSnapshot, RestoredState};
