//! Expressions over batches: compiled once for a task, evaluated a batch at a time.
//!
//! | module | holds |
//! |---|---|
//! | `registry` | functions beyond the built-in ones ([`ScalarFunction`], [`FunctionRegistry`]) |
//! | `compile` | from [`Expr`] to a program: types checked, equal parts shared, no recursion |
//! | `program` | the program: a list of nodes |
//! | `evaluate` | the machine that runs it; AND, OR and CASE by narrowing |
//! | `scope` | which rows count, and results kept for their other users |
//! | `predicate` | conditions that narrow a batch, in the best order ([`CompiledPredicate`]) |
//! | `column`, `literal` | columns taken apart, constants |
//! | `functions` | the kernels |
//!
//! Values follow PostgreSQL (DESIGN.md, section 7): three-valued logic; integer overflow, division by zero and a bad
//! cast are errors, raised only for rows that are selected and reached; `/` on integers truncates; NaN equals NaN and
//! is the greatest number. Decimals are exact, rounded half up.
//!
//! Built-in functions: `add subtract multiply divide modulo negate abs`, `eq ne lt le gt ge is_distinct_from
//! is_not_distinct_from`, `and or not is_null is_not_null is_true is_false coalesce`, `like not_like ilike not_ilike
//! (text, pattern[, escape])`, `concat substring(text, from[, count]) lower upper length`, `extract(field, value)` also
//! known as `date_part`, `date_trunc(field, value)`. Dates and times use `add`, `subtract` and `multiply` with intervals,
//! durations and numbers of days.
//!
//! Threading: compiled expressions are immutable and may be shared; an evaluation runs on the caller's thread.

mod column;
mod compile;
mod error;
mod evaluate;
mod functions;
mod literal;
mod predicate;
mod program;
mod registry;
mod scope;
#[cfg(test)]
mod tests;

use flumen_core::batch::{Batch, Column};
use flumen_core::expr::Expr;
use flumen_core::types::{LogicalType, Schema};

pub use compile::DEPTH_MAX;
pub use error::ExprError;
pub use functions::calendar::add_months;
pub use literal::literal_array;
pub use predicate::{CompiledPredicate, Selected};
pub use registry::{FunctionError, FunctionRegistry, ScalarFunction};

use program::{Op, Program};

/// An expression, ready to be evaluated.
pub struct CompiledExpr {
    program: Program,
}

impl CompiledExpr {
    /// Compiles an expression over the columns of `input`.
    ///
    /// # Errors
    /// If a function or column does not exist, types do not fit or are not what the expression states, a constant is
    /// not of its type, or it is nested deeper than [`DEPTH_MAX`].
    pub fn compile(expr: &Expr, input: &Schema, functions: &FunctionRegistry) -> Result<Self, ExprError> {
        Ok(Self { program: compile::compile(expr, input, functions)? })
    }

    /// The values for the selected rows of the batch: an array indexed by physical row, or a constant. At rows that are
    /// not selected it holds anything. The encoding is whatever came out cheapest; a column comes back as it is.
    ///
    /// # Errors
    /// The first error of a selected row that was reached.
    ///
    /// # Panics
    /// If the batch has fewer columns than the schema it was compiled for.
    pub fn evaluate(&self, batch: &Batch) -> Result<Column, ExprError> {
        assert!(batch.columns().len() >= self.program.columns, "the batch has the columns of the schema");
        let root = &self.program.nodes[self.program.root];
        match &root.op {
            Op::Column(index) => Ok(batch.column(*index).clone()),
            Op::Literal(column) => Ok(column.clone()),
            _ => evaluate::evaluate(&self.program, batch),
        }
    }

    /// The type of the values.
    #[must_use]
    pub fn data_type(&self) -> &LogicalType {
        &self.program.nodes[self.program.root].data_type
    }

    /// The column it reads, if it is nothing but that.
    #[must_use]
    pub fn as_column(&self) -> Option<usize> {
        match self.program.nodes[self.program.root].op {
            Op::Column(index) => Some(index),
            _ => None,
        }
    }
}

impl std::fmt::Debug for CompiledExpr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledExpr")
            .field("nodes", &self.program.nodes.len())
            .field("data_type", self.data_type())
            .finish()
    }
}
