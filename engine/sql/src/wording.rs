//! The front-end library's messages in this engine's words: SQL types, the place, and what to try.
//!
//! The library's errors about types and grouping are text without spans. The known ones are taken apart here by their
//! fixed words; what is not known keeps its text, with the types renamed. A place is found from the word in question.

use crate::bind::aggregates;
use crate::bind::windows::is_window_function;
use crate::error::{SqlError, SqlErrorKind, did_you_mean, lower_first, nearest};
use crate::subject::Subject;

/// Names of types that a mistyped one is compared with.
const TYPES: [&str; 18] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "VARCHAR",
    "CHAR",
    "TEXT",
    "STRING",
    "DATE",
    "TIME",
    "TIMESTAMP",
];

/// The refusal of a function that is known by name, but not as what it was called as; `None` for any other.
pub(crate) fn planned_function(name: &str) -> Option<SqlError> {
    let lower = name.to_lowercase();
    is_window_function(&lower).then(|| {
        let error = SqlError::invalid(format!("{lower} is a window function and needs OVER"));
        let error = error.about_subject(Subject::call(name));
        error.with_hint(format!("write {lower}(...) OVER (PARTITION BY ... ORDER BY ...)"))
    })
}

/// The error for a type that there is not.
pub(crate) fn unknown_type(name: &str) -> SqlError {
    let error = SqlError::new(SqlErrorKind::Unknown, format!("there is no type {name}")).about(name);
    match did_you_mean(&nearest(name, TYPES)) {
        Some(hint) => error.with_hint(hint),
        None => {
            error.with_hint("the types are BOOLEAN, INTEGER, BIGINT, DOUBLE, DECIMAL, VARCHAR, DATE, TIMESTAMP, ...")
        }
    }
}

/// What the library says it has not got.
pub(crate) fn not_implemented(message: &str) -> SqlError {
    if let Some(name) = after(message, "Unsupported SQL type ") {
        return unknown_type(name.trim_end_matches('.'));
    }
    SqlError::unsupported(lower_first(&sql_types(message)))
}

/// An error about a statement that is understood. `message` is one line.
pub(crate) fn reworded(message: &str) -> SqlError {
    let text = sql_types(message);
    let text = text.as_str();
    if let Some((left, op, right)) = after(text, "Cannot coerce arithmetic expression ")
        .and_then(|rest| rest.strip_suffix(" to valid types"))
        .and_then(operator)
    {
        return SqlError::invalid(format!("there is no operator {op} for {left} and {right}"))
            .about(op)
            .with_hint("convert one side, as in CAST(x AS DOUBLE)");
    }
    if let Some((value, to)) = after(text, "Cannot cast string '").and_then(|rest| rest.split_once("' to value of ")) {
        return bad_constant(value, to.trim_end_matches(" type"));
    }
    if let Some((value, to)) = after(text, "Can't cast value ").and_then(|rest| rest.split_once(" to type ")) {
        return SqlError::invalid(format!("cannot cast {value} to {to}: it is out of range"))
            .about(value)
            .with_hint("choose a wider type; TRY_CAST gives NULL instead");
    }
    if let Some((value, why)) = after(text, "Error parsing timestamp from '").and_then(|rest| rest.split_once("': ")) {
        return SqlError::invalid(format!("cannot cast '{value}' to TIMESTAMP: {why}"))
            .about(value)
            .with_hint("write timestamps as TIMESTAMP '2024-01-31 12:00:00'");
    }
    if text.contains("must be in GROUP BY or an aggregate function")
        && let Some(name) = after(text, "column \"").and_then(|rest| rest.split('"').next())
    {
        let column = name.rsplit('.').next().unwrap_or(name);
        return SqlError::invalid(format!("column {column:?} must be in GROUP BY or inside an aggregate"))
            .about(column)
            .with_hint(format!("add it to GROUP BY, write GROUP BY ALL, or aggregate it, as in min({column})"));
    }
    if let Some((expr, found)) = after(text, "non-boolean predicate '").and_then(|rest| rest.split_once("' returning "))
    {
        return SqlError::invalid(format!("a condition is needed, and {expr} is {found}"))
            .about(expr.rsplit('.').next().unwrap_or(expr))
            .with_hint("compare it with something, or write IS NOT NULL");
    }
    if let Some(numbers) = after(text, "column out of bounds, specified: ")
        && let Some((asked, columns)) = numbers.split_once(", max: ")
    {
        return SqlError::invalid(format!("ORDER BY {asked}: the query has {columns} columns")).about("ORDER");
    }
    if let Some((asked, columns)) =
        after(text, "find column with position ").and_then(|t| t.split_once(" in SELECT clause. Valid columns: 1 to "))
    {
        return SqlError::invalid(format!("GROUP BY {asked}: the query has {columns} columns")).about("GROUP");
    }
    if text.contains("not allowed in the WHERE clause") {
        let message = "aggregate functions are not allowed in the WHERE clause";
        let subject = Subject::Call { functions: aggregates::names(), after: Some("WHERE") };
        return SqlError::invalid(message).about_subject(subject).with_hint("HAVING is the condition on groups");
    }
    if let Some(name) = after(text, "Field ").and_then(|rest| rest.strip_suffix(" not found in struct")) {
        let error = SqlError::new(SqlErrorKind::Unknown, format!("the struct has no field {name:?}"));
        return error.about(name.to_owned()).with_hint("DESCRIBE shows the fields of a column's type");
    }
    if let Some(error) = types_apart(text).or_else(|| nested(text)) {
        return error;
    }
    for (words, subject, hint) in [
        ("UNION queries have different number of columns", "UNION", "name the same number of columns on both sides"),
        ("of RANGE has no unit of time", "RANGE", "write an interval, as in INTERVAL '1' DAY"),
        ("of RANGE has more digits than its key", "RANGE", "cast the key to a DECIMAL with more digits"),
        ("in LIKE expression", "LIKE", "LIKE compares text with text; CAST(... AS VARCHAR)"),
        ("LIMIT", "LIMIT", "LIMIT takes a whole number that is not negative"),
    ] {
        if text.contains(words) {
            let message = text.split(". ").next().unwrap_or(text);
            return SqlError::invalid(lower_first(message)).about(subject).with_hint(hint);
        }
    }
    function(text).unwrap_or_else(|| SqlError::invalid(lower_first(text.trim_end_matches('.'))))
}

/// Operands or branches whose types do not go together.
fn types_apart(text: &str) -> Option<SqlError> {
    let convert = "convert one side, as in CAST(x AS DOUBLE)";
    if let Some((left, op, right)) = after(text, "for comparison operation ").and_then(comparison) {
        let error = SqlError::invalid(format!("{left} and {right} cannot be compared"));
        return Some(error.about(op).with_hint(convert));
    }
    if let Some(types) = after(text, "for logical boolean operation ") {
        let (left, op, right) = [" AND ", " OR "].iter().find_map(|op| {
            let (left, right) = types.split_once(op)?;
            Some((left, op.trim(), right))
        })?;
        let error = SqlError::invalid(format!("{op} needs conditions on both sides, not {left} and {right}"));
        return Some(error.about(op).with_hint("compare with something, or write IS NOT NULL"));
    }
    if let Some(found) = after(text, "nary operator 'NOT' requires a boolean expression, got ") {
        let error = SqlError::invalid(format!("NOT needs a condition, not {found}"));
        return Some(error.about_subject(Subject::Negated).with_hint("compare with something, or write IS NULL"));
    }
    if text.contains("to common types in CASE WHEN expression") {
        let types: Vec<&str> = text.split(['(', ')']).skip(1).step_by(2).collect();
        let error = SqlError::invalid(format!(
            "the branches of CASE have types that do not go together: {}",
            types.join(" and ")
        ));
        return Some(error.about("CASE").with_hint("convert one branch, as in CAST(x AS VARCHAR)"));
    }
    if let Some((first, rest)) =
        after(text, "Previous inputs were of type ").and_then(|t| t.split_once(", but got incompatible type "))
    {
        let second = rest.split(" on column").next().unwrap_or(rest);
        let error =
            SqlError::invalid(format!("the sides of UNION have types that do not go together: {first} and {second}"));
        return Some(error.about("UNION").with_hint("convert one side, as in CAST(x AS VARCHAR)"));
    }
    None
}

/// An aggregate inside another.
fn nested(text: &str) -> Option<SqlError> {
    let (inner, _) = after(text, "cannot be nested: '")?.split_once("' is nested inside '")?;
    let name = inner.split('(').next().unwrap_or(inner);
    let what = if text.contains("Window function") { "window function" } else { "aggregate" };
    let error = SqlError::invalid(format!("the {what} {name} cannot be an argument of another"));
    // The outer one may have the same name.
    let outer = text.rsplit("inside '").next().and_then(|o| o.split('(').next());
    let subject = if outer == Some(name) { Subject::Second(name.to_owned()) } else { Subject::call(name) };
    Some(error.about_subject(subject).with_hint("compute it in a subquery"))
}

/// `DATE = BIGINT`.
fn comparison(text: &str) -> Option<(&str, &str, &str)> {
    let op = ["<=", ">=", "!=", "<>", "=", "<", ">"].into_iter().find(|op| text.contains(&format!(" {op} ")))?;
    let (left, right) = text.split_once(&format!(" {op} "))?;
    Some((left, op, right))
}

fn bad_constant(value: &str, to: &str) -> SqlError {
    let hint = match to {
        "DATE" => "write dates as DATE '2024-01-31'",
        to if to.starts_with("TIMESTAMP") => "write timestamps as TIMESTAMP '2024-01-31 12:00:00'",
        _ => "TRY_CAST gives NULL instead",
    };
    SqlError::invalid(format!("cannot cast '{value}' to {to}")).about(value).with_hint(hint)
}

/// A function and its arguments: the name is between quotes, what is wrong comes after it.
fn function(text: &str) -> Option<SqlError> {
    let (name, rest) = match text.split_once("unction '") {
        Some((_, rest)) => rest.split_once('\'')?,
        None => text.strip_prefix('\'')?.split_once('\'').filter(|(_, rest)| rest.contains("zero arguments"))?,
    };
    let wrong = if let Some(alternatives) = after(rest, "signature, errors: ") {
        let own = format!("Function '{name}' ");
        let all: Vec<String> = alternatives
            .split("Error during planning: ")
            .map(|one| one.trim_matches([',', ' ']).replace(&own, ""))
            .filter(|one| !one.is_empty())
            .collect();
        format!("{name} {}", all.join(", or "))
    } else if let Some(inner) = after(rest, "failed with: Error during planning: ") {
        inner.to_owned()
    } else {
        format!("{name}{rest}")
    };
    let wrong = wrong.split(" No function matches").next().unwrap_or(&wrong).trim_end_matches('.');
    let wrong = wrong.replace("expects 1 arguments", "expects 1 argument");
    let wrong = wrong.replace("does not support zero arguments", "needs an argument");
    Some(SqlError::invalid(wrong).about_subject(Subject::call(name)))
}

fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    text.split_once(words).map(|(_, rest)| rest)
}

/// `VARCHAR + BIGINT`.
fn operator(text: &str) -> Option<(&str, &str, &str)> {
    let op = ["+", "-", "*", "/", "%"].into_iter().find(|op| text.contains(&format!(" {op} ")))?;
    let (left, right) = text.split_once(&format!(" {op} "))?;
    Some((left, op, right))
}

/// The text with Arrow's names of types replaced by SQL's.
pub(crate) fn sql_types(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    // A blank at the end lets go of the last word.
    for c in text.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        out.push_str(match word.as_str() {
            "Utf8" | "Utf8View" | "LargeUtf8" => "VARCHAR",
            "Boolean" => "BOOLEAN",
            "Int8" => "TINYINT",
            "Int16" => "SMALLINT",
            "Int32" => "INTEGER",
            "Int64" => "BIGINT",
            "Float32" => "REAL",
            "Float64" => "DOUBLE",
            "Date32" => "DATE",
            "Decimal128" | "Decimal256" => "DECIMAL",
            other => other,
        });
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_renamed_as_whole_words() {
        assert_eq!(
            sql_types("Utf8 + Int64, Decimal128(4, 2), MyInt64 in Int8"),
            "VARCHAR + BIGINT, DECIMAL(4, 2), MyInt64 in TINYINT"
        );
        assert_eq!(sql_types(""), "");
    }

    #[test]
    fn unknown_messages_keep_their_text() {
        assert_eq!(reworded("Something else about Utf8.").to_string(), "something else about VARCHAR");
    }
}
