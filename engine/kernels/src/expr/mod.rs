//! Compiled expressions.

/// The functions that expressions may name.
#[derive(Default)]
pub struct FunctionRegistry {}
