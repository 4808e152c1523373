//! The built-in functions: names, argument types, and the kernels behind them.
//!
//! A name and the types of its arguments choose a kernel when the expression is compiled (`bind`); the kernel then looks
//! only at the carriers of the batch. The result's type is the planner's wherever several would be right (the scale of
//! a quotient); elsewhere it is computed and must agree.

use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::error::ExprError;
use super::program::Bound;

pub(crate) mod arithmetic;
pub(crate) mod calendar;
pub(crate) mod cast;
pub(crate) mod choose;
pub(crate) mod comparison;
pub(crate) mod datetime;
pub(crate) mod decimal;
pub(crate) mod extract;
pub(crate) mod in_list;
pub(crate) mod like;
pub(crate) mod logic;
pub(crate) mod nested_cast;
pub(crate) mod parse;
pub(crate) mod pattern;
pub(crate) mod string;

/// Names of the built-in functions.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "add",
    "and",
    "coalesce",
    "concat",
    "date_part",
    "date_trunc",
    "divide",
    "eq",
    "extract",
    "ge",
    "gt",
    "ilike",
    "is_distinct_from",
    "is_false",
    "is_not_distinct_from",
    "is_not_null",
    "is_null",
    "is_true",
    "le",
    "length",
    "like",
    "lower",
    "lt",
    "modulo",
    "multiply",
    "ne",
    "negate",
    "not",
    "not_ilike",
    "not_like",
    "or",
    "substring",
    "subtract",
    "upper",
];

/// An argument as the compiler knows it.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a> {
    pub(crate) data_type: &'a LogicalType,
    /// Its value if it is a literal.
    pub(crate) constant: Option<&'a Column>,
}

/// Whether a NULL argument makes a built-in function NULL.
pub(crate) fn is_strict(name: &str) -> bool {
    !matches!(
        name,
        "and"
            | "or"
            | "coalesce"
            | "is_null"
            | "is_not_null"
            | "is_true"
            | "is_false"
            | "is_distinct_from"
            | "is_not_distinct_from"
    )
}

/// The kernel of a built-in function for these arguments.
///
/// # Errors
/// If it does not take them, or its result is not what the planner stated.
pub(crate) fn bind(name: &str, args: &[Argument<'_>], stated: &LogicalType) -> Result<Bound, ExprError> {
    let mismatch = |expected: &str| ExprError::ArgumentTypes {
        function: name.to_owned(),
        found: args.iter().map(|a| a.data_type.clone()).collect(),
        expected: expected.to_owned(),
    };
    let returns = |computed: LogicalType| -> Result<(), ExprError> {
        if computed == *stated {
            return Ok(());
        }
        Err(ExprError::ReturnType { function: name.to_owned(), computed, stated: stated.clone() })
    };
    let all_text = || args.iter().all(|a| *a.data_type == LogicalType::Utf8);
    if let Some(op) = comparison::Comparison::from_name(name) {
        returns(LogicalType::Boolean)?;
        let [left, right] = args else { return Err(mismatch("two values that compare")) };
        return comparison::bind(op, left.data_type, right.data_type)
            .ok_or_else(|| mismatch("two values of one type; cast one of them"));
    }
    if let Some(op) = arithmetic::Arithmetic::from_name(name) {
        let [left, right] = args else { return Err(mismatch("two numbers, or a date or time and a span")) };
        if decimal::takes(left.data_type, right.data_type, stated) {
            return decimal::bind(op, left.data_type, right.data_type, stated);
        }
        if left.data_type == right.data_type && (left.data_type.is_integer() || left.data_type.is_float()) {
            returns(left.data_type.clone())?;
            return Ok(arithmetic::bind(op, left.data_type));
        }
        return datetime::bind(op, left.data_type, right.data_type, stated)
            .ok_or_else(|| mismatch("two numbers of one type, or a date or time and a span, with a fitting result"));
    }
    match (name, args) {
        ("negate" | "abs", [only]) => {
            let op = if name == "abs" { arithmetic::Unary::Abs } else { arithmetic::Unary::Negate };
            let bound = arithmetic::bind_unary(op, only.data_type).ok_or_else(|| mismatch("a number"))?;
            match (only.data_type, stated) {
                // A negated decimal keeps its scale; the precision is the planner's.
                (LogicalType::Decimal { scale: a, .. }, LogicalType::Decimal { scale: b, .. }) if a == b => {}
                _ => returns(only.data_type.clone())?,
            }
            Ok(bound)
        }
        ("not" | "is_true" | "is_false", [only]) => {
            returns(LogicalType::Boolean)?;
            if !matches!(only.data_type, LogicalType::Boolean | LogicalType::Null) {
                return Err(mismatch("a BOOLEAN"));
            }
            Ok(logic::bind(name))
        }
        ("is_null" | "is_not_null", [_]) => {
            returns(LogicalType::Boolean)?;
            Ok(logic::bind(name))
        }
        ("like" | "not_like" | "ilike" | "not_ilike", [_, _] | [_, _, _]) if all_text() => {
            returns(LogicalType::Boolean)?;
            like::bind(name, args)
        }
        ("concat", [_, ..]) if all_text() => {
            returns(LogicalType::Utf8)?;
            Ok(string::concat())
        }
        ("lower" | "upper", [_]) if all_text() => {
            returns(LogicalType::Utf8)?;
            Ok(string::change_case(name == "upper"))
        }
        ("length", [_]) if all_text() => match stated {
            LogicalType::Int32 | LogicalType::Int64 => Ok(string::length(stated)),
            _ => Err(ExprError::ReturnType {
                function: name.to_owned(),
                computed: LogicalType::Int64,
                stated: stated.clone(),
            }),
        },
        ("substring", [text, from] | [text, from, _])
            if *text.data_type == LogicalType::Utf8
                && from.data_type.is_integer()
                && args.get(2).is_none_or(|n| n.data_type.is_integer()) =>
        {
            returns(LogicalType::Utf8)?;
            Ok(string::substring())
        }
        ("extract" | "date_part", [field, value]) => extract::bind_part(name, *field, value.data_type, stated)?
            .ok_or_else(|| mismatch("a literal field name and a date, time, timestamp or interval")),
        ("date_trunc", [field, value]) => extract::bind_trunc(*field, value.data_type, stated)?
            .ok_or_else(|| mismatch("a literal field name and a date or timestamp")),
        _ => Err(mismatch("other arguments; see the reference of functions")),
    }
}
