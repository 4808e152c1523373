//! Whole jobs through every part of the engine: SQL text in, checked rows out.

mod aggregates;
mod cases;
mod consumer_weights;
mod definitions;
mod errors;
mod harness;
mod semantics;
mod spilling;
mod tpch;
mod window_functions;
