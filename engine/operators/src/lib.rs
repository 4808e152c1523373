//! The operator contract and the operators.
//!
//! [`contract`] is what every operator promises; the other modules are the operators, one each. Operators are
//! synchronous state objects: no clock, no lock, no async, and no wait but for spilled frames ([`spill`]). A [`registry::OperatorRegistry`] turns an
//! OperatorSpec into an operator; [`registry::register_builtin`] fills it with what is here.
//!
//! | module | what it does |
//! |---|---|
//! | [`filter`] | rows for which a condition is true |
//! | [`project`] | computed columns |
//! | [`expand`] | several projections of each row |
//! | [`unnest`] | every row once for each item of its lists |
//! | [`limit`] | OFFSET and FETCH by position |
//! | [`sort`] | ORDER BY and Top-N |
//! | [`watermark`] | watermarks from a timestamp column |
//! | [`hash_aggregate`] | GROUP BY, at the end of bounded input or as a changelog |
//! | [`tumbling_aggregate`] | aggregates by key and tumbling window |
//! | [`hash_join`] | equi-joins with a build side that is read first |
//! | [`asof_join`] | each row with the nearest one of the other side |
//! | [`window_functions`] | functions of a row and its neighbours (OVER) |
//! | [`spill`] | rows that operators cannot hold, on disk |

mod aggregation;
pub mod asof_join;
mod charge;
pub mod contract;
mod error;
mod event_time;
pub mod expand;
mod external_sort;
pub mod filter;
pub mod hash_aggregate;
pub mod hash_join;
pub mod limit;
pub mod project;
pub mod registry;
pub mod sort;
pub mod spill;
#[cfg(test)]
mod testing;
pub mod tumbling_aggregate;
pub mod unnest;
pub mod watermark;
pub mod window_functions;

pub use aggregation::aggregate_state_fields;
pub use error::OperatorError;
pub use registry::register_builtin;
