//! The columns of a table that is made of files: those of all files by name, as wide as the widest.
//!
//! The order is that in which they are met, the columns of the files before those of their paths. Numbers meet in a number
//! that holds both, DATE and TIMESTAMP in TIMESTAMP; in text formats the rest meets in VARCHAR, in the others it is an
//! error that names the column and both files. A column that some file lacks may be NULL.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_core::types::{DECIMAL_PRECISION_MAX, Field, LogicalType, Resolution, Schema};

use crate::error::{ConnectorError, Result};

/// Columns of the files seen so far.
#[derive(Debug, Default)]
pub(super) struct SchemaUnion {
    columns: Vec<Column>,
    files: usize,
}

#[derive(Debug)]
struct Column {
    field: Field,
    /// The file that it has its type from.
    path: PathBuf,
    /// Files that have it.
    files: usize,
}

impl SchemaUnion {
    /// Adds the columns of a file. `is_text` if its values are text that may as well stay so.
    pub(super) fn add(&mut self, path: &Path, schema: &Schema, is_text: bool) -> Result<()> {
        self.files += 1;
        for field in &schema.fields {
            let position = self.columns.iter().position(|known| known.field.name == field.name).or_else(|| {
                self.columns.iter().position(|known| known.field.name.to_lowercase() == field.name.to_lowercase())
            });
            let Some(known) = position.map(|at| &mut self.columns[at]) else {
                self.columns.push(Column { field: field.clone(), path: path.to_path_buf(), files: 1 });
                continue;
            };
            known.files += 1;
            known.field.nullable |= field.nullable;
            let together =
                wider(&known.field.data_type, &field.data_type, is_text).or(is_text.then_some(LogicalType::Utf8));
            let Some(together) = together else {
                return Err(ConnectorError::Misfit {
                    column: field.name.clone(),
                    path: path.display().to_string(),
                    data_type: field.data_type.to_string(),
                    other_path: known.path.display().to_string(),
                    other_type: known.field.data_type.to_string(),
                });
            };
            if together != known.field.data_type {
                known.field.data_type = together;
                known.path = path.to_path_buf();
            }
        }
        Ok(())
    }

    /// The columns of all files.
    pub(super) fn finish(self) -> Vec<Field> {
        let files = self.files;
        let field = |column: Column| {
            let nullable = column.field.nullable || column.files < files;
            Field { nullable, data_type: without_null(column.field.data_type), ..column.field }
        };
        self.columns.into_iter().map(field).collect()
    }
}

/// A type for values none of which has been seen.
fn without_null(data_type: LogicalType) -> LogicalType {
    let inner = |field: &Field| Field { data_type: without_null(field.data_type.clone()), ..field.clone() };
    match data_type {
        LogicalType::Null => LogicalType::Utf8,
        LogicalType::List(item) => LogicalType::List(Arc::new(inner(&item))),
        LogicalType::Struct(fields) => LogicalType::Struct(fields.iter().map(inner).collect()),
        other => other,
    }
}

/// Bits and sign of an integer.
fn integer(data_type: &LogicalType) -> Option<(u8, bool)> {
    Some(match data_type {
        LogicalType::Int8 => (8, true),
        LogicalType::Int16 => (16, true),
        LogicalType::Int32 => (32, true),
        LogicalType::Int64 => (64, true),
        LogicalType::UInt8 => (8, false),
        LogicalType::UInt16 => (16, false),
        LogicalType::UInt32 => (32, false),
        LogicalType::UInt64 => (64, false),
        _ => return None,
    })
}

/// Digits before and after the point that hold every value of an exact number.
fn digits(data_type: &LogicalType) -> Option<(u8, i8)> {
    match data_type {
        LogicalType::Decimal { precision, scale } => {
            Some((u8::try_from(i16::from(*precision) - i16::from(*scale)).ok()?, *scale))
        }
        other => integer(other).map(|(bits, signed)| match (bits, signed) {
            (8, _) => (3, 0),
            (16, _) => (5, 0),
            (32, _) => (10, 0),
            (_, true) => (19, 0),
            (_, false) => (20, 0),
        }),
    }
}

/// The type that holds the values of both; `None` if none does.
fn wider(a: &LogicalType, b: &LogicalType, is_text: bool) -> Option<LogicalType> {
    use LogicalType::{Date, Decimal, Float64, Int16, Int32, Int64, List, Null, Struct, Timestamp};
    if a == b {
        return Some(a.clone());
    }
    let is_number = |t: &LogicalType| digits(t).is_some() || t.is_float();
    Some(match (a, b) {
        (Null, other) | (other, Null) => other.clone(),
        (x, y) if is_number(x) && is_number(y) && (x.is_float() || y.is_float()) => Float64,
        (x, y) if integer(x).is_some() && integer(y).is_some() => match (integer(x)?, integer(y)?) {
            ((a, true), (b, true)) | ((a, false), (b, false)) => {
                return Some(if a >= b { x.clone() } else { y.clone() });
            }
            ((signed, true), (unsigned, false)) | ((unsigned, false), (signed, true)) => {
                match signed.max(unsigned.saturating_mul(2)) {
                    16 => Int16,
                    32 => Int32,
                    64 => Int64,
                    _ => Decimal { precision: 20, scale: 0 },
                }
            }
        },
        (x, y) if digits(x).is_some() && digits(y).is_some() => {
            let ((whole_x, scale_x), (whole_y, scale_y)) = (digits(x)?, digits(y)?);
            let scale = scale_x.max(scale_y);
            let precision = i16::from(whole_x.max(whole_y)) + i16::from(scale);
            Decimal { precision: u8::try_from(precision).ok().filter(|p| *p <= DECIMAL_PRECISION_MAX)?, scale }
        }
        (Date, moment @ Timestamp { zone: None, .. }) | (moment @ Timestamp { zone: None, .. }, Date) => moment.clone(),
        (Timestamp { resolution: x, zone: a }, Timestamp { resolution: y, zone: b }) if a == b => {
            Timestamp { resolution: finer(*x, *y), zone: a.clone() }
        }
        (List(x), List(y)) if is_text => {
            let data_type = wider(&x.data_type, &y.data_type, true).unwrap_or(LogicalType::Utf8);
            List(Arc::new(Field { data_type, nullable: true, ..Field::clone(x) }))
        }
        (Struct(x), Struct(y)) if is_text => {
            let mut fields = x.to_vec();
            for field in y.iter() {
                match fields.iter_mut().find(|known| known.name == field.name) {
                    Some(known) => {
                        known.data_type = wider(&known.data_type, &field.data_type, true).unwrap_or(LogicalType::Utf8);
                    }
                    None => fields.push(field.clone()),
                }
            }
            fields.iter_mut().for_each(|field| field.nullable = true);
            Struct(fields.into())
        }
        _ => return None,
    })
}

fn finer(a: Resolution, b: Resolution) -> Resolution {
    if a.ticks_per_second() >= b.ticks_per_second() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_meet_in_one_that_holds_both() {
        use LogicalType::{Boolean, Date, Decimal, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt64, Utf8};
        let timestamp = |resolution| LogicalType::Timestamp { resolution, zone: None };
        for (a, b, expected) in [
            (Int32, Int64, Some(Int64)),
            (UInt8, Int8, Some(Int16)),
            (UInt8, Int32, Some(Int32)),
            (UInt64, Int8, Some(Decimal { precision: 20, scale: 0 })),
            (Int64, Float32, Some(Float64)),
            (Decimal { precision: 9, scale: 2 }, Int32, Some(Decimal { precision: 12, scale: 2 })),
            (
                Decimal { precision: 9, scale: 2 },
                Decimal { precision: 9, scale: 4 },
                Some(Decimal { precision: 11, scale: 4 }),
            ),
            (Decimal { precision: 38, scale: 0 }, Decimal { precision: 9, scale: 4 }, None),
            (Date, timestamp(Resolution::Second), Some(timestamp(Resolution::Second))),
            (
                timestamp(Resolution::Millisecond),
                timestamp(Resolution::Microsecond),
                Some(timestamp(Resolution::Microsecond)),
            ),
            (LogicalType::Null, Boolean, Some(Boolean)),
            (Utf8, Int64, None),
            (Boolean, Int64, None),
        ] {
            assert_eq!(wider(&a, &b, false), expected, "{a} and {b}");
            assert_eq!(wider(&b, &a, false), expected, "{b} and {a}");
        }
    }

    #[test]
    fn columns_of_all_files_by_name() {
        let schema = |fields: &[(&str, LogicalType)]| {
            Schema::new(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), false)).collect())
        };
        let mut union = SchemaUnion::default();
        union.add(Path::new("a"), &schema(&[("n", LogicalType::Int32), ("t", LogicalType::Utf8)]), false).unwrap();
        union.add(Path::new("b"), &schema(&[("x", LogicalType::Date), ("N", LogicalType::Int64)]), false).unwrap();
        let error = union.add(Path::new("c"), &schema(&[("n", LogicalType::Utf8)]), false).unwrap_err().to_string();
        assert_eq!(error, "column \"n\" is VARCHAR in 'c' and BIGINT in 'b', and no type holds both");
        let fields = union.finish();
        let found: Vec<_> = fields.iter().map(|f| (f.name.as_str(), f.data_type.clone(), f.nullable)).collect();
        let expected =
            [("n", LogicalType::Int64, false), ("t", LogicalType::Utf8, true), ("x", LogicalType::Date, true)];
        assert_eq!(found, expected);
    }
}
