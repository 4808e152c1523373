//! Whole keys as bytes whose order is the rows' order: arrow-row, over one carrier per type.

use std::cmp::Ordering;

use arrow_array::ArrayRef;
use arrow_row::{Row, RowConverter, Rows, SortField};
use arrow_schema::{ArrowError, DataType};
use flumen_core::batch::Column;
use flumen_core::spec::relational::SortKey;
use flumen_core::types::{DECIMAL_PRECISION_MAX, LogicalType};

use super::take_rows;
use crate::compare::{order_normalized, sort_options};
use crate::error::KernelError;
use crate::gather::column_array;
use crate::nested::order_bytes;

/// Makes comparable bytes of sort keys. Bytes of different batches compare.
pub struct KeyEncoder {
    converter: RowConverter,
    columns: Vec<usize>,
    carriers: Vec<DataType>,
}

/// The keys of some rows as comparable bytes.
pub struct EncodedKeys {
    rows: Rows,
}

impl KeyEncoder {
    /// An encoder for columns of these types.
    ///
    /// # Panics
    /// If a key names a column that is not there.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for a type without order.
    pub fn new(types: &[LogicalType], keys: &[SortKey]) -> Result<Self, KernelError> {
        let carrier = |key: &SortKey| match &types[key.column] {
            // Whole values as bytes, so that the direction turns them as a whole.
            nested if nested.is_nested() => DataType::Binary,
            // Wide enough for every carrier.
            LogicalType::Decimal { scale, .. } => DataType::Decimal128(DECIMAL_PRECISION_MAX, *scale),
            other => other.arrow_type(),
        };
        let carriers: Vec<DataType> = keys.iter().map(carrier).collect();
        let field =
            |(key, carrier): (&SortKey, &DataType)| SortField::new_with_options(carrier.clone(), sort_options(key));
        let fields: Vec<SortField> = keys.iter().zip(&carriers).map(field).collect();
        let not_ordered = |source: ArrowError| {
            let data_type = carriers.iter().find(|c| c.is_nested()).or(carriers.first()).cloned();
            KernelError::NotOrdered { data_type: data_type.unwrap_or(DataType::Null), source: Some(source) }
        };
        let converter = RowConverter::new(fields).map_err(not_ordered)?;
        Ok(Self { converter, columns: keys.iter().map(|key| key.column).collect(), carriers })
    }

    /// The keys of these physical rows, in this order.
    ///
    /// # Panics
    /// If a row is out of range.
    ///
    /// # Errors
    /// [`KernelError::Column`] if an array is not of its column's type.
    pub fn encode(&self, columns: &[&Column], rows: &[u32]) -> Result<EncodedKeys, KernelError> {
        let keys: Vec<&Column> = self.columns.iter().map(|column| columns[*column]).collect();
        let gathered = take_rows(&keys, rows)?;
        let arrays = gathered
            .iter()
            .zip(&self.carriers)
            .enumerate()
            .map(|(key, (column, carrier))| {
                let array = order_normalized(&column_array(column, rows.len())?)?;
                if array.data_type().is_nested() {
                    return order_bytes(&array);
                }
                arrow_cast::cast(&array, carrier).map_err(|e| failed(key, e))
            })
            .collect::<Result<Vec<ArrayRef>, KernelError>>()?;
        let rows = self.converter.convert_columns(&arrays).map_err(|e| failed(0, e))?;
        Ok(EncodedKeys { rows })
    }
}

fn failed(key: usize, source: ArrowError) -> KernelError {
    KernelError::Column { column: format!("sort key {}", key + 1), action: "encoded for comparison", source }
}

impl EncodedKeys {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of a key.
    ///
    /// # Panics
    /// If there is no such key.
    #[must_use]
    pub fn bytes(&self, index: usize) -> &[u8] {
        self.row(index).data()
    }

    /// How a key compares with one of the same encoder.
    ///
    /// # Panics
    /// If there is no such key.
    #[inline]
    #[must_use]
    pub fn compare(&self, index: usize, other: &EncodedKeys, other_index: usize) -> Ordering {
        self.row(index).cmp(&other.row(other_index))
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_size(&self) -> usize {
        self.rows.size()
    }

    #[inline]
    fn row(&self, index: usize) -> Row<'_> {
        self.rows.row(index)
    }
}
