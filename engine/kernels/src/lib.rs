//! Pure functions over columns: hash, group, probe, scatter, sort, expressions.

pub mod expr;
