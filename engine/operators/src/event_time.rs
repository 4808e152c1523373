//! Reading the event time of rows, and writing it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};
use flumen_core::batch::{Batch, Column};
use flumen_core::failure::Failure;
use flumen_core::types::{Field, LogicalType, Resolution, Schema};
use flumen_kernels::gather::{column_array, flatten};

use crate::error::OperatorError;

/// Event time in milliseconds by physical row; rows that are not selected may hold anything.
pub(crate) struct EventTimes {
    array: ArrayRef,
    resolution: Resolution,
}

impl EventTimes {
    /// Of column `column`.
    ///
    /// # Errors
    /// If it carries no timestamps, or one of a selected row is NULL.
    pub(crate) fn of(batch: &Batch, column: usize, operator: &'static str) -> Result<Self, Failure> {
        let array = match batch.column(column) {
            Column::Array(array) => flatten(array)?,
            constant => flatten(&column_array(constant, batch.physical_rows())?)?,
        };
        let schema: &Schema = batch.schema();
        let DataType::Timestamp(unit, _) = array.data_type() else {
            return Err(OperatorError::ColumnType {
                operator,
                column: schema.fields[column].name.clone(),
                found: array.data_type().to_string(),
                expected: "a timestamp",
            }
            .into());
        };
        let resolution = Resolution::from_arrow(*unit);
        if let Some(nulls) = array.nulls().filter(|n| n.null_count() > 0) {
            let has_null = batch.selection().is_none_or(|s| s.iter().any(|row| nulls.is_null(*row as usize)));
            if has_null {
                return Err(OperatorError::NullTime { column: schema.fields[column].name.clone() }.into());
            }
        }
        Ok(Self { array, resolution })
    }

    /// Milliseconds by physical row; without a copy if that is the column's resolution.
    pub(crate) fn millis(&self) -> Cow<'_, [i64]> {
        let ticks: &[i64] = match self.array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => self.array.as_primitive::<TimestampSecondType>().values(),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                self.array.as_primitive::<TimestampMillisecondType>().values()
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.array.as_primitive::<TimestampMicrosecondType>().values()
            }
            _ => self.array.as_primitive::<TimestampNanosecondType>().values(),
        };
        match self.resolution {
            Resolution::Millisecond => Cow::Borrowed(ticks),
            // One loop for each resolution, so that the divisor is a constant.
            Resolution::Second => ticks.iter().map(|t| Resolution::Second.to_millis_floor(*t)).collect(),
            Resolution::Microsecond => ticks.iter().map(|t| Resolution::Microsecond.to_millis_floor(*t)).collect(),
            Resolution::Nanosecond => ticks.iter().map(|t| Resolution::Nanosecond.to_millis_floor(*t)).collect(),
        }
    }
}

/// A moment as a one-row array of a timestamp type; saturates where the type's range ends.
///
/// # Errors
/// If the type is no timestamp.
pub(crate) fn time_value(millis: i64, field: &Field, operator: &'static str) -> Result<ArrayRef, OperatorError> {
    let LogicalType::Timestamp { resolution, zone } = &field.data_type else {
        return Err(OperatorError::ColumnType {
            operator,
            column: field.name.clone(),
            found: field.data_type.to_string(),
            expected: "a timestamp",
        });
    };
    fn array<T: ArrowTimestampType>(ticks: i64, zone: &Option<Arc<str>>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::from_value(ticks, 1).with_timezone_opt(zone.clone()))
    }
    Ok(match resolution {
        Resolution::Second => array::<TimestampSecondType>(millis.div_euclid(1_000), zone),
        Resolution::Millisecond => array::<TimestampMillisecondType>(millis, zone),
        Resolution::Microsecond => array::<TimestampMicrosecondType>(millis.saturating_mul(1_000), zone),
        Resolution::Nanosecond => array::<TimestampNanosecondType>(millis.saturating_mul(1_000_000), zone),
    })
}
