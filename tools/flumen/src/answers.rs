//! How a result is held against the answer of another engine.
//!
//! Small answers are rows. Where a query orders by a column in which rows may be equal, and shows some of them only, two
//! engines may rightly show different ones: [`Ordered`] says what they have to agree on. Large answers are [`Sums`]: of
//! each column its values and their sum, and of each pair of neighbours the sum of their products, which a value in the
//! wrong row changes.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_cast::cast;
use arrow_schema::{ArrowError, DataType};
use serde::Deserialize;

/// Whether two cells are the same value: numbers to a relative 1e-9, everything else to the letter.
pub(crate) fn same_value(expected: &str, value: &str) -> bool {
    if expected == value {
        return true;
    }
    match (expected.parse::<f64>(), value.parse::<f64>()) {
        // Averages of decimals carry six digits after the point.
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 5e-7,
        _ => false,
    }
}

/// What of the order of rows is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// All of it.
    Wholly,
    /// By this column, in which rows may be equal; all rows are shown.
    By(usize),
    /// By this column, and rows before and after those that are shown may be equal to them.
    ByAndCut(usize),
    /// Nothing: some rows are shown.
    NotAndCut,
}

/// Holds rows against rows.
///
/// # Errors
/// With the first difference.
pub fn check_rows(expected: &[Vec<String>], rows: &[Vec<String>], order: Ordered) -> Result<(), String> {
    if expected.len() != rows.len() {
        return Err(format!("{} rows instead of {}", rows.len(), expected.len()));
    }
    let (mut expected, mut rows): (Vec<_>, Vec<_>) = (expected.iter().collect(), rows.iter().collect());
    let key = match order {
        Ordered::Wholly => None,
        Ordered::By(key) | Ordered::ByAndCut(key) => Some(key),
        Ordered::NotAndCut => return Ok(()),
    };
    if let Some(key) = key {
        let cell = |row: &&Vec<String>| row.get(key).cloned().unwrap_or_default();
        for (index, (a, b)) in expected.iter().zip(&rows).enumerate() {
            if !same_value(&cell(a), &cell(b)) {
                return Err(format!("row {index} is {b:?} where {a:?} or its equal was expected"));
            }
        }
        if order == Ordered::ByAndCut(key) {
            // Others may stand for those that are equal to the first or the last.
            let ends = [expected.first(), expected.last()].map(|row| row.map(cell).unwrap_or_default());
            let is_inner = |row: &&Vec<String>| !ends.iter().any(|end| same_value(end, &cell(row)));
            expected.retain(is_inner);
            rows.retain(is_inner);
        }
        expected.sort_unstable();
        rows.sort_unstable();
    }
    if expected.len() != rows.len() {
        return Err(format!("{} rows between the first and the last instead of {}", rows.len(), expected.len()));
    }
    for (a, b) in expected.into_iter().zip(rows) {
        if a.len() != b.len() || !a.iter().zip(b).all(|(a, b)| same_value(a, b)) {
            return Err(format!("{b:?} instead of {a:?}"));
        }
    }
    Ok(())
}

/// What is known of a large answer. Sums are texts: those of integers have all their digits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// Of each column, how many values are not NULL.
    pub values: Vec<u64>,
    /// Of each column, the sum of its values; a text counts as the number in it.
    pub sums: Vec<String>,
    /// Of each column but the last, the sum of its products with the next one.
    pub products: Vec<String>,
}

impl Sums {
    /// Holds sums against these.
    ///
    /// # Errors
    /// With the first difference.
    pub fn check(&self, found: &Self) -> Result<(), String> {
        if self.rows != found.rows {
            return Err(format!("{} rows instead of {}", found.rows, self.rows));
        }
        if self.values != found.values {
            return Err(format!("the columns have {:?} values instead of {:?}", found.values, self.values));
        }
        let differ = |expected: &[String], found: &[String]| {
            let mut pairs = expected.iter().zip(found);
            expected.len() != found.len() || pairs.any(|(expected, found)| !same_sum(expected, found))
        };
        if differ(&self.sums, &found.sums) {
            return Err(format!("the columns sum up to {:?} instead of {:?}", found.sums, self.sums));
        }
        if differ(&self.products, &found.products) {
            return Err(format!("the products sum up to {:?} instead of {:?}", found.products, self.products));
        }
        Ok(())
    }
}

/// Integers to the last digit, others to a relative 1e-9.
fn same_sum(expected: &str, found: &str) -> bool {
    match (expected.parse::<i128>(), found.parse::<i128>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => match (expected.parse::<f64>(), found.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
            _ => false,
        },
    }
}

/// Adds up the batches of a result.
#[derive(Debug, Default)]
pub struct Adder {
    rows: u64,
    values: Vec<u64>,
    sums: Vec<Sum>,
    products: Vec<Sum>,
}

/// Integers exactly, others with what rounding lost (A. Neumaier, 1974).
#[derive(Clone, Copy, Debug)]
enum Sum {
    Nothing,
    Integer(i128),
    Float { sum: f64, lost: f64 },
}

impl Sum {
    fn add(&mut self, number: Number) {
        match (&mut *self, number) {
            (Self::Nothing, Number::Integer(value)) => *self = Self::Integer(value),
            (Self::Nothing, Number::Float(value)) => *self = Self::Float { sum: value, lost: 0.0 },
            (Self::Integer(sum), Number::Integer(value)) => *sum = sum.wrapping_add(value),
            (Self::Integer(sum), Number::Float(value)) => *self = Self::Float { sum: *sum as f64 + value, lost: 0.0 },
            (Self::Float { sum, lost }, number) => {
                let value = number.as_f64();
                let next = *sum + value;
                *lost += if sum.abs() >= value.abs() { (*sum - next) + value } else { (value - next) + *sum };
                *sum = next;
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::Nothing => "0".to_owned(),
            Self::Integer(sum) => sum.to_string(),
            Self::Float { sum, lost } => format!("{}", sum + lost),
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    fn times(self, other: Self) -> Self {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Self::Integer(a.wrapping_mul(b)),
            (a, b) => Self::Float(a.as_f64() * b.as_f64()),
        }
    }
}

/// The values of a column as numbers.
fn numbers(column: &dyn Array) -> Result<Vec<Option<Number>>, ArrowError> {
    Ok(match column.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let floats = cast(column, &DataType::Float64)?;
            floats.as_primitive::<Float64Type>().iter().map(|value| value.map(Number::Float)).collect()
        }
        DataType::Decimal128(_, 0) => {
            column.as_primitive::<Decimal128Type>().iter().map(|value| value.map(Number::Integer)).collect()
        }
        DataType::Decimal128(..) => {
            let floats = cast(column, &DataType::Float64)?;
            floats.as_primitive::<Float64Type>().iter().map(|value| value.map(Number::Float)).collect()
        }
        data_type if data_type.is_integer() => {
            let integers = cast(column, &DataType::Int64)?;
            let number = |value| Number::Integer(i128::from(value));
            integers.as_primitive::<Int64Type>().iter().map(|value| value.map(number)).collect()
        }
        _ => {
            let texts = cast(column, &DataType::Utf8View)?;
            let number = |text: &str| {
                let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
                Number::Integer(digits.parse().unwrap_or_default())
            };
            texts.as_string_view().iter().map(|text| text.map(number)).collect()
        }
    })
}

impl Adder {
    /// Takes rows.
    ///
    /// # Errors
    /// If a column cannot be read as numbers.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows() as u64;
        self.values.resize(batch.num_columns(), 0);
        self.sums.resize(batch.num_columns(), Sum::Nothing);
        self.products.resize(batch.num_columns().saturating_sub(1), Sum::Nothing);
        let mut left: Option<Vec<Option<Number>>> = None;
        for (index, column) in batch.columns().iter().enumerate() {
            let column = numbers(column)?;
            for number in column.iter().flatten() {
                self.sums[index].add(*number);
            }
            self.values[index] += column.iter().flatten().count() as u64;
            if let Some(left) = left {
                for (a, b) in left.iter().zip(&column) {
                    if let (Some(a), Some(b)) = (a, b) {
                        self.products[index - 1].add(a.times(*b));
                    }
                }
            }
            left = Some(column);
        }
        Ok(())
    }

    /// What the rows sum up to.
    #[must_use]
    pub fn sums(self) -> Sums {
        let texts = |sums: Vec<Sum>| sums.into_iter().map(Sum::text).collect();
        Sums { rows: self.rows, values: self.values, sums: texts(self.sums), products: texts(self.products) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, StringArray};

    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn rows_that_are_equal_may_change_places() {
        let expected = rows(&[&["a", "9"], &["b", "5"], &["c", "5"], &["d", "1"]]);
        let moved = rows(&[&["a", "9"], &["c", "5"], &["b", "5.0"], &["e", "1"]]);
        assert!(check_rows(&expected, &expected, Ordered::Wholly).is_ok());
        assert!(check_rows(&expected, &moved, Ordered::Wholly).is_err());
        assert!(check_rows(&expected, &moved, Ordered::By(1)).is_err_and(|why| why.contains("\"e\"")));
        assert!(check_rows(&expected, &moved, Ordered::ByAndCut(1)).is_ok());
        let wrong = rows(&[&["a", "9"], &["c", "5"], &["x", "5"], &["e", "1"]]);
        assert!(check_rows(&expected, &wrong, Ordered::ByAndCut(1)).is_err());
        let later = rows(&[&["a", "9"], &["c", "5"], &["b", "4"], &["e", "1"]]);
        assert!(check_rows(&expected, &later, Ordered::ByAndCut(1)).is_err_and(|why| why.starts_with("row 2")));
        assert!(check_rows(&expected, &wrong, Ordered::NotAndCut).is_ok());
        assert!(check_rows(&expected, &wrong[1..], Ordered::NotAndCut).is_err());
    }

    fn batch(ids: &[i32], words: &[Option<&str>], values: &[f64]) -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int32Array::from(ids.to_vec()))),
            ("word", Arc::new(StringArray::from(words.to_vec()))),
            ("value", Arc::new(Float64Array::from(values.to_vec()))),
            (
                "sum",
                Arc::new(
                    Decimal128Array::from(ids.iter().map(|id| i128::from(*id) << 70).collect::<Vec<_>>())
                        .with_precision_and_scale(38, 0)
                        .unwrap(),
                ),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn sums_tell_values_in_the_wrong_row() {
        let sums = |batches: &[RecordBatch]| {
            let mut adder = Adder::default();
            batches.iter().for_each(|batch| adder.add(batch).unwrap());
            adder.sums()
        };
        let whole = batch(&[1, 2, 3], &[Some("id007"), None, Some("id10")], &[0.5, 1.5, 1e16]);
        let expected = sums(std::slice::from_ref(&whole));
        assert_eq!((expected.rows, &expected.values[..]), (3, &[3, 2, 3, 3][..]));
        assert_eq!(expected.sums, ["6", "17", "10000000000000002", &(6_i128 << 70).to_string()]);
        assert_eq!(expected.products[0], "37");
        // In another order and in pieces.
        let pieces = [whole.slice(2, 1), whole.slice(0, 2)];
        assert_eq!(expected.check(&sums(&pieces)), Ok(()));
        let crossed = batch(&[2, 1, 3], &[Some("id007"), None, Some("id10")], &[0.5, 1.5, 1e16]);
        assert!(expected.check(&sums(&[crossed])).is_err_and(|why| why.starts_with("the products")));
        let null = batch(&[1, 2, 3], &[Some("id007"), Some("0"), Some("id10")], &[0.5, 1.5, 1e16]);
        assert!(expected.check(&sums(&[null])).is_err_and(|why| why.contains("values")));
        assert!(expected.check(&sums(&pieces[..1])).is_err_and(|why| why == "1 rows instead of 3"));
    }
}
