//! Lists as long as a number says: refused before they are made if they are too long.
//!
//! The library makes them in one piece, and a number from outside may ask for more than any machine has.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use flumen_core::batch::Column;
use flumen_kernels::expr::{ExprError, FunctionError};

/// Items that the lists of one batch may have together: 512 MiB of BIGINT.
const ITEMS_MAX: i128 = 1 << 26;

/// A number by row; NULL is none.
struct Numbers {
    array: ArrayRef,
    is_constant: bool,
}

impl Numbers {
    /// `None` for what is no number.
    fn new(column: &Column) -> Option<Self> {
        if !column.array().data_type().is_integer() {
            return None;
        }
        let array = arrow_cast::cast(column.array(), &DataType::Int64).ok()?;
        Some(Self { array, is_constant: column.as_constant().is_some() })
    }

    fn get(&self, row: usize) -> Option<i128> {
        let row = if self.is_constant { 0 } else { row };
        self.array.is_valid(row).then(|| i128::from(self.array.as_primitive::<Int64Type>().value(row)))
    }
}

/// Refuses a call whose lists would have too many items.
pub(crate) fn check(function: &str, args: &[Column], rows: usize) -> Result<(), FunctionError> {
    let numbers: Vec<Option<Numbers>> = match function {
        "range" | "generate_series" | "array_repeat" | "array_resize" => args.iter().map(Numbers::new).collect(),
        _ => return Ok(()),
    };
    let number = |arg: usize, row: usize| numbers.get(arg)?.as_ref()?.get(row);
    let items = |row: usize| -> Option<i128> {
        match function {
            "array_repeat" | "array_resize" => number(1, row),
            _ => {
                let (start, stop) =
                    if args.len() == 1 { (0, number(0, row)?) } else { (number(0, row)?, number(1, row)?) };
                let step = if args.len() > 2 { number(2, row)? } else { 1 };
                Some(if step == 0 { 0 } else { (stop - start) / step + 1 })
            }
        }
    };
    // A constant is computed once.
    let rows = if args.iter().all(|column| column.as_constant().is_some()) { rows.min(1) } else { rows };
    let total = (0..rows).filter_map(items).map(|items| items.max(0)).fold(0_i128, i128::saturating_add);
    if total > ITEMS_MAX {
        let reason = format!("{total} items are more than the {ITEMS_MAX} that lists may have together");
        return Err(Box::new(ExprError::InvalidArgument { function: function.to_owned(), reason }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;

    use super::*;

    fn constant(value: i64) -> Column {
        Column::Constant(Arc::new(Int64Array::from(vec![value])))
    }

    #[test]
    fn numbers_that_ask_for_too_much_are_refused() {
        let far = constant(i64::MAX);
        let near = constant(i64::MIN);
        assert!(check("range", &[constant(1000)], 1).is_ok());
        assert!(check("range", &[far.clone()], 1).is_err());
        assert!(check("range", &[near.clone(), far.clone()], 1).is_err());
        assert!(check("range", &[far.clone(), near.clone()], 1).is_ok(), "the first is behind the last");
        assert!(check("range", &[far.clone(), near, constant(-1)], 1).is_err());
        assert!(check("generate_series", &[constant(0), far.clone(), constant(1 << 60)], 1).is_ok());
        assert!(check("array_repeat", &[constant(7), far.clone()], 1).is_err());
        assert!(check("array_length", &[far], 1).is_ok());
        let many = Column::Array(Arc::new(Int64Array::from(vec![Some(1 << 20), None, Some(-5), Some(1 << 20)])));
        assert!(check("range", &[many.clone()], 4).is_ok());
        let rows = Column::Array(Arc::new(Int64Array::from(vec![1 << 20; 65])));
        assert!(check("range", &[rows], 65).is_err(), "together they are too many");
    }
}
