//! Keyed and operator state, snapshots and checkpoint storage.

pub mod snapshot;

pub use snapshot::{KeyedPart, KeyedRows, ListPart, OperatorSnapshot, RestoredState};
