//! The frame: Arrow IPC in one aligned block.
