//! The end of CASE: one column out of the values of its branches.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_core::types::LogicalType;

use super::decimal;
use super::logic::boolean;
use crate::expr::column::{Fixed, Native, Operand, Rows, constant_null, fixed, flatten, is_constant_null, operand};
use crate::expr::error::ExprError;

/// The column that has, at the rows of each piece, that piece's values. The row sets are disjoint and hold all rows
/// that count.
pub(crate) fn choose(
    pieces: &[(BooleanBuffer, Column)],
    data_type: &LogicalType,
    rows: Rows<'_>,
) -> Result<Column, ExprError> {
    let mut used: Vec<(BooleanBuffer, Column)> = Vec::with_capacity(pieces.len());
    for (bits, column) in pieces {
        if bits.has_true() {
            used.push((bits.clone(), flatten(column.clone())?));
        }
    }
    match used.as_slice() {
        [] => return Ok(constant_null(data_type)),
        [(_, only)] => return Ok(only.clone()),
        _ => {}
    }
    if used.iter().all(|(_, column)| is_constant_null(column)) {
        return Ok(constant_null(data_type));
    }
    let array: ArrayRef = match data_type {
        LogicalType::Boolean => Arc::new(choose_boolean(&used, rows)?),
        LogicalType::Decimal { precision, scale } => {
            // All of 64 bits, or all of 128.
            let small =
                used.iter().all(|(_, c)| is_constant_null(c) || matches!(fixed(c.array()), Some(Fixed::I64(_))));
            if small {
                choose_fixed::<i64>(&used, &decimal::small_type(*precision, *scale), rows)?
            } else {
                for (_, column) in &mut used {
                    *column = decimal::widen(column, *precision, *scale)?;
                }
                choose_fixed::<i128>(&used, &DataType::Decimal128(*precision, *scale), rows)?
            }
        }
        other => {
            let arrow = other.arrow_type();
            let sample = used.iter().find(|(_, c)| !is_constant_null(c)).map(|(_, c)| Arc::clone(c.array()));
            match sample.as_ref().and_then(|array| fixed(array)) {
                Some(Fixed::I8(_)) => choose_fixed::<i8>(&used, &arrow, rows)?,
                Some(Fixed::I16(_)) => choose_fixed::<i16>(&used, &arrow, rows)?,
                Some(Fixed::I32(_)) => choose_fixed::<i32>(&used, &arrow, rows)?,
                Some(Fixed::I64(_)) => choose_fixed::<i64>(&used, &arrow, rows)?,
                Some(Fixed::I128(_)) => choose_fixed::<i128>(&used, &arrow, rows)?,
                Some(Fixed::U8(_)) => choose_fixed::<u8>(&used, &arrow, rows)?,
                Some(Fixed::U16(_)) => choose_fixed::<u16>(&used, &arrow, rows)?,
                Some(Fixed::U32(_)) => choose_fixed::<u32>(&used, &arrow, rows)?,
                Some(Fixed::U64(_)) => choose_fixed::<u64>(&used, &arrow, rows)?,
                Some(Fixed::F32(_)) => choose_fixed::<f32>(&used, &arrow, rows)?,
                Some(Fixed::F64(_)) => choose_fixed::<f64>(&used, &arrow, rows)?,
                None => choose_any(&used, &arrow, rows)?,
            }
        }
    };
    Ok(Column::Array(array))
}

fn choose_boolean(pieces: &[(BooleanBuffer, Column)], rows: Rows<'_>) -> Result<BooleanArray, ExprError> {
    let mut values = BooleanBuffer::new_unset(rows.len);
    let mut null = BooleanBuffer::new_unset(rows.len);
    for (bits, column) in pieces {
        let array = boolean(column, rows)?;
        values = &values | &(bits & array.values());
        if let Some(nulls) = array.nulls() {
            null = &null | &(bits & &!nulls.inner());
        }
    }
    let nulls = null.has_true().then(|| NullBuffer::new(!&null));
    Ok(BooleanArray::new(values, nulls))
}

/// Which rows are NULL in the result.
fn chosen_nulls(pieces: &[(BooleanBuffer, Column)], rows: Rows<'_>) -> Option<NullBuffer> {
    let mut null: Option<BooleanBuffer> = None;
    for (bits, column) in pieces {
        let here = match column {
            Column::Constant(_) if is_constant_null(column) => bits.clone(),
            Column::Constant(_) => continue,
            Column::Array(array) => match array.logical_nulls().filter(|n| n.null_count() > 0) {
                Some(nulls) => bits & &!nulls.inner(),
                None => continue,
            },
        };
        null = Some(null.map_or_else(|| here.clone(), |all| &all | &here));
    }
    let null = null.filter(BooleanBuffer::has_true)?;
    debug_assert_eq!(null.len(), rows.len);
    Some(NullBuffer::new(!&null))
}

fn choose_fixed<T: Native>(
    pieces: &[(BooleanBuffer, Column)],
    data_type: &DataType,
    rows: Rows<'_>,
) -> Result<ArrayRef, ExprError> {
    let mut out = vec![T::default(); rows.len];
    for (bits, column) in pieces {
        if is_constant_null(column) {
            continue;
        }
        let values = operand::<T>(column)
            .ok_or_else(|| ExprError::Carrier { operation: "CASE", found: column.array().data_type().clone() })?;
        blend(&mut out, bits, values);
    }
    Ok(T::array(data_type, out, chosen_nulls(pieces, rows)))
}

/// Writes the values of the rows whose bit is set, 64 rows at a time.
fn blend<T: Copy>(out: &mut [T], bits: &BooleanBuffer, values: Operand<'_, T>) {
    let chunks = bits.bit_chunks();
    for (word, (number, out)) in chunks.iter_padded().zip(out.chunks_mut(64).enumerate()) {
        if word == 0 {
            continue;
        }
        match values {
            Operand::Constant(value) => {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = if word >> i & 1 == 1 { value } else { *out };
                }
            }
            Operand::Slice(values) => {
                let values = &values[number * 64..number * 64 + out.len()];
                for (i, (out, value)) in out.iter_mut().zip(values).enumerate() {
                    *out = if word >> i & 1 == 1 { *value } else { *out };
                }
            }
        }
    }
}

fn choose_any(pieces: &[(BooleanBuffer, Column)], arrow: &DataType, rows: Rows<'_>) -> Result<ArrayRef, ExprError> {
    let arrays = pieces
        .iter()
        .map(|(_, column)| match column.array().data_type() {
            found if found == arrow => Ok(Arc::clone(column.array())),
            _ => arrow_cast::cast(column.array(), arrow).map_err(ExprError::arrow("CASE")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut indices = vec![(0usize, 0usize); rows.len];
    for (piece, (bits, column)) in pieces.iter().enumerate() {
        let constant = column.as_constant().is_some();
        for row in bits.set_indices() {
            indices[row] = (piece, if constant { 0 } else { row });
        }
    }
    let references: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    arrow_select::interleave::interleave(&references, &indices).map_err(ExprError::arrow("CASE"))
}
