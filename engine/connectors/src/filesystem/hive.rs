//! Columns whose values come from a file's path: `year=2024/month=05/part.parquet`, and the path itself.
//!
//! A directory named `key=value` anywhere in the path gives a column `key`; `%xx` in it stands for a byte, and
//! [`NULL_VALUE`] for NULL. Where a file has a column of that name, too, the path counts. The types are inferred from all
//! values: BIGINT (without leading zeros, which are part of a code), DATE, TIMESTAMP, else VARCHAR, as DuckDB does. A file
//! without a key that others have reads NULL there.
//!
//! A file is left out, and never opened, if no row of it can pass the filters over these columns.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::DataType;
use flumen_core::expr::{Expr, Literal, Value};
use flumen_core::types::{Field, LogicalType, Resolution};
use flumen_formats_parquet::{Bounds, RowGroupPruner};
use serde::{Deserialize, Serialize};

use super::listing::ListedFile;
use super::options::FileOptions;
use crate::error::{ConnectorError, Result};

/// The value that stands for NULL in a path.
pub(super) const NULL_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// Name of the column that has the path of a row's file.
pub(super) const FILE_NAME: &str = "filename";

/// The value of an output column for all rows of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathValue {
    /// The output column.
    pub(crate) column: usize,
    /// Its value as text; `None` is NULL.
    pub(crate) value: Option<String>,
}

/// The keys in a path and their values, the outermost first.
pub(super) fn keys(path: &Path) -> Vec<(String, Option<String>)> {
    let directories = path.parent().into_iter().flat_map(Path::components);
    let names = directories.filter_map(|part| match part {
        Component::Normal(name) => name.to_str()?.split_once('='),
        _ => None,
    });
    names
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (decoded(key), (value != NULL_VALUE).then(|| decoded(value))))
        .collect()
}

/// Text with `%xx` resolved; as it is, if that gives no text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Appends text as a part of the name of a directory: all but letters, digits and a few marks as `%xx`.
pub(super) fn encode_into(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'~' | b':' | b',' | b'@' => {
                out.push(char::from(byte));
            }
            // A name of dots alone means another directory.
            b'.' if !text.bytes().all(|b| b == b'.') => out.push('.'),
            other => {
                let digit = |value: u8| char::from_digit(u32::from(value), 16).map_or('0', |c| c.to_ascii_uppercase());
                out.extend(['%', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
}

/// The columns that the paths of these files give, typed.
pub(super) fn columns(files: &[ListedFile], is_typed: bool) -> Vec<Field> {
    let mut found: Vec<(String, Vec<Option<String>>)> = Vec::new();
    for file in files {
        for (key, value) in keys(&file.path) {
            match found.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(&key)) {
                Some((_, values)) => values.push(value),
                None => found.push((key, vec![value])),
            }
        }
    }
    let field = |(name, values): (String, Vec<Option<String>>)| {
        let data_type = if is_typed { type_of(&values) } else { LogicalType::Utf8 };
        Field::new(name, data_type, values.len() < files.len() || values.iter().any(Option::is_none))
    };
    found.into_iter().map(field).collect()
}

fn type_of(values: &[Option<String>]) -> LogicalType {
    let values: BTreeSet<&str> = values.iter().flatten().map(String::as_str).collect();
    let is_plain = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        digits == "0" || !digits.starts_with(['0', '+'])
    };
    let is_integer = |text: &&str| is_plain(text) && text.parse::<i64>().is_ok();
    let is_of = |data_type: &LogicalType| {
        let text = StringArray::from_iter_values(values.iter());
        cast(&text, &data_type.arrow_type()).is_ok_and(|parsed| parsed.null_count() == 0)
    };
    let is_long = |length: usize| values.iter().all(|text| text.len() >= length && text.as_bytes()[4] == b'-');
    let timestamp = LogicalType::Timestamp { resolution: Resolution::Microsecond, zone: None };
    match () {
        () if values.is_empty() => LogicalType::Utf8,
        () if values.iter().all(is_integer) => LogicalType::Int64,
        () if values.iter().all(|text| text.len() == 10) && is_long(10) && is_of(&LogicalType::Date) => {
            LogicalType::Date
        }
        () if is_long(19) && is_of(&timestamp) => timestamp,
        () => LogicalType::Utf8,
    }
}

/// The output columns that come from paths, of a scan of these files with the output `fields`.
#[derive(Debug, Default)]
pub(super) struct PathColumns {
    /// The output column and its key; `None` is the path itself.
    columns: Vec<(usize, Option<String>)>,
}

impl PathColumns {
    pub(super) fn find(options: &FileOptions, files: &[ListedFile], fields: &[Field]) -> Self {
        let known: BTreeSet<String> = match options.hive {
            true => files.iter().flat_map(|file| keys(&file.path)).map(|(key, _)| key.to_lowercase()).collect(),
            false => BTreeSet::new(),
        };
        let columns = fields.iter().enumerate().filter_map(|(index, field)| {
            let name = field.name.to_lowercase();
            if options.filename && name == FILE_NAME {
                return Some((index, None));
            }
            known.contains(&name).then_some((index, Some(name)))
        });
        Self { columns: columns.collect() }
    }

    pub(super) fn contains(&self, column: usize) -> bool {
        self.columns.iter().any(|(known, _)| *known == column)
    }

    /// The columns, as numbers of what they were found among.
    pub(super) fn numbers(&self) -> Vec<usize> {
        self.columns.iter().map(|(column, _)| *column).collect()
    }

    /// The values of a file, by output column.
    pub(super) fn values(&self, path: &Path) -> Vec<PathValue> {
        if self.columns.is_empty() {
            return Vec::new();
        }
        let keys = keys(path);
        let value = |(column, key): &(usize, Option<String>)| {
            let value = match key {
                None => Some(path.display().to_string()),
                Some(key) => {
                    keys.iter().rev().find(|(name, _)| name.to_lowercase() == *key).and_then(|(_, v)| v.clone())
                }
            };
            PathValue { column: *column, value }
        };
        self.columns.iter().map(value).collect()
    }
}

impl PathValue {
    /// One row of the value.
    pub(super) fn array(&self, path: &Path, field: &Field) -> Result<ArrayRef> {
        let text = StringArray::from(vec![self.value.as_deref()]);
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let wrong = || ConnectorError::PathValue {
            path: path.display().to_string(),
            column: field.name.clone(),
            value: self.value.clone().unwrap_or_else(|| "NULL".to_owned()),
            data_type: field.data_type.to_string(),
        };
        let array = cast_with_options(&text, &field.data_type.arrow_type(), &options).map_err(|_| wrong())?;
        match array.is_null(0) && (self.value.is_some() || !field.nullable) {
            true => Err(wrong()),
            false => Ok(array),
        }
    }

    /// What is known of the column in this file.
    pub(super) fn bounds(&self, path: &Path, field: &Field) -> Result<Bounds> {
        let array = self.array(path, field)?;
        if array.is_null(0) {
            return Ok(Bounds { rows: 1, null_count: Some(1), ..Bounds::default() });
        }
        let literal = literal(&array, &field.data_type);
        Ok(Bounds { rows: 1, min: literal.clone(), max: literal, null_count: Some(0) })
    }
}

/// The value of a row, for types that paths have.
fn literal(array: &ArrayRef, data_type: &LogicalType) -> Option<Literal> {
    let value = match data_type {
        LogicalType::Utf8 => Value::Utf8(array.as_string_view_opt()?.value(0).to_owned()),
        LogicalType::Boolean => Value::Boolean(array.as_boolean_opt()?.value(0)),
        LogicalType::Date => Value::Int(i128::from(array.as_primitive_opt::<Date32Type>()?.value(0))),
        t if t.is_integer() || matches!(t, LogicalType::Timestamp { .. }) => {
            let ticks = cast(array, &DataType::Int64).ok()?;
            Value::Int(i128::from(ticks.as_primitive_opt::<Int64Type>().filter(|a| a.is_valid(0))?.value(0)))
        }
        _ => return None,
    };
    Some(Literal { value, data_type: data_type.clone() })
}

/// Whether some row of a file may pass the filters, as far as the values of its path tell.
pub(super) fn may_match(filters: &[Expr], path: &Path, values: &[PathValue], fields: &[Field]) -> Result<bool> {
    if values.is_empty() || filters.is_empty() {
        return Ok(true);
    }
    let known =
        values.iter().map(|v| Ok((v.column, v.bounds(path, &fields[v.column])?))).collect::<Result<Vec<_>>>()?;
    Ok(RowGroupPruner::new(filters).may_match_bounds(&|column| {
        known.iter().find(|(index, _)| *index == column).map(|(_, bounds)| bounds.clone()).unwrap_or_default()
    }))
}

/// The values of a file by output column, one row of each.
pub(super) fn constants(path: &Path, values: &[PathValue], fields: &[Field]) -> Result<Vec<(usize, ArrayRef)>> {
    values.iter().map(|v| Ok((v.column, v.array(path, &fields[v.column])?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_paths() {
        let found = keys(Path::new("/data/year=2024/month=05/b=y%20z%2F1/c=__HIVE_DEFAULT_PARTITION__/x=1.csv"));
        let expected = [("year", Some("2024")), ("month", Some("05")), ("b", Some("y z/1")), ("c", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(found, expected);
        assert_eq!(keys(Path::new("=1/a/b.csv")), []);
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%ff"), "%ff", "it would be no text");
        for text in ["y z/1", "..", ".", "a=b", "100%", "ü", "a.b"] {
            let mut encoded = String::new();
            encode_into(text, &mut encoded);
            assert_eq!(decoded(&encoded), text);
            assert!(!encoded.contains(['/', '=', ' ']) && encoded != "..", "{text}");
        }
    }

    #[test]
    fn types_of_values() {
        // As DuckDB infers them.
        let timestamp = LogicalType::Timestamp { resolution: Resolution::Microsecond, zone: None };
        for (values, expected) in [
            (&["2023", "2024"][..], LogicalType::Int64),
            (&["05", "12"], LogicalType::Utf8),
            (&["0", "-5"], LogicalType::Int64),
            (&["2024-01-31", "2024-02-29"], LogicalType::Date),
            (&["2024-01-31", "2023-02-29"], LogicalType::Utf8),
            (&["2024-01-31 10:00:00"], timestamp),
            (&["1", "x"], LogicalType::Utf8),
            (&[], LogicalType::Utf8),
        ] {
            let values: Vec<_> = values.iter().map(|v| Some((*v).to_owned())).collect();
            assert_eq!(type_of(&values), expected, "{values:?}");
        }
    }
}
