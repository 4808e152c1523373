//! Wires one process: embedded cluster, session.
