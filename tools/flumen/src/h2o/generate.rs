//! The tables of the questions.
//!
//! `g` has texts `id1`, `id2` of 100 values and `id3` of a hundredth of the rows, numbers `id4`, `id5`, `id6` alike, `v1`
//! in 1..=5, `v2` in 1..=15 and `v3` in 0..=100 with six digits. `x` is the left side of the joins: `id1`, `id2` and `id3`
//! are keys of `small` (a millionth of the rows, at least 10), `medium` (a thousandth, at least 100) and `big` (as many), and
//! `id4`, `id5`, `id6` the same as texts. Nine tenths of the keys of either side are found on the other. Rows are in no
//! order. Everything is drawn from one seed for each table, with integer arithmetic and exact divisions, so that a size
//! means the same rows everywhere.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use flumen_io::{RandomSource, Rng};

use crate::tables;

/// Rows of a row group, and of a batch on its way there.
const ROW_GROUP_ROWS: usize = 122_880;

const SEED: u64 = 2014;

/// Values of `id1`, `id2`, `id4` and `id5`.
const FEW: u64 = 100;

/// Makes the tables.
///
/// # Errors
/// If a file cannot be written, or keys of so many rows have no room in 32 bits.
pub fn generate(directory: &Path, rows: u64) -> anyhow::Result<()> {
    anyhow::ensure!(
        (FEW..=1_000_000_000).contains(&rows),
        "there are tables of 100 to 1000000000 rows, and not of {rows}"
    );
    tables::write(directory, "g", ROW_GROUP_ROWS, grouped(rows))?;
    let small = Keys::draw("small", (rows / 1_000_000).max(10));
    let medium = Keys::draw("medium", (rows / 1_000).max(100));
    let big = Keys::draw("big", rows);
    let mut rng = Rng::stream(SEED, "x");
    let left = [&small, &medium, &big].map(|keys| spread(&keys.left, rows, &mut rng));
    tables::write(directory, "x", ROW_GROUP_ROWS, joined(&left, "v1", &mut rng))?;
    for (table, rows, of) in [("small", small.count, 1), ("medium", medium.count, 2), ("big", big.count, 3)] {
        let mut rng = Rng::stream(SEED, table);
        let keys: Vec<Vec<i32>> =
            [&small, &medium, &big].iter().take(of).map(|keys| spread(&keys.right, rows, &mut rng)).collect();
        tables::write(directory, table, ROW_GROUP_ROWS, joined(&keys, "v2", &mut rng))?;
    }
    Ok(())
}

/// Ranges of so many rows, one for each batch.
fn batches(rows: u64) -> impl Iterator<Item = std::ops::Range<usize>> {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    (0..rows).step_by(ROW_GROUP_ROWS).map(move |from| from..(from + ROW_GROUP_ROWS).min(rows))
}

/// In 1..=bound, which is at most 1e9.
fn key(rng: &mut Rng, bound: u64) -> i32 {
    i32::try_from(rng.below(bound)).unwrap_or(i32::MAX - 1) + 1
}

/// In 0..=100, with six digits.
fn value(rng: &mut Rng) -> f64 {
    rng.below(100_000_001) as f64 / 1e6
}

fn texts(numbers: &[i32], width: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(numbers.iter().map(|number| format!("id{number:0width$}"))))
}

fn integers(numbers: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(numbers))
}

fn grouped(rows: u64) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
    let mut rng = Rng::stream(SEED, "g");
    let many = rows / FEW;
    batches(rows).map(move |range| {
        let mut keys = |bound| -> Vec<i32> { range.clone().map(|_| key(&mut rng, bound)).collect() };
        let (id1, id2, id3) = (keys(FEW), keys(FEW), keys(many));
        let (id4, id5, id6) = (keys(FEW), keys(FEW), keys(many));
        let (v1, v2) = (keys(5), keys(15));
        let v3: ArrayRef = Arc::new(Float64Array::from_iter_values(range.clone().map(|_| value(&mut rng))));
        RecordBatch::try_from_iter([
            ("id1", texts(&id1, 3)),
            ("id2", texts(&id2, 3)),
            ("id3", texts(&id3, 10)),
            ("id4", integers(id4)),
            ("id5", integers(id5)),
            ("id6", integers(id6)),
            ("v1", integers(v1)),
            ("v2", integers(v2)),
            ("v3", v3),
        ])
    })
}

/// The keys of the two sides of a join.
struct Keys {
    count: u64,
    left: Vec<i32>,
    right: Vec<i32>,
}

impl Keys {
    /// So many on either side, nine tenths of them on both.
    fn draw(table: &str, count: u64) -> Self {
        let mut rng = Rng::stream(SEED, &format!("keys of {table}"));
        let size = usize::try_from(count).unwrap_or(usize::MAX);
        let alone = size / 10;
        let mut all: Vec<i32> = (1..).take(size + alone).collect();
        shuffle(&mut all, &mut rng);
        let common = size - alone;
        let right = [&all[..common], &all[size..]].concat();
        all.truncate(size);
        Self { count, left: all, right }
    }
}

/// So many keys: each at least once if there is room for them, in no order.
fn spread(keys: &[i32], rows: u64, rng: &mut Rng) -> Vec<i32> {
    let rows = usize::try_from(rows).unwrap_or(usize::MAX);
    let mut spread: Vec<i32> = keys.iter().copied().take(rows).collect();
    while spread.len() < rows {
        let at = usize::try_from(rng.below(keys.len() as u64)).unwrap_or_default();
        spread.push(keys[at]);
    }
    shuffle(&mut spread, rng);
    spread
}

/// R. A. Fisher and F. Yates, as D. Knuth writes it.
fn shuffle(numbers: &mut [i32], rng: &mut Rng) {
    for last in (1..numbers.len()).rev() {
        let other = usize::try_from(rng.below(last as u64 + 1)).unwrap_or(last);
        numbers.swap(last, other);
    }
}

/// A table of keys, the same as texts, and a value.
fn joined<'a>(
    keys: &'a [Vec<i32>],
    value_name: &'a str,
    rng: &'a mut Rng,
) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'a {
    const NAMES: [(&str, &str); 3] = [("id1", "id4"), ("id2", "id5"), ("id3", "id6")];
    batches(keys.first().map_or(0, Vec::len) as u64).map(move |range| {
        let part = |keys: &'a Vec<i32>| &keys[range.clone()];
        let numbers = keys.iter().zip(NAMES).map(|(keys, (name, _))| (name, integers(part(keys).to_vec())));
        let words = keys.iter().zip(NAMES).map(|(keys, (_, name))| (name, texts(part(keys), 1)));
        let mut columns: Vec<(&str, ArrayRef)> = numbers.chain(words).collect();
        let values = range.clone().map(|_| value(rng));
        columns.push((value_name, Arc::new(Float64Array::from_iter_values(values))));
        RecordBatch::try_from_iter(columns)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type};

    use super::*;

    #[test]
    fn keys_overlap_by_nine_tenths() {
        for count in [10, 100, 1234] {
            let keys = Keys::draw("small", count);
            let (left, right): (HashSet<_>, HashSet<_>) = (keys.left.iter().collect(), keys.right.iter().collect());
            assert_eq!((left.len() as u64, right.len() as u64), (count, count));
            assert_eq!(left.intersection(&right).count() as u64, count - count / 10);
        }
    }

    #[test]
    fn keys_are_spread_over_all_rows() {
        let mut rng = Rng::from_seed(1);
        let spread = spread(&[3, 5, 7], 100, &mut rng);
        assert_eq!((spread.len(), spread.iter().collect::<HashSet<_>>().len()), (100, 3));
        assert!(!spread.is_sorted());
        assert_eq!(super::spread(&[3, 5, 7], 2, &mut rng).len(), 2);
    }

    #[test]
    fn a_size_means_the_same_rows() {
        let first = || grouped(1000).next().unwrap().unwrap();
        assert_eq!(first(), first());
        let batch = first();
        let integers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int32Type>().clone();
        assert!(integers("id6").iter().flatten().all(|id| (1..=10).contains(&id)));
        assert!(integers("v2").iter().flatten().all(|v| (1..=15).contains(&v)));
        assert!(batch.column_by_name("id3").unwrap().as_string::<i32>().value(0).starts_with("id00000000"));
        let v3 = batch.column_by_name("v3").unwrap().as_primitive::<Float64Type>();
        assert!(v3.iter().flatten().all(|v| (0.0..=100.0).contains(&v)));
        assert!(generate(Path::new("/nowhere"), 99).is_err());
    }
}
