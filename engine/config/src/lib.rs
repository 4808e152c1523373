//! Typed configuration options, their sources, and metric registry.
