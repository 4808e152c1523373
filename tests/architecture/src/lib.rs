//! Tests of the structure of the workspace: who may depend on whom, which outside crates stay in their corner, one
//! Arrow in the build, no build tool beyond Rust and a C compiler, and the fixed top level.
//!
//! The rules are pure functions from a [`workspace::Workspace`] to a list of violations, so that each is shown to fail
//! on a made-up workspace beside the test that runs it on the real one. The real one is read with `cargo metadata
//! --no-deps` and from `Cargo.lock`; neither needs a network.
//!
//! A new crate gets a line in [`layers::CRATES`]; a test fails until it has one.

pub mod layers;
pub mod rules;
pub mod workspace;

#[cfg(test)]
mod tests;
