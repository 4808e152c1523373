//! Pure functions over columns: hash, select, gather, scatter, compare, sort, join tables, expressions.
//!
//! Kernels are synchronous, know no operator, clock or lock, and work on a column at a time: each looks at the Arrow
//! type once and then runs a loop that is compiled for that type, with or without nulls, with or
//! without a selection. There is no virtual call and no allocation per row.
//!
//! * [`hash`]: the one frozen hash of the engine.
//! * [`selection`]: masks to selections.
//! * [`compare`]: equality and order of rows.
//! * [`gather`]: take, materialize, concatenate, compact, make portable.
//! * [`join_table`]: the build side of a hash join.
//! * [`nested`]: lists, structs and maps as whole values.
//! * [`scatter`]: rows to many targets.
//! * [`sort`]: sort, Top-N, merge.
//! * [`simd`]: which instruction set is used, chosen once.
//! * [`expr`]: compiled expressions.

mod carrier;
pub mod compare;
mod error;
pub mod expr;
pub mod gather;
pub mod hash;
pub mod join_table;
pub mod nested;
pub mod scatter;
pub mod selection;
pub mod simd;
pub mod sort;

pub use error::KernelError;
