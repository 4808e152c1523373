//! The binary as people and scripts meet it.

mod basics;
mod bench;
mod binary;
mod formats;
#[cfg(unix)]
mod terminal;
mod words;
