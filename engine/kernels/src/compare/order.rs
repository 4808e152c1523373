//! Which of two rows comes first, one pair at a time: for merges' rare ties and for checks. Whole columns are ordered
//! by [`crate::sort`].

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_ord::ord::{DynComparator, make_comparator};
use arrow_schema::{DataType, SortOptions};
use flumen_core::spec::relational::SortKey;

use crate::error::KernelError;
use crate::gather::flatten;

/// Compares rows of two sets of columns by sort keys.
pub struct RowComparator {
    keys: Vec<DynComparator>,
}

impl RowComparator {
    /// A comparator of rows of `left` with rows of `right`; the keys name columns of both.
    ///
    /// # Panics
    /// If a key names a column that is not there.
    ///
    /// # Errors
    /// [`KernelError::NotOrdered`] for types without order, or of two carriers.
    pub fn new(left: &[ArrayRef], right: &[ArrayRef], keys: &[SortKey]) -> Result<Self, KernelError> {
        let comparator = |key: &SortKey| {
            let (left, right) = (order_normalized(&left[key.column])?, order_normalized(&right[key.column])?);
            make_comparator(&left, &right, sort_options(key))
                .map_err(|e| KernelError::NotOrdered { data_type: left.data_type().clone(), source: Some(e) })
        };
        Ok(Self { keys: keys.iter().map(comparator).collect::<Result<_, _>>()? })
    }

    /// How row `left` compares with row `right`.
    ///
    /// # Panics
    /// If a row is out of range.
    #[must_use]
    pub fn compare(&self, left: usize, right: usize) -> Ordering {
        self.keys.iter().map(|compare| compare(left, right)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }
}

/// Arrow's form of a key's direction.
pub(crate) fn sort_options(key: &SortKey) -> SortOptions {
    SortOptions { descending: key.descending, nulls_first: key.nulls_first }
}

/// The array flat, with one representation for each float that compares equal: `-0.0` as `0.0`, every NaN as the
/// positive quiet one, which Arrow's total order puts above infinity.
///
/// # Errors
/// [`KernelError::Column`] if flattening a dictionary outgrows 32-bit offsets.
pub fn order_normalized(array: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let array = flatten(array)?;
    Ok(match array.data_type() {
        DataType::Float64 => {
            let one = |v: f64| if v.is_nan() { f64::NAN.abs() } else { v + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(one)) as ArrayRef
        }
        DataType::Float32 => {
            let one = |v: f32| if v.is_nan() { f32::NAN.abs() } else { v + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(one)) as ArrayRef
        }
        _ => array,
    })
}
