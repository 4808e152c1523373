//! Expressions as data: what an OperatorSpec carries and `kernels` compiles where the task runs.
//!
//! Functions are named, not pointed to: `add`, `and`, `like` and the other built-ins are listed in
//! `flumen_kernels::expr`; DataFusion's functions register under `datafusion:<name>`, a program's under `user:<name>`.
//! Every call states its return type, so the planner's typing and the engine's can be compared before a task starts.
//! `and` and `or` take any number of arguments: a flat chain of ten thousand is one call, not a tree ten thousand deep.

use serde::{Deserialize, Serialize};

use crate::types::LogicalType;

/// Version of the expression format that this build writes.
pub const EXPR_VERSION: u32 = 1;

/// An expression over the columns of one input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expr {
    /// A column, by index.
    Column(usize),
    /// A constant.
    Literal(Literal),
    /// A function of other expressions.
    Call {
        /// Registered name.
        function: String,
        /// Arguments.
        args: Vec<Expr>,
        /// Type of the result.
        return_type: LogicalType,
    },
    /// The value of the first branch whose condition is true, else `otherwise`, else NULL. A branch is evaluated only
    /// for the rows that reach it.
    Case {
        /// Condition and value.
        branches: Vec<(Expr, Expr)>,
        /// Value when no condition is true.
        otherwise: Option<Box<Expr>>,
        /// Type of the result.
        return_type: LogicalType,
    },
    /// Conversion to another type.
    Cast {
        /// What is converted.
        input: Box<Expr>,
        /// To this type.
        to: LogicalType,
        /// A value that cannot be converted gives NULL instead of an error.
        safe: bool,
    },
    /// Whether the value is one of the constants (SQL's null rules: NULL input gives NULL; a NULL in the list makes
    /// "not found" NULL).
    InList {
        /// The value.
        input: Box<Expr>,
        /// The constants; all of the input's type.
        list: Vec<Literal>,
        /// Whether the answer is turned round.
        negated: bool,
    },
}

impl Expr {
    /// A call.
    pub fn call(function: impl Into<String>, args: Vec<Expr>, return_type: LogicalType) -> Self {
        Self::Call { function: function.into(), args, return_type }
    }

    /// Calls `visit` on this expression and everything below, parents first.
    pub fn visit(&self, visit: &mut impl FnMut(&Expr)) {
        visit(self);
        match self {
            Self::Column(_) | Self::Literal(_) => {}
            Self::Call { args, .. } => args.iter().for_each(|a| a.visit(visit)),
            Self::Case { branches, otherwise, .. } => {
                for (condition, value) in branches {
                    condition.visit(visit);
                    value.visit(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.visit(visit);
                }
            }
            Self::Cast { input, .. } | Self::InList { input, .. } => input.visit(visit),
        }
    }

    /// The same expression over other column indices.
    #[must_use]
    pub fn map_columns(&self, map: &impl Fn(usize) -> usize) -> Self {
        let all = |exprs: &[Expr]| exprs.iter().map(|e| e.map_columns(map)).collect();
        match self {
            Self::Column(index) => Self::Column(map(*index)),
            Self::Literal(literal) => Self::Literal(literal.clone()),
            Self::Call { function, args, return_type } => {
                Self::Call { function: function.clone(), args: all(args), return_type: return_type.clone() }
            }
            Self::Case { branches, otherwise, return_type } => Self::Case {
                branches: branches.iter().map(|(c, v)| (c.map_columns(map), v.map_columns(map))).collect(),
                otherwise: otherwise.as_ref().map(|o| Box::new(o.map_columns(map))),
                return_type: return_type.clone(),
            },
            Self::Cast { input, to, safe } => {
                Self::Cast { input: Box::new(input.map_columns(map)), to: to.clone(), safe: *safe }
            }
            Self::InList { input, list, negated } => {
                Self::InList { input: Box::new(input.map_columns(map)), list: list.clone(), negated: *negated }
            }
        }
    }

    /// The columns it reads, ascending, each once.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        let mut columns = Vec::new();
        self.visit(&mut |e| {
            if let Self::Column(index) = e {
                columns.push(*index);
            }
        });
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// A constant and its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    /// The value.
    pub value: Value,
    /// Its type.
    pub data_type: LogicalType,
}

/// The value of a constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Value {
    /// NULL of the literal's type.
    Null,
    /// Boolean.
    Boolean(bool),
    /// Integers, unscaled decimals, days of dates, ticks of times, timestamps and durations. Written as text, so that
    /// 128 bits survive JSON.
    #[serde(with = "as_text")]
    Int(i128),
    /// Floating-point numbers, as the bits of an `f64`, so that every NaN and infinity survives.
    FloatBits(u64),
    /// Text.
    Utf8(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An interval.
    Interval {
        /// Months.
        months: i32,
        /// Days.
        days: i32,
        /// Nanoseconds.
        nanos: i64,
    },
    /// A list, item by item; a map as a list of structs of key and value.
    List(Vec<Value>),
    /// A struct, part by part.
    Struct(Vec<Value>),
}

impl Literal {
    /// NULL of a type.
    #[must_use]
    pub fn null(data_type: LogicalType) -> Self {
        Self { value: Value::Null, data_type }
    }

    /// A BIGINT.
    #[must_use]
    pub fn int64(value: i64) -> Self {
        Self { value: Value::Int(i128::from(value)), data_type: LogicalType::Int64 }
    }

    /// A DOUBLE.
    #[must_use]
    pub fn float64(value: f64) -> Self {
        Self { value: Value::FloatBits(value.to_bits()), data_type: LogicalType::Float64 }
    }

    /// A BOOLEAN.
    #[must_use]
    pub fn boolean(value: bool) -> Self {
        Self { value: Value::Boolean(value), data_type: LogicalType::Boolean }
    }

    /// A VARCHAR.
    pub fn utf8(value: impl Into<String>) -> Self {
        Self { value: Value::Utf8(value.into()), data_type: LogicalType::Utf8 }
    }
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &i128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_survive_the_stored_form() {
        let literals = [
            Literal::null(LogicalType::Utf8),
            Literal::int64(i64::MIN),
            Literal { value: Value::Int(i128::MAX), data_type: LogicalType::Decimal { precision: 38, scale: 0 } },
            Literal::float64(f64::NEG_INFINITY),
            Literal { value: Value::FloatBits(f64::NAN.to_bits() ^ 1), data_type: LogicalType::Float64 },
            Literal::utf8("\u{0}ü\"\\"),
            Literal { value: Value::Binary(vec![0, 255]), data_type: LogicalType::Binary },
            Literal {
                value: Value::List(vec![Value::Struct(vec![Value::Int(1), Value::Null]), Value::Null]),
                data_type: LogicalType::map_of(LogicalType::Int64, LogicalType::Utf8),
            },
        ];
        for literal in literals {
            let text = serde_json::to_string(&Expr::Literal(literal.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Expr>(&text).unwrap(), Expr::Literal(literal), "{text}");
        }
    }

    #[test]
    fn columns_are_listed_once_and_can_be_renumbered() {
        let sum = Expr::call("add", vec![Expr::Column(4), Expr::Column(2)], LogicalType::Int64);
        let case =
            Expr::Case { branches: vec![(Expr::Column(4), sum)], otherwise: None, return_type: LogicalType::Int64 };
        assert_eq!(case.columns(), [2, 4]);
        assert_eq!(case.map_columns(&|i| i - 2).columns(), [0, 2]);
    }
}
