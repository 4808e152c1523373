//! What footers say of columns.
//!
//! Bounds are only given where they are safe: not for the deprecated statistics of columns whose order they did not
//! follow, not for NaN, not for text that is not UTF-8. Long text may be cut: the smallest is then a bit smaller and
//! the largest a bit larger than any value, so they remain bounds. Statistics of floating-point columns leave NaN out.
//!
//! Source: apache/parquet-format src/main/thrift/parquet.thrift, structs `Statistics` and `ColumnOrder`.

use flumen_core::expr::{Literal, Value};
use flumen_core::source::{ColumnStatistics, TableStatistics};
use flumen_core::types::LogicalType;
use parquet::basic::Type as PhysicalType;
use parquet::file::statistics::Statistics;

use crate::file::ParquetFile;
use crate::prune::{Bounds, compare};
use crate::thrift::{PAGE_DICTIONARY, page_header};
use flumen_io::ReadFile;
use std::cmp::Ordering;

/// Bytes of a dictionary page's header that are looked at.
const HEADER_BYTES: u64 = 256;

impl ParquetFile {
    /// What is known of a root column in a row group; nothing for nested columns.
    ///
    /// # Panics
    /// If there is no such row group or column.
    #[must_use]
    pub fn bounds(&self, row_group: usize, column: usize) -> Bounds {
        let group = self.metadata().row_group(row_group);
        let mut bounds = Bounds { rows: self.row_group_rows(row_group), ..Bounds::default() };
        let Some(leaf) = self.leaf_of(column) else { return bounds };
        let Some(statistics) = group.column(leaf).statistics() else { return bounds };
        let data_type = &self.schema().fields[column].data_type;
        bounds.null_count = statistics.null_count_opt().filter(|nulls| *nulls <= bounds.rows);
        let ordered = !statistics.is_min_max_deprecated() || follows_signed_order(data_type);
        if ordered {
            bounds.min = value(statistics, data_type, End::Min);
            bounds.max = value(statistics, data_type, End::Max);
        }
        bounds
    }

    /// The primitive column of a root column, if it is one.
    pub(crate) fn leaf_of(&self, column: usize) -> Option<usize> {
        let descriptor = self.metadata().file_metadata().schema_descr();
        let leaf = (0..descriptor.num_columns()).find(|leaf| descriptor.get_column_root_idx(*leaf) == column)?;
        (descriptor.column(leaf).path().parts().len() == 1).then_some(leaf)
    }

    /// Distinct values of a column in a row group, from the header of its dictionary page; `None` if it has none or
    /// some pages do not use it. Reads a few bytes; may block.
    #[must_use]
    pub fn dictionary_size(&self, source: &dyn ReadFile, row_group: usize, column: usize) -> Option<u64> {
        let chunk = self.metadata().row_group(row_group).column(self.leaf_of(column)?);
        let start = u64::try_from(chunk.dictionary_page_offset()?).ok()?;
        if chunk.encodings().any(|e| {
            matches!(
                e,
                parquet::basic::Encoding::DELTA_BINARY_PACKED
                    | parquet::basic::Encoding::DELTA_BYTE_ARRAY
                    | parquet::basic::Encoding::DELTA_LENGTH_BYTE_ARRAY
            )
        }) {
            return None;
        }
        let end = start.checked_add(HEADER_BYTES)?.min(self.size());
        let header = page_header(&source.read_range(start..end).ok()?).ok()?;
        // A writer that gives up on the dictionary has filled it to about a megabyte first; such sizes say little.
        (header.kind == PAGE_DICTIONARY && header.uncompressed_bytes < (1 << 19))
            .then(|| u64::try_from(header.values).ok())
            .flatten()
    }

    /// Whether the rows of the whole file lie in ascending order of a column, as its writer says.
    fn is_clustered(&self, column: usize) -> bool {
        let Some(leaf) = self.leaf_of(column) else { return false };
        let groups = self.metadata().row_groups();
        let sorted = !groups.is_empty()
            && groups.iter().all(|g| {
                g.sorting_columns()
                    .and_then(|s| s.first())
                    .is_some_and(|s| usize::try_from(s.column_idx) == Ok(leaf) && !s.descending && !s.nulls_first)
            });
        sorted
            && (1..groups.len()).all(|group| {
                let (before, after) = (self.bounds(group - 1, column), self.bounds(group, column));
                match (before.null_count, &before.max, &after.min) {
                    (Some(0), Some(max), Some(min)) => compare(max, min).is_some_and(Ordering::is_le),
                    _ => false,
                }
            })
    }

    /// What is known of the whole file, for the given root columns.
    #[must_use]
    pub fn statistics(&self, columns: &[Option<usize>]) -> TableStatistics {
        let stored_bytes = (0..self.row_groups()).map(|g| self.row_group_bytes(g)).sum();
        let columns = columns.iter().map(|column| match column {
            Some(column) => self.column_statistics(*column),
            None => ColumnStatistics { null_count: Some(self.rows()), ..ColumnStatistics::default() },
        });
        TableStatistics { rows: Some(self.rows()), stored_bytes: Some(stored_bytes), columns: columns.collect() }
    }

    fn column_statistics(&self, column: usize) -> ColumnStatistics {
        let merged = (0..self.row_groups())
            .filter(|group| self.row_group_rows(*group) > 0)
            .map(|group| self.bounds(group, column))
            .reduce(Bounds::merge)
            // Of no rows all is known, so a file without rows takes nothing from what the others say.
            .unwrap_or(Bounds { null_count: Some(0), ..Bounds::default() });
        ColumnStatistics {
            min: merged.min,
            max: merged.max,
            null_count: merged.null_count,
            distinct_count: None,
            clustered: self.is_clustered(column),
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

/// The old statistics compare all values as signed numbers.
fn follows_signed_order(data_type: &LogicalType) -> bool {
    !matches!(
        data_type,
        LogicalType::Utf8
            | LogicalType::Binary
            | LogicalType::UInt8
            | LogicalType::UInt16
            | LogicalType::UInt32
            | LogicalType::UInt64
            | LogicalType::Decimal { .. }
    )
}

/// One end of a column chunk's values as a constant of the column's type.
fn value(statistics: &Statistics, data_type: &LogicalType, end: End) -> Option<Literal> {
    macro_rules! end_of {
        ($values:expr) => {
            match end {
                End::Min => $values.min_opt(),
                End::Max => $values.max_opt(),
            }
        };
    }
    let float = |x: f64| (!x.is_nan()).then(|| Value::FloatBits(zero_toward(x, end).to_bits()));
    let value = match statistics {
        Statistics::Boolean(values) => Value::Boolean(*end_of!(values)?),
        Statistics::Int32(values) => integer(i64::from(*end_of!(values)?), data_type)?,
        Statistics::Int64(values) => integer(*end_of!(values)?, data_type)?,
        Statistics::Float(values) => float(f64::from(*end_of!(values)?))?,
        Statistics::Double(values) => float(*end_of!(values)?)?,
        Statistics::ByteArray(values) => bytes(end_of!(values)?.data(), data_type)?,
        Statistics::FixedLenByteArray(values) => bytes(end_of!(values)?.data(), data_type)?,
        Statistics::Int96(_) => return None,
    };
    let fits = matches!(
        (statistics.physical_type(), data_type),
        (PhysicalType::BOOLEAN, LogicalType::Boolean)
            | (PhysicalType::FLOAT, LogicalType::Float32)
            | (PhysicalType::DOUBLE, LogicalType::Float64)
            | (
                PhysicalType::INT32
                    | PhysicalType::INT64
                    | PhysicalType::BYTE_ARRAY
                    | PhysicalType::FIXED_LEN_BYTE_ARRAY,
                _
            )
    );
    fits.then(|| Literal { value, data_type: data_type.clone() })
}

/// Writers may give either zero for the other one; the wider bound is right in both cases.
fn zero_toward(x: f64, end: End) -> f64 {
    match end {
        _ if x != 0.0 => x,
        End::Min => -0.0,
        End::Max => 0.0,
    }
}

fn integer(value: i64, data_type: &LogicalType) -> Option<Value> {
    Some(Value::Int(match data_type {
        LogicalType::UInt8 | LogicalType::UInt16 | LogicalType::UInt32 => i128::from(value as u32),
        LogicalType::UInt64 => i128::from(value as u64),
        t if t.is_integer() => i128::from(value),
        LogicalType::Decimal { .. }
        | LogicalType::Date
        | LogicalType::Time(_)
        | LogicalType::Timestamp { .. }
        | LogicalType::Duration(_) => i128::from(value),
        _ => return None,
    }))
}

fn bytes(bytes: &[u8], data_type: &LogicalType) -> Option<Value> {
    match data_type {
        LogicalType::Utf8 => Some(Value::Utf8(std::str::from_utf8(bytes).ok()?.to_owned())),
        LogicalType::Binary => Some(Value::Binary(bytes.to_vec())),
        LogicalType::Decimal { .. } if (1..=16).contains(&bytes.len()) => {
            // Big-endian two's complement of any length up to 16 bytes.
            let sign = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
            let mut wide = [sign; 16];
            wide[16 - bytes.len()..].copy_from_slice(bytes);
            Some(Value::Int(i128::from_be_bytes(wide)))
        }
        _ => None,
    }
}
