//! The real `flumen` process: killed and resumed, over damaged checkpoints, over damaged files, under hostile SQL,
//! and beside another engine.
#![allow(clippy::disallowed_methods, reason = "deadlines of other processes are those of the machine's clock")]

mod bad_input;
mod checkpoints;
mod damaged;
mod differential;
mod killed;
mod process;
mod rescaled;
mod stream;
