//! `read_csv('file', header => true)`: a file in FROM with options.
//!
//! The call becomes the name of a relation that the binder reads back ([`FileCall::decode`]), since a relation can have
//! nothing but a name there. The first argument is a path, a pattern or a list of them; the others are named. The columns
//! of all files are found by name.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor, UnaryOperator, Value,
};

use crate::error::{Result, SqlError, SqlErrorKind, did_you_mean, nearest};

/// Begins the names that calls become; no name that people write has it.
const MARK: char = '\u{1}';
const AFTER_KEY: char = '\u{2}';
const AFTER_VALUE: char = '\u{3}';
/// Between options and types.
const AFTER_OPTIONS: char = '\u{4}';

/// A file and how it is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileCall {
    /// Options of the file connector.
    pub(crate) options: BTreeMap<String, String>,
    /// Types of columns that are not to be told from the file, as they are written.
    pub(crate) types: Vec<(String, String)>,
}

/// The functions and the format that they read.
const FUNCTIONS: [(&str, &str); 9] = [
    ("read_csv", "csv"),
    ("read_csv_auto", "csv"),
    ("read_json", "json"),
    ("read_json_auto", "json"),
    ("read_ndjson", "json"),
    ("read_parquet", "parquet"),
    ("parquet_scan", "parquet"),
    ("read_arrow", "arrow"),
    ("read_ipc", "arrow"),
];

/// Arguments of every function, and the options of the connector that they are.
const COMMON: [(&str, &str); 4] = [
    ("filename", "filename"),
    ("hive_partitioning", "hive-partitioning"),
    ("hive_types_autocast", "hive-types"),
    ("compression", "compression"),
];
/// ... of those that read text.
const TEXT: [(&str, &str); 1] = [("sample_size", "sample-rows")];
/// ... of those that read CSV.
const CSV: [(&str, &str); 10] = [
    ("header", "csv.header"),
    ("delim", "csv.field-delimiter"),
    ("sep", "csv.field-delimiter"),
    ("delimiter", "csv.field-delimiter"),
    ("quote", "csv.quote-character"),
    ("escape", "csv.escape-character"),
    ("nullstr", "csv.null-literal"),
    ("null", "csv.null-literal"),
    ("ignore_errors", "csv.ignore-parse-errors"),
    ("all_varchar", "csv.all-varchar"),
];

impl FileCall {
    /// A file whose format and options are told from it.
    pub(crate) fn of_path(path: &str) -> Self {
        Self { options: BTreeMap::from([("path".to_owned(), path.to_owned())]), types: Vec::new() }
    }

    /// The path, as people know it.
    pub(crate) fn path(&self) -> &str {
        self.options.get("path").map_or("", |path| path.lines().next().unwrap_or_default())
    }

    fn encode(&self) -> String {
        let mut name = String::from(MARK);
        let mut push = |key: &str, value: &str| {
            name.push_str(key);
            name.push(AFTER_KEY);
            name.push_str(value);
            name.push(AFTER_VALUE);
        };
        self.options.iter().for_each(|(key, value)| push(key, value));
        push(&AFTER_OPTIONS.to_string(), "");
        self.types.iter().for_each(|(key, value)| push(key, value));
        name
    }

    /// The call that a relation's name stands for, if it does.
    pub(crate) fn decode(name: &str) -> Option<Self> {
        let mut call = Self::default();
        let mut in_types = false;
        for entry in name.strip_prefix(MARK)?.split_terminator(AFTER_VALUE) {
            let (key, value) = entry.split_once(AFTER_KEY)?;
            match key.chars().next() {
                Some(AFTER_OPTIONS) => in_types = true,
                _ if in_types => call.types.push((key.to_owned(), value.to_owned())),
                _ => drop(call.options.insert(key.to_owned(), value.to_owned())),
            }
        }
        Some(call)
    }
}

/// Makes a relation's name of a call; says which file, or `None` if it is no such call.
pub(super) fn rewrite(factor: &mut TableFactor) -> Result<Option<String>> {
    let TableFactor::Table { name, args: args @ Some(_), .. } = factor else { return Ok(None) };
    let written = name.to_string();
    let function = written.to_lowercase();
    let Some((_, format)) = FUNCTIONS.iter().find(|(known, _)| *known == function) else {
        if !function.starts_with("read_") {
            return Ok(None);
        }
        let names = FUNCTIONS.map(|(name, _)| name);
        let message = format!("there is no table function {written:?}");
        let error = SqlError::new(SqlErrorKind::Unknown, message).about(written);
        let hint = did_you_mean(&nearest(&function, names));
        return Err(error.with_hint(hint.unwrap_or_else(|| format!("there are {}", names.join(", ")))));
    };
    let mut call = FileCall::default();
    call.options.insert("format".to_owned(), (*format).to_owned());
    let usage = |message: String| {
        SqlError::invalid(message)
            .about(written.clone())
            .with_hint(format!("write {function}('file', option => value)"))
    };
    for (index, arg) in args.take().map(|args| args.args).unwrap_or_default().into_iter().enumerate() {
        match named(arg) {
            (None, Some(value)) if index == 0 => {
                let path = paths(&value).ok_or_else(|| usage(format!("{function} takes a path in quotes first")))?;
                call.options.insert("path".to_owned(), path);
            }
            (Some(name), Some(value)) => call.argument(&function, format, &name, &value)?,
            (_, value) => {
                let text = value.map(|value| value.to_string()).unwrap_or_else(|| "*".to_owned());
                return Err(usage(format!("{function} takes a path and then named options, not {text}")));
            }
        }
    }
    let Some(path) = call.options.get("path") else { return Err(usage(format!("{function} takes a path"))) };
    let path = path.clone();
    *name = ObjectName::from(vec![Ident::with_quote('\'', call.encode())]);
    Ok(Some(path))
}

/// The name and value of an argument.
fn named(arg: FunctionArg) -> (Option<Ident>, Option<Expr>) {
    let value = |arg| if let FunctionArgExpr::Expr(value) = arg { Some(value) } else { None };
    match arg {
        FunctionArg::Named { name, arg, .. } => (Some(name), value(arg)),
        FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (Some(name), value(arg)),
        FunctionArg::ExprNamed { .. } => (None, None),
        FunctionArg::Unnamed(arg) => match value(arg) {
            // `name = value`, as DuckDB has it, too.
            Some(Expr::BinaryOp { left, op: BinaryOperator::Eq, right }) => match *left {
                Expr::Identifier(name) => (Some(name), Some(*right)),
                _ => (None, None),
            },
            value => (None, value),
        },
    }
}

/// One path, or several with a line each.
fn paths(value: &Expr) -> Option<String> {
    match value {
        Expr::Array(array) if !array.elem.is_empty() => {
            Some(array.elem.iter().map(text).collect::<Option<Vec<_>>>()?.join("\n"))
        }
        value => text(value),
    }
}

/// A constant as text.
pub(super) fn text(value: &Expr) -> Option<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.clone()),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(format!("-{}", text(expr)?)),
        _ => None,
    }
}

impl FileCall {
    fn argument(&mut self, function: &str, format: &str, name: &Ident, value: &Expr) -> Result<()> {
        let wanted = name.value.to_lowercase();
        let known = COMMON
            .iter()
            .chain(if matches!(format, "csv" | "json") { &TEXT[..] } else { &[] })
            .chain(if format == "csv" { &CSV[..] } else { &[] });
        let wrong = |problem: &str| {
            SqlError::invalid(format!("{wanted} of {function}: {problem}, not {value}")).about(name.value.clone())
        };
        if wanted == "types" || wanted == "dtypes" {
            let Expr::Dictionary(fields) = value else {
                return Err(wrong("write {'column': 'TYPE'}"));
            };
            for field in fields {
                let data_type = text(&field.value).ok_or_else(|| wrong("write {'column': 'TYPE'}"))?;
                self.types.push((field.key.value.clone(), data_type));
            }
            return Ok(());
        }
        if wanted == "union_by_name" {
            return match text(value).as_deref() {
                Some("true") => Ok(()),
                _ => Err(wrong("columns are always found by name; write true")),
            };
        }
        let Some((_, option)) = known.clone().find(|(argument, _)| *argument == wanted) else {
            let names: Vec<&str> = known.map(|(name, _)| *name).chain(["types", "union_by_name"]).collect();
            let message = format!("{function} has no option {wanted}");
            let error = SqlError::new(SqlErrorKind::Unknown, message).about(name.value.clone());
            let hint = did_you_mean(&nearest(&wanted, names.iter().copied()));
            return Err(error.with_hint(hint.unwrap_or_else(|| format!("there are {}", names.join(", ")))));
        };
        let value = text(value).ok_or_else(|| wrong("write a constant"))?;
        match self.options.insert((*option).to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(SqlError::invalid(format!("{wanted} is given twice")).about(name.value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_survive_being_names() {
        let mut call = FileCall::of_path("a.csv\nb c.csv");
        call.options.insert("csv.null-literal".to_owned(), String::new());
        call.types.push(("n m".to_owned(), "DECIMAL(9, 2)".to_owned()));
        assert_eq!(FileCall::decode(&call.encode()), Some(call.clone()));
        assert_eq!(call.path(), "a.csv");
        assert_eq!(FileCall::decode("a.csv"), None);
    }
}
