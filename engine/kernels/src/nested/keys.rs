//! Whole nested values as bytes: keys of groups and of orderings.
//!
//! The bytes are arrow-row's of one ascending column with NULLs last, over the [`canonical`] carrier. So they are equal
//! for equal values, order as the values do, and turn into the values again.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, BinaryViewArray, new_null_array};
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType, SortOptions};
use flumen_core::types::LogicalType;

use super::{canonical, failed, widest};
use crate::error::KernelError;

/// Values of one type to bytes and back.
pub struct NestedKeys {
    converter: RowConverter,
    /// What [`canonical`] gives for the type.
    carrier: DataType,
    /// What operators produce for it.
    produced: DataType,
    /// The bytes of NULL.
    null: Box<[u8]>,
}

impl NestedKeys {
    /// For values of this type.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for a type without order.
    pub fn new(data_type: &LogicalType) -> Result<Self, KernelError> {
        let produced = data_type.arrow_type();
        let carrier = widest(&produced);
        let options = SortOptions { descending: false, nulls_first: false };
        let not_ordered =
            |source: ArrowError| KernelError::NotOrdered { data_type: produced.clone(), source: Some(source) };
        let field = SortField::new_with_options(carrier.clone(), options);
        let converter = RowConverter::new(vec![field]).map_err(not_ordered)?;
        let null = converter.convert_columns(&[new_null_array(&carrier, 1)]).map_err(not_ordered)?;
        let null = null.row(0).data().into();
        Ok(Self { converter, carrier, produced, null })
    }

    /// The bytes of each value; NULL for NULL.
    ///
    /// # Errors
    /// [`KernelError::Column`] if the array is of another type, or its bytes outgrow 32-bit offsets.
    pub fn encode(&self, array: &ArrayRef) -> Result<BinaryArray, KernelError> {
        let values = canonical(array)?;
        let values = if *values.data_type() == self.carrier {
            values
        } else {
            // The array of a column of NULLs alone.
            arrow_cast::cast(&values, &self.carrier).map_err(failed(array, "encoded"))?
        };
        let nulls = values.nulls().cloned();
        let rows = self.converter.convert_columns(&[values]).map_err(failed(array, "encoded"))?;
        let (offsets, bytes, _) = rows.try_into_binary().map_err(failed(array, "encoded"))?.into_parts();
        BinaryArray::try_new(offsets, bytes, nulls).map_err(failed(array, "encoded"))
    }

    /// The values of bytes that [`Self::encode`] made, in the carrier that operators produce.
    ///
    /// # Errors
    /// [`KernelError::Column`] if the values outgrow 32-bit offsets.
    ///
    /// # Panics
    /// If the bytes are not of this type's values.
    pub fn decode(&self, bytes: &BinaryViewArray) -> Result<ArrayRef, KernelError> {
        let parser = self.converter.parser();
        let rows =
            (0..bytes.len()).map(|row| parser.parse(if bytes.is_null(row) { &self.null } else { bytes.value(row) }));
        let mut columns = self.converter.convert_rows(rows).map_err(failed(bytes, "decoded"))?;
        let Some(values) = columns.pop() else { return Ok(new_null_array(&self.produced, bytes.len())) };
        if *values.data_type() == self.produced {
            return Ok(values);
        }
        arrow_cast::cast(&values, &self.produced).map_err(failed(bytes, "decoded"))
    }
}

impl std::fmt::Debug for NestedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NestedKeys").field("carrier", &self.carrier).finish()
    }
}

/// The bytes of the values of an array, whose type says what they are.
///
/// # Errors
/// As [`NestedKeys::new`] and [`NestedKeys::encode`].
pub(crate) fn order_bytes(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let not_ordered = || KernelError::NotOrdered { data_type: array.data_type().clone(), source: None };
    let logical = LogicalType::from_arrow(array.data_type()).ok_or_else(not_ordered)?;
    Ok(Arc::new(NestedKeys::new(&logical)?.encode(array)?))
}
