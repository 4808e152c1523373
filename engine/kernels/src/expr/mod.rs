//! Compiled expressions.

mod error;
mod functions;
mod registry;

pub use error::ExprError;
pub use registry::{FunctionError, FunctionRegistry, ScalarFunction};
