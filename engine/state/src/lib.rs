//! Keyed and operator state, snapshots and checkpoint storage.
