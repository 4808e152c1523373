//! The columns of a file, from its first rows.
//!
//! Rows are looked at some hundred kilobytes at a time; the types of all are as wide as the widest. Numbers that are whole
//! are BIGINT, others DOUBLE; a member that is a number here and text there is VARCHAR. Objects become structs and arrays
//! lists; one that is an object here and a number there is an error that names its line.

use std::sync::Arc;

use arrow_json::reader::infer_json_schema;
use arrow_schema::{DataType, Field as ArrowField, Fields, Schema as ArrowSchema};
use flumen_core::types::Schema;
use flumen_formats::{FormatError, SchemaInference};

use crate::FORMAT;
use crate::misfit;
use crate::records::Records;

/// A row longer than this is not looked at.
const ROW_BYTES_MAX: usize = 16 << 20;

/// Tells columns from objects.
pub struct JsonInference {
    records: Records,
    /// Lines that have not been looked at.
    pending: Vec<u8>,
    /// Lines that have.
    lines_before: u64,
    rows_left: u64,
    schema: ArrowSchema,
}

impl JsonInference {
    /// Looks at `rows_max` rows at most.
    #[must_use]
    pub fn new(rows_max: u64) -> Self {
        let (records, pending) = Default::default();
        Self { records, pending, lines_before: 0, rows_left: rows_max, schema: ArrowSchema::empty() }
    }

    /// Looks at the first `end` bytes in hand.
    fn look(&mut self, end: usize) -> Result<(), FormatError> {
        let lines = &self.pending[..end];
        let rows_max = usize::try_from(self.rows_left).unwrap_or(usize::MAX);
        let inferred = infer_json_schema(lines, Some(rows_max)).and_then(|(schema, rows)| {
            let fields = merged(self.schema.fields(), schema.fields()).map_err(arrow_schema::ArrowError::JsonError)?;
            Ok((fields, rows))
        });
        let (fields, rows) = inferred.map_err(|error| {
            let columns = Schema::new(Vec::new());
            misfit::Rows { columns: &columns, bytes: lines, lines_before: self.lines_before }.explain(error)
        })?;
        self.schema = ArrowSchema::new(fields);
        self.rows_left -= rows as u64;
        self.lines_before += lines.iter().filter(|b| **b == b'\n').count() as u64;
        self.pending.drain(..end);
        Ok(())
    }
}

/// The members of both, those of `a` first.
fn merged(a: &Fields, b: &Fields) -> Result<Fields, String> {
    let mut fields: Vec<ArrowField> = a.iter().map(|field| ArrowField::clone(field)).collect();
    for field in b {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            Some(known) => {
                let together = wider(known.data_type(), field.data_type()).ok_or_else(|| {
                    format!("column {:?} is {} and {}", field.name(), known.data_type(), field.data_type())
                })?;
                known.set_data_type(together);
            }
            None => fields.push(ArrowField::clone(field)),
        }
    }
    Ok(fields.into())
}

fn wider(a: &DataType, b: &DataType) -> Option<DataType> {
    let is_nested = |t: &DataType| matches!(t, DataType::List(_) | DataType::Struct(_));
    Some(match (a, b) {
        (x, y) if x == y => x.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        (DataType::List(x), DataType::List(y)) => {
            let item = wider(x.data_type(), y.data_type())?;
            DataType::List(Arc::new(ArrowField::new(x.name(), item, true)))
        }
        (DataType::Struct(x), DataType::Struct(y)) => DataType::Struct(merged(x, y).ok()?),
        (x, y) if is_nested(x) || is_nested(y) => return None,
        _ => DataType::Utf8,
    })
}

impl SchemaInference for JsonInference {
    fn push(&mut self, bytes: &[u8]) -> Result<bool, FormatError> {
        let start = self.pending.len();
        self.pending.extend_from_slice(bytes);
        self.records.begin(bytes);
        self.records.lines(&mut self.pending[start..]);
        if let Some(end) = self.pending.iter().rposition(|b| *b == b'\n') {
            self.look(end + 1)?;
        }
        Ok(self.rows_left > 0 && self.pending.len() < ROW_BYTES_MAX)
    }

    fn finish(&mut self, is_whole: bool) -> Result<Schema, FormatError> {
        if is_whole && self.rows_left > 0 {
            self.look(self.pending.len())?;
        }
        let mut schema = Schema::from_arrow(&self.schema).map_err(|field| FormatError::Unsupported {
            format: FORMAT,
            problem: format!("column {:?} looks like {}", field.name(), field.data_type()),
        })?;
        schema.fields.iter_mut().for_each(|field| field.nullable = true);
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns and types, whatever the pieces.
    fn inferred(text: &str) -> Result<String, String> {
        let infer = |piece: usize| {
            let mut inference = JsonInference::new(1_000);
            for bytes in text.as_bytes().chunks(piece) {
                inference.push(bytes)?;
            }
            let schema = inference.finish(true)?;
            Ok(schema.fields.iter().map(|f| format!("{} {}", f.name, f.data_type)).collect::<Vec<_>>().join(", "))
        };
        let whole = infer(text.len().max(1)).map_err(|error: FormatError| error.to_string());
        if whole.is_ok() {
            (1..text.len()).for_each(|piece| {
                // The order of columns within one look is that of their names.
                let sorted = |text: &str| {
                    let mut columns: Vec<_> = text.split(", ").map(str::to_owned).collect();
                    columns.sort_unstable();
                    columns
                };
                assert_eq!(sorted(&infer(piece).unwrap()), sorted(whole.as_ref().unwrap()), "pieces of {piece}");
            });
        }
        whole
    }

    #[test]
    fn types_are_as_wide_as_the_widest() {
        // What DuckDB tells, but for dates in text, which stay text.
        for (text, expected) in [
            ("{\"a\":1,\"b\":\"x\"}\n{\"a\":2.5,\"c\":null}\n", "a DOUBLE, b VARCHAR, c NULL"),
            ("[{\"a\":1},\n {\"a\":3000000000,\n  \"b\":true}]", "a BIGINT, b BOOLEAN"),
            ("{\"a\":1}\n{\"a\":\"x\"}\n", "a VARCHAR"),
            ("{\"a\":\n1}\n{\"a\":2}", "a BIGINT"),
            ("", ""),
            ("[]", ""),
        ] {
            assert_eq!(inferred(text).as_deref(), Ok(expected), "{text}");
        }
        let nested = "[{\"a\":1,\"b\":{\"x\":1,\"y\":[1,2]}},\n{\"a\":2,\"b\":{\"x\":3,\"y\":[]},\"c\":\"t\"}]";
        assert_eq!(inferred(nested).as_deref(), Ok("a BIGINT, b ROW<x BIGINT, y ARRAY<BIGINT>>, c VARCHAR"));
    }

    #[test]
    fn what_is_no_object_names_its_line() {
        for (text, line) in [("{\"a\":1}\n{\"a\":\n", 2), ("{\"a\":1}\n{\"a\":x}\n", 2), ("{\"a\":1}\n[2]\n", 2)] {
            let error = inferred(text).unwrap_err();
            assert!(error.starts_with(&format!("json line {line}: ")), "{error}");
        }
    }
}
