//! What the `flumen` binary shares with tests and benchmarks.

pub mod tpch;
