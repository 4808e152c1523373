//! What goes wrong in an operator beyond memory, state and kernels, which have errors of their own.

use flumen_core::failure::{Failure, FailureKind};
use flumen_core::spec::OperatorSpec;
use flumen_core::types::SchemaRef;
use flumen_kernels::expr::ExprError;

/// What goes wrong in an operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// A row is taken back, but the operator has passed on or forgotten what it would need for that.
    #[error("{operator} got a row that takes an earlier one back; feed it an append-only input")]
    Retraction {
        /// Which operator.
        operator: &'static str,
    },
    /// A timestamp that orders rows is NULL.
    #[error("column {column:?} is the time of its rows and must not be NULL; filter such rows out before")]
    NullTime {
        /// The column's name.
        column: String,
    },
    /// A column has another type than the operator works with.
    #[error("{operator}: column {column:?} has type {found}, expected {expected}")]
    ColumnType {
        /// Which operator.
        operator: &'static str,
        /// The column's name.
        column: String,
        /// Its type.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// An argument of a function makes no sense.
    #[error("{function}: {problem}")]
    Argument {
        /// Which function.
        function: &'static str,
        /// What is wrong, and what would do.
        problem: String,
    },
    /// The spec does not describe an operator.
    #[error("{operator}: {problem}; this plan was not made by this engine")]
    Spec {
        /// Which operator.
        operator: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A snapshot was asked for in the middle of bounded work.
    #[error("{operator} cannot be part of a checkpoint before its input has ended; run the query without checkpoints")]
    NoSnapshot {
        /// Which operator.
        operator: &'static str,
    },
    /// State from a snapshot does not fit.
    #[error("state {name:?}: {problem}; it was written by another operator or build")]
    State {
        /// Which state.
        name: &'static str,
        /// What does not fit.
        problem: String,
    },
}

impl OperatorError {
    /// How it is to be treated.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        FailureKind::User
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        Self::new(error.failure_kind(), error)
    }
}

/// The schema of an input.
///
/// # Errors
/// If the spec has none there.
pub(crate) fn input_schema<'a>(
    spec: &'a OperatorSpec,
    input: usize,
    operator: &'static str,
) -> Result<&'a SchemaRef, OperatorError> {
    let missing = || OperatorError::Spec { operator, problem: format!("input {input} has no schema") };
    spec.inputs.get(input).ok_or_else(missing)
}

/// The schema of the output.
///
/// # Errors
/// If the spec has none.
pub(crate) fn output_schema<'a>(
    spec: &'a OperatorSpec,
    operator: &'static str,
) -> Result<&'a SchemaRef, OperatorError> {
    spec.output.as_ref().ok_or(OperatorError::Spec { operator, problem: "the output has no schema".into() })
}

/// Checks that columns exist.
///
/// # Errors
/// At the first that does not.
pub(crate) fn check_columns(
    columns: impl IntoIterator<Item = usize>,
    schema: &SchemaRef,
    operator: &'static str,
) -> Result<(), OperatorError> {
    match columns.into_iter().find(|column| *column >= schema.fields.len()) {
        None => Ok(()),
        Some(column) => {
            let problem = format!("there is no column {column} among {}", schema.fields.len());
            Err(OperatorError::Spec { operator, problem })
        }
    }
}

/// The failure that an expression ends a task with.
pub(crate) fn expression_failure(error: ExprError) -> Failure {
    Failure::new(error.failure_kind(), error)
}
