//! Whole jobs through every part of the engine: SQL text in, checked rows out.

mod cases;
mod errors;
mod harness;
mod semantics;
mod tpch;
