//! The operator contract and the operators.
//!
//! [`contract`] is what every operator promises; the other modules are the operators, one each. Operators are
//! synchronous state objects: no clock, no lock, no wait, no async. A [`registry::OperatorRegistry`] turns an
//! OperatorSpec into an operator.

pub mod contract;
pub mod registry;
