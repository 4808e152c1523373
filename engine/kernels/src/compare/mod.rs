//! Equality and order of rows, by index into two sets of columns.
//!
//! Equality is that of the hash: `-0.0 = 0.0`, every NaN equals every NaN, and neither width nor encoding matters
//! (32-bit and 128-bit integers, views and offsets, dictionaries and flat). Columns are compared one after the other
//! over the pairs that are still equal, so a first column that decides leaves nothing to do.
//! Inside lists, structs and maps floats are compared by their bits.
//!
//! Order is PostgreSQL's: NaN above all other floats; where NULLs go is the key's choice.

mod equal;
mod order;
#[cfg(test)]
mod tests;

pub use equal::{NO_ROW, NullEquality, rows_equal};
pub(crate) use order::sort_options;
pub use order::{RowComparator, order_normalized};
