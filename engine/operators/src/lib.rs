//! The operator contract and the operators.
