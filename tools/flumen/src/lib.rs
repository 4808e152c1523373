//! What the `flumen` binary shares with tests and benchmarks: suites of queries with their data and answers.
//!
//! | module | holds |
//! |---|---|
//! | [`tpch`] | TPC-H |
//! | [`h2o`] | grouping and joining as the questions of db-benchmark do it |
//! | [`clickbench`] | the queries of ClickBench over a table that is made to resemble its own |
//! | [`answers`] | how a result is held against an answer of another engine |

pub mod answers;
pub mod clickbench;
pub mod h2o;
mod tables;
pub mod tpch;
