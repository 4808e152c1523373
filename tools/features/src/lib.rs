//! Nothing. Its dependencies are all third-party crates of the workspace.
//!
//! Cargo chooses the features of a dependency from the packages that are built together, so `cargo test -p X` would
//! compile another arrow than `cargo test --workspace` does. `cargo test -p X -p flumen-features` compiles the same one.
