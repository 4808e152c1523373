//! TPC-H: tables as Parquet files, and the texts of the queries.
//!
//! Tables come from the `tpchgen` generator, which makes the same rows as the specification's dbgen.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow, SupplierArrow,
};

use crate::answers::same_value;
use crate::tables;

/// Rows of a row group: about 16 MiB of `lineitem`.
pub const ROW_GROUP_ROWS: usize = 122_880;

macro_rules! queries {
    ($($number:literal)*) => {
        [$(($number, include_str!(concat!("q", $number, ".sql")))),*]
    };
}

/// The queries: standard text with the validation parameters of the specification (but for one in query 17, which says
/// why). Query 15 has its view in a WITH.
pub const QUERIES: [(u32, &str); 22] = queries!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22);

macro_rules! answers {
    ($scale:literal: $($number:literal)*) => {
        ($scale, &[$(($number, include_str!(concat!("answers/sf", $scale, "-q", $number, ".csv")))),*])
    };
}

/// The answers at a scale factor: query and text.
type Answers = (&'static str, &'static [(u32, &'static str)]);

/// Answers from an independent engine (`golden.py` beside this file): comma-separated, with a comment line that names
/// the engine and a header line; text with a comma is in quotes.
const ANSWERS: [Answers; 3] = [
    answers!("0.01": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22),
    answers!("0.1": 1 3 6 9 12 13 18 21),
    answers!("1": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 17 18 19 20 21 22),
];

/// The golden answer of a query at a scale factor, if there is one: its rows, cell by cell.
#[must_use]
pub fn answer(query: u32, scale: f64) -> Option<Vec<Vec<&'static str>>> {
    let (_, answers) = ANSWERS.iter().find(|(s, _)| *s == scale.to_string())?;
    let (_, text) = answers.iter().find(|(q, _)| *q == query)?;
    Some(text.lines().skip(2).map(cells).collect())
}

/// The queries that have a golden answer at a scale factor.
pub fn answered(scale: f64) -> impl Iterator<Item = (u32, &'static str)> {
    QUERIES.into_iter().filter(move |(query, _)| answer(*query, scale).is_some())
}

/// The cells of a line of an answer.
fn cells(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let (cell, after) = match rest.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
            Some((cell, after)) => (cell, after.strip_prefix(',')),
            None => match rest.split_once(',') {
                Some((cell, after)) => (cell, Some(after)),
                None => (rest, None),
            },
        };
        cells.push(cell);
        match after {
            Some(after) => rest = after,
            None => return cells,
        }
    }
}

/// Whether a result is the golden answer, in its order: numbers to a relative 1e-9 (the engine of the golden answers
/// gives averages as doubles), everything else to the letter.
///
/// # Errors
/// With the first difference.
pub fn check_answer(expected: &[Vec<&str>], rows: &[Vec<String>]) -> Result<(), String> {
    if expected.len() != rows.len() {
        return Err(format!("{} rows instead of {}", rows.len(), expected.len()));
    }
    for (index, (expected, row)) in expected.iter().zip(rows).enumerate() {
        let same = expected.len() == row.len() && expected.iter().zip(row).all(|(e, r)| same_value(e, r));
        if !same {
            return Err(format!("row {index} is {row:?} instead of {expected:?}"));
        }
    }
    Ok(())
}

/// The tables.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem"];

/// The text of a query with its tables replaced by the files in `directory`.
#[must_use]
pub fn query_over(text: &str, directory: &Path) -> String {
    let directory = directory.display().to_string().replace('\'', "''");
    // In the texts every table stands on a line of its own, perhaps with an alias, after FROM, JOIN or another table.
    let mut expects_table = false;
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.trim().trim_end_matches(',').split_whitespace().collect();
            let table = words.first().copied().filter(|name| expects_table && TABLES.contains(name));
            expects_table = match table {
                Some(_) => line.ends_with(','),
                None => matches!(words.last(), Some(&("from" | "join"))),
            };
            match (table, words.as_slice()) {
                (Some(name), [_]) => line.replace(name, &format!("'{directory}/{name}.parquet' AS {name}")),
                (Some(name), [_, _]) => line.replacen(name, &format!("'{directory}/{name}.parquet' AS"), 1),
                _ => line.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Makes the eight tables in `directory`; the number of rows in all.
///
/// # Errors
/// If a file cannot be written.
pub fn generate(directory: &Path, scale: f64) -> anyhow::Result<usize> {
    generate_divided(directory, scale, ROW_GROUP_ROWS)
}

/// As [`generate`], with so many rows in a row group.
///
/// # Errors
/// As [`generate`].
pub fn generate_divided(directory: &Path, scale: f64, row_group_rows: usize) -> anyhow::Result<usize> {
    let write = |name: &str, batches: &mut dyn Iterator<Item = Result<RecordBatch, ArrowError>>| {
        tables::write(directory, name, row_group_rows, batches)
    };
    let mut rows = 0;
    rows += write("region", &mut RegionArrow::new(RegionGenerator::new(scale, 1, 1)))?;
    rows += write("nation", &mut NationArrow::new(NationGenerator::new(scale, 1, 1)))?;
    rows += write("supplier", &mut SupplierArrow::new(SupplierGenerator::new(scale, 1, 1)))?;
    rows += write("part", &mut PartArrow::new(PartGenerator::new(scale, 1, 1)))?;
    rows += write("partsupp", &mut PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1)))?;
    rows += write("customer", &mut CustomerArrow::new(CustomerGenerator::new(scale, 1, 1)))?;
    rows += write("orders", &mut OrderArrow::new(OrderGenerator::new(scale, 1, 1)))?;
    rows += write("lineitem", &mut LineItemArrow::new(LineItemGenerator::new(scale, 1, 1)))?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_become_files_and_columns_of_their_names_stay() {
        let text =
            "select\n    nation\nfrom\n    part,\n    nation n1\n    left outer join\n    orders\n    on nation = 1";
        let expected = "select\n    nation\nfrom\n    '/d/part.parquet' AS part,\n    '/d/nation.parquet' AS n1\n    \
                        left outer join\n    '/d/orders.parquet' AS orders\n    on nation = 1";
        assert_eq!(query_over(text, Path::new("/d")), expected);
    }

    #[test]
    fn answers_have_a_cell_for_each_column() {
        assert_eq!(cells("a,\"b, c\",,d"), ["a", "b, c", "", "d"]);
        for (scale, count) in [(0.01, 22), (0.1, 8), (1.0, 21)] {
            assert_eq!(answered(scale).count(), count);
            for (query, _) in answered(scale) {
                let rows = answer(query, scale).unwrap();
                assert!(rows.iter().flatten().any(|cell| *cell != "None"), "query {query} says nothing");
                assert!(rows.iter().all(|row| row.len() == rows[0].len()), "query {query}");
            }
        }
    }
}
