//! What can go wrong with an expression, when it is compiled and when it is evaluated.

use flumen_core::failure::FailureKind;
use flumen_core::types::LogicalType;
use thiserror::Error;

/// Why an expression could not be compiled or evaluated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExprError {
    /// No function has this name.
    #[error("there is no function {name:?}{}", nearest_text(.nearest))]
    UnknownFunction {
        /// The name in the expression.
        name: String,
        /// Names that look like it, nearest first.
        nearest: Vec<String>,
    },
    /// A function of this name is there already.
    #[error("a function {name:?} is registered already; choose another name")]
    DuplicateFunction {
        /// The name.
        name: String,
    },
    /// A column index beyond the input.
    #[error("column {index} does not exist: the input has {columns} columns")]
    UnknownColumn {
        /// The index in the expression.
        index: usize,
        /// Columns of the input.
        columns: usize,
    },
    /// The arguments do not fit the function.
    #[error("{function} does not take ({}): {expected}", types_text(.found))]
    ArgumentTypes {
        /// The function.
        function: String,
        /// What it was given.
        found: Vec<LogicalType>,
        /// What it takes.
        expected: String,
    },
    /// The planner and the engine disagree about the type of a result.
    #[error("{function} returns {computed}, but the plan states {stated}")]
    ReturnType {
        /// The function or form.
        function: String,
        /// What the engine computes.
        computed: LogicalType,
        /// What the expression states.
        stated: LogicalType,
    },
    /// A constant whose value does not fit its type.
    #[error("the constant {value} is not a value of type {data_type}")]
    Literal {
        /// The value.
        value: String,
        /// The stated type.
        data_type: LogicalType,
    },
    /// Nested too deeply.
    #[error("the expression is nested deeper than {limit} levels; split it, or write a chain of AND or OR as one call")]
    TooDeep {
        /// The most levels allowed.
        limit: usize,
    },
    /// No such conversion.
    #[error("there is no cast from {from} to {to}")]
    UnsupportedCast {
        /// Type of the value.
        from: LogicalType,
        /// Type asked for.
        to: LogicalType,
    },
    /// A result that its type cannot hold.
    #[error("{operation} of {operands} is out of range for {data_type}; cast to a wider type first")]
    Overflow {
        /// The function.
        operation: &'static str,
        /// The operands as text.
        operands: String,
        /// The type that is too small.
        data_type: LogicalType,
    },
    /// Division or remainder by zero.
    #[error("division by zero in {operation} of {dividend}; guard it, for instance with NULLIF(divisor, 0)")]
    DivisionByZero {
        /// `divide` or `modulo`.
        operation: &'static str,
        /// The dividend as text.
        dividend: String,
    },
    /// A value that a cast cannot convert.
    #[error("cannot cast {value:?} from {from} to {to}; TRY_CAST gives NULL instead")]
    BadCast {
        /// The value as text.
        value: String,
        /// Its type.
        from: LogicalType,
        /// The type asked for.
        to: LogicalType,
    },
    /// NULL for a column that has none.
    #[error("NULL for column {column}, which is NOT NULL")]
    NullInNotNull {
        /// The column, as it is to be named.
        column: String,
    },
    /// An argument outside of what the function accepts.
    #[error("{function}: {reason}")]
    InvalidArgument {
        /// The function.
        function: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A registered function failed.
    #[error("function {function} failed")]
    Function {
        /// Its registered name.
        function: String,
        /// Its own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A registered function broke its contract.
    #[error("function {function} returned {found} where {expected} was due")]
    BadResult {
        /// Its registered name.
        function: String,
        /// What came back.
        found: String,
        /// What had to come back.
        expected: String,
    },
    /// An Arrow kernel failed.
    #[error("{operation} failed")]
    Arrow {
        /// What was attempted.
        operation: &'static str,
        /// The kernel's error.
        source: arrow_schema::ArrowError,
    },
    /// A column of the batch has a carrier that no kernel takes.
    #[error("{operation} met a column of Arrow type {found}, which it cannot read")]
    Carrier {
        /// What was attempted.
        operation: &'static str,
        /// Type of the array.
        found: arrow_schema::DataType,
    },
}

impl ExprError {
    /// How a failure is to be treated.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Arrow { .. } | Self::BadResult { .. } | Self::Carrier { .. } => FailureKind::Bug,
            _ => FailureKind::User,
        }
    }

    #[allow(dead_code, reason = "the kernels that follow use it")]
    pub(crate) fn arrow(operation: &'static str) -> impl FnOnce(arrow_schema::ArrowError) -> Self {
        move |source| Self::Arrow { operation, source }
    }
}

fn nearest_text(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

fn types_text(types: &[LogicalType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
